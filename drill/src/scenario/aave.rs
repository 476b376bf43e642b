//! `aave-oracle`: an oracle source of a real Aave v3 market is replaced, and a fresh account borrows k blocks later.

use crate::{
    Context,
    attack::{self, Arrival, Attack},
    benign::{self, Benign},
    error::DrillError,
    fork::{Fork, Pace},
    live::AaveMarket,
    outcome::Outcome,
    scenario::Scenario,
    score::{self, Damage},
};

/// Delays between the change and the loan in blocks, with the orders of arrival that are run for each.
const RUNS: [(u64, &[Arrival]); 4] = [
    (0, &[Arrival::Attacker]),
    (1, &[Arrival::Attacker, Arrival::Keeper]),
    (2, &[Arrival::Keeper]),
    (4, &[Arrival::Keeper]),
];

/// What happened without the guard.
struct Unguarded {
    benign: Benign,
    attack: Attack,
    damage: Damage,
}

/// The attack on the unguarded market, after the same honest traffic as with the guard.
async fn unguarded(context: &Context<'_>, market: &AaveMarket, delay: u64) -> Result<Unguarded, DrillError> {
    context
        .progress
        .step(&format!("aave-oracle, k = {delay}: without the guard"));
    let fork = Fork::start(context.live, Pace::OnDemand).await?;
    let benign = benign::run(&fork, &benign::aave::plan(market)?).await?;
    let prepared = attack::aave::prepare(&fork, context.tools, market).await?;
    let attack = attack::aave::strike(&fork, market, &prepared, delay, Arrival::Attacker, None).await?;
    let damage = score::aave_damage(&fork, market, attack.change.block - 1).await?;
    fork.stop().await?;
    if damage.main.amount().is_zero() {
        return Err(DrillError::Harmless {
            scenario: Scenario::AaveOracle.name(),
            run: format!("k = {delay}"),
            loss: damage.main.to_string(),
        });
    }
    Ok(Unguarded { benign, attack, damage })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Tools, live::Live, progress::Silent};

    #[tokio::test]
    async fn without_the_guard_honest_traffic_passes_and_the_attack_hurts() {
        let tools = Tools::discover(None, None).unwrap();
        let live = Live::start(&tools, &[Scenario::AaveOracle], &Silent).await.unwrap();
        let out = tools.root.clone();
        let context = Context {
            tools: &tools,
            live: &live,
            out,
            progress: &Silent,
        };
        let run = unguarded(&context, live.aave.as_ref().unwrap(), 1).await.unwrap();
        assert!(run.benign.sent >= 300, "{} transactions", run.benign.sent);
        assert_eq!(run.benign.blocked, []);
        assert_eq!(run.attack.delay(), 1);
        assert!(run.damage.main.share_bps() > 1_000, "{}", run.damage.main);
        live.stop().await;
    }
}
