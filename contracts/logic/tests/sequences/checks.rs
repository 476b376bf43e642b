//! What must be so after every step, whatever it was.

use crate::common::VAULT;
use crate::ops::PEOPLE;
use crate::reference::{self, is_open, rank, Actor};
use crate::scene::{Errors, Scene};
use alloy_primitives::U256;
use cordon_core::{
    scope::{ScopeState, CEILING},
    Level,
};
use cordon_host::layout;

/// Scopes that any of the rulebooks has.
pub const SCOPES: u8 = 3;

/// A scope at some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    pub word: ScopeState,
    pub level: u8,
    pub until: u64,
}

impl Held {
    /// Until when the scope is at each level or a stricter one, Throttled first.
    pub fn ends(&self, now: u64) -> [u64; 3] {
        let settled = self.word.settled(now);
        [Level::Throttled, Level::ReduceOnly, Level::Halted].map(|level| settled.held_until(level))
    }

    pub fn same_level(&self, other: &Self) -> bool {
        (self.level, self.until) == (other.level, other.until)
    }
}

/// Seconds, per scope, in which it was closed by itself or with the whole protocol, and in which it was not; what the governor did about it.
#[derive(Default)]
pub struct Clock {
    closed: [u64; 3],
    open: [u64; 3],
    /// The governor has moved a ceiling, or taken a scope out of the rulebook: the count is void.
    pub void: bool,
    /// The governor has written off what a target that does not obey has left closed.
    pub given_up: bool,
}

impl Scene {
    pub fn held(&self, scope: u8) -> Held {
        let word = self.word(scope);
        let held = word.effective(self.now());
        Held {
            word,
            level: held.level as u8,
            until: held.expires_at,
        }
    }

    pub fn all_held(&self) -> Vec<Held> {
        (0..SCOPES).map(|scope| self.held(scope)).collect()
    }

    /// Lets time pass: levels only ever step down by it, one at a time.
    pub fn wait(&mut self, clock: &mut Clock, seconds: u64) {
        let end = self.now() + seconds;
        loop {
            let before = self.all_held();
            let next = before.iter().map(|held| held.until).filter(|until| *until > self.now());
            let next = next.min().unwrap_or(end).min(end);
            let passed = next - self.now();
            for (scope, held) in before.iter().enumerate() {
                let closed = held.level != 0 || before[0].level != 0;
                *(if closed { &mut clock.closed } else { &mut clock.open })
                    .get_mut(scope)
                    .unwrap() += passed;
            }
            self.pass(passed);
            for (before, after) in before.iter().zip(self.all_held()) {
                let below = [0, 4, 1, 2, 0][usize::from(before.level)];
                assert!(
                    after.level == before.level || after.level == below,
                    "{before:?} becomes {after:?}"
                );
            }
            if next == end {
                return;
            }
        }
    }

    /// All that holds at any time.
    pub fn check(&mut self, clock: &Clock) {
        self.check_scopes(clock);
        self.check_records();
        self.check_authority();
        self.check_hooks();
    }

    fn check_scopes(&mut self, clock: &Clock) {
        let now = self.now();
        let mut raised = 0;
        for scope in 0..SCOPES {
            let held = self.held(scope);
            let word = held.word;
            raised += u8::from(word.level != Level::Normal);
            if held.level != 0 {
                assert!(now < held.until && held.until <= word.ceiling_at, "{held:?}");
                let most = 28 * 86_400 + 3 * 3600;
                assert!(word.ceiling_at <= now + most, "no level is for ever: {held:?}");
                assert!(
                    word.by_governor || word.ceiling_at - word.since <= CEILING.into(),
                    "the ceiling moves for the governor alone: {held:?}"
                );
                assert_eq!(
                    word.effective(word.ceiling_at).level,
                    Level::Normal,
                    "it ends by itself"
                );
            }
            let (closed, open) = (clock.closed[usize::from(scope)], clock.open[usize::from(scope)]);
            assert!(
                clock.void || closed <= u64::from(CEILING) + open,
                "scope {scope}: {closed} s closed, {open} s open"
            );
            if scope < self.scopes() {
                let told = self.guard.scope_status(scope).unwrap();
                assert_eq!((told.level as u8, told.expires_at), (held.level, held.until));
            }
        }
        let told = (0..SCOPES)
            .rev()
            .fold(U256::ZERO, |word, scope| word << 3 | U256::from(self.held(scope).level));
        assert_eq!(
            self.guard.levels(),
            (told, U256::ZERO),
            "all levels, with the mark of a quiet day or without"
        );
        let ledger = self.ledger();
        assert_eq!(ledger.raised, raised, "how many scopes are not Normal");
        let storage = &self.guard.host.storage;
        let caller = storage.get(&layout::caller(&VAULT)).copied().unwrap_or_default();
        assert_eq!(layout::Caller::unpack(&caller).is_quiet(), raised == 0);
        let mut in_force = 0;
        for (epoch, which) in (1..).zip(&self.adopted) {
            for (call, _) in (0..).zip(&self.books[*which].0.containments) {
                let word = storage
                    .get(&layout::containment(epoch, call))
                    .copied()
                    .unwrap_or_default();
                let [ours, _, of, _] = layout::limbs(word);
                in_force += u16::from(of >> 32 & 3 != 0);
                assert!(
                    ours == 0 || of >> 32 & 3 != 0,
                    "undoing is nobody's any more: rulebook {epoch}, call {call}"
                );
            }
        }
        assert_eq!(ledger.in_force, in_force, "how many calls are in force");
    }

