//! What the guard knows of the running transaction, for hook rules: in transient storage, told by every hook when a rule asks for it.

use crate::abi::Answer;
use crate::guard::{open, Guard};
use crate::hooks::Nesting;
use alloy_primitives::{Address, B256};
use cordon_core::{rulebook::View, Action, Flow};
use cordon_host::{
    layout::{self, Caller},
    Host,
};

/// One word of transient storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Guarded calls, of all registered contracts, that have not come to their `exit`.
    pub(crate) depth: u32,
    deposit: bool,
    withdraw: bool,
}

impl Seen {
    pub(crate) fn unpack(word: B256) -> Self {
        let [low, ..] = layout::limbs(word);
        Self {
            depth: (low & 0xffff_ffff) as u32,
            deposit: low >> 32 & 1 == 1,
            withdraw: low >> 33 & 1 == 1,
        }
    }

    fn pack(&self) -> B256 {
        let low = u64::from(self.depth) | u64::from(self.deposit) << 32 | u64::from(self.withdraw) << 33;
        layout::from_limbs([low, 0, 0, 0])
    }

    /// Whether value has come in and gone out.
    pub(crate) const fn is_round_trip(&self) -> bool {
        self.deposit && self.withdraw
    }
}

impl<H: Host> Guard<H> {
    /// Tells the context of a guarded call that begins.
    pub(crate) fn tell_context(&mut self, action: Action, asset: &Address, amount: B256) {
        let mut seen = Seen::unpack(self.host.load_transient(&layout::context()));
        seen.depth = seen.depth.saturating_add(1);
        seen.deposit |= matches!(action, Action::Deposit);
        seen.withdraw |= matches!(action, Action::Withdraw);
        self.host.store_transient(&layout::context(), &seen.pack());
        if let Some(flow) = action.flow() {
            let key = layout::flow(asset, flow == Flow::Out);
            let before = layout::to_number(self.host.load_transient(&key));
            let after = before.saturating_add(layout::to_number(amount));
            self.host.store_transient(&key, &layout::from_number(&after));
        }
    }

    /// How deep the registered contracts are in guarded calls that the guard counts.
    pub(crate) fn guarded_depth(&self, view: &View<'_>) -> u32 {
        let deep = |caller| Nesting::unpack(self.host.load_transient(&layout::nesting(&caller))).depth;
        let counted = view
            .callers()
            .fold(0u32, |depth, caller| depth.saturating_add(deep(caller)));
        // Where a context is kept, it knows of the callers of a rulebook before this one too.
        counted.max(Seen::unpack(self.host.load_transient(&layout::context())).depth)
    }

    /// How deep the registered contracts are in guarded calls now, whether none is left uncounted, and whether the guard is calling out.
    pub fn guarded_calls(&self) -> Answer<(u32, bool, bool)> {
        let locked = self.host.load_transient(&layout::lock()) != B256::ZERO;
        let book = self.current().book;
        if book == Address::ZERO {
            // Nobody is registered.
            return Ok((0, true, locked));
        }
        let code = self.code(&book);
        let view = open(&code)?;
        let counts = |caller| Caller::unpack(&self.host.load(&layout::caller(&caller))).counts_all();
        let complete = view.callers().all(counts);
        Ok((self.guarded_depth(&view), complete, locked))
    }

    /// Tells the context that a guarded call is over.
    pub(crate) fn leave_context(&mut self) {
        let mut seen = Seen::unpack(self.host.load_transient(&layout::context()));
        seen.depth = seen.depth.saturating_sub(1);
        self.host.store_transient(&layout::context(), &seen.pack());
    }
}
