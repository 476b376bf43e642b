//! The guard's state: what each word means, and the checks that most calls begin with.

use crate::abi::{emit, encode, refusal, refuse, Answer, Arguments, ICordonGuard, Refusal};
use crate::dispatch::place_of;
use crate::reader::{gas_needed, ChainReader};
use alloc::{vec, vec::Vec};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use cordon_core::{
    ledger::Ledger,
    rule::{evaluate, Evaluation, Inputs, Int, Program, Unknown, Verdict},
    rulebook::{
        view::LONGEST_HEADER, ContainmentBody, ContainmentRecord, Header, RuleBody, RuleRecord, SetView, View,
        MAX_CALLERS, MAX_SCOPES, SCOPE,
    },
    scope::ScopeState,
    Level, Matrix,
};
use cordon_host::{
    abi::{self, selector},
    layout::{self, Caller, Current, Settings},
    CallKind, Host,
};

/// Seconds after which an announcement that was not used is void: 14 days.
pub const ANNOUNCEMENT_LIFETIME: u64 = 14 * 24 * 3600;

/// Gas in which the inspect program comes to a rule's first read and back, entering it uncached and opening the longest rulebook included.
const INSPECT_GAS: u64 = 1_000_000;

/// Numbers of the roles, as in the ABI.
pub mod role {
    /// Tightens; releases after a delay.
    pub const GUARDIAN: u8 = 0;
    /// Tightens briefly.
    pub const KEEPER: u8 = 1;
    /// Shows that the keeper lives.
    pub const HEARTBEAT: u8 = 2;
    /// Takes announcements back. Guardians get it, and lose it by an announcement only.
    pub const VETO: u8 = 3;
    /// Tightens once, for longer; taken away by its use.
    pub const SEAL: u8 = 4;
}

/// What is known of a rule, one word that is never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleState {
    /// The incident that it was tripped for last; 0 when it never was.
    pub(crate) tripped: u32,
    /// How often a hook found it breached and let the call pass.
    pub(crate) shadowed: u64,
}

impl RuleState {
    fn unpack(word: B256) -> Self {
        let [tripped, shadowed, ..] = layout::limbs(word);
        Self {
            tripped: (tripped & 0xffff_ffff) as u32,
            shadowed,
        }
    }

    pub(crate) fn pack(&self) -> B256 {
        layout::from_limbs([self.tripped.into(), self.shadowed, 0, 1])
    }
}

/// The guard, in the storage of the running frame.
pub struct Guard<H> {
    /// The VM.
    pub host: H,
}

/// The key of a word of the configuration, made by code: as a constant it is data, which costs a program more each time it is entered.
#[inline(never)]
fn config(number: u8) -> B256 {
    layout::config(number)
}

impl<H: Host> Guard<H> {
    /// The guard on this VM.
    pub const fn new(host: H) -> Self {
        Self { host }
    }

    #[inline(never)]
    pub(crate) fn address_at(&self, key: &B256) -> Address {
        Address::from_word(self.host.load(key))
    }

    #[inline(never)]
    pub(crate) fn number_at(&self, key: &B256) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.host.load(key).0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    pub(crate) fn set_number(&mut self, key: &B256, value: u64) {
        self.host.store(key, &layout::from_limbs([value, 0, 0, 0]));
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::unpack(&self.host.load(&layout::SETTINGS))
    }

    /// What the levels close.
    pub(crate) fn matrix(&self) -> Matrix {
        Matrix::new(self.settings().closes).unwrap_or_default()
    }

    pub(crate) fn current(&self) -> Current {
        Current::unpack(&self.host.load(&config(layout::word::CURRENT)))
    }

    /// The rulebook in force.
    pub(crate) fn rulebook_in_force(&self) -> Answer<(Current, Vec<u8>)> {
        let current = self.current();
        if current.epoch == 0 {
            return Err(refusal!(NoRulebook));
        }
        let code = self.code(&current.book);
        Ok((current, code))
    }

