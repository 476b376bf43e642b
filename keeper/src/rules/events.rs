//! The guard's events as the keeper uses them.

use alloy::primitives::{Address, B256, Bytes};
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::level::Level;
use cordon_core::rule::value::Int;

/// An event that the guard logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardEvent {
    /// Transaction that logged it.
    pub tx: B256,
    /// Position of the log in its block.
    pub log_index: u64,
    /// What it says.
    pub kind: GuardEventKind,
}

/// What an event of the guard says. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of `ICordonGuard`'s events.
pub enum GuardEventKind {
    /// `LevelRaised`.
    Raised {
        scope: u8,
        from: Level,
        to: Level,
        expires_at: u64,
        incident: u64,
        by: Address,
    },
    /// `LevelLowered`.
    Lowered {
        scope: u8,
        from: Level,
        to: Level,
        incident: u64,
        by: Address,
    },
    /// `LevelExtended`.
    Extended {
        scope: u8,
        level: Level,
        expires_at: u64,
        incident: u64,
        by: Address,
    },
    /// `RuleTripped`.
    Tripped {
        rule: u16,
        incident: u64,
        observed: Shown,
        bound: Shown,
    },
    /// `IncidentOpened`.
    Opened { incident: u64, scope: u8 },
    /// `IncidentClosed`.
    Closed { incident: u64, scope: u8 },
    /// `ContainmentApplied`.
    Applied { call: u16, incident: u64 },
    /// `ContainmentNotNeeded`.
    NotNeeded { call: u16, incident: u64 },
    /// `ContainmentFailed`.
    Failed { call: u16, incident: u64, reason: Bytes },
    /// `ContainmentUndone`.
    Undone { call: u16, incident: u64 },
    /// `UndoFailed`.
    UndoFailed { call: u16, incident: u64, reason: Bytes },
    /// `ReleaseQueued`.
    ReleaseQueued { scope: u8, at: u64, by: Address },
    /// `ReleaseCancelled`.
    ReleaseCancelled { scope: u8, by: Address },
    /// `ShadowBreach`.
    ShadowBreach { rule: u16, caller: Address },
    /// `RulebookAdopted`.
    RulebookAdopted { code_hash: B256 },
}

/// An integer that prints as a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(pub Int);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.0.negative { "-" } else { "" }, self.0.magnitude)
    }
}

impl GuardEvent {
    /// First topics of the events that [`GuardEvent::decode`] understands.
    pub(super) const TOPICS: [B256; 15] = [
        Guard::LevelRaised::SIGNATURE_HASH,
        Guard::LevelLowered::SIGNATURE_HASH,
        Guard::LevelExtended::SIGNATURE_HASH,
        Guard::RuleTripped::SIGNATURE_HASH,
        Guard::IncidentOpened::SIGNATURE_HASH,
        Guard::IncidentClosed::SIGNATURE_HASH,
        Guard::ContainmentApplied::SIGNATURE_HASH,
        Guard::ContainmentNotNeeded::SIGNATURE_HASH,
        Guard::ContainmentFailed::SIGNATURE_HASH,
        Guard::ContainmentUndone::SIGNATURE_HASH,
        Guard::UndoFailed::SIGNATURE_HASH,
        Guard::ReleaseQueued::SIGNATURE_HASH,
        Guard::ReleaseCancelled::SIGNATURE_HASH,
        Guard::ShadowBreach::SIGNATURE_HASH,
        Guard::RulebookAdopted::SIGNATURE_HASH,
    ];

