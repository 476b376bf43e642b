//! Following the chain: heads come in by WebSocket with HTTP polling beside it, gaps are filled by parent hash, and what the
//! rest of the keeper sees is a gapless sequence of [`ChainEvent`]s that can each be inverted.

mod aggregate;
mod batch;
mod bloom;
mod canonical;
mod compare;
mod contents;
mod endpoint;
mod error;
mod event;
mod failure;
mod headers;
mod heads;
mod inquiry;
mod inspect;
mod newest;
mod opinions;
mod rate;
mod readers;
mod receipts;
mod requests;
mod rpc;
mod several;
mod sources;
mod websocket;
mod words;

pub use batch::{Answer, Question, Refusal};
pub use bloom::{Seal, Wanted, may_lack};
pub use canonical::{BlockSource, Canonical, FollowError};
pub use contents::{BlockTransaction, Transaction};
pub use error::{CallError, RpcError};
pub use event::{BlockRef, ChainEvent};
pub(crate) use headers::Headers;
pub use heads::{HeadSettings, Heads, Link, Seen, Via};
pub use inquiry::{Inquiry, Key};
pub(crate) use newest::Newest;
pub use opinions::{Comparison, Opinion, Standing, compare};
pub use receipts::{FailedTransaction, Receipts};
pub use rpc::Rpc;
pub(crate) use several::near;
pub use several::{Fate, NotSent, Said};
pub(crate) use websocket::{probe_ws, without};