    /// All code of an account.
    pub(crate) fn code(&self, account: &Address) -> Vec<u8> {
        let mut code = vec![0; self.host.code_len(account)];
        let read = self.host.code(account, 0, &mut code);
        code.truncate(read);
        code
    }

    /// What an account may do: a bit per role, and that of the governor.
    pub(crate) fn roles(&self, account: &Address) -> u8 {
        let [.., bits] = self.host.load(&layout::roles(account)).0;
        bits
    }

    pub(crate) fn set_roles(&mut self, account: &Address, bits: u8) {
        self.host.store(&layout::roles(account), &B256::with_last_byte(bits));
    }

    pub(crate) fn has_role_number(&self, role: u8, account: &Address) -> bool {
        self.roles(account) >> role & 1 == 1
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::unpack(layout::to_number(self.host.load(&config(layout::word::LEDGER))))
    }

    pub(crate) fn set_ledger(&mut self, ledger: &Ledger) {
        self.host
            .store(&config(layout::word::LEDGER), &layout::from_number(&ledger.pack()));
    }

    pub(crate) fn rule_state(&self, epoch: u32, rule: u16) -> RuleState {
        RuleState::unpack(self.host.load(&layout::rule(epoch, rule)))
    }

    pub(crate) fn set_rule_state(&mut self, epoch: u32, rule: u16, state: &RuleState) {
        self.host.store(&layout::rule(epoch, rule), &state.pack());
    }

    pub(crate) fn is_governor(&self, account: &Address) -> bool {
        self.has_role_number(layout::GOVERNS, account)
    }

    pub(crate) fn require_governor(&self) -> Answer<()> {
        let caller = self.host.sender();
        if self.is_governor(&caller) {
            return Ok(());
        }
        Err(refusal!(NotGovernor, caller))
    }

    /// State of a scope as it was last set.
    #[inline(never)]
    pub(crate) fn scope(&self, scope: u8) -> ScopeState {
        ScopeState::unpack(layout::to_number(self.host.load(&layout::scope(scope))))
    }

    /// Writes the state of a scope, and counts it when it leaves Normal or comes back; tells the words of all registered callers whether
    /// every scope is Normal, when that has changed.
    pub(crate) fn set_scope(&mut self, scope: u8, state: &ScopeState) {
        if let Some(quiet) = self.put_scope(scope, state) {
            let mut head = vec![0; LONGEST_HEADER + SCOPE * usize::from(MAX_SCOPES) + 20 * usize::from(MAX_CALLERS)];
            let read = self.host.code(&self.current().book, 0, &mut head);
            head.truncate(read);
            self.set_quiet(&head, quiet);
        }
    }

    /// As [`Guard::set_scope`], for who has the rulebook's code at hand.
    pub(crate) fn set_scope_under(&mut self, view: &View<'_>, scope: u8, state: &ScopeState) {
        if let Some(quiet) = self.put_scope(scope, state) {
            self.set_quiet(view.code(), quiet);
        }
    }

    /// Writes the state of a scope, and counts it. Answers whether every scope is Normal when that has changed.
    fn put_scope(&mut self, scope: u8, state: &ScopeState) -> Option<bool> {
        let was_raised = self.scope(scope).level != Level::Normal;
        self.host
            .store(&layout::scope(scope), &layout::from_number(&state.pack()));
        let is_raised = state.level != Level::Normal;
        if was_raised == is_raised {
            return None;
        }
        let mut ledger = self.ledger();
        let before = ledger.raised;
        ledger.raised = if is_raised {
            before.saturating_add(1)
        } else {
            before.saturating_sub(1)
        };
        self.set_ledger(&ledger);
        (before == 0 || ledger.raised == 0).then_some(!is_raised)
    }