    /// The records of incidents say what the scopes' words say.
    fn check_records(&mut self) {
        for scope in 0..SCOPES {
            let held = self.held(scope);
            if held.word.incident == 0 {
                assert_eq!(
                    (held.level, held.word.level),
                    (0, Level::Normal),
                    "a level without an incident"
                );
                continue;
            }
            let record = self
                .record(held.word.incident)
                .expect("an incident that is not over is remembered");
            assert_eq!((record.scope, record.closedAt), (scope, 0));
            if held.level != 0 {
                assert_eq!(record.openedAt, held.word.since);
                assert!(rank(record.peak as u8) >= rank(held.level));
            }
            let is_released = record.state as u8 == 3;
            assert!(
                !is_released || matches!(held.level, 0 | 4),
                "released, and closed: {held:?}"
            );
            assert_eq!(is_released, record.releasedAt != 0 && is_released);
        }
        let (latest, oldest) = self.guard.incidents();
        for number in oldest.max(1)..=latest {
            let Some(record) = self.record(number) else { continue };
            let open = matches!(record.state as u8, 1..=3);
            assert_eq!(
                open,
                self.word(record.scope).incident == number,
                "incident {number}: {:?}",
                record.state as u8
            );
            assert!(open || record.closedAt >= record.openedAt);
        }
    }

    /// Roles, delay, matrix and heartbeat are what the reference has counted.
    fn check_authority(&mut self) {
        for account in PEOPLE {
            for role in 0..5 {
                assert_eq!(
                    self.guard.has_role(role, &account),
                    self.reference.has(account, 1 << role),
                    "role {role} of {account}"
                );
            }
        }
        let of = &self.reference;
        let told = self.guard.governor();
        assert_eq!(told, (of.governor, of.proposed, u32::try_from(of.delay).unwrap(), true));
        assert_eq!(self.guard.last_heartbeat(), of.heartbeat);
    }

    /// What hooks let pass is what the levels say; a repayment always.
    fn check_hooks(&mut self) {
        for scope in 0..self.scopes() {
            for action in 0..11 {
                let open = self.is_open(scope, action);
                assert_eq!(
                    self.guard.is_allowed([scope, 0, 0], action),
                    Ok(open),
                    "scope {scope}, action {action}"
                );
                let exit = matches!(action, 1 | 4 | 6);
                let halted = self.held(scope).level == 3 || self.held(0).level == 3;
                assert!(open || !exit || halted, "exits stay open below Halted");
            }
            let repayment = self.hook(scope, reference::REPAY);
            assert!(repayment.is_ok(), "a repayment is refused: {repayment:?}");
        }
    }

    /// Whether the levels let an action pass.
    pub fn is_open(&self, scope: u8, action: u8) -> bool {
        let closes = self.reference.closes;
        [scope, 0]
            .into_iter()
            .all(|scope| is_open(self.held(scope).level, action, closes))
    }

    /// Whether a refusal says what is so. `before` are the scopes, `actor` who called with these roles.
    pub fn check_refusal(&self, error: &Errors, by: alloy_primitives::Address) {
        let (now, of) = (self.now(), &self.reference);
        let price = self.price.get();
        let actor = of.actor(by);
        let told = match error {
            Errors::Locked(_) | Errors::OutOfGasFloor(_) | Errors::NoRulebook(_) | Errors::AlreadyInitialized(_) => {
                false
            }
            Errors::MissingRole(it) => {
                it.caller == by && (by != of.governor || it.role as u8 == 2) && !of.has(by, 1 << it.role as u8)
            }
            Errors::NotGovernor(it) => it.caller == by && (by != of.governor || of.proposed != by),
            Errors::HeartbeatStale(it) => actor == Actor::Keeper && it.last == of.heartbeat && now - it.last > 900,
            // In a batch what the scopes before cost is gone already.
            Errors::BudgetSpent(it) => it.wanted > it.available && it.available <= of.available(actor, now),
            Errors::NotAnnounced(it) => !of.is_due(&it.actionHash, now),
            Errors::AnnouncementPending(it) => it.executableAt > now && of.announced[&it.actionHash] == it.executableAt,
            Errors::ReleaseTooEarly(it) => it.releaseAt > now,
            Errors::RuleHolds(_) => price.is_some_and(|price| price <= 100),
            Errors::RuleBreached(it) => price.is_some_and(|price| price > 100 || it.rule == 2),
            Errors::RuleUnknown(_) => price.is_none(),
            Errors::BadScope(it) => it.scope >= self.scopes(),
            Errors::CeilingReached(it) => actor != Actor::Governor && it.ceilingAt <= now + u64::from(CEILING),
            Errors::NotTighter(it) => rank(self.held(it.scope).level) > rank(it.wanted as u8) || it.current as u8 != 0,
            Errors::NotExpired(it) => it.expiresAt > now && self.held(it.scope).until == it.expiresAt,
            Errors::ActionClosed(it) => !self.is_open(it.scope, it.action),
            Errors::NothingToRelease(it) => !matches!(self.held(it.scope).level, 1..=3) || it.scope >= SCOPES,
            Errors::NothingToRetry(it) => !matches!(self.held(it.scope).level, 1..=3),
            Errors::ReleaseNotQueued(it) => self.word(it.scope).release_at == 0,
            Errors::DurationBeyondRole(it) => it.wanted > it.most,
            Errors::DurationTooShort(it) => it.wanted < it.least,
            _ => true,
        };
        assert!(told, "{} is refused what is not so: {error:?}", by);
    }
}

/// Why the call's own level may be refused: a set that is not there, an empty batch.
pub fn is_formal(error: &Errors) -> bool {
    matches!(
        error,
        Errors::BadLevel(_)
            | Errors::BadScope(_)
            | Errors::LevelHasNoEffect(_)
            | Errors::EmptyBatch(_)
            | Errors::UnknownSet(_)
            | Errors::DurationBeyondRole(_)
            | Errors::DurationTooShort(_)
            | Errors::NotTighter(_)
    )
}
