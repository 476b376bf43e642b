//! What tests of several crates need of the world outside: a real PostgreSQL, a
//! service that takes webhooks, and connections that fail. No other code uses it.

mod inbox;
mod link;
mod postgres;

pub use inbox::Inbox;
pub use link::Link;
pub use postgres::{Postgres, PostgresError};
