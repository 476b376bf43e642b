//! The governor's calls, and the heartbeat. What tightens happens at once; what loosens was announced, once set-up is over.

use crate::abi::{answer, emit, encode, refusal, Answer, ICordonGuard, Refusal};
use crate::guard::{open, role, Guard, ANNOUNCEMENT_LIFETIME};
use crate::quick::hooked;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use cordon_core::{bounds::GOVERNOR_DELAY_MAX, rulebook};
use cordon_host::{
    layout::{self, Current, Settings},
    CallKind, Host,
};

/// First bytes of the code of a Stylus program, and of one that is kept in fragments.
const PROGRAM_PREFIXES: [[u8; 3]; 2] = [[0xef, 0xf0, 0x00], [0xef, 0xf0, 0x02]];

/// Gas for asking new programs whether they run at all.
const PROBE_GAS: u64 = 300_000;

/// Most bytes that are looked at of what they answer.
const PROBE_ANSWER: usize = 128;

impl<H: Host> Guard<H> {
    /// Sets the guard up, once.
    pub fn initialize(&mut self, programs: &[Address; 3], governor: Address, delay: u32) -> Answer<()> {
        if self.host.load(&layout::LOGIC) != B256::ZERO {
            return Err(refusal!(AlreadyInitialized));
        }
        if governor == Address::ZERO {
            return Err(refusal!(NotGovernor, governor));
        }
        if delay > GOVERNOR_DELAY_MAX {
            return Err(refusal!(DurationBeyondRole, delay, GOVERNOR_DELAY_MAX));
        }
        self.store_programs(programs)?;
        self.host.store(&layout::GOVERNOR, &governor.into_word());
        self.host
            .store(&layout::SETTINGS, &Settings { sealed: false, delay }.pack());
        let [respond, recover, admin] = programs;
        emit!(self.host, Initialized, [], respond, recover, admin, governor, delay);
        Ok(())
    }

    /// Ends set-up.
    pub fn seal(&mut self) -> Answer<()> {
        self.begin_governor_call()?;
        let settings = self.settings();
        if !settings.sealed {
            self.host.store(
                &layout::SETTINGS,
                &Settings {
                    sealed: true,
                    ..settings
                }
                .pack(),
            );
            emit!(self.host, Sealed, []);
        }
        Ok(())
    }

    /// Announces the hash of a call.
    pub fn announce(&mut self, hash: B256) -> Answer<()> {
        self.begin_governor_call()?;
        let at = self.host.now().saturating_add(self.settings().delay.into());
        self.set_number(&layout::announcement(&hash), at);
        emit!(self.host, Announced, [hash], at);
        Ok(())
    }

    /// Takes an announcement back: the governor, or a guardian, because that tightens (the governor can revoke a guardian).
    pub fn cancel_announcement(&mut self, hash: B256) -> Answer<()> {
        self.require_unlocked()?;
        let caller = self.host.sender();
        if !self.is_governor(&caller) && !self.has_role_number(role::GUARDIAN, &caller) {
            return Err(refusal!(NotGovernor, caller));
        }
        let key = layout::announcement(&hash);
        if self.number_at(&key) == 0 {
            return Err(refusal!(NotAnnounced, hash));
        }
        self.set_number(&key, 0);
        emit!(self.host, AnnouncementCancelled, [hash]);
        Ok(())
    }

    /// Grants or revokes a role. An unknown role is refused without a reason, as Solidity does with an unknown enum value.
    pub fn set_role(&mut self, number: u8, account: Address, granted: bool) -> Answer<()> {
        self.begin_governor_call()?;
        if number > role::HEARTBEAT {
            return Err(Refusal::malformed());
        }
        if self.has_role_number(number, &account) == granted {
            return Ok(());
        }
        if granted {
            self.require_announced(&encode!(&ICordonGuard::setRoleCall::SELECTOR, number, account, granted))?;
        }
        self.set_number(&layout::role(number, &account), granted.into());
        emit!(self.host, RoleSet, [number, account], granted);
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
        self.host.store(&layout::GOVERNOR, &caller.into_word());
        self.host.store(&layout::PROPOSED, &B256::ZERO);
        emit!(self.host, GovernorAccepted, [caller]);
        Ok(())
    }

    /// Makes a rulebook the configuration: checks every byte of it, then registers its callers in place of the old ones.
    pub fn adopt_rulebook(&mut self, book: Address) -> Answer<()> {
        self.begin_governor_call()?;
        self.require_announced(&encode!(&ICordonGuard::adoptRulebookCall::SELECTOR, book))?;
        let code = self.code(&book);
        let view = rulebook::check(&code).map_err(|error| refusal!(BadRulebook, error.code()))?;
        let old = self.current();
        if old.epoch != 0 {
            let old_code = self.code(&old.book);
            for caller in open(&old_code)?.callers() {
                self.host.store(&layout::caller(&caller), &B256::ZERO);
            }
        }
        let epoch = old.epoch.saturating_add(1);
        let quiet = self.host.load(&layout::LEVELS) == B256::ZERO;
        let entry = hooked(&view).with_quiet(quiet);
        for caller in view.callers() {
            self.host.store(&layout::caller(&caller), &entry.pack());
        }
        self.host.store(&layout::CURRENT, &Current { epoch, book }.pack());
        self.host.store(&layout::book(epoch), &book.into_word());
        let code_hash = self.host.code_hash(&book);
        emit!(self.host, RulebookAdopted, [book], code_hash);
        Ok(())
    }

    /// Replaces the programs, as one unit. They must show that they work together in this storage: programs that do not
    /// would lock the guard for good.
    pub fn set_logic(&mut self, programs: &[Address; 3]) -> Answer<()> {
        self.begin_governor_call()?;
        let [respond, recover, admin] = programs;
        self.require_announced(&encode!(&ICordonGuard::setLogicCall::SELECTOR, respond, recover, admin))?;
        self.store_programs(programs)?;
        emit!(self.host, LogicSet, [respond], respond, recover, admin);
        self.host.flush(true);
        // Asked as the gate will ask from now on: the new respond program must get to both others. Run by delegation, but the
        // governor has just given them all power over this storage.
        let shown = answer!(respond, recover, admin);
        if self.probe(respond, &ICordonGuard::programsCall::SELECTOR)? != shown {
            return Err(refusal!(NotAProgram, admin));
        }
        let now = self.host.now();
        let asked = encode!(&ICordonGuard::haltedSecondsCall::SELECTOR, 0u8, now);
        if self.probe(respond, &asked)? != answer!(0u8) {
            return Err(refusal!(NotAProgram, recover));
        }
        Ok(())
    }

    /// What a program answers by delegation; nothing when it fails.
    fn probe(&mut self, program: &Address, input: &[u8]) -> Answer<Vec<u8>> {
        self.require_gas(PROBE_GAS)?;
        let mut answer = Vec::new();
        if self.host.call(CallKind::Delegate, program, input, PROBE_GAS) {
            answer.resize(self.host.return_data_len().min(PROBE_ANSWER), 0);
            self.host.return_data(0, &mut answer);
        }
        Ok(answer)
    }

    fn store_programs(&mut self, programs: &[Address; 3]) -> Answer<()> {
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
        self.set_number(&layout::HEARTBEAT, at);
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
    fn require_announced(&mut self, calldata: &[u8]) -> Answer<()> {
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
        if read == prefix.len() && PROGRAM_PREFIXES.contains(&prefix) {
            return Ok(());
        }
        Err(refusal!(NotAProgram, account))
    }
}
