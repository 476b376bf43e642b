//! What the chain keeps of an incident: two words. The full dossier is off chain, pinned by its hash.

use crate::bounds::Actor;
use crate::level::Level;
use alloy_primitives::{B256, U256};

/// An incident as the guard stores it. Times are Unix seconds (40 bits each).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When the first level was raised.
    pub opened_at: u64,
    /// When the scope was back at `Normal` and everything was undone; 0 while the incident is open.
    pub closed_at: u64,
    /// The scope.
    pub scope: u8,
    /// Who opened it.
    pub opened_by: Actor,
    /// The rule that was breached; `None` when an authority opened it.
    pub rule: Option<u16>,
    /// The strictest level it reached.
    pub peak: Level,
    /// How many times its level was raised or extended, saturating.
    pub raises: u16,
    /// Hash of the dossier, or zero.
    pub evidence: B256,
}

impl Incident {
    /// The record as two words: the first from the low end opened (40 bits), scope (8), opened by (8), peak (8); closed
    /// (40), raises (16), zero (8); rule plus one (17); the second is the evidence.
    #[must_use]
    pub fn pack(&self) -> (U256, B256) {
        let time = |value: u64| value & crate::scope::MAX_TIME;
        let rule = self.rule.map_or(0, |rule| u64::from(rule) + 1);
        let first = time(self.opened_at)
            | u64::from(self.scope) << 40
            | u64::from(self.opened_by as u8) << 48
            | u64::from(self.peak as u8) << 56;
        let second = time(self.closed_at) | u64::from(self.raises) << 40;
        (U256::from_limbs([first, second, rule, 0]), self.evidence)
    }

    /// The record in two words; `None` when no incident is stored there.
    #[must_use]
    pub fn unpack(word: U256, evidence: B256) -> Option<Self> {
        let [first, second, rule, _] = word.into_limbs();
        let byte = |shift: u32| (first >> shift & 0xff) as u8;
        let opened_at = first & crate::scope::MAX_TIME;
        if opened_at == 0 {
            return None;
        }
        Some(Incident {
            opened_at,
            closed_at: second & crate::scope::MAX_TIME,
            scope: byte(40),
            opened_by: match byte(48) {
                0 => Actor::Trip,
                1 => Actor::Keeper,
                2 => Actor::Guardian,
                _ => Actor::Governor,
            },
            rule: rule.checked_sub(1).and_then(|rule| u16::try_from(rule).ok()),
            peak: Level::from_u8(byte(56))?,
            raises: (second >> 40 & 0xffff) as u16,
            evidence,
        })
    }

    /// The record after its scope was raised to, or extended at, `level`.
    #[must_use]
    pub fn raised(self, level: Level) -> Self {
        let peak = if level.rank() > self.peak.rank() {
            level
        } else {
            self.peak
        };
        Incident {
            peak,
            raises: self.raises.saturating_add(1),
            ..self
        }
    }
}
