//! What the guard tells about itself. Views answer while the guard is locked.

use crate::abi::{answer, refusal, Answer, Word};
use crate::containment::rule_for;
use crate::guard::{open, role, set_in, Guard};
use crate::reader::ChainReader;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};
use cordon_core::{
    rule::{evaluate, Evaluation, Inputs},
    Level,
};
use cordon_host::{layout, Host};
use core::ops::Range;

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
        let (_, body) = rule_for(&open(&code)?, index, witness)?;
        let mut reader = ChainReader::new(&mut self.host);
        Ok(evaluate(
            &body.program(),
            &Inputs {
                params: witness,
                entries: &[],
            },
            &mut reader,
        ))
    }

    /// State of a scope now.
    pub fn scope_status(&self, scope: u8) -> Answer<ScopeStatus> {
        self.require_scope(scope)?;
        let state = self.scope(scope);
        let held = state.effective(self.host.now());
        let (incident, applied) = (state.incident.into(), self.applied(scope));
        if held.level == Level::Normal {
            return Ok(ScopeStatus {
                incident,
                applied,
                ..ScopeStatus::default()
            });
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

    /// Refuses a scope that the rulebook in force does not have.
    #[inline(never)]
    pub(crate) fn require_scope(&self, scope: u8) -> Answer<()> {
        let (_, code) = self.rulebook_in_force()?;
        let scopes = open(&code)?.header().scopes;
        if scope < scopes {
            return Ok(());
        }
        Err(refusal!(BadScope, scope, scopes))
    }

    /// All levels, three bits each.
    #[must_use]
    pub fn levels(&self) -> (U256, U256) {
        // Keepers ask at every block: on a quiet day one word answers for all.
        if self.ledger().raised == 0 {
            return (U256::ZERO, U256::ZERO);
        }
        (
            self.levels_of(0..LEVELS_PER_WORD),
            self.levels_of(LEVELS_PER_WORD..layout::MAX_SCOPES),
        )
    }

    #[inline(never)]
    fn levels_of(&self, scopes: Range<u8>) -> U256 {
        let mut limbs = [0; 4];
        for scope in scopes.rev() {
            let mut carried = self.level(scope) as u64;
            for limb in &mut limbs {
                let out = *limb >> 61;
                *limb = *limb << 3 | carried;
                carried = out;
            }
        }
        U256::from_limbs(limbs)
    }

    /// Names of the containment sets of the rulebook in force, as in the ABI.
    pub fn containment_sets(&self) -> Answer<Vec<u8>> {
        let (_, code) = self.rulebook_in_force()?;
        let view = open(&code)?;
        let mut data = answer!(32u8, view.header().sets);
        for set in (0..view.header().sets).filter_map(|index| view.set(index).ok()) {
            set.name.push(&mut data);
        }
        Ok(data)
    }

    /// A containment set, as in the ABI.
    pub fn containment_set(&self, name: &B256) -> Answer<Vec<u8>> {
        let (_, code) = self.rulebook_in_force()?;
        let set = set_in(&open(&code)?, name)?;
        let mut data = answer!(set.reviewed, 64u8, set.orders().count() as u64);
        for order in set.orders() {
            data.extend_from_slice(&answer!(order.scope, order.level, order.duration));
        }
        Ok(data)
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
        role <= role::SEAL && self.has_role_number(role, account)
    }

    /// The governor, the proposed one, the delay in seconds, and whether set-up is over.
    #[must_use]
    pub fn governor(&self) -> (Address, Address, u32, bool) {
        let settings = self.settings();
        (
            self.address_at(&layout::GOVERNOR),
            self.address_at(&layout::PROPOSED),
            settings.delay,
            settings.sealed,
        )
    }

    /// What the levels close: the bits of [`cordon_core::Matrix`].
    #[must_use]
    pub fn closes(&self) -> u64 {
        self.matrix().bits()
    }

    /// How often a hook found a rule of the rulebook in force breached and let the call pass.
    pub fn shadow_breaches(&self, rule: u16) -> Answer<u64> {
        let (current, code) = self.rulebook_in_force()?;
        if rule >= open(&code)?.header().rules {
            return Err(refusal!(UnknownRule, rule));
        }
        Ok(self.rule_state(current.epoch, rule).shadowed)
    }

    /// Time of the latest heartbeat.
    #[must_use]
    pub fn last_heartbeat(&self) -> u64 {
        self.ledger().heartbeat
    }

    /// The respond program.
    #[must_use]
    pub fn logic(&self) -> Address {
        self.address_at(&layout::LOGIC)
    }

    /// The programs behind the gate: respond, hooks, recover, admin, contain, inspect.
    #[must_use]
    pub fn programs(&self) -> [Address; 6] {
        layout::PROGRAMS.map(|key| self.address_at(&key))
    }
}