    /// Tells the words of the callers of a rulebook, whose code begins with `head`, whether every scope is Normal.
    fn set_quiet(&mut self, head: &[u8], quiet: bool) {
        let callers = Header::parse(head)
            .ok()
            .and_then(|header| head.get(header.callers_range()));
        for caller in callers.unwrap_or_default().chunks_exact(20) {
            let key = layout::caller(&Address::from_slice(caller));
            let word = Caller::quieted(self.host.load(&key), quiet);
            self.host.store(&key, &word);
        }
    }

    /// The level that holds in a scope now.
    pub(crate) fn level(&self, scope: u8) -> Level {
        self.scope(scope).effective(self.host.now()).level
    }

    /// Refuses while the guard calls out: whom it calls must not change the guard's state. Views and hooks answer.
    #[inline(never)]
    pub(crate) fn require_unlocked(&self) -> Answer<()> {
        if self.host.load_transient(&layout::lock()) == B256::ZERO {
            return Ok(());
        }
        Err(refusal!(Locked))
    }

    /// Persists all writes and locks the guard, so that it can call out. What was read stays in the VM's cache: while the guard is locked
    /// only hooks change its storage, in words (breaches that were let pass, announcements) that no program reads again after it called out.
    pub(crate) fn lock(&mut self) {
        self.host.flush(false);
        self.set_lock(1);
    }

    pub(crate) fn unlock(&mut self) {
        self.set_lock(0);
    }

    /// One while the guard calls out.
    #[inline(never)]
    fn set_lock(&mut self, held: u8) {
        self.host.store_transient(&layout::lock(), &B256::with_last_byte(held));
    }

    /// Refuses when a call with `gas` could not get all of it: whoever chose the transaction's gas must not make it fail.
    pub(crate) fn require_gas(&self, gas: u64) -> Answer<()> {
        let (needed, left) = (gas_needed(gas), self.host.gas_left());
        if left < needed {
            return Err(starved(needed, left));
        }
        Ok(())
    }

    /// Evaluates a rule for who trips or releases. A program without statistics has those over them evaluated by the inspect program.
    #[inline(never)]
    pub(crate) fn verdict_of(&mut self, index: u16, body: RuleBody<'_>, witness: &[B256]) -> Answer<Evaluation> {
        let program = body.program();
        if H::STATISTICS || !program.uses_statistics() {
            let entries = &[];
            let inputs = Inputs {
                params: witness,
                entries,
            };
            return self.check(&program, &inputs);
        }
        let mut input = encode!(
            &<ICordonGuard::evaluateCall as SolCall>::SELECTOR,
            index,
            64u8,
            witness.len() as u64
        );
        for word in witness {
            input.extend_from_slice(word.as_slice());
        }
        let (needed, left) = (
            gas_needed(INSPECT_GAS.saturating_add(program.gas().into())),
            self.host.gas_left(),
        );
        let (success, data) = self.pass_on(&input)?;
        if !success {
            if !data.is_empty() {
                return Err(refuse(data));
            }
            // It said nothing at all. With gas enough that is a program that does not run any more: it takes whatever it is given.
            if left >= needed {
                return Err(refusal!(NoAnswer, self.address_at(&layout::INSPECT)));
            }
            return Err(starved(needed, left));
        }
        let mut answer = Arguments::new(&data);
        let (verdict, reason) = (answer.u8()?, answer.u8()?);
        // Want of gas is no verdict, as [`Guard::check`] says it.
        if reason == Unknown::OutOfGas.code() {
            return Err(starved(needed, left));
        }
        Ok(Evaluation {
            verdict: match verdict {
                0 => Verdict::Holds,
                1 => Verdict::Breached,
                _ => Verdict::Unknown,
            },
            reason,
            observed: Int::new(answer.flag()?, layout::to_number(answer.word()?)),
            bound: Int::new(answer.flag()?, layout::to_number(answer.word()?)),
        })
    }

