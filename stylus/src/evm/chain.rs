//! What the frames and precompiles of one execution share beyond the journal.

use std::sync::Arc;

use alloy_primitives::Address;

use super::BlockContext;
use crate::cache::ProgramCache;
use crate::hooks::{HostTrace, PageCounters};
use crate::precompile::Signatures;

/// A call or creation in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whose storage is acted on.
    pub(crate) acting: Address,
    /// Who called.
    pub(crate) caller: Address,
    /// Whether it counts for re-entrancy: anything but DELEGATECALL and CALLCODE.
    pub(crate) counted: bool,
}

/// Arbitrum's part of the context: the `chain` member that precompiles and frames use.
#[derive(Debug)]
pub struct ArbChain {
    pub(crate) block: BlockContext,
    pub(crate) cache: Arc<ProgramCache>,
    /// Memory of the programs of the transaction.
    pub(crate) pages: Arc<PageCounters>,
    /// Calls in progress, outermost first; while a precompile runs, its call is the last.
    pub(crate) calls: Vec<Call>,
    /// Who hears of what programs do, if anybody does.
    pub(crate) trace: Option<HostTrace>,
    /// Signatures whose account is given instead of recovered.
    pub(crate) signatures: Option<Arc<Signatures>>,
    /// An address, and who hears the input of each call to it.
    pub(crate) listener: Option<(Address, Listener)>,
}

/// Hears the input of a call, before it runs.
pub type Listener = fn(&[u8]);

impl ArbChain {
    pub(crate) fn new(block: BlockContext, cache: Arc<ProgramCache>) -> Self {
        Self {
            block,
            cache,
            pages: Arc::default(),
            calls: Vec::new(),
            trace: None,
            signatures: None,
            listener: None,
        }
    }

    /// Forgets the previous transaction.
    pub(crate) fn begin_transaction(&mut self) {
        self.pages.reset();
        self.calls.clear();
    }

    /// Whether `acting` runs more than once, delegated frames not counted.
    pub(crate) fn is_reentrant(&self, acting: Address) -> bool {
        self.calls
            .iter()
            .filter(|call| call.counted && call.acting == acting)
            .count()
            > 1
    }
}
