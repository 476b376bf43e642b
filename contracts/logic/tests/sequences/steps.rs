//! One step: what is asked of the guard, and what may come of it by the reference.

use crate::checks::{is_formal, Clock, Held, SCOPES};
use crate::ops::{Act, Mood, Op};
use crate::reference::{self, Actor, REPAY};
use crate::scene::{set, Errors, Scene};
use alloy_primitives::{keccak256, Address, B256};
use cordon_core::{rule::Class, Level};
use cordon_host::Host;

/// Actions, levels and their rows as `setMatrix` takes them: whether it may be accepted.
fn is_sound(closes: u64) -> bool {
    let closed = |level: u8, action: u8| !reference::is_open(level, action, closes);
    (1..=4).all(|level| {
        let always = [5, 8, 9].into_iter().all(|action| !closed(level, action));
        let named = closes >> (16 * (u64::from(level) - 1) + 10) & 1 == 0;
        let exits = level == 3 || [1, 4, 6].into_iter().all(|action| !closed(level, action));
        let nested =
            !matches!(level, 1 | 2) || (0..10).all(|action| !closed(level, action) || closed(level + 1, action));
        always && named && exits && nested
    })
}

/// Whether a matrix closes all that another does.
fn is_as_strict(closes: u64, before: u64) -> bool {
    (1..=4).all(|level| {
        (0..11).all(|action| reference::is_open(level, action, before) || !reference::is_open(level, action, closes))
    })
}

impl Scene {
    pub fn step(&mut self, clock: &mut Clock, op: &Op) {
        let before = self.all_held();
        match op {
            Op::Wait(seconds) => return self.wait(clock, *seconds),
            Op::Price(price) => self.price.set(*price),
            Op::Mood(mood) => self.market.mood.set(*mood),
            Op::Hand(pause, to) => {
                let what = if *pause {
                    &self.market.paused
                } else {
                    &self.market.closed
                };
                what.set(*to);
            }
            Op::Contain(by, scopes, level, duration) => {
                let call = self.call(*by, |guard| guard.contain_many(scopes, *level, *duration, B256::ZERO));
                let orders: Vec<_> = scopes.iter().map(|scope| (*scope, *level, *duration)).collect();
                return self.contained(clock, &before, *by, &orders, call);
            }
            Op::ContainSet(by, known) => {
                let name = if *known { set() } else { B256::repeat_byte(b'x') };
                let call = self.call(*by, |guard| guard.contain_set(&name, B256::repeat_byte(7)));
                return self.contained(clock, &before, *by, &[(1, 3, 900), (0, 2, 900)], call);
            }
            Op::Trip(rules) => return self.trip(&before, rules),
            Op::Release(by, scope) => return self.release(&before, *by, *scope),
            Op::Queue(by, scope) => {
                let call = self.call(*by, |guard| guard.queue_release(*scope));
                let at = self.now() + 900;
                self.releasing(&before, *by, *scope, call, |was| if was == 0 { at } else { was });
            }
            Op::Cancel(by, scope) => {
                let call = self.call(*by, |guard| guard.cancel_release(*scope));
                self.releasing(&before, *by, *scope, call, |_| 0);
            }
            Op::Retry(scope) => {
                let call = self.call(Address::ZERO, |guard| guard.retry_containment(*scope));
                self.ended(Address::ZERO, call);
            }
            Op::Settle(scope) => {
                let call = self.call(Address::ZERO, |guard| guard.settle(*scope));
                self.ended(Address::ZERO, call);
            }
            Op::Heartbeat(by) => {
                let call = self.call(*by, |guard| guard.heartbeat());
                assert_eq!(call.is_ok(), self.reference.has(*by, reference::HEARTBEAT));
                if self.ended(*by, call) {
                    self.reference.heartbeat = self.now();
                }
            }
            Op::Note(by, back) => {
                let number = u64::from(self.ledger().incidents).saturating_sub(*back);
                let call = self.call(*by, |guard| guard.note_incident(number, B256::repeat_byte(3)));
                let may =
                    *by == self.reference.governor || self.reference.has(*by, reference::GUARDIAN | reference::KEEPER);
                assert!(may || call.is_err());
                self.ended(*by, call);
            }
            Op::Judge(by, back, none) => {
                let number = u64::from(self.ledger().incidents).saturating_sub(*back);
                let call = self.call(*by, |guard| guard.judge_incident(number, *none));
                let may = *by == self.reference.governor || self.reference.has(*by, reference::GUARDIAN);
                assert!(may || call.is_err());
                self.ended(*by, call);
            }
            Op::Hook(scope, action) => self.hooked(*scope, *action),
            Op::Announce(by, act) => self.announce(*by, *act),
            Op::TakeBack(by, act) => self.take_back(*by, *act),
            Op::Do(by, act) => self.act(clock, *by, *act),
            Op::Accept(by) => {
                let call = self.call(*by, |guard| guard.accept_governor());
                assert_eq!(call.is_ok(), self.reference.proposed == *by && *by != Address::ZERO);
                if self.ended(*by, call) {
                    (self.reference.governor, self.reference.proposed) = (*by, Address::ZERO);
                }
            }
        }
        // None of these moves a level.
        for (before, after) in before.iter().zip(self.all_held()) {
            assert!(before.same_level(&after), "{op:?}: {before:?} becomes {after:?}");
            assert!(after.level == 0 || before.word.ceiling_at == after.word.ceiling_at);
        }
    }

