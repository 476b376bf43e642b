//! The governor's calls, and the heartbeat. What tightens happens at once; what loosens was announced, once set-up is over.

use crate::abi::{answer, emit, encode, refusal, Answer, ICordonGuard};
use crate::calls::{Clock, Doing};
use crate::guard::{call_in, open, role, rule_in, Guard, RuleState, ANNOUNCEMENT_LIFETIME};
use crate::halts::Halts;
use crate::quick::hooked;
use alloc::{vec, vec::Vec};
use alloy_primitives::{Address, B256};
use alloy_sol_types::{SolCall, SolError};
use cordon_core::{
    bounds::{GOVERNOR_DELAY_MAX, GOVERNOR_DELAY_MIN},
    incident::RING,
    ledger::Ledger,
    rulebook::{self, RulebookError, View},
    scope::ScopeState,
    Action, Level, Matrix,
};
use cordon_host::{
    layout::{self, Current, Settings},
    CallKind, Host,
};

/// First bytes of the code of a Stylus program. One that is kept in fragments (0xeff002) is refused: its own code hash would not say what
/// it will run.
const PROGRAM_PREFIX: [u8; 3] = [0xef, 0xf0, 0x00];

/// The roles of which no account has both: with the keeper's and the heartbeat's a stolen key would keep its own power alive, and who may
/// contain anyhow would never come to use his seal.
const APART: [u8; 3] = [
    1 << role::KEEPER | 1 << role::HEARTBEAT,
    1 << role::KEEPER | 1 << role::SEAL,
    1 << role::GUARDIAN | 1 << role::SEAL,
];

/// Gas for asking new programs whether they run at all.
const PROBE_GAS: u64 = 300_000;

/// Most bytes that are looked at of what they answer.
const PROBE_ANSWER: usize = 192;

/// A question that only one of the programs refuses with a certain error. Programs are named by their place among [`layout::PROGRAMS`].
struct Probe {
    /// The program that is asked; the respond program hands on what is none of its functions.
    asked: u8,
    /// The program that this shows to work.
    shows: u8,
    /// Selector of the function.
    call: u32,
    /// Its arguments.
    words: [u16; 4],
    /// Selector of the error.
    error: u32,
    /// Its first value.
    value: u16,
}

const RESPOND: u8 = 0;
const HOOKS: u8 = 1;
const RECOVER: u8 = 2;
const ADMIN: u8 = 3;
const CONTAIN: u8 = 4;
const INSPECT: u8 = 5;

/// The first so many of [`PROBES`] are answered without a rulebook.
const BOOKLESS: usize = 4;

macro_rules! probe {
    ($asked:ident, $shows:ident, $call:ident $words:expr, $error:ident($value:expr)) => {
        Probe {
            asked: $asked,
            shows: $shows,
            call: u32::from_be_bytes(<ICordonGuard::$call as SolCall>::SELECTOR),
            words: $words,
            error: u32::from_be_bytes(<ICordonGuard::$error as SolError>::SELECTOR),
            value: $value,
        }
    };
}

/// What new programs are asked: first each what only it answers, by name, then whether they can read the rulebook in force. Programs for
/// another format of rulebooks would refuse every trip and hook, and the next rulebook too, for which the present one must be read.
const PROBES: [Probe; 8] = [
    probe!(RESPOND, ADMIN, setRoleCall[0xff, 0, 0, 0], BadRole(0xff)),
    probe!(RESPOND, RECOVER, settleCall[0xff, 0, 0, 0], BadScope(0xff)),
    // A gate in the place of the hooks program would hand this on to itself.
    probe!(HOOKS, HOOKS, isAllowedCall[0, Action::COUNT as u16, 0, 0], BadAction(Action::COUNT as u16)),
    // The governor, who asks here, may contain; not to raise to no level at all.
    probe!(CONTAIN, CONTAIN, containCall[0, 0, 0, 0], BadLevel(0)),
    // A rule that no rulebook has, without witness words; a stream; a set without a name.
    probe!(RESPOND, RESPOND, tripCall[0xffff, 64, 0, 0], UnknownRule(0xffff)),
    probe!(RESPOND, HOOKS, observeCall[32, 1, 0xff, 0], UnknownStream(0xff)),
    probe!(CONTAIN, CONTAIN, containSetCall[0, 0, 0, 0], UnknownSet(0)),
    probe!(RESPOND, INSPECT, evaluateCall[0xffff, 64, 0, 0], UnknownRule(0xffff)),
];

