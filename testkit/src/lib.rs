//! What tests of several crates need of the world outside: a real PostgreSQL, and connections that fail. No other code uses it.

mod link;
mod postgres;

pub use link::Link;
pub use postgres::{Postgres, PostgresError};
