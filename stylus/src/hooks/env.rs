//! What one program call knows and remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use alloy_primitives::{Address, Bytes, U256};

use super::{HostTrace, Meter, trace::Open};
use crate::pricing::{self, Params};

/// Memory pages of all programs that are open in a transaction. Execution is sequential; the atomics only let program
/// calls share the counters.
#[derive(Debug, Default)]
pub struct PageCounters {
    open: AtomicU16,
    ever: AtomicU16,
}

impl PageCounters {
    /// Pages that are open now.
    pub fn open(&self) -> u16 {
        self.open.load(Ordering::Relaxed)
    }

    /// The most pages that have been open in this transaction.
    pub fn ever(&self) -> u16 {
        self.ever.load(Ordering::Relaxed)
    }

    /// Opens `new` pages.
    pub fn add(&self, new: u16) {
        let open = self.open().saturating_add(new);
        self.open.store(open, Ordering::Relaxed);
        self.ever.fetch_max(open, Ordering::Relaxed);
    }

    /// Goes back to `open` pages, when a program ends.
    pub fn restore(&self, open: u16) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Both counters.
    pub(crate) fn marks(&self) -> PageMarks {
        PageMarks {
            open: self.open(),
            ever: self.ever(),
        }
    }

    /// Sets both counters to what they were.
    pub(crate) fn go_back(&self, marks: PageMarks) {
        self.open.store(marks.open, Ordering::Relaxed);
        self.ever.store(marks.ever, Ordering::Relaxed);
    }

    /// Starts a new transaction.
    pub fn reset(&self) {
        self.open.store(0, Ordering::Relaxed);
        self.ever.store(0, Ordering::Relaxed);
    }
}

/// What [`PageCounters`] showed at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageMarks {
    open: u16,
    ever: u16,
}

/// Block and transaction data that programs can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockInfo {
    /// Base fee in wei per gas.
    pub basefee: U256,
    /// Beneficiary.
    pub coinbase: Address,
    /// Block gas limit.
    pub gas_limit: u64,
    /// Number, as the NUMBER opcode answers it.
    pub number: u64,
    /// Unix time in seconds.
    pub timestamp: u64,
    /// Chain id.
    pub chain_id: u64,
    /// Effective gas price of the transaction in wei.
    pub gas_price: U256,
    /// Sender of the transaction.
    pub origin: Address,
}

/// The call that runs the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallInfo {
    /// Calldata.
    pub input: Bytes,
    /// Acting address: owner of the storage.
    pub address: Address,
    /// Caller.
    pub caller: Address,
    /// Value in wei.
    pub value: U256,
    /// Whether state must not change.
    pub is_static: bool,
    /// Whether the acting address already runs further up.
    pub reentrant: bool,
}

/// A cached slot: its value, and the value that the state is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CachedSlot {
    pub(super) value: U256,
    pub(super) known: Option<U256>,
}

/// State of one program call. A nested call of the same program has its own.
#[derive(Debug)]
pub struct Env {
    /// The call.
    pub call: CallInfo,
    /// Its block and transaction.
    pub block: BlockInfo,
    /// Ink.
    pub meter: Meter,
    /// What the program returns or reverts with.
    pub result: Bytes,
    pub(super) params: Params,
    pub(crate) pages: Arc<PageCounters>,
    pub(super) slots: BTreeMap<U256, CachedSlot>,
    /// The slots whose value is not the state's. Flushing costs the same however many others there are, so that it must not
    /// look at them.
    pub(super) dirty: BTreeSet<U256>,
    pub(super) loads: u64,
    pub(super) stores: u64,
    pub(super) return_data: Bytes,
    /// Host calls so far.
    pub(super) served: u64,
    /// Host calls that another run of the same program has shown to people already.
    shown: u64,
    /// Who hears of the host calls, if anybody does.
    pub(super) trace: Option<HostTrace>,
    /// The traced host call that waits for the EVM.
    pub(super) open: Option<Open>,
    last_code: Option<(Address, Bytes)>,
}

impl Env {
    /// The state at the start of a program call with `gas`, after entering has been paid.
    pub fn new(call: CallInfo, block: BlockInfo, params: Params, pages: Arc<PageCounters>, gas: u64) -> Self {
        Self {
            call,
            block,
            meter: Meter::new(gas, params.ink_price),
            result: Bytes::new(),
            params,
            pages,
            slots: BTreeMap::new(),
            dirty: BTreeSet::new(),
            loads: 0,
            stores: 0,
            return_data: Bytes::new(),
            served: 0,
            shown: 0,
            trace: None,
            open: None,
            last_code: None,
        }
    }

    /// The same call before its program has run.
    pub(crate) fn again(&self) -> Self {
        let mut again = Self::new(self.call.clone(), self.block, self.params, self.pages.clone(), 0);
        again.meter = self.meter;
        again.traced_by(self.trace.clone())
    }

    /// Repeats `before`, a run of the same program that was given up: what it has shown to people is not shown again.
    pub(crate) fn continue_for(&mut self, before: &Self) {
        // A host call that waits for its answer is shown when it has it.
        self.shown = before.served.saturating_sub(before.open.is_some().into());
    }

    /// Whether the host call in progress is one that people have seen.
    pub(super) fn is_shown(&self) -> bool {
        self.served <= self.shown
    }

    /// Lets `trace` hear of every host call.
    pub fn traced_by(mut self, trace: Option<HostTrace>) -> Self {
        self.trace = trace;
        self
    }

    /// Words of WASM stack that the call may use.
    pub fn stack_depth(&self) -> u32 {
        self.params.max_stack_depth
    }

    pub(super) fn page_gas(&self, new: u16) -> u64 {
        pricing::memory_cost(&self.params, self.pages.open(), self.pages.ever(), new)
    }

    /// The code of `account`, if it was the last one that was asked for.
    pub(super) fn last_code(&self, account: Address) -> Option<Bytes> {
        self.last_code
            .as_ref()
            .filter(|(last, _)| *last == account)
            .map(|(_, code)| code.clone())
    }

    /// Remembers code; since ArbOS 40 only if there is any, and what was remembered before stays.
    pub(super) fn remember_code(&mut self, account: Address, code: &Bytes) {
        let always = self.params.arbos_version < pricing::ARBOS_WASM_SIZE_PARAM;
        if always || !code.is_empty() {
            self.last_code = Some((account, code.clone()));
        }
    }
}