impl<H: Host> Guard<H> {
    /// Sets the guard up, once.
    pub fn initialize(&mut self, programs: &[Address; 6], governor: Address, delay: u32) -> Answer<()> {
        if self.host.load(&layout::LOGIC) != B256::ZERO {
            return Err(refusal!(AlreadyInitialized));
        }
        if governor == Address::ZERO {
            return Err(refusal!(NoGovernor));
        }
        require_delay(delay)?;
        self.store_programs(programs)?;
        self.set_governor(&governor);
        self.set_ledger(&Ledger::default());
        self.set_settings(&Settings {
            delay,
            agreed: delay,
            ..Settings::default()
        });
        let [respond, hooks, recover, admin, contain, inspect] = programs;
        emit!(
            self.host,
            Initialized,
            [],
            respond,
            hooks,
            recover,
            admin,
            contain,
            inspect,
            governor,
            delay
        );
        Ok(())
    }

    /// Ends set-up.
    pub fn seal(&mut self) -> Answer<()> {
        self.begin_governor_call()?;
        let settings = self.settings();
        if !settings.sealed {
            self.set_settings(&Settings {
                sealed: true,
                ..settings
            });
            emit!(self.host, Sealed, []);
        }
        Ok(())
    }

    /// Says what the levels close. More than before at once, anything less when it was announced. Nobody but the governor: with a guardian's
    /// key a thief would close deposits or liquidations at every level for longer than any containment of his could last.
    pub fn set_matrix(&mut self, closes: u64) -> Answer<()> {
        self.begin_governor_call()?;
        let Some(wanted) = Matrix::new(closes) else {
            return Err(refusal!(BadMatrix, closes));
        };
        let settings = self.settings();
        if !wanted.is_as_strict_as(Matrix::new(settings.closes).unwrap_or_default()) {
            self.require_announced(&encode!(&ICordonGuard::setMatrixCall::SELECTOR, closes))?;
        }
        let closes = wanted.bits();
        self.set_settings(&Settings { closes, ..settings });
        emit!(self.host, MatrixChanged, [], closes);
        Ok(())
    }

    /// Changes the time between announcement and call. Longer at once, up to twice what was announced for it: a thief's delay is the fix's
    /// too, and no number of calls makes it longer. Anything else when it was announced, for as long as the delay has been.
    pub fn set_delay(&mut self, delay: u32) -> Answer<()> {
        self.begin_governor_call()?;
        require_delay(delay)?;
        let mut settings = self.settings();
        // More than twice the agreed one.
        if delay < settings.delay || delay.wrapping_sub(1) / 2 >= settings.agreed {
            self.require_announced(&encode!(&ICordonGuard::setDelayCall::SELECTOR, delay))?;
            settings.agreed = delay;
        }
        self.set_settings(&Settings { delay, ..settings });
        emit!(self.host, DelaySet, [], delay);
        Ok(())
    }

    #[inline(never)]
    fn set_settings(&mut self, settings: &Settings) {
        self.host.store(&layout::SETTINGS, &settings.pack());
    }

    /// Announces the hash of a call.
    pub fn announce(&mut self, hash: B256) -> Answer<()> {
        self.begin_governor_call()?;
        let at = self.host.now().saturating_add(self.settings().delay.into());
        self.set_number(&layout::announcement(&hash), at);
        emit!(self.host, Announced, [hash], at);
        Ok(())
    }

    /// Takes an announcement back: the governor, or who has the veto, because that tightens. Nobody keeps his own veto so: a thief with a
    /// guardian's key delays what others announce until the governor has ended his veto, and no longer.
    pub fn cancel_announcement(&mut self, hash: B256) -> Answer<()> {
        self.require_unlocked()?;
        let caller = self.host.sender();
        if !self.is_governor(&caller) {
            if !self.has_role_number(role::VETO, &caller) {
                return Err(refusal!(MissingRole, role::VETO, caller));
            }
            if self.host.keccak(&role_call(role::VETO, &caller, false)) == hash {
                return Err(refusal!(OwnVeto, caller));
            }
        }
        let key = layout::announcement(&hash);
        if self.number_at(&key) == 0 {
            return Err(refusal!(NotAnnounced, hash));
        }
        self.set_number(&key, 0);
        emit!(self.host, AnnouncementCancelled, [hash]);
        Ok(())
    }

