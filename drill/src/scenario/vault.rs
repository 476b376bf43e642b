//! `vault-inflation`: the first depositor of a vault without virtual shares takes the next depositor's assets.

use crate::{
    Context,
    attack::{self, Attack},
    benign::{self, Benign},
    error::DrillError,
    fork::{Fork, Pace},
    live::VaultMarket,
    outcome::Outcome,
    scenario::Scenario,
    score::{self, Damage},
};

/// Delays between the inflation and the victim's deposit, in blocks.
const DELAYS: [u64; 2] = [0, 1];

/// What happened without the guard.
struct Unguarded {
    benign: Benign,
    attack: Attack,
    damage: Damage,
}

/// The attack on the unguarded vault, after the same honest traffic as with the guard.
async fn unguarded(context: &Context<'_>, market: &VaultMarket, delay: u64) -> Result<Unguarded, DrillError> {
    context
        .progress
        .step(&format!("vault-inflation, k = {delay}: without the guard"));
    let fork = Fork::start(context.live, Pace::OnDemand).await?;
    let benign = benign::run(&fork, &benign::vault::plan(market)?).await?;
    let attack = attack::vault::strike(&fork, market, delay).await?;
    let damage = score::vault_damage(&fork, market, attack.change.block - 1).await?;
    fork.stop().await?;
    if damage.main.amount().is_zero() {
        return Err(DrillError::Harmless {
            scenario: Scenario::VaultInflation.name(),
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
        let live = Live::start(&tools, &[Scenario::VaultInflation], &Silent).await.unwrap();
        let out = tools.root.clone();
        let context = Context {
            tools: &tools,
            live: &live,
            out,
            progress: &Silent,
        };
        let run = unguarded(&context, live.vault.as_ref().unwrap(), 1).await.unwrap();
        assert!(run.benign.sent >= 300, "{} transactions", run.benign.sent);
        assert_eq!(run.benign.blocked, []);
        assert_eq!(run.attack.delay(), 1);
        assert!(run.damage.main.share_bps() > 1_000, "{}", run.damage.main);
        live.stop().await;
    }
}
