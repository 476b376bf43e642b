//! The hooks where the gate does not decide by itself: something is not Normal, or a rule has to look.

use crate::abi::{emit, encode, refusal, Answer, Refusal};
use crate::guard::{open, rule_in, starved, Guard};
use crate::reader::ChainReader;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256};
use cordon_core::{
    level::Permission,
    rule::{evaluate, evaluate_value, Class, Evaluation, Inputs, Unknown, Value, Verdict},
    rulebook::{RuleBody, RuleRecord},
    Action, Level, Matrix,
};
use cordon_host::{
    layout::{self, Caller, Hooked, Ticket},
    Host,
};

/// Marks a recorded entry value that could not be had: the reason follows.
const ENTRY_UNKNOWN: u8 = 0xff;

/// See [`reserve`]: a breach that is let pass and counted, the end of the transaction's context, the way back through the gate.
const HOOK_RESERVE: u64 = 60_000;

/// How deep a caller's guarded calls are nested, in transient storage.
pub(crate) struct Nesting {
    /// Guarded calls that have not come to their `exit`.
    pub(crate) depth: u32,
    /// Number of the outermost call within the transaction: values recorded before it are void.
    call: u32,
}

impl Nesting {
    pub(crate) fn unpack(word: B256) -> Self {
        let [low, ..] = layout::limbs(word);
        Self {
            depth: (low & 0xffff_ffff) as u32,
            call: (low >> 32) as u32,
        }
    }

    fn pack(&self) -> B256 {
        layout::from_limbs([u64::from(self.depth) | u64::from(self.call) << 32, 0, 0, 0])
    }
}

impl<H: Host> Guard<H> {
    /// Whether the named scopes permit the action; records what rules want to know from before the call.
    pub fn enter(&mut self, scopes: [u8; 3], action: u8, asset: &Address, amount: B256) -> Answer<B256> {
        let (sender, caller) = self.registered()?;
        let kind = action_of(action)?;
        if let Some(scope) = scopes.into_iter().find(|scope| *scope >= caller.scopes) {
            return Err(refusal!(BadScope, scope, caller.scopes));
        }
        if self.permitted(scopes, kind)? == Permission::Announced {
            // An administrative call names itself: its amount is the hash of its calldata. What was announced is that this caller
            // makes it, so that no caller can use up what was meant for another, or for the guard itself.
            let announced = self.host.keccak(&encode!(&[], sender, amount));
            self.use_announcement(&announced)?;
        }
        let hooked = caller.hooked(action);
        if hooked == Hooked::Nothing {
            return Ok(B256::ZERO);
        }
        let counted = hooked == Hooked::Recorded;
        if counted {
            self.record_entries(&sender, scopes, kind)?;
        }
        if caller.keeps_context() {
            self.tell_context(kind, asset, amount);
        }
        Ok(Ticket {
            counted,
            scopes,
            action,
        }
        .pack())
    }