    /// Grants or revokes a role.
    ///
    /// A guardian who is revoked can raise and release nothing from then on, but his veto stays until its end was announced: a thief with the
    /// governor's key must not be rid of those who can stop him before what he announces has come to its time.
    pub fn set_role(&mut self, number: u8, account: Address, granted: bool) -> Answer<()> {
        self.begin_governor_call()?;
        if number > role::SEAL {
            return Err(refusal!(BadRole, number));
        }
        if self.has_role_number(number, &account) == granted {
            return Ok(());
        }
        let bits = self.roles(&account);
        let held = bits | 1 << number;
        if granted && APART.iter().any(|both| held & both == *both) {
            return Err(refusal!(KeysNotApart, account));
        }
        if granted || number == role::VETO {
            self.require_announced(&role_call(number, &account, granted))?;
        }
        self.set_roles(&account, bits ^ 1 << number);
        emit!(self.host, RoleSet, [number, account], granted);
        // Before the seal nothing is announced: who was named by mistake leaves no veto behind.
        let follows = granted || !self.settings().sealed;
        if number == role::GUARDIAN && follows && self.has_role_number(role::VETO, &account) != granted {
            self.set_roles(&account, bits ^ (1 << role::GUARDIAN | 1 << role::VETO));
            emit!(self.host, RoleSet, [role::VETO, account], granted);
        }
        Ok(())
    }

    /// Proposes a governor.
    pub fn propose_governor(&mut self, governor: Address) -> Answer<()> {
        self.begin_governor_call()?;
        if governor != Address::ZERO {
            self.require_announced(&encode!(&ICordonGuard::proposeGovernorCall::SELECTOR, governor))?;
        }
        self.host.store(&layout::PROPOSED, &governor.into_word());
        emit!(self.host, GovernorProposed, [governor]);
        Ok(())
    }

    /// Makes the proposed governor the governor.
    pub fn accept_governor(&mut self) -> Answer<()> {
        self.require_unlocked()?;
        let caller = self.host.sender();
        if caller == Address::ZERO || self.address_at(&layout::PROPOSED) != caller {
            return Err(refusal!(NotGovernor, caller));
        }
        self.set_governor(&caller);
        self.host.store(&layout::PROPOSED, &B256::ZERO);
        emit!(self.host, GovernorAccepted, [caller]);
        Ok(())
    }

    /// The governor's account, in its own word and in what the account may do.
    fn set_governor(&mut self, governor: &Address) {
        let bit = 1 << layout::GOVERNS;
        let old = self.address_at(&layout::GOVERNOR);
        let bits = self.roles(&old);
        self.set_roles(&old, bits & !bit);
        let bits = self.roles(governor);
        self.set_roles(governor, bits | bit);
        self.host.store(&layout::GOVERNOR, &governor.into_word());
    }

