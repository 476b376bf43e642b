//! Following the chain: heads come in by WebSocket with HTTP polling beside it, gaps are filled by parent hash, and what the
//! rest of the keeper sees is a gapless sequence of [`ChainEvent`]s that can each be inverted.

mod canonical;
mod compare;
mod event;
mod heads;
mod inspect;
mod rpc;

pub use canonical::{BlockSource, Canonical, FollowError};
pub use compare::{Comparison, Opinion, compare};
pub use event::{BlockRef, ChainEvent};
pub use heads::{HeadSettings, Heads, Link, Seen, Via};
pub use inspect::FailedTransaction;
pub use rpc::{CallError, Rpc, RpcError};
