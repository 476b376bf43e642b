//! Lowering levels: queued releases, and settling what has expired.

use crate::abi::{emit, encode, refusal, Answer, ICordonGuard, Refusal};
use crate::calls::{Share, Undone};
use crate::guard::{open, role, rule_in, Guard};
use crate::hooks::breached;
use alloy_sol_types::SolCall;
use cordon_core::{
    incident::State,
    rule::{Class, Verdict},
    scope::{lets_release, ReleaseError, ScopeState},
    Level,
};
use cordon_host::{layout, Host};

impl<H: Host> Guard<H> {
    /// Queues the release of a scope.
    pub fn queue_release(&mut self, scope: u8) -> Answer<()> {
        let state = self.scope_to_release(scope)?;
        let next = state
            .queue_release(self.host.now())
            .map_err(|error| release_refusal(scope, error))?;
        if next != state {
            self.set_scope(scope, &next);
            let by = self.host.sender();
            emit!(self.host, ReleaseQueued, [scope, by], next.release_at);
        }
        Ok(())
    }

    /// Cancels a queued release.
    pub fn cancel_release(&mut self, scope: u8) -> Answer<()> {
        let next = self
            .scope_to_release(scope)?
            .cancel_release()
            .map_err(|error| release_refusal(scope, error))?;
        self.set_scope(scope, &next);
        let by = self.host.sender();
        emit!(self.host, ReleaseCancelled, [scope, by]);
        Ok(())
    }

    /// Executes a queued release: to Grace, and what the guard did is undone.
    pub fn release(&mut self, scope: u8) -> Answer<()> {
        let state = self.scope_to_release(scope)?;
        let from = state.effective(self.host.now()).level;
        let next = state
            .release(self.host.now())
            .map_err(|error| release_refusal(scope, error))?;
        self.require_rules_hold(scope, state.incident)?;
        self.set_scope(scope, &next);
        self.note_halt(scope, &state, &next);
        self.emit_lowered(scope, from, next.level, next.incident);
        if self.move_incident(next.incident, State::Released) {
            let by = self.host.sender();
            emit!(self.host, IncidentReleased, [next.incident, by]);
        }
        self.undo_and_close_again(scope, false)?;
        Ok(())
    }

    /// Undoes what has no reason any more in a scope. What an old rulebook closed is open then; the present one closes it in its own way
    /// wherever a level still asks for it, in this scope or around it, before anybody can use that.
    fn undo_and_close_again(&mut self, scope: u8, give_up: bool) -> Answer<Undone> {
        let share = Share::of(self.host.gas_left(), 2);
        let undone = self.undo_calls(scope, share, give_up)?;
        if undone.of_old_book {
            let (current, code) = self.rulebook_in_force()?;
            let view = open(&code)?;
            for other in 0..view.header().scopes {
                let concerned = other == 0 || scope == 0 || other == scope;
                if concerned && self.level(other).is_raised() {
                    self.respond_in(current.epoch, &view, other, share, false)?;
                }
            }
        }
        Ok(undone)
    }

    /// After expiry: writes down how far the level has stepped down, undoes what the guard did and has no reason any more,
    /// and closes the incident when nothing is left of it.
    pub fn settle(&mut self, scope: u8) -> Answer<()> {
        self.settle_scope(scope, false)
    }

    /// Settles a scope, and gives up what cannot be undone now: what a target does not let the guard open stays closed, and the incident
    /// can end. The governor's, announced.
    pub fn write_off(&mut self, scope: u8) -> Answer<()> {
        self.require_governor()?;
        self.require_announced(&encode!(&ICordonGuard::writeOffCall::SELECTOR, scope))?;
        self.settle_scope(scope, true)
    }

    fn settle_scope(&mut self, scope: u8, give_up: bool) -> Answer<()> {
        let (state, now) = (self.known_scope(scope)?, self.host.now());
        let held = state.effective(now);
        let lowered = held.level != state.level;
        if lowered {
            let next = match held.level {
                Level::Normal => state.settled(now),
                level => ScopeState {
                    level,
                    expires_at: held.expires_at,
                    ..state
                },
            };
            self.set_scope(scope, &next);
            self.emit_lowered(scope, state.level, held.level, state.incident);
            if state.level == Level::Halted {
                self.file_halt(scope);
            }
        }
        let undone = self.undo_and_close_again(scope, give_up)?;
        let state = self.scope(scope);
        let closes = held.level == Level::Normal && !undone.left && state.incident != 0;
        if closes {
            self.set_scope(scope, &state.closed());
            self.close_incident(scope, state.incident);
        }
        if lowered || undone.tried || closes {
            return Ok(());
        }
        if held.level == Level::Normal {
            return Err(refusal!(NothingToSettle, scope));
        }
        Err(refusal!(NotExpired, scope, held.expires_at))
    }

    /// State of a scope for somebody who may release it.
    #[inline(never)]
    fn scope_to_release(&self, scope: u8) -> Answer<ScopeState> {
        self.require_release_authority()?;
        self.known_scope(scope)
    }

    fn known_scope(&self, scope: u8) -> Answer<ScopeState> {
        self.require_unlocked()?;
        if scope < layout::MAX_SCOPES {
            return Ok(self.scope(scope));
        }
        Err(refusal!(BadScope, scope, layout::MAX_SCOPES))
    }

    fn require_release_authority(&self) -> Answer<()> {
        let caller = self.host.sender();
        if self.has_role_number(role::GUARDIAN, &caller) || self.is_governor(&caller) {
            return Ok(());
        }
        Err(refusal!(MissingRole, role::GUARDIAN, caller))
    }

    /// Refuses while a robust rule of the scope (of any scope, for the whole protocol) that needs no witness does not let it be released.
    fn require_rules_hold(&mut self, scope: u8, incident: u32) -> Answer<()> {
        let (current, code) = self.rulebook_in_force()?;
        let governs = self.is_governor(&self.host.sender());
        let view = open(&code)?;
        for index in 0..view.header().rules {
            let (rule, body) = rule_in(&view, index)?;
            let named = scope == 0 || rule.scope == scope;
            if named && rule.robust && !rule.shadow && rule.params == 0 && rule.class == Class::State {
                let evaluation = self.verdict_of(index, body, &[])?;
                let has_part = || self.rule_state(current.epoch, index).tripped == incident;
                if !lets_release(evaluation.verdict, governs, has_part) {
                    return Err(match evaluation.verdict {
                        Verdict::Breached => breached(index, &evaluation),
                        _ => refusal!(RuleUnknown, index, evaluation.reason),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The refusal of a release that a scope does not allow.
fn release_refusal(scope: u8, error: ReleaseError) -> Refusal {
    match error {
        ReleaseError::NothingToRelease => refusal!(NothingToRelease, scope),
        ReleaseError::ReleaseNotQueued => refusal!(ReleaseNotQueued, scope),
        ReleaseError::ReleaseTooEarly { release_at } => refusal!(ReleaseTooEarly, release_at),
    }
}