    /// Makes a rulebook the configuration: checks every byte of it, then registers its callers in place of the old ones.
    pub fn adopt_rulebook(&mut self, book: Address, announced: B256) -> Answer<()> {
        self.begin_governor_call()?;
        self.require_announced(&encode!(&ICordonGuard::adoptRulebookCall::SELECTOR, book, announced))?;
        let code_hash = self.host.code_hash(&book);
        if code_hash != announced {
            return Err(refusal!(WrongCode, book, code_hash));
        }
        let code = self.code(&book);
        let bad = |error: RulebookError| {
            let (part, number) = error.item.place();
            refusal!(BadRulebook, error.code(), part, number)
        };
        let view = rulebook::check(&code).map_err(bad)?;
        rulebook::check_streams(&view, |definition| self.host.keccak(definition)).map_err(bad)?;
        let old = self.current();
        let ledger = self.ledger();
        if old.epoch != 0 {
            let old_code = self.code(&old.book);
            let before = open(&old_code)?;
            for caller in before.callers() {
                self.host.store(&layout::caller(&caller), &B256::ZERO);
            }
            // Levels and calls are kept by a scope's number: under another name they would contain, and open, what is not meant.
            for scope in 0..before.header().scopes {
                let tag = |view: &View<'_>| view.scope(scope).map(|scope| scope.tag);
                let held = ledger.in_force != 0 || self.scope(scope).level != Level::Normal;
                if held && tag(&before) != tag(&view) {
                    return Err(refusal!(ScopeMoved, scope));
                }
            }
        }
        let epoch = old.epoch.saturating_add(1);
        let entry = hooked(&view).with_quiet(ledger.raised == 0);
        for caller in view.callers() {
            self.host.store(&layout::caller(&caller), &entry.pack());
        }
        // Calls of earlier rulebooks that are in force are still to be undone.
        let oldest = if ledger.in_force == 0 { epoch } else { old.oldest };
        self.prepare(epoch, &view, old.epoch == 0)?;
        self.host
            .store(&layout::CURRENT, &Current { epoch, oldest, book }.pack());
        self.host.store(&layout::book(epoch), &book.into_word());
        emit!(self.host, RulebookAdopted, [book], code_hash);
        Ok(())
    }

    /// Writes the words that an incident will change, so that it finds them written: changing a word costs a quarter of writing one
    /// for the first time.
    fn prepare(&mut self, epoch: u32, view: &View<'_>, first: bool) -> Answer<()> {
        for scope in 0..view.header().scopes {
            for (key, word) in [
                (layout::scope(scope), layout::from_number(&ScopeState::default().pack())),
                (layout::halts(scope), Halts::default().pack()),
            ] {
                if self.host.load(&key) == B256::ZERO {
                    self.host.store(&key, &word);
                }
            }
        }
        for index in 0..view.header().rules {
            if rule_in(view, index)?.0.level.is_raised() {
                self.set_rule_state(epoch, index, &RuleState::default());
            }
        }
        for index in 0..view.header().containments {
            self.host
                .store(&layout::containment(epoch, index), &Doing::default().pack());
            let (record, body) = call_in(view, index)?;
            if record.max_duration > 0 {
                let clock = self.clock_key(&body);
                if self.host.load(&clock) == B256::ZERO {
                    self.host.store(&clock, &Clock::default().pack());
                }
            }
        }
        if first {
            for slot in 0..RING {
                for part in 0..2 {
                    self.host
                        .store(&layout::incident((slot & 0xff) as u8, part), &B256::with_last_byte(1));
                }
            }
        }
        Ok(())
    }

    /// Replaces the programs, as one unit, by those of which the announcement named the code: an account may get another code until the
    /// announcement is due. They must show that they work together in this storage: programs that do not would lock the guard for good.
    pub fn set_logic(&mut self, programs: &[Address; 6], announced: B256) -> Answer<()> {
        self.begin_governor_call()?;
        let [respond, hooks, recover, admin, contain, inspect] = programs;
        let shown = answer!(respond, hooks, recover, admin, contain, inspect);
        let mut call = ICordonGuard::setLogicCall::SELECTOR.to_vec();
        call.extend_from_slice(&shown);
        call.extend_from_slice(announced.as_slice());
        self.require_announced(&call)?;
        let mut codes = Vec::new();
        for program in programs {
            codes.extend_from_slice(self.host.code_hash(program).as_slice());
        }
        let codes = self.host.keccak(&codes);
        if codes != announced {
            return Err(refusal!(WrongCode, respond, codes));
        }
        self.store_programs(programs)?;
        emit!(
            self.host,
            LogicSet,
            [respond],
            respond,
            hooks,
            recover,
            admin,
            contain,
            inspect
        );
        self.host.flush(true);
        // Asked as the gate will ask from now on, and each what only it answers, by name. Run by delegation, but the governor has just given
        // them all power over this storage.
        if !self.probe(respond, &ICordonGuard::programsCall::SELECTOR, true, &shown)? {
            return Err(refusal!(NotAProgram, inspect));
        }
        // Without a rulebook there is none to open.
        let asked = if self.current().epoch == 0 {
            BOOKLESS
        } else {
            PROBES.len()
        };
        for probe in PROBES.iter().take(asked) {
            let of = |place: u8| programs.get(usize::from(place)).copied().unwrap_or_default();
            let [a, b, c, d] = probe.words;
            let call = encode!(&probe.call.to_be_bytes(), a, b, c, d);
            let refused = encode!(&probe.error.to_be_bytes(), probe.value);
            if !self.probe(&of(probe.asked), &call, false, &refused)? {
                return Err(refusal!(NotAProgram, of(probe.shows)));
            }
        }
        Ok(())
    }

