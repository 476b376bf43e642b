//! What the guard tells about itself. Views answer while the guard is locked.

use crate::abi::{refusal, Answer, ICordonGuard};
use crate::containment::rule_for;
use crate::guard::{open, Guard};
use crate::reader::ChainReader;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};
use cordon_core::{
    rule::{evaluate, Evaluation, Inputs},
    rulebook::View,
    Level,
};
use cordon_host::{layout, Host};

/// Scopes whose levels fit into one word, three bits each.
const LEVELS_PER_WORD: u8 = 85;

/// State of a scope now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeStatus {
    /// The level that holds.
    pub level: Level,
    /// When containment began; 0 when Normal.
    pub since: u64,
    /// When the level steps down; 0 when Normal.
    pub expires_at: u64,
    /// End of everybody's power but the governor's; 0 when Normal.
    pub ceiling_at: u64,
    /// Number of the open incident; 0 when none.
    pub incident: u64,
    /// When a queued release may be executed; 0 when none is queued.
    pub release_at: u64,
    /// Calls of the rulebook that are in force because of the scope.
    pub applied: U256,
}

impl<H: Host> Guard<H> {
    /// Evaluates a rule now. Want of gas makes it `Unknown`.
    pub fn evaluate(&mut self, index: u16, witness: &[B256]) -> Answer<Evaluation> {
        let (_, code) = self.rulebook_in_force()?;
        self.evaluate_in(&open(&code)?, index, witness)
    }

    /// Evaluates many rules now.
    pub fn evaluate_many(&mut self, rules: &[u16], witnesses: &[Vec<B256>]) -> Answer<Vec<Evaluation>> {
        let (_, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let mut all = Vec::with_capacity(rules.len());
        for (place, rule) in rules.iter().enumerate() {
            let witness = witnesses.get(place).map_or(&[][..], Vec::as_slice);
            all.push(self.evaluate_in(&view, *rule, witness)?);
        }
        Ok(all)
    }

    fn evaluate_in(&mut self, view: &View<'_>, index: u16, witness: &[B256]) -> Answer<Evaluation> {
        let (_, body) = rule_for(view, index, witness)?;
        let mut reader = ChainReader::new(&mut self.host);
        Ok(evaluate(&body.program(), &Inputs { params: witness, entries: &[] }, &mut reader))
    }

    /// State of a scope now.
    pub fn scope_status(&self, scope: u8) -> Answer<ScopeStatus> {
        if scope >= layout::MAX_SCOPES {
            return Err(refusal::<ICordonGuard::BadScope>(&[&scope]));
        }
        let (state, extra) = (self.scope(scope), self.extra(scope));
        let held = state.effective(self.host.now());
        let (incident, applied) = (extra.incident.into(), self.applied(self.current().epoch, scope));
        if held.level == Level::Normal {
            return Ok(ScopeStatus { incident, applied, ..ScopeStatus::default() });
        }
        Ok(ScopeStatus {
            level: held.level,
            since: state.since,
            expires_at: held.expires_at,
            ceiling_at: state.ceiling_at,
            incident,
            release_at: state.release_at,
            applied,
        })
    }

    /// All levels, three bits each.
    #[must_use]
    pub fn levels(&self) -> (U256, U256) {
        let (mut first, mut second) = (U256::ZERO, U256::ZERO);
        for scope in 0..layout::MAX_SCOPES {
            let level = self.level(scope) as u8;
            let (word, place) = match scope.checked_sub(LEVELS_PER_WORD) {
                None => (&mut first, scope),
                Some(place) => (&mut second, place),
            };
            for bit in 0..3u8 {
                if level >> bit & 1 == 1 {
                    word.set_bit(3 * usize::from(place) + usize::from(bit), true);
                }
            }
        }
        (first, second)
    }

    /// Address and code hash of the rulebook in force.
    #[must_use]
    pub fn rulebook(&self) -> (Address, B256) {
        let current = self.current();
        if current.epoch == 0 {
            return (Address::ZERO, B256::ZERO);
        }
        (current.book, self.host.code_hash(&current.book))
    }

    /// Whether an account has a role; no account has an unknown role.
    #[must_use]
    pub fn has_role(&self, role: u8, account: &Address) -> bool {
        self.has_role_number(role, account)
    }

    /// The governor, the proposed one, the delay in seconds, and whether set-up is over.
    #[must_use]
    pub fn governor(&self) -> (Address, Address, u32, bool) {
        let settings = self.settings();
        (self.address_at(&layout::GOVERNOR), self.address_at(&layout::PROPOSED), settings.delay, settings.sealed)
    }

    /// Time of the latest heartbeat.
    #[must_use]
    pub fn last_heartbeat(&self) -> u64 {
        self.number_at(&layout::HEARTBEAT)
    }

    /// The logic program.
    #[must_use]
    pub fn logic(&self) -> Address {
        self.address_at(&layout::LOGIC)
    }
}
