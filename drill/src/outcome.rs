//! What a drill found out, in the shape in which it is published.

use std::path::PathBuf;

use serde::Serialize;

use crate::{loss::Loss, scenario::Scenario};

/// Result of one drill. Serialises to the JSON line of `cordon drill --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Name of the drill.
    pub scenario: &'static str,
    /// Whether the protocol under attack is a published one, run from its published bytecode.
    pub real_bytecode: bool,
    /// One entry per attack.
    pub runs: Vec<Run>,
    /// Markdown incident reports, one per guarded run.
    #[serde(skip)]
    pub reports: Vec<PathBuf>,
}

/// One attack, without and with the guard.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Blocks between the attack's first bad block and the one in which it takes the value.
    pub attacker_delay_blocks: u64,
    /// Who came first.
    pub order: Order,
    /// What was lost without the guard.
    pub loss_unguarded: Loss,
    /// What was lost with it.
    pub loss_guarded: Loss,
    /// Part of the unguarded loss that the guard saved, in hundredths of a percent.
    pub saved_bps: u64,
    /// What caught the attack.
    pub detected_by: Detector,
    /// Block whose state gave the attack away; `None` when nothing did.
    pub detected_block: Option<u64>,
    /// Block from which on the attack was contained; `None` when it was not.
    pub contained_block: Option<u64>,
    /// First block with the attacker's change in it.
    pub first_bad_block: u64,
    /// Honest transactions before the attack.
    pub benign_txs: u64,
    /// How many of them failed.
    pub benign_blocked: u64,
    /// How often a level was raised or a breach recorded during the honest traffic.
    pub false_trips: u64,
    /// The keeper's latencies.
    pub latency_ms: Latency,
    /// Milliseconds from the arrival of the first bad block to that of the containing one, as an observer beside the keeper saw
    /// them; `None` where the hook refused the attack inside the transaction, or nothing contained it.
    #[serde(skip)]
    pub contained_ms: Option<u64>,
}

/// Order of the attacker's taking transaction and the containment, as they stand in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The attacker's transaction came first.
    AttackerFirst,
    /// The guard's containment came first.
    GuardFirst,
}

impl Order {
    /// As written in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AttackerFirst => "attacker-first",
            Self::GuardFirst => "guard-first",
        }
    }
}

/// What caught an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// The guard's hook, inside the transaction.
    Hook,
    /// The keeper, from outside.
    Keeper,
    /// Nothing.
    None,
}

impl Detector {
    /// As written in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Keeper => "keeper",
            Self::None => "none",
        }
    }
}

/// The keeper's latencies in milliseconds of its monotonic clock; `None` where the keeper had no part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// From the arrival of the head to the stored decision.
    pub head_to_decision: Option<f64>,
    /// From the stored decision to the accepted transaction.
    pub decision_to_broadcast: Option<f64>,
    /// From the accepted transaction to the confirmed containment.
    pub broadcast_to_contained: Option<f64>,
}

/// Most that a vault's depositors may lose, in bps of the deposit: the tolerance of the rule that guards them.
pub(crate) const VAULT_TOLERANCE_BPS: u64 = 50;

/// Fewest honest transactions per run.
const MIN_BENIGN: u64 = 300;

impl Outcome {
    /// The JSON line of `cordon drill --json`.
    ///
    /// # Errors
    /// When a figure cannot be written as JSON, which a finite figure always can.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Promises that the drill did not keep, one sentence each; empty when all is well.
    #[must_use]
    pub fn broken_promises(&self) -> Vec<String> {
        self.runs.iter().flat_map(|run| self.broken_by(run)).collect()
    }