    /// Whether a call was made; what refused it said why.
    fn ended<T>(&mut self, by: Address, outcome: Result<T, Errors>) -> bool {
        if let Err(error) = &outcome {
            self.check_refusal(error, by);
        }
        outcome.is_ok()
    }

    fn contained(
        &mut self,
        clock: &mut Clock,
        before: &[Held],
        by: Address,
        orders: &[(u8, u8, u32)],
        call: Result<Vec<u64>, Errors>,
    ) {
        let (actor, now) = (self.reference.actor(by), self.now());
        let formal = call.as_ref().is_err_and(is_formal);
        if !self.ended(by, call) {
            // Nothing else keeps the governor from closing what he wants.
            assert!(actor != Actor::Governor || formal);
            return;
        }
        assert_ne!(actor, Actor::Anyone, "{by} has no role");
        assert!(
            actor != Actor::Keeper || now - self.reference.heartbeat <= 900,
            "without a heartbeat"
        );
        let mut any = false;
        for scope in 0..SCOPES {
            let (was, is) = (before[usize::from(scope)], self.held(scope));
            let Some((_, level, duration)) = orders.iter().find(|(of, ..)| *of == scope) else {
                assert_eq!(was.word, is.word, "a scope that was not named");
                continue;
            };
            let (most, least) = actor.seconds(*level);
            assert!(
                (least..=most).contains(&u64::from(*duration)),
                "{actor:?} asks for {duration} s of {level}"
            );
            let cancels = !matches!(actor, Actor::Keeper | Actor::Seal);
            if was.level != 0 && !cancels {
                assert_eq!(
                    was.word.release_at, is.word.release_at,
                    "a release is not theirs to cancel"
                );
            }
            if was.same_level(&is) {
                continue;
            }
            any = true;
            assert!(is.level == *level && is.until <= now + u64::from(*duration), "{is:?}");
            assert!(!cancels || is.word.release_at == 0);
            self.shortens_nothing(&was, &is);
            let bought = is.until - if was.level == *level { was.until } else { now };
            assert!(
                self.reference.buy(actor, now, bought),
                "{actor:?} buys {bought} s more than it has"
            );
            clock.void |= actor == Actor::Governor;
        }
        if any && actor == Actor::Seal {
            *self.reference.roles.entry(by).or_default() &= !reference::SEAL;
        }
    }

    fn shortens_nothing(&self, was: &Held, is: &Held) {
        for (was, is) in was.ends(self.now()).into_iter().zip(is.ends(self.now())) {
            assert!(
                was <= self.now() || is >= was,
                "what was closed until {was} is closed until {is}"
            );
        }
    }