    /// Whether a program, by delegation, succeeds as it should or is refused as it should be, with an answer or revert data that begins so.
    fn probe(&mut self, program: &Address, input: &[u8], succeeds: bool, begins: &[u8]) -> Answer<bool> {
        self.require_gas(PROBE_GAS)?;
        let success = self.host.call(CallKind::Delegate, program, input, PROBE_GAS);
        let mut answer = vec![0; self.host.return_data_len().min(PROBE_ANSWER)];
        self.host.return_data(0, &mut answer);
        Ok(success == succeeds && answer.starts_with(begins))
    }

    fn store_programs(&mut self, programs: &[Address; 6]) -> Answer<()> {
        for (key, program) in layout::PROGRAMS.iter().zip(programs) {
            self.require_program(program)?;
            self.host.store(key, &program.into_word());
        }
        Ok(())
    }

    /// Shows that the keeper lives.
    pub fn heartbeat(&mut self) -> Answer<()> {
        self.require_unlocked()?;
        let caller = self.host.sender();
        if !self.has_role_number(role::HEARTBEAT, &caller) {
            return Err(refusal!(MissingRole, role::HEARTBEAT, caller));
        }
        let at = self.host.now();
        let mut ledger = self.ledger();
        ledger.heartbeat = at;
        self.set_ledger(&ledger);
        emit!(self.host, Heartbeat, [], at);
        Ok(())
    }

    #[inline(never)]
    fn begin_governor_call(&self) -> Answer<()> {
        self.require_unlocked()?;
        self.require_governor()
    }

    /// Once set-up is over: refuses a call that was not announced in time, and uses its announcement up. The hash is that of
    /// the canonical encoding, so that bytes after the arguments make no other call of it.
    #[inline(never)]
    pub(crate) fn require_announced(&mut self, calldata: &[u8]) -> Answer<()> {
        if !self.settings().sealed {
            return Ok(());
        }
        let hash = self.host.keccak(calldata);
        self.use_announcement(&hash)
    }

    /// Uses up the announcement of an action whose time has come.
    pub(crate) fn use_announcement(&mut self, hash: &B256) -> Answer<()> {
        let key = layout::announcement(hash);
        let (at, now) = (self.number_at(&key), self.host.now());
        if at == 0 || now > at.saturating_add(ANNOUNCEMENT_LIFETIME) {
            return Err(refusal!(NotAnnounced, hash));
        }
        if now < at {
            return Err(refusal!(AnnouncementPending, hash, at));
        }
        self.set_number(&key, 0);
        Ok(())
    }

    fn require_program(&self, account: &Address) -> Answer<()> {
        let mut prefix = [0; 3];
        let read = self.host.code(account, 0, &mut prefix);
        if read == prefix.len() && prefix == PROGRAM_PREFIX {
            return Ok(());
        }
        Err(refusal!(NotAProgram, account))
    }
}

/// Refuses a governor's delay out of its range.
#[inline(never)]
fn require_delay(delay: u32) -> Answer<()> {
    if delay < GOVERNOR_DELAY_MIN {
        return Err(refusal!(DurationTooShort, delay, GOVERNOR_DELAY_MIN));
    }
    if delay > GOVERNOR_DELAY_MAX {
        return Err(refusal!(DurationBeyondRole, delay, GOVERNOR_DELAY_MAX));
    }
    Ok(())
}

/// Calldata of `setRole`.
fn role_call(number: u8, account: &Address, granted: bool) -> Vec<u8> {
    encode!(&ICordonGuard::setRoleCall::SELECTOR, number, account, granted)
}