    /// Checks the rules that are hooked to the call that the ticket was given for.
    pub fn exit(&mut self, ticket: B256) -> Answer<()> {
        if ticket == B256::ZERO {
            return Ok(());
        }
        let (sender, caller) = self.registered()?;
        let bad = || refusal!(BadTicket, ticket);
        let given = Ticket::unpack(&ticket).ok_or_else(bad)?;
        let action = Action::from_u8(given.action).ok_or_else(bad)?;
        let mut nesting = Nesting::unpack(self.host.load_transient(&layout::nesting(&sender)));
        if given.counted && nesting.depth == 0 {
            return Err(bad());
        }
        let (current, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        for index in 0..view.header().rules {
            if self.may_not_look(action) {
                break;
            }
            let (rule, body) = rule_in(&view, index)?;
            if is_hooked(&rule, given.scopes, action) {
                let evaluation = self.evaluate_hooked(index, &rule, body, &sender, nesting.call, action)?;
                self.judge(index, &rule, &evaluation, &sender, current.epoch, action)?;
            }
        }
        if given.counted {
            nesting.depth = nesting.depth.saturating_sub(1);
            if nesting.depth == 0 {
                nesting.call = nesting.call.wrapping_add(1);
            }
            self.host.store_transient(&layout::nesting(&sender), &nesting.pack());
            if caller.keeps_context() {
                self.leave_context();
            }
        }
        Ok(())
    }

    /// Whether `enter` would pass now, rules and announcements aside. Here and in [`Guard::level_of`] a scope that the rulebook does not have
    /// is Normal, as it is to the gate, which answers both on a quiet day: a question must not begin to fail in an incident.
    pub fn is_allowed(&self, scopes: [u8; 3], action: u8) -> Answer<bool> {
        let action = action_of(action)?;
        if let Some(scope) = scopes.into_iter().find(|scope| *scope >= layout::MAX_SCOPES) {
            return Err(refusal!(BadScope, scope, layout::MAX_SCOPES));
        }
        Ok(self.strictest(scopes, action).2.passes())
    }

    /// The stricter of the levels that hold in a scope and in the whole protocol now.
    pub fn level_of(&self, scope: u8) -> Answer<Level> {
        if scope >= layout::MAX_SCOPES {
            return Err(refusal!(BadScope, scope, layout::MAX_SCOPES));
        }
        let (whole, own) = (self.level(0), self.level(scope));
        Ok(if own.rank() > whole.rank() { own } else { whole })
    }

    fn registered(&self) -> Answer<(Address, Caller)> {
        let sender = self.host.sender();
        let caller = Caller::unpack(&self.host.load(&layout::caller(&sender)));
        if caller.is_registered() {
            return Ok((sender, caller));
        }
        Err(refusal!(NotRegistered, sender))
    }

    /// The strictest of what scope 0 and the named scopes grant, and who grants it.
    fn strictest(&self, scopes: [u8; 3], action: Action) -> (u8, Level, Permission) {
        let [a, b, c] = scopes;
        let mut strictest = (0, Level::Normal, Permission::Open);
        for scope in [0, a, b, c] {
            let level = self.level(scope);
            // Normal has the same row in every matrix: on a quiet day the word is not read.
            let matrix = if level == Level::Normal {
                Matrix::DEFAULT
            } else {
                self.matrix()
            };
            let granted = matrix.permission(level, action);
            if granted > strictest.2 {
                strictest = (scope, level, granted);
            }
        }
        strictest
    }

    fn permitted(&self, scopes: [u8; 3], action: Action) -> Answer<Permission> {
        let (scope, level, granted) = self.strictest(scopes, action);
        if granted > Permission::Announced {
            let action = action as u8;
            return Err(refusal!(ActionClosed, scope, level, action));
        }
        Ok(granted)
    }

    /// Takes the `entry()` values of all rules hooked to the action, unless an outer call has taken them, and counts the call.
    fn record_entries(&mut self, sender: &Address, scopes: [u8; 3], action: Action) -> Answer<()> {
        let key = layout::nesting(sender);
        let mut nesting = Nesting::unpack(self.host.load_transient(&key));
        let (_, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        for index in 0..view.header().rules {
            let (rule, body) = rule_in(&view, index)?;
            if rule.entries > 0 && is_hooked(&rule, scopes, action) {
                for entry in 0..rule.entries {
                    self.record_entry(sender, index, entry, body, nesting.call, action)?;
                }
            }
        }
        nesting.depth = nesting.depth.saturating_add(1);
        self.host.store_transient(&key, &nesting.pack());
        Ok(())
    }

    fn record_entry(
        &mut self,
        sender: &Address,
        rule: u16,
        entry: u8,
        body: RuleBody<'_>,
        call: u32,
        action: Action,
    ) -> Answer<()> {
        let head_key = layout::entry(sender, rule, entry, 0);
        if entry_head(self.host.load_transient(&head_key), call).is_some() {
            return Ok(());
        }
        let mut reader = ChainReader::keeping(&mut self.host, reserve(action));
        let value = evaluate_value(&body.entry(entry), &Inputs::default(), &mut reader);
        if let (Some((needed, left)), 0) = (reader.starved, reserve(action)) {
            return Err(starved(needed, left));
        }
        let (tag, word) = match &value {
            Ok(value) => value.to_parts(),
            Err(reason) => (ENTRY_UNKNOWN, B256::with_last_byte(reason.code())),
        };
        self.host
            .store_transient(&head_key, &layout::from_limbs([tag.into(), call.into(), 1, 0]));
        self.host.store_transient(&layout::entry(sender, rule, entry, 1), &word);
        Ok(())
    }

    fn recorded_entry(&self, sender: &Address, rule: u16, entry: u8, call: u32) -> Result<Value, Unknown> {
        let head = self.host.load_transient(&layout::entry(sender, rule, entry, 0));
        let tag = entry_head(head, call).ok_or(Unknown::NoEntry)?;
        let word = self.host.load_transient(&layout::entry(sender, rule, entry, 1));
        if tag == ENTRY_UNKNOWN {
            let [.., code] = word.0;
            return Err(Unknown::from_code(code).unwrap_or(Unknown::NoEntry));
        }
        Value::from_parts(tag, word).ok_or(Unknown::NoEntry)
    }

    fn evaluate_hooked(
        &mut self,
        index: u16,
        rule: &RuleRecord,
        body: RuleBody<'_>,
        sender: &Address,
        call: u32,
        action: Action,
    ) -> Answer<Evaluation> {
        let reserve = reserve(action);
        let mut entries = Vec::new();
        for entry in 0..rule.entries {
            match self.recorded_entry(sender, index, entry, call) {
                Ok(value) => entries.push(value),
                // Starved by a repayment around this call, which may be: this call may not.
                Err(Unknown::OutOfGas) if reserve == 0 => {
                    return Err(refusal!(RuleUnknown, index, Unknown::OutOfGas.code()));
                }
                Err(reason) => return Ok(Evaluation::unknown(reason)),
            }
        }
        let inputs = Inputs {
            params: &[],
            entries: &entries,
        };
        if reserve == 0 {
            return self.check(&body.program(), &inputs);
        }
        let mut reader = ChainReader::keeping(&mut self.host, reserve);
        Ok(evaluate(&body.program(), &inputs, &mut reader))
    }

    /// Whether there is too little gas left to look at a rule in a hook that passes all the same.
    fn may_not_look(&self, action: Action) -> bool {
        self.host.gas_left() < reserve(action)
    }

    /// What a hook does about a verdict: revert, count, or nothing.
    fn judge(
        &mut self,
        index: u16,
        rule: &RuleRecord,
        evaluation: &Evaluation,
        sender: &Address,
        epoch: u32,
        action: Action,
    ) -> Answer<()> {
        match evaluation.verdict {
            Verdict::Holds => Ok(()),
            Verdict::Unknown if rule.shadow || !Action::RISK_INCREASING.contains(action) => Ok(()),
            Verdict::Unknown => Err(refusal!(RuleUnknown, index, evaluation.reason)),
            Verdict::Breached
                if rule.shadow
                    // Repayment never closes, whoever keeps bad what a rule of whichever class looks at.
                    || action == Action::Repay
                    || self.is_governed_by_level(index, rule, action, epoch) =>
            {
                let mut state = self.rule_state(epoch, index);
                state.shadowed = state.shadowed.saturating_add(1);
                self.set_rule_state(epoch, index, &state);
                emit!(self.host, ShadowBreach, [index, sender]);
                Ok(())
            }
            Verdict::Breached => Err(breached(index, evaluation)),
        }
    }

    /// Whether a rule has been tripped and its scope's level governs in its stead. At the ceiling too: what can no longer
    /// raise a level must not close the protocol by reverting either.
    fn is_governed_by_level(&self, index: u16, rule: &RuleRecord, action: Action, epoch: u32) -> bool {
        let tripped = self.rule_state(epoch, index).tripped;
        // Never for a spot rule, which an attacker can have tripped to get it out of the way, and never for what takes risk or
        // somebody else's collateral: a standing breach only must not shut the exits.
        let exits = !matches!(action, Action::Trade | Action::Increase | Action::Liquidate);
        if rule.class != Class::State || tripped == 0 || !rule.robust || !exits {
            return false;
        }
        let (state, now) = (self.scope(rule.scope), self.host.now());
        state.governs(now, tripped, rule.level, rule.duration, || {
            let caller = Caller::unpack(&self.host.load(&layout::caller(&self.host.sender())));
            self.contained_elsewhere(rule.scope, caller.scopes, &self.ledger())
        })
    }
}

/// The error of a rule that is breached.
pub(crate) fn breached(rule: u16, evaluation: &Evaluation) -> Refusal {
    let (observed, bound) = (&evaluation.observed, &evaluation.bound);
    refusal!(
        RuleBreached,
        rule,
        observed.negative,
        observed.magnitude,
        bound.negative,
        bound.magnitude
    )
}

/// Whether hooks that name these scopes check the rule for the action. Rules of scope 0 concern every call.
fn is_hooked(rule: &RuleRecord, scopes: [u8; 3], action: Action) -> bool {
    rule.check.contains(action) && (rule.scope == 0 || scopes.contains(&rule.scope))
}

/// Gas that is kept for the end of a hook that passes whatever gas its rules are left with: repayment never closes, nor does what an expiry
/// takes away. 0 for the other actions, whose hooks fail when a read lacks gas.
const fn reserve(action: Action) -> u64 {
    match action {
        Action::Repay | Action::Settle => HOOK_RESERVE,
        _ => 0,
    }
}

fn action_of(action: u8) -> Answer<Action> {
    Action::from_u8(action).ok_or_else(|| refusal!(BadAction, action))
}

/// Tag of a recorded value, when it was recorded for this outermost call.
fn entry_head(head: B256, call: u32) -> Option<u8> {
    let [tag, of_call, present, _] = layout::limbs(head);
    (present == 1 && of_call == u64::from(call)).then_some((tag & 0xff) as u8)
}
