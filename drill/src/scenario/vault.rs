//! `vault-inflation`: the first depositor of a vault without virtual shares takes the next depositor's assets.

use std::path::PathBuf;

use alloy::{
    primitives::{Address, Bytes},
    sol_types::SolCall,
};
use cordon_keeper::{record::Incident, report::RuleTexts};

use super::{fresh_folder, proven};
use crate::{
    Context,
    abi::ICreditVault,
    attack::{self, Attack},
    benign::{self, Benign},
    config::Template,
    dossier::{self, Note},
    error::DrillError,
    fork::{Fork, Pace},
    live::VaultMarket,
    outcome::{Detector, Latency, Order, Outcome, Run},
    refusal,
    scenario::Scenario,
    score::{self, Damage},
    stage::{Grant, Stage},
};

/// Delays between the inflation and the victim's deposit, in blocks.
const DELAYS: [u64; 2] = [0, 1];

/// The attack on the unguarded vault, after the same honest traffic as with the guard.
async fn unguarded(context: &Context<'_>, market: &VaultMarket, delay: u64) -> Result<Damage, DrillError> {
    context
        .progress
        .step(&format!("vault-inflation, k = {delay}: without the guard"));
    let fork = Fork::start(context.live, Pace::OnDemand).await?;
    let benign = benign::run(&fork, &benign::vault::plan(market)?).await?;
    let attack = attack::vault::strike(&fork, market, delay).await?;
    let damage = score::vault_damage(&fork, market, attack.change.block - 1).await?;
    fork.stop().await?;
    proven(NAME, delay, &benign, &attack, damage)
}

/// All runs of the drill.
pub(crate) async fn run(context: &Context<'_>) -> Result<Outcome, DrillError> {
    let market = context
        .live
        .vault
        .as_ref()
        .ok_or(DrillError::NotDeployed { scenario: NAME })?;
    let mut runs = Vec::new();
    let mut reports = Vec::new();
    for delay in DELAYS {
        let unguarded = unguarded(context, market, delay).await?;
        context.progress.step(&format!("{NAME}, k = {delay}: with the guard"));
        let guarded = guarded(context, market, delay).await?;
        let (run, report) = guarded.conclude(context, &unguarded).await?;
        runs.push(run);
        reports.extend(report);
    }
    Ok(Outcome {
        scenario: NAME,
        real_bytecode: Scenario::VaultInflation.real_bytecode(),
        runs,
        reports,
    })
}

const NAME: &str = Scenario::VaultInflation.name();

/// What happened with the guard.
struct Guarded {
    folder: PathBuf,
    benign: Benign,
    false_trips: u64,
    attack: Attack,
    /// The incident that the hook's refusal makes; `None` when the deposit went through.
    incident: Option<Incident>,
    damage: Damage,
    texts: RuleTexts,
}

async fn guarded(context: &Context<'_>, market: &VaultMarket, delay: u64) -> Result<Guarded, DrillError> {
    let folder = fresh_folder(context, NAME, &format!("k{delay}"))?;
    let mut fork = Fork::start(context.live, Pace::Automatic).await?;
    let template = Template::vault(market, &fork.http(), &fork.ws())?;
    let vaults = [market.busy, market.new];
    let stage = Stage::raise(context, &mut fork, &template, |guard| Ok(hooks(vaults, guard)), &folder).await?;
    let benign = benign::run(&fork, &benign::vault::plan(market)?).await?;
    let attack = attack::vault::strike(&fork, market, delay).await?;
    let false_trips = stage.trips_before(&fork, attack.change.block).await?;
    let damage = score::vault_damage(&fork, market, attack.change.block - 1).await?;
    let incident = if attack.taking.succeeded {
        None
    } else {
        refused_deposit(&fork, &stage, &attack).await?
    };
    let texts = stage.texts.clone();
    stage.close().await?;
    fork.stop().await?;
    Ok(Guarded {
        texts,
        folder,
        benign,
        false_trips,
        attack,
        incident,
        damage,
    })
}

/// The vaults' owner switches their hooks on.
fn hooks(vaults: [Address; 2], guard: Address) -> Vec<Grant> {
    let calldata: Bytes = ICreditVault::setGuardCall { guard }.abi_encode().into();
    let grant = |target| Grant {
        target,
        calldata: calldata.clone(),
        what: "naming the guard to a vault",
    };
    vaults.map(grant).into()
}

/// What the refused deposit was reverted with, as an incident that is over as soon as it began: a hook that reverts an attack
/// has already held. `None` when something else than the rule refused it.
async fn refused_deposit(fork: &Fork, stage: &Stage, attack: &Attack) -> Result<Option<Incident>, DrillError> {
    let refused = refusal::incident(fork, stage, attack.change.block, &attack.taking).await?;
    let Some(mut incident) = refused else {
        return Ok(None);
    };
    let Some(rule) = incident.rule_name.clone().filter(|_| incident.rule.is_some()) else {
        return Ok(None);
    };
    let held = format!(
        "the hook reverted the victim's deposit inside the transaction: `{rule}` was breached; nothing else was closed"
    );
    let notes = vec![
        Note::new(
            attack.change,
            "attack",
            "the thief took the first share of the new vault and donated to it",
        ),
        Note::new(attack.taking, "hook", &held),
    ];
    dossier::tell(&mut incident, &fork.chain, notes).await?;
    Ok(Some(incident))
}

impl Guarded {
    async fn conclude(self, context: &Context<'_>, unguarded: &Damage) -> Result<(Run, Option<PathBuf>), DrillError> {
        for (what, hash) in &self.benign.blocked {
            context
                .progress
                .step(&format!("{NAME}: an honest {what} failed ({hash})"));
        }
        let report = match &self.incident {
            Some(incident) => {
                Some(dossier::publish(&self.folder, incident, &self.texts, unguarded, &self.damage).await?)
            }
            None => None,
        };
        // The hook stands in the way before the deposit is done, or not at all.
        let (order, detected_by) = match self.incident {
            Some(_) => (Order::GuardFirst, Detector::Hook),
            None => (Order::AttackerFirst, Detector::None),
        };
        let refused = self.incident.as_ref().map(|incident| incident.opened_block);
        let run = Run {
            attacker_delay_blocks: self.attack.delay(),
            order,
            saved_bps: self.damage.main.saved_bps(&unguarded.main),
            loss_unguarded: unguarded.main.clone(),
            loss_guarded: self.damage.main,
            detected_by,
            detected_block: refused,
            contained_block: refused,
            first_bad_block: self.attack.change.block,
            benign_txs: self.benign.sent,
            benign_blocked: u64::try_from(self.benign.blocked.len()).unwrap_or(u64::MAX),
            false_trips: self.false_trips,
            latency_ms: Latency::default(),
            contained_ms: None,
        };
        Ok((run, report))
    }
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
        let damage = unguarded(&context, live.vault.as_ref().unwrap(), 1).await.unwrap();
        assert!(damage.main.share_bps() > 1_000, "{}", damage.main);
        live.stop().await;
    }
}
