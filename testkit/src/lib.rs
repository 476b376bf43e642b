//! What tests of several crates need of the world outside: a real PostgreSQL, a service that takes webhooks, connections and
//! endpoints that fail, random programs, and chance that can be repeated. No other code uses it.

mod dice;
mod faulty_rpc;
mod inbox;
mod laggard;
mod link;
mod postgres;
mod programs;
mod rpc_proxy;
mod ws_proxy;

pub use dice::Dice;
pub use faulty_rpc::FaultyRpc;
pub use inbox::Inbox;
pub use link::Link;
pub use postgres::{Postgres, PostgresError};
pub use programs::random_programs;
pub use rpc_proxy::{Fault, RpcProxy};
pub use ws_proxy::{MessageFault, WsProxy};