    fn trip(&mut self, before: &[Held], rules: &[(u16, bool)]) {
        let now = self.now();
        let (epoch, book) = self.in_force();
        let known: Vec<_> = rules
            .iter()
            .filter_map(|(rule, _)| book.rules.get(usize::from(*rule)).cloned())
            .collect();
        let witnesses: Vec<_> = rules
            .iter()
            .map(|(rule, right)| vec![B256::with_last_byte(1); usize::from((*rule == 3) == *right)])
            .collect();
        let numbers: Vec<_> = rules.iter().map(|(rule, _)| *rule).collect();
        let call = self.call(Address::ZERO, |guard| guard.trip_many(&numbers, &witnesses));
        if !self.ended(Address::ZERO, call) {
            return;
        }
        let sound = |rule: &cordon_core::rulebook::Rule| {
            rule.class == Class::State && !rule.shadow && rule.level != Level::Normal
        };
        assert!(known.len() == rules.len() && known.iter().all(sound) && rules.iter().all(|(_, right)| *right));
        let breached = self.price.get().is_some_and(|price| price > 100);
        for scope in 0..SCOPES {
            let (was, is) = (before[usize::from(scope)], self.held(scope));
            if was.same_level(&is) {
                continue;
            }
            self.shortens_nothing(&was, &is);
            let proved = known.iter().zip(&numbers).any(|(rule, number)| {
                let seen = self
                    .reference
                    .observed
                    .get(&(epoch, *number))
                    .map_or(&[][..], Vec::as_slice);
                let before = seen.iter().any(|at| (2..=3600).contains(&(now - at)));
                rule.scope == scope
                    && is.level == rule.level as u8
                    && is.until <= now + u64::from(rule.duration.min(3600))
                    && (rule.robust || (before && rule.level != Level::Halted))
            });
            assert!(breached && proved, "nothing proves that {was:?} is to become {is:?}");
        }
        for (rule, number) in known.iter().zip(&numbers) {
            if breached && !rule.robust {
                self.reference.observed.entry((epoch, *number)).or_default().push(now);
            }
        }
    }

    fn may_release(&self, by: Address) -> bool {
        by == self.reference.governor || self.reference.has(by, reference::GUARDIAN)
    }

    fn releasing(
        &mut self,
        before: &[Held],
        by: Address,
        scope: u8,
        call: Result<(), Errors>,
        queued: impl Fn(u64) -> u64,
    ) {
        if self.ended(by, call) {
            assert!(self.may_release(by));
            let was = before[usize::from(scope)].word.release_at;
            assert_eq!(self.word(scope).release_at, queued(was));
        }
    }

    fn release(&mut self, before: &[Held], by: Address, scope: u8) {
        let (price, now) = (self.price.get(), self.now());
        let call = self.call(by, |guard| guard.release(scope));
        if !self.ended(by, call) {
            return;
        }
        assert!(self.may_release(by));
        let was = before[usize::from(scope)];
        assert!(
            was.word.release_at != 0 && was.word.release_at <= now,
            "not queued, or too early: {was:?}"
        );
        let robust = self.in_force().1.rules.iter().any(|rule| {
            let asked = rule.robust && !rule.shadow && rule.params == 0 && rule.class == Class::State;
            asked && (scope == 0 || rule.scope == scope)
        });
        assert!(
            !robust || price.map_or(by == self.reference.governor, |price| price <= 100),
            "released at {price:?}"
        );
        for other in 0..SCOPES {
            let (was, is) = (before[usize::from(other)], self.held(other));
            if other == scope {
                assert!(is.level == 4 && is.until <= now + 3600, "{is:?}");
            } else {
                assert!(was.same_level(&is));
            }
        }
    }