    /// Evaluates a program; want of gas is an error, not a verdict.
    #[inline(never)]
    pub(crate) fn check(&mut self, program: &Program<'_>, inputs: &Inputs<'_>) -> Answer<Evaluation> {
        let mut reader = ChainReader::new(&mut self.host);
        let evaluation = evaluate(program, inputs, &mut reader);
        match reader.starved {
            Some((needed, left)) => Err(starved(needed, left)),
            None => Ok(evaluation),
        }
    }

    /// Whether a condition without witness holds now.
    pub(crate) fn holds(&mut self, program: &Program<'_>) -> Answer<Verdict> {
        Ok(self.check(program, &Inputs::default())?.verdict)
    }

    /// Runs another program on the same calldata, and answers as it does.
    pub(crate) fn hand_on(&mut self, input: &[u8]) -> Answer<Vec<u8>> {
        let (success, data) = self.pass_on(input)?;
        if success {
            Ok(data)
        } else {
            Err(refuse(data))
        }
    }

    /// Runs another program on calldata: whether it succeeds, and with what answer or revert data. Before `initialize` there is none: that
    /// call names it.
    #[inline(never)]
    fn pass_on(&mut self, input: &[u8]) -> Answer<(bool, Vec<u8>)> {
        let head = input.first_chunk().copied().unwrap_or_default();
        let place = place_of(u32::from_be_bytes(head));
        let key = layout::PROGRAMS.get(place).unwrap_or(&layout::ADMIN);
        let mut program = self.address_at(key);
        if program == Address::ZERO && head == selector::INITIALIZE {
            program = abi::argument(input, place)
                .map(|word| abi::address(&word))
                .unwrap_or_default();
        }
        if program == Address::ZERO {
            return Err(refusal!(NotInitialized));
        }
        let success = self.host.call(CallKind::Delegate, &program, input, u64::MAX);
        let mut data = vec![0; self.host.return_data_len()];
        let read = self.host.return_data(0, &mut data);
        data.truncate(read);
        Ok((success, data))
    }

    pub(crate) fn emit_lowered(&mut self, scope: u8, from: Level, to: Level, incident: u32) {
        let by = self.host.sender();
        emit!(self.host, LevelLowered, [scope, incident, by], from, to);
    }
}

/// The refusal of who has sent too little gas.
#[inline(never)]
pub(crate) fn starved(needed: u64, left: u64) -> Refusal {
    refusal!(OutOfGasFloor, needed, left)
}

/// Opens a rulebook that was checked when it was adopted.
#[inline(never)]
pub(crate) fn open(code: &[u8]) -> Answer<View<'_>> {
    View::open(code).map_err(|_| changed_rulebook())
}

/// A rule of a rulebook that was checked when it was adopted.
#[inline(never)]
pub(crate) fn rule_in<'a>(view: &View<'a>, index: u16) -> Answer<(RuleRecord, RuleBody<'a>)> {
    let record = view.rule(index).map_err(|_| changed_rulebook())?;
    let body = view.rule_body(&record).map_err(|_| changed_rulebook())?;
    Ok((record, body))
}

/// A containment call of a rulebook that was checked when it was adopted.
#[inline(never)]
pub(crate) fn call_in<'a>(view: &View<'a>, index: u16) -> Answer<(ContainmentRecord, ContainmentBody<'a>)> {
    let record = view.containment(index).map_err(|_| changed_rulebook())?;
    let body = view.containment_body(&record).map_err(|_| changed_rulebook())?;
    Ok((record, body))
}

/// The containment set of this name.
pub(crate) fn set_in<'a>(view: &View<'a>, name: &B256) -> Answer<SetView<'a>> {
    view.set_named(name).ok_or_else(|| refusal!(UnknownSet, name))
}

/// The refusal of a rulebook that is not what it was when it was adopted. Code does not change, so this is never seen.
#[inline(never)]
fn changed_rulebook() -> Refusal {
    refusal!(BadRulebook, 0u8, 0u8, 0u8)
}
