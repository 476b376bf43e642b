//! The drills, by name.

mod aave;
mod vault;

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use cordon_keeper::record::Incident;

use crate::{
    Context,
    attack::Attack,
    benign::Benign,
    error::DrillError,
    outcome::{Latency, Outcome, VAULT_TOLERANCE_BPS},
    play::{
        self, bridge::ForgedMessage, lending::EmptyMarket, options::DoubleExercise, pool::Reentrancy,
        safe::SafeMasterCopy, safe_patient::SafePatientThief, timelock::TimelockTakeover,
    },
    score::Damage,
};

/// A drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The holder of ASSET_LISTING_ADMIN replaces an oracle source of a real Aave v3 market and borrows against it.
    AaveOracle,
    /// The first depositor of an ERC-4626 vault inflates the price of a share and takes the next depositor's assets.
    VaultInflation,
    /// A Safe's owners sign a DELEGATECALL that replaces the Safe's code.
    SafeMasterCopy,
    /// The same, by a thief who schedules it with one owner's key and waits.
    SafePatientThief,
    /// Whoever took over a timelock's governor queues the whole treasury.
    TimelockTakeover,
    /// A donation to a lending market's new collateral, and a redemption that rounds.
    EmptyMarket,
    /// Ether delivered once is counted against each of several writers of options.
    DoubleExercise,
    /// A pool of ether is called again while it pays.
    Reentrancy,
    /// A bridge's escrow releases for a message that nobody proved.
    ForgedMessage,
}

impl Scenario {
    /// All drills, in the order in which the demo runs them.
    pub const ALL: [Self; 9] = [
        Self::AaveOracle,
        Self::VaultInflation,
        Self::SafeMasterCopy,
        Self::SafePatientThief,
        Self::TimelockTakeover,
        Self::EmptyMarket,
        Self::DoubleExercise,
        Self::Reentrancy,
        Self::ForgedMessage,
    ];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AaveOracle => "aave-oracle",
            Self::VaultInflation => "vault-inflation",
            Self::SafeMasterCopy => "safe-master-copy",
            Self::SafePatientThief => "safe-patient-thief",
            Self::TimelockTakeover => "timelock-takeover",
            Self::EmptyMarket => "empty-market",
            Self::DoubleExercise => "double-exercise",
            Self::Reentrancy => "reentrancy",
            Self::ForgedMessage => "forged-message",
        }
    }

    /// Whether the protocol under attack is a published one, run from its published bytecode.
    #[must_use]
    pub const fn real_bytecode(self) -> bool {
        matches!(
            self,
            Self::AaveOracle | Self::SafeMasterCopy | Self::SafePatientThief | Self::TimelockTakeover
        )
    }

    /// Whether the attack is held whatever its timing, and not only when it takes its time.
    pub(crate) const fn always_held(self) -> bool {
        !matches!(self, Self::AaveOracle)
    }

    /// Most that may be lost with the guard, in bps of what is lost without it: the tolerance of the rule that guards.
    pub(crate) const fn tolerance_bps(self) -> u64 {
        match self {
            Self::VaultInflation => VAULT_TOLERANCE_BPS,
            _ => 0,
        }
    }

    /// Runs all attacks of the drill, without and with the guard.
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<Outcome, DrillError> {
        match self {
            Self::AaveOracle => aave::run(context).await,
            Self::VaultInflation => vault::run(context).await,
            Self::SafeMasterCopy => play::run::<SafeMasterCopy>(context).await,
            Self::SafePatientThief => play::run::<SafePatientThief>(context).await,
            Self::TimelockTakeover => play::run::<TimelockTakeover>(context).await,
            Self::EmptyMarket => play::run::<EmptyMarket>(context).await,
            Self::DoubleExercise => play::run::<DoubleExercise>(context).await,
            Self::Reentrancy => play::run::<Reentrancy>(context).await,
            Self::ForgedMessage => play::run::<ForgedMessage>(context).await,
        }
    }
}

/// An empty folder for one run; what an earlier drill left there is removed.
pub(crate) fn fresh_folder(context: &Context<'_>, scenario: &str, run: &str) -> Result<PathBuf, DrillError> {
    let folder = context.out.join(scenario).join(run);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(DrillError::file("remove", &folder))?;
    }
    std::fs::create_dir_all(&folder).map_err(DrillError::file("create", &folder))?;
    Ok(folder)
}

/// The damage of an unguarded run, when that run shows what it is to show: honest traffic passes, the attack lands as planned,
/// and it hurts.
pub(crate) fn proven(
    scenario: &'static str,
    delay: u64,
    benign: &Benign,
    attack: &Attack,
    damage: Damage,
) -> Result<Damage, DrillError> {
    let run = format!("k = {delay}");
    if let Some((what, hash)) = benign.blocked.first() {
        let (what, hash) = (*what, *hash);
        return Err(DrillError::TrafficFails {
            scenario,
            run,
            what,
            hash,
        });
    }
    if attack.delay() != delay {
        let reason = format!("{} blocks lay between them", attack.delay());
        return Err(DrillError::WrongOrder {
            scenario,
            run,
            attempts: 1,
            reason,
        });
    }
    if damage.main.amount().is_zero() {
        return Err(DrillError::Harmless {
            scenario,
            run,
            loss: damage.main.to_string(),
        });
    }
    Ok(damage)
}

/// The keeper's latencies as it recorded them.
pub(crate) fn latency(incident: &Incident) -> Latency {
    // To the microsecond, which is as exact as the record is.
    let millis =
        |duration: Option<Duration>| duration.map(|duration| (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0);
    Latency {
        head_to_decision: millis(incident.head_to_decision),
        decision_to_broadcast: millis(incident.decision_to_broadcast),
        broadcast_to_contained: millis(incident.broadcast_to_contained),
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = DrillError;

    fn from_str(name: &str) -> Result<Self, DrillError> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| DrillError::UnknownScenario {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy::primitives::{B256, U256};

    use super::*;
    use crate::{attack::Landed, loss::Loss};

    #[test]
    fn every_name_finds_its_drill() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse::<Scenario>().unwrap(), scenario);
        }
    }

    fn landed(block: u64) -> Landed {
        Landed {
            hash: B256::ZERO,
            block,
            index: 0,
            succeeded: true,
        }
    }

    fn damage(amount: u64) -> Damage {
        let main = Loss::new("USDC", 6, U256::from(amount), amount);
        Damage {
            main,
            by_asset: Vec::new(),
        }
    }

    #[test]
    fn an_unguarded_run_must_show_what_it_is_to_show() {
        let attack = Attack {
            change: landed(10),
            taking: landed(11),
        };
        let quiet = Benign {
            sent: 300,
            blocked: Vec::new(),
        };
        let failing = Benign {
            sent: 300,
            blocked: vec![("supply", B256::ZERO)],
        };
        let said = |result: Result<Damage, DrillError>| result.unwrap_err().to_string();
        assert!(proven("drill", 1, &quiet, &attack, damage(1)).is_ok());
        assert!(said(proven("drill", 1, &quiet, &attack, damage(0))).contains("no longer hurts"));
        assert!(said(proven("drill", 1, &failing, &attack, damage(1))).contains("an honest supply"));
        assert!(said(proven("drill", 2, &quiet, &attack, damage(1))).contains("1 blocks lay between"));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "aave".parse::<Scenario>().unwrap_err().to_string();
        assert!(
            error.contains("`aave`") && error.contains("aave-oracle, vault-inflation"),
            "{error}"
        );
    }
}
