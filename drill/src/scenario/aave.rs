//! `aave-oracle`: an oracle source of a real Aave v3 market is replaced, and a fresh account borrows k blocks later.

use std::path::PathBuf;

use alloy::{primitives::Address, sol_types::SolCall};
use cordon_keeper::record::Incident;

use super::{fresh_folder, latency, proven};
use crate::{
    Context,
    abi::IACLManager,
    attack::{self, Arrival, Attack, Landed},
    benign::{self, Benign},
    cast,
    chain::signer,
    config::Template,
    dossier::{self, Place},
    error::DrillError,
    fork::{Fork, Pace},
    live::AaveMarket,
    outcome::{Detector, Order, Outcome, Run},
    scenario::Scenario,
    score::{self, Damage},
    stage::{Containment, Grant, Stage},
};

/// The scope that the market's rules raise.
const WHOLE_PROTOCOL: u8 = 0;

/// Fresh forks on which a race is tried before the drill gives up.
const ATTEMPTS: u32 = 4;

/// Delays between the change and the loan in blocks, with the orders of arrival that are run for each.
const RUNS: [(u64, &[Arrival]); 4] = [
    (0, &[Arrival::Attacker]),
    (1, &[Arrival::Attacker, Arrival::Keeper]),
    (2, &[Arrival::Keeper]),
    (4, &[Arrival::Keeper]),
];

/// The attack on the unguarded market, after the same honest traffic as with the guard.
async fn unguarded(context: &Context<'_>, market: &AaveMarket, delay: u64) -> Result<Damage, DrillError> {
    context
        .progress
        .step(&format!("aave-oracle, k = {delay}: without the guard"));
    let fork = Fork::start(context.live, Pace::OnDemand).await?;
    let benign = benign::run(&fork, &benign::aave::plan(market)?).await?;
    let prepared = attack::aave::prepare(&fork, context.tools, market).await?;
    let attack = attack::aave::strike(&fork, market, &prepared, delay, Arrival::Attacker, None).await?;
    let damage = score::aave_damage(&fork, market, attack.change.block - 1).await?;
    fork.stop().await?;
    proven(NAME, delay, &benign, &attack, damage)
}

/// All runs of the drill.
pub(crate) async fn run(context: &Context<'_>) -> Result<Outcome, DrillError> {
    let market = context
        .live
        .aave
        .as_ref()
        .ok_or(DrillError::NotDeployed { scenario: NAME })?;
    let mut runs = Vec::new();
    let mut reports = Vec::new();
    for (delay, arrivals) in RUNS {
        let unguarded = unguarded(context, market, delay).await?;
        for arrival in arrivals {
            let (run, report) = raced(context, market, delay, *arrival, &unguarded).await?;
            runs.push(run);
            reports.push(report);
        }
    }
    Ok(Outcome {
        scenario: NAME,
        real_bytecode: Scenario::AaveOracle.real_bytecode(),
        runs,
        reports,
    })
}

const NAME: &str = Scenario::AaveOracle.name();

/// A guarded run, on as many fresh forks as it takes until the transactions land as the scenario needs them.
async fn raced(
    context: &Context<'_>,
    market: &AaveMarket,
    delay: u64,
    arrival: Arrival,
    unguarded: &Damage,
) -> Result<(Run, PathBuf), DrillError> {
    let name = format!("k = {delay}, {} first", arrival.name());
    let mut reason = String::new();
    for attempt in 1..=ATTEMPTS {
        let again = if attempt == 1 {
            String::new()
        } else {
            format!(" (again: {reason})")
        };
        context.progress.step(&format!("{NAME}, {name}: with the guard{again}"));
        let guarded = guarded(context, market, delay, arrival).await?;
        match guarded.misplaced(delay, arrival) {
            Some(problem) => reason = problem,
            None => return guarded.conclude(context, unguarded).await,
        }
    }
    Err(DrillError::WrongOrder {
        scenario: NAME,
        run: name,
        attempts: ATTEMPTS,
        reason,
    })
}

/// What happened with the guard.
struct Guarded {
    folder: PathBuf,
    benign: Benign,
    false_trips: u64,
    attack: Attack,
    containment: Option<Containment>,
    incident: Option<Incident>,
    damage: Damage,
}

async fn guarded(
    context: &Context<'_>,
    market: &AaveMarket,
    delay: u64,
    arrival: Arrival,
) -> Result<Guarded, DrillError> {
    let folder = fresh_folder(context, NAME, &format!("k{delay}-{}-first", arrival.name()))?;
    let mut fork = Fork::start(context.live, Pace::Automatic).await?;
    let template = Template::aave(market, &fork.http(), &fork.ws())?;
    let acl = market.acl;
    let stage = Stage::raise(context, &mut fork, &template, |guard| roles(acl, guard), &folder).await?;
    let benign = benign::run(&fork, &benign::aave::plan(market)?).await?;
    let prepared = attack::aave::prepare(&fork, context.tools, market).await?;
    let attack = attack::aave::strike(&fork, market, &prepared, delay, arrival, Some(stage.guard)).await?;
    let containment = stage.contained_since(&fork, attack.change.block).await?;
    stage
        .incident(|incident| incident.broadcast_to_contained.is_some())
        .await?;
    let false_trips = stage.trips_before(&fork, attack.change.block).await?;
    let damage = score::aave_damage(&fork, market, attack.change.block - 1).await?;
    let mut incident = None;
    if containment.is_some() {
        let revoked = recover(&fork, market, &stage).await?;
        incident = stage.incident(|incident| incident.ended_block.is_some()).await?;
        if let Some(incident) = &mut incident {
            narrate(incident, &fork, &attack, &revoked).await?;
        }
    }
    stage.close().await?;
    fork.stop().await?;
    Ok(Guarded {
        folder,
        benign,
        false_trips,
        attack,
        containment,
        incident,
        damage,
    })
}

