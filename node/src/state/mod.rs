//! The state of the chain and its history.
//!
//! Every change (a block, or an edit such as `anvil_setBalance`) makes a new *version*. An account or slot keeps its value for each
//! version that changed it, so that reading an old block costs a binary search and keeping it costs only what it changed.
//! Readers hold a version number, not a lock: a call runs against its version while blocks are mined.

mod overlay;
mod store;
mod view;

pub(crate) use overlay::{Overlay, raw_bytecode};
pub(crate) use store::{ChangeSet, Version};
pub(crate) use view::{Base, SharedStore, StateError, StateView};