    fn broken_by(&self, run: &Run) -> Vec<String> {
        let name = format!(
            "{}, k = {}, {}",
            self.scenario,
            run.attacker_delay_blocks,
            run.order.name()
        );
        let mut broken = Vec::new();
        if run.benign_txs < MIN_BENIGN {
            broken.push(format!(
                "{name}: only {} honest transactions, at least {MIN_BENIGN} are wanted",
                run.benign_txs
            ));
        }
        if run.benign_blocked > 0 {
            broken.push(format!(
                "{name}: {} of {} honest transactions failed",
                run.benign_blocked, run.benign_txs
            ));
        }
        if run.false_trips > 0 {
            broken.push(format!("{name}: {} false trips during honest traffic", run.false_trips));
        }
        match run.contained_block {
            None => broken.push(format!("{name}: the attack was not contained")),
            Some(block) if block > run.first_bad_block + 1 => broken.push(format!(
                "{name}: contained in block {block}, more than one block after the first bad one ({})",
                run.first_bad_block
            )),
            Some(_) => {}
        }
        let scenario = self.scenario.parse::<Scenario>().ok();
        let tolerated = scenario.map_or(0, Scenario::tolerance_bps);
        let must_save = scenario.is_some_and(Scenario::always_held) || run.attacker_delay_blocks >= 2;
        if must_save && !run.loss_guarded.within(tolerated, &run.loss_unguarded) {
            broken.push(format!("{name}: {} lost with the guard", run.loss_guarded));
        }
        broken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use alloy::primitives::U256;

    use super::*;

    pub(crate) fn usdc(whole: u64, share_bps: u64) -> Loss {
        Loss::new("USDC", 6, U256::from(whole) * U256::from(1_000_000u64), share_bps)
    }

    pub(crate) fn kept() -> Outcome {
        let run = Run {
            attacker_delay_blocks: 2,
            order: Order::GuardFirst,
            loss_unguarded: usdc(3_655_042, 2_546),
            loss_guarded: usdc(0, 0),
            saved_bps: 10_000,
            detected_by: Detector::Keeper,
            detected_block: Some(100),
            contained_block: Some(101),
            first_bad_block: 100,
            benign_txs: 373,
            benign_blocked: 0,
            false_trips: 0,
            latency_ms: Latency {
                head_to_decision: Some(12.5),
                decision_to_broadcast: Some(3.25),
                broadcast_to_contained: Some(240.0),
            },
            contained_ms: Some(256),
        };
        Outcome {
            scenario: "aave-oracle",
            real_bytecode: true,
            runs: vec![run],
            reports: Vec::new(),
        }
    }

    fn broken(change: impl FnOnce(&mut Run)) -> String {
        let mut outcome = kept();
        change(&mut outcome.runs[0]);
        outcome.broken_promises().join("; ")
    }

    #[test]
    fn a_drill_that_went_well_breaks_no_promise() {
        assert_eq!(kept().broken_promises(), Vec::<String>::new());
    }

    #[test]
    fn every_promise_can_be_broken() {
        assert!(broken(|run| run.benign_txs = 299).contains("only 299 honest transactions"));
        assert!(broken(|run| run.benign_blocked = 1).contains("1 of 373 honest transactions failed"));
        assert!(broken(|run| run.false_trips = 2).contains("2 false trips"));
        assert!(broken(|run| run.contained_block = None).contains("not contained"));
        assert!(broken(|run| run.contained_block = Some(102)).contains("more than one block after"));
        assert!(broken(|run| run.loss_guarded = usdc(1, 0)).contains("1.00 USDC lost with the guard"));
    }

    #[test]
    fn what_cannot_be_held_is_not_promised() {
        // The loan is in the same block as the change, or races the containment for the next one.
        for delay in [0, 1] {
            assert_eq!(
                broken(|run| {
                    run.attacker_delay_blocks = delay;
                    run.loss_guarded = usdc(3_655_042, 2_546);
                }),
                ""
            );
        }
    }

    #[test]
    fn a_vault_may_lose_the_rules_tolerance_and_no_more() {
        let mut outcome = kept();
        outcome.scenario = "vault-inflation";
        outcome.runs[0].loss_unguarded = usdc(10_000, 10_000);
        outcome.runs[0].loss_guarded = usdc(50, 50);
        assert_eq!(outcome.broken_promises(), Vec::<String>::new());
        outcome.runs[0].loss_guarded = usdc(51, 51);
        assert_eq!(outcome.broken_promises().len(), 1);
    }

    #[test]
    fn the_json_line_has_the_published_shape() {
        let line = kept().line().unwrap();
        let expected = concat!(
            r#"{"scenario":"aave-oracle","real_bytecode":true,"runs":[{"attacker_delay_blocks":2,"order":"guard-first","#,
            r#""loss_unguarded":{"asset":"USDC","amount":3655042.0,"share_bps":2546},"#,
            r#""loss_guarded":{"asset":"USDC","amount":0.0,"share_bps":0},"saved_bps":10000,"detected_by":"keeper","#,
            r#""detected_block":100,"contained_block":101,"first_bad_block":100,"benign_txs":373,"benign_blocked":0,"#,
            r#""false_trips":0,"latency_ms":{"head_to_decision":12.5,"decision_to_broadcast":3.25,"broadcast_to_contained":240.0}}]}"#
        );
        assert_eq!(line, expected);
    }
}