/// What the guard's containment calls need: pause (EMERGENCY_ADMIN), switch off borrowing (RISK_ADMIN), restore an oracle source
/// (ASSET_LISTING_ADMIN). Not POOL_ADMIN, which could do anything.
fn roles(acl: Address, guard: Address) -> Vec<Grant> {
    let account = guard;
    [
        (
            IACLManager::addEmergencyAdminCall { account }.abi_encode(),
            "making the guard EMERGENCY_ADMIN",
        ),
        (
            IACLManager::addRiskAdminCall { account }.abi_encode(),
            "making the guard RISK_ADMIN",
        ),
        (
            IACLManager::addAssetListingAdminCall { account }.abi_encode(),
            "making the guard ASSET_LISTING_ADMIN",
        ),
    ]
    .into_iter()
    .map(|(calldata, what)| Grant {
        target: acl,
        calldata: calldata.into(),
        what,
    })
    .collect()
}

/// What people do once an attack is contained: the owner takes the thief's role, and a guardian releases the scope after the
/// wait that the guard imposes. Answers the transaction that took the role.
async fn recover(fork: &Fork, market: &AaveMarket, stage: &Stage) -> Result<Landed, DrillError> {
    let account = signer(cast::THIEF)?.address();
    let revoke = IACLManager::removeAssetListingAdminCall { account };
    let revoked = fork
        .chain
        .execute(fork.account(cast::ADMIN)?, market.acl, &revoke)
        .await?;
    stage.release(fork, WHOLE_PROTOCOL).await?;
    Landed::try_from(&revoked)
}

/// Adds to the incident what the keeper cannot know: who did what to the protocol, and why.
async fn narrate(incident: &mut Incident, fork: &Fork, attack: &Attack, revoked: &Landed) -> Result<(), DrillError> {
    let change =
        "the holder of ASSET_LISTING_ADMIN replaced WETH's price source by one that answers 100 times the price";
    let taking = if attack.taking.succeeded {
        "a fresh account borrowed USDC against the false price"
    } else {
        "a fresh account tried to borrow USDC against the false price, and was refused"
    };
    let revoking = "the market's owner took ASSET_LISTING_ADMIN from the thief";
    dossier::tell(
        incident,
        &fork.chain,
        revoked,
        Place::InTurn,
        "owner",
        revoking.to_owned(),
    )
    .await?;
    dossier::tell(
        incident,
        &fork.chain,
        &attack.taking,
        Place::InTurn,
        "attack",
        taking.to_owned(),
    )
    .await?;
    dossier::tell(
        incident,
        &fork.chain,
        &attack.change,
        Place::First,
        "attack",
        change.to_owned(),
    )
    .await
}

impl Guarded {
    /// Who came first, as it stands in the chain.
    fn order(&self) -> Order {
        match &self.containment {
            Some(containment) if containment.raised.before(&self.attack.taking) => Order::GuardFirst,
            _ => Order::AttackerFirst,
        }
    }

    /// Why this run is not the one that was wanted, if it is not.
    fn misplaced(&self, delay: u64, arrival: Arrival) -> Option<String> {
        if self.attack.delay() != delay {
            return Some(format!(
                "the loan landed {} blocks after the change",
                self.attack.delay()
            ));
        }
        // Only within one block does the order of arrival decide; elsewhere the order is what the run is to find out.
        let raised = self.containment.as_ref()?.raised;
        let wanted = match arrival {
            Arrival::Attacker => Order::AttackerFirst,
            Arrival::Keeper => Order::GuardFirst,
        };
        (delay == 1 && raised.block == self.attack.taking.block && self.order() != wanted)
            .then(|| format!("in block {} it was {}", raised.block, self.order().name()))
    }

    async fn conclude(self, context: &Context<'_>, unguarded: &Damage) -> Result<(Run, PathBuf), DrillError> {
        for (what, hash) in &self.benign.blocked {
            context
                .progress
                .step(&format!("{NAME}: an honest {what} failed ({hash})"));
        }
        let order = self.order();
        let incident = self.incident.ok_or(DrillError::NoIncident {
            scenario: NAME,
            folder: self.folder.clone(),
        })?;
        let report = dossier::publish(&self.folder, &incident, unguarded, &self.damage).await?;
        let run = Run {
            attacker_delay_blocks: self.attack.delay(),
            order,
            saved_bps: self.damage.main.saved_bps(&unguarded.main),
            loss_unguarded: unguarded.main.clone(),
            loss_guarded: self.damage.main,
            detected_by: if self.containment.is_some() {
                Detector::Keeper
            } else {
                Detector::None
            },
            detected_block: Some(incident.opened_block),
            contained_block: self.containment.map(|containment| containment.raised.block),
            first_bad_block: self.attack.change.block,
            benign_txs: self.benign.sent,
            benign_blocked: u64::try_from(self.benign.blocked.len()).unwrap_or(u64::MAX),
            false_trips: self.false_trips,
            latency_ms: latency(&incident),
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
        let live = Live::start(&tools, &[Scenario::AaveOracle], &Silent).await.unwrap();
        let out = tools.root.clone();
        let context = Context {
            tools: &tools,
            live: &live,
            out,
            progress: &Silent,
        };
        let damage = unguarded(&context, live.aave.as_ref().unwrap(), 1).await.unwrap();
        assert!(damage.main.share_bps() > 1_000, "{}", damage.main);
        live.stop().await;
    }
}