    /// A guarded call: refused where the levels close it; where they do not, by a rule alone.
    fn hooked(&mut self, scope: u8, action: u8) {
        let open = self.is_open(scope, action);
        match self.hook(scope, action) {
            Ok(()) => assert!(open && scope < self.scopes()),
            Err(error) => {
                self.check_refusal(&error, crate::common::VAULT);
                let by_rule = matches!(error, Errors::RuleBreached(_) | Errors::RuleUnknown(_));
                let by_level = matches!(
                    error,
                    Errors::ActionClosed(_) | Errors::NotAnnounced(_) | Errors::BadScope(_)
                );
                assert!(action != REPAY || scope >= self.scopes());
                assert!(
                    by_rule && open || by_level && (!open || scope >= self.scopes()),
                    "{error:?}"
                );
            }
        }
    }

    fn hash(&self, act: Act) -> B256 {
        keccak256(self.calldata(act))
    }

    fn announce(&mut self, by: Address, act: Act) {
        let hash = self.hash(act);
        let call = self.call(by, |guard| guard.announce(hash));
        assert_eq!(call.is_ok(), by == self.reference.governor);
        if self.ended(by, call) {
            let at = self.now() + self.reference.delay;
            self.reference.announced.insert(hash, at);
        }
    }

    fn take_back(&mut self, by: Address, act: Act) {
        let hash = self.hash(act);
        let call = self.call(by, |guard| guard.cancel_announcement(hash));
        let of = &self.reference;
        let own = act == Act::Role(3, by, false);
        let may = by == of.governor || (of.has(by, reference::VETO) && !own);
        assert_eq!(call.is_ok(), may && of.announced.contains_key(&hash));
        if self.ended(by, call) {
            self.reference.announced.remove(&hash);
        }
    }

    /// Whether an act needs no announcement, and whether it can be done at all; `None` when the reference does not say.
    fn expected(&self, act: Act) -> (bool, Option<bool>) {
        let of = &self.reference;
        match act {
            Act::Role(role, ..) if role > 4 => (true, Some(false)),
            Act::Role(role, account, granted) if of.has(account, 1 << role) == granted => (true, Some(true)),
            Act::Role(role, account, granted) => (
                !granted && role != 3,
                Some(of.with_role(1 << role, account, granted).is_some()),
            ),
            Act::Matrix(closes) => (is_as_strict(closes, of.closes), Some(is_sound(closes))),
            Act::Delay(delay) => {
                let delay = u64::from(delay);
                (
                    (of.delay..=2 * of.agreed).contains(&delay),
                    Some((3600..=30 * 86_400).contains(&delay)),
                )
            }
            Act::Propose(governor) => (governor == Address::ZERO, Some(true)),
            Act::Adopt(_) | Act::WriteOff(_) => (false, None),
        }
    }

    pub fn act(&mut self, clock: &mut Clock, by: Address, act: Act) {
        let hash = self.hash(act);
        let (at_once, can) = self.expected(act);
        let may = by == self.reference.governor && (at_once || self.reference.is_due(&hash, self.now()));
        let call = self.perform(by, act);
        match can {
            Some(can) => assert_eq!(call.is_ok(), may && can, "{act:?} by {by}: {:?}", call.err()),
            None => assert!(may || call.is_err(), "{act:?} by {by}"),
        }
        if !self.ended(by, call) {
            return;
        }
        let of = &mut self.reference;
        if !at_once {
            of.announced.remove(&hash);
        }
        match act {
            Act::Role(role, account, granted) => {
                let bits = of.with_role(1 << role, account, granted).unwrap();
                if of.has(account, 1 << role) != granted {
                    of.roles.insert(account, bits);
                }
            }
            Act::Matrix(closes) => of.closes = closes,
            Act::Delay(delay) => {
                of.delay = delay.into();
                if !at_once {
                    of.agreed = delay.into();
                }
            }
            Act::Propose(governor) => of.proposed = governor,
            Act::Adopt(which) => {
                self.adopted.push(which);
                clock.void |= self.scopes() < SCOPES;
                assert_eq!(self.guard.host.code_hash(&self.guard.rulebook().0), self.books[which].2);
            }
            // What a target does not undo now, nobody asks of it again.
            Act::WriteOff(_) => clock.given_up |= !matches!(self.market.mood.get(), Mood::Obeys | Mood::Reenters),
        }
    }
}
