//! Whatever has happened, the governor undoes it: announced, waited for, done, though a stolen guardian's key takes back all that it can.

use crate::checks::{Clock, SCOPES};
use crate::ops::{Act, Mood, SECOND};
use crate::scene::{Errors, Scene};
use alloy_primitives::{keccak256, Address};
use cordon_core::Level;

impl Scene {
    /// Back to how it was deployed. A dead target obeys no more.
    pub fn recover(&mut self, clock: &mut Clock, dead: bool) {
        let governor = self.reference.governor;
        self.price.set(Some(100));
        self.market.mood.set(if dead { Mood::Reverts } else { Mood::Obeys });
        if self.reference.has(SECOND, crate::reference::VETO) {
            self.carry_out(clock, governor, Act::Role(3, SECOND, false));
        }
        self.carry_out(clock, governor, Act::Delay(3600));
        self.carry_out(clock, governor, Act::Matrix(0));
        for scope in 0..SCOPES {
            if !self.held(scope).word.effective(self.now()).level.is_raised() {
                continue;
            }
            self.call(governor, |guard| guard.queue_release(scope)).unwrap();
            self.wait(clock, 900);
            match self.call(governor, |guard| guard.release(scope)) {
                Ok(()) => {}
                // It has come down by itself meanwhile.
                Err(error) => assert!(matches!(error, Errors::NothingToRelease(_)), "{error:?}"),
            }
        }
        self.wait(clock, 3600);
        for scope in 0..SCOPES {
            match self.call(Address::ZERO, |guard| guard.settle(scope)) {
                Ok(()) => {}
                Err(error) => assert!(matches!(error, Errors::NothingToSettle(_)), "{error:?}"),
            }
        }
        for scope in 0..SCOPES {
            if self.word(scope).incident != 0 {
                assert!(dead, "what obeys is undone: scope {scope}");
                self.carry_out(clock, governor, Act::WriteOff(scope));
            }
        }
        self.carry_out(clock, governor, Act::Adopt(0));
        self.check(clock);
        for scope in 0..SCOPES {
            let word = self.word(scope);
            assert_eq!((word.level, word.incident), (Level::Normal, 0), "scope {scope}");
            assert!((0..11).all(|action| self.is_open(scope, action)), "scope {scope}");
        }
        assert_eq!((self.ledger().raised, self.ledger().in_force), (0, 0));
    }

    /// Announces, waits, does; who has a veto that is not its own to keep, takes it back in vain.
    fn carry_out(&mut self, clock: &mut Clock, governor: Address, act: Act) {
        let hash = keccak256(self.calldata(act));
        self.call(governor, |guard| guard.announce(hash)).unwrap();
        let at = self.now() + self.reference.delay;
        self.reference.announced.insert(hash, at);
        self.call(SECOND, |guard| guard.cancel_announcement(hash)).unwrap_err();
        let delay = self.reference.delay;
        self.wait(clock, delay);
        let adopted = self.adopted.len();
        self.act(clock, governor, act);
        if matches!(act, Act::Adopt(_)) {
            assert_eq!(self.adopted.len(), adopted + 1, "the usual rulebook is refused");
        }
    }
}