    /// Decodes a log of the guard; `None` for events that the keeper has no use for. `position` stands in for a log index
    /// that the node left out.
    #[must_use]
    pub fn decode(log: &Log, position: u64) -> Option<Self> {
        use Guard::ICordonGuardEvents as E;
        use GuardEventKind as K;
        let event = <E as alloy::sol_types::SolEventInterface>::decode_raw_log(log.topics(), &log.data().data).ok()?;
        let kind = match event {
            E::LevelRaised(e) => K::Raised {
                scope: e.scope,
                from: level(e.from)?,
                to: level(e.to)?,
                expires_at: e.expiresAt,
                incident: e.incident,
                by: e.by,
            },
            E::LevelLowered(e) => K::Lowered {
                scope: e.scope,
                from: level(e.from)?,
                to: level(e.to)?,
                incident: e.incident,
                by: e.by,
            },
            E::LevelExtended(e) => K::Extended {
                scope: e.scope,
                level: level(e.level)?,
                expires_at: e.expiresAt,
                incident: e.incident,
                by: e.by,
            },
            E::RuleTripped(e) => K::Tripped {
                rule: e.rule,
                incident: e.incident,
                observed: Shown(Int::new(e.observedNegative, e.observed)),
                bound: Shown(Int::new(e.boundNegative, e.bound)),
            },
            E::IncidentOpened(e) => K::Opened {
                incident: e.incident,
                scope: e.scope,
            },
            E::IncidentClosed(e) => K::Closed {
                incident: e.incident,
                scope: e.scope,
            },
            E::ContainmentApplied(e) => K::Applied {
                call: e.call,
                incident: e.incident,
            },
            E::ContainmentNotNeeded(e) => K::NotNeeded {
                call: e.call,
                incident: e.incident,
            },
            E::ContainmentFailed(e) => K::Failed {
                call: e.call,
                incident: e.incident,
                reason: e.reason,
            },
            E::ContainmentUndone(e) => K::Undone {
                call: e.call,
                incident: e.incident,
            },
            E::UndoFailed(e) => K::UndoFailed {
                call: e.call,
                incident: e.incident,
                reason: e.reason,
            },
            E::ReleaseQueued(e) => K::ReleaseQueued {
                scope: e.scope,
                at: e.releaseAt,
                by: e.by,
            },
            E::ReleaseCancelled(e) => K::ReleaseCancelled {
                scope: e.scope,
                by: e.by,
            },
            E::ShadowBreach(e) => K::ShadowBreach {
                rule: e.rule,
                caller: e.caller,
            },
            E::RulebookAdopted(e) => K::RulebookAdopted { code_hash: e.codeHash },
            _ => return None,
        };
        Some(Self {
            tx: log.transaction_hash.unwrap_or_default(),
            log_index: log.log_index.unwrap_or(position),
            kind,
        })
    }

    /// The guard's number of the incident that the event names.
    #[must_use]
    pub fn incident(&self) -> Option<u64> {
        use GuardEventKind as K;
        match self.kind {
            K::Raised { incident, .. }
            | K::Lowered { incident, .. }
            | K::Extended { incident, .. }
            | K::Tripped { incident, .. }
            | K::Opened { incident, .. }
            | K::Closed { incident, .. }
            | K::Applied { incident, .. }
            | K::NotNeeded { incident, .. }
            | K::Failed { incident, .. }
            | K::Undone { incident, .. }
            | K::UndoFailed { incident, .. } => Some(incident).filter(|number| *number != 0),
            _ => None,
        }
    }

    /// The scope that the event names.
    #[must_use]
    pub fn scope(&self) -> Option<u8> {
        use GuardEventKind as K;
        match self.kind {
            K::Raised { scope, .. }
            | K::Lowered { scope, .. }
            | K::Extended { scope, .. }
            | K::Opened { scope, .. }
            | K::Closed { scope, .. }
            | K::ReleaseQueued { scope, .. }
            | K::ReleaseCancelled { scope, .. } => Some(scope),
            _ => None,
        }
    }
}

/// The level of the ABI as ours; `None` for a number that stands for none.
pub(crate) fn level(level: Guard::Level) -> Option<Level> {
    match level {
        Guard::Level::Normal => Some(Level::Normal),
        Guard::Level::Throttled => Some(Level::Throttled),
        Guard::Level::ReduceOnly => Some(Level::ReduceOnly),
        Guard::Level::Halted => Some(Level::Halted),
        Guard::Level::Grace => Some(Level::Grace),
        Guard::Level::__Invalid => None,
    }
}
