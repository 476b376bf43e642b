//! `aave-oracle`: an oracle source of a real Aave v3 market is replaced, and a fresh account borrows k blocks later.

use std::{path::PathBuf, time::Duration};

use alloy::{primitives::Address, sol_types::SolCall};
use cordon_keeper::{record::Incident, report::RuleTexts};

use super::{fresh_folder, latency, proven};
use crate::{
    Context,
    abi::{IACLManager, IMintable},
    attack::{self, Arrival, Attack, Landed},
    benign::{self, Benign},
    cast,
    chain::signer,
    config::Template,
    dossier::{self, Note},
    error::DrillError,
    fork::{Fork, Pace},
    live::{AaveMarket, Batch, repay_call},
    outcome::{Detector, Order, Outcome, Run},
    scenario::Scenario,
    score::{self, Damage},
    stage::{Containment, Grant, Stage},
};

/// What the keeper calls it in the timeline when somebody queues a release.
const RELEASE_QUEUED: &str = "release queued";

/// The scope that the market's rules raise.
const WHOLE_PROTOCOL: u8 = 0;

/// Fresh forks on which a race is tried before the drill gives up.
const ATTEMPTS: u32 = 4;

/// The delay at which attacker and keeper race for the same block, so that the order of arrival decides.
const RACE: u64 = 1;

/// Blocks between the change and the loan.
const DELAYS: [u64; 4] = [0, RACE, 2, 4];

/// One guarded run.
#[derive(Debug, Clone, Copy)]
struct Plan {
    delay: u64,
    arrival: Arrival,
}

impl Plan {
    /// The runs for a delay. Where there is no race the attacker sends as soon as the delay allows.
    fn of(delay: u64) -> &'static [Arrival] {
        if delay == RACE {
            &[Arrival::Attacker, Arrival::Keeper]
        } else {
            &[Arrival::Attacker]
        }
    }

    /// For people.
    fn name(self) -> String {
        match self.delay {
            RACE => format!("k = {RACE}, {} first", self.arrival.name()),
            delay => format!("k = {delay}"),
        }
    }

    /// Folder of the run's files.
    fn folder(self) -> String {
        match self.delay {
            RACE => format!("k{RACE}-{}-first", self.arrival.name()),
            delay => format!("k{delay}"),
        }
    }
}

/// The attack on the unguarded market, after the same honest traffic as with the guard.
async fn unguarded(context: &Context<'_>, market: &AaveMarket, delay: u64) -> Result<Damage, DrillError> {
    context
        .progress
        .step(&format!("aave-oracle, k = {delay}: without the guard"));
    let fork = Fork::start(context.live, Pace::OnDemand).await?;
    let benign = benign::run(&fork, &benign::aave::plan(market)?).await?;
    let prepared = attack::aave::prepare(&fork, context.tools, market).await?;
    let attack = attack::aave::strike(&fork, market, &prepared, delay, Arrival::Attacker, None).await?;
    let damage = score::aave_damage(&fork, market, attack.change.block - 1, attack.taking.block).await?;
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
    for delay in DELAYS {
        let unguarded = unguarded(context, market, delay).await?;
        for arrival in Plan::of(delay).iter().copied() {
            let (run, report) = raced(context, market, Plan { delay, arrival }, &unguarded).await?;
            runs.push(run);
            reports.extend(report);
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
    plan: Plan,
    unguarded: &Damage,
) -> Result<(Run, Option<PathBuf>), DrillError> {
    let name = plan.name();
    let mut reason = String::new();
    for attempt in 1..=ATTEMPTS {
        let again = if attempt == 1 {
            String::new()
        } else {
            format!(" (again: {reason})")
        };
        context.progress.step(&format!("{NAME}, {name}: with the guard{again}"));
        let guarded = guarded(context, market, plan).await?;
        match guarded.misplaced(plan) {
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
    texts: RuleTexts,
    contained_ms: Option<u64>,
}

async fn guarded(context: &Context<'_>, market: &AaveMarket, plan: Plan) -> Result<Guarded, DrillError> {
    let folder = fresh_folder(context, NAME, &plan.folder())?;
    let mut fork = Fork::start(context.live, Pace::Automatic).await?;
    let template = Template::aave(market, &fork.http(), &fork.ws())?;
    let acl = market.acl;
    let stage = Stage::raise(context, &mut fork, &template, |guard| Ok(roles(acl, guard)), &folder).await?;
    let benign = benign::run(&fork, &benign::aave::plan(market)?).await?;
    let prepared = attack::aave::prepare(&fork, context.tools, market).await?;
    let attack = attack::aave::strike(&fork, market, &prepared, plan.delay, plan.arrival, Some(stage.guard)).await?;
    let containment = stage.contained_since(&fork, attack.change.block).await?;
    stage
        .incident(|incident| incident.broadcast_to_contained.is_some())
        .await?;
    let false_trips = stage.trips_before(&fork, attack.change.block).await?;
    let damage = score::aave_damage(&fork, market, attack.change.block - 1, attack.taking.block).await?;
    let mut incident = None;
    if containment.is_some() {
        let recovery = recover(&fork, market, &stage).await?;
        incident = stage.incident(|incident| incident.ended_block.is_some()).await?;
        if let Some(incident) = &mut incident {
            narrate(incident, &fork, &attack, &recovery).await?;
        }
    }
    let contained_ms =
        containment.and_then(|containment| fork.millis_between(attack.change.block, containment.raised.block));
    let texts = stage.texts.clone();
    stage.close().await?;
    fork.stop().await?;
    Ok(Guarded {
        texts,
        contained_ms,
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

/// What people did once the attack was contained.
struct Recovery {
    /// The owner takes the thief's role.
    revoked: Landed,
    /// The owner's treasury repays the thief's debt, where there is one.
    covered: Option<Landed>,
    /// By how much the fork's clock was moved for the release.
    waited: Duration,
}

/// What people do once an attack is contained: the owner takes the thief's role and covers the bad debt, for a rule that stays
/// breached is tripped again and again; then a guardian releases the scope after the wait that the guard imposes.
async fn recover(fork: &Fork, market: &AaveMarket, stage: &Stage) -> Result<Recovery, DrillError> {
    let owner = fork.account(cast::ADMIN)?;
    let account = signer(cast::THIEF)?.address();
    let revoke = IACLManager::removeAssetListingAdminCall { account };
    let revoked = Landed::try_from(&fork.chain.execute(owner, market.acl, &revoke).await?)?;
    let covered = cover(fork, market).await?;
    // The keeper evaluates two blocks in which all is well before anybody asks for a release.
    fork.next_block().await?;
    fork.next_block().await?;
    let waited = stage.release(fork, WHOLE_PROTOCOL).await?;
    Ok(Recovery {
        revoked,
        covered,
        waited,
    })
}

/// Repays what the thief's fresh account owes in USDC.
async fn cover(fork: &Fork, market: &AaveMarket) -> Result<Option<Landed>, DrillError> {
    let owner = fork.account(cast::ADMIN)?;
    let thief = fork.account(cast::FRESH)?.address();
    let usdc = &market.usdc;
    let debt = fork
        .chain
        .read(usdc.debt_token, &IMintable::balanceOfCall { account: thief })
        .await?;
    if debt.is_zero() {
        return Ok(None);
    }
    // Interest runs on until the repayment is mined; what is too much is not taken.
    let amount = debt.saturating_add(usdc.units(1_000));
    let mint = IMintable::mintCall {
        account: owner.address(),
        amount,
    };
    let approve = IMintable::approveCall {
        spender: market.pool,
        amount,
    };
    let mut batch = Batch::new(&fork.chain);
    batch.send(owner, usdc.token, &mint).await?;
    batch.send(owner, usdc.token, &approve).await?;
    batch.succeed().await?;
    let repaid = fork
        .chain
        .execute(owner, market.pool, &repay_call(usdc, amount, thief))
        .await?;
    Ok(Some(Landed::try_from(&repaid)?))
}

/// Adds to the incident what the keeper cannot know: who did what to the protocol, and why.
async fn narrate(incident: &mut Incident, fork: &Fork, attack: &Attack, recovery: &Recovery) -> Result<(), DrillError> {
    let change =
        "the holder of ASSET_LISTING_ADMIN replaced WETH's price source by one that answers 100 times the price";
    let taking = if attack.taking.succeeded {
        "a fresh account borrowed USDC against the false price"
    } else {
        "a fresh account tried to borrow USDC against the false price, and was refused"
    };
    let mut notes = vec![
        Note::new(attack.change, "attack", change),
        Note::new(attack.taking, "attack", taking),
        Note::new(
            recovery.revoked,
            "owner",
            "the market's owner took ASSET_LISTING_ADMIN from the thief",
        ),
    ];
    let covering = "the market's owner repaid the thief's debt from the treasury";
    notes.extend(recovery.covered.map(|covered| Note::new(covered, "owner", covering)));
    dossier::tell(incident, &fork.chain, notes).await?;
    dossier::tell_of_clock(incident, recovery.waited, RELEASE_QUEUED);
    Ok(())
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
    fn misplaced(&self, plan: Plan) -> Option<String> {
        if self.attack.delay() != plan.delay {
            return Some(format!(
                "the loan landed {} blocks after the change",
                self.attack.delay()
            ));
        }
        // Only within one block does the order of arrival decide; elsewhere the order is what the run is to find out.
        let raised = self.containment.as_ref()?.raised;
        let wanted = match plan.arrival {
            Arrival::Attacker => Order::AttackerFirst,
            Arrival::Keeper => Order::GuardFirst,
        };
        (plan.delay == RACE && raised.block == self.attack.taking.block && self.order() != wanted)
            .then(|| format!("in block {} it was {}", raised.block, self.order().name()))
    }

    async fn conclude(self, context: &Context<'_>, unguarded: &Damage) -> Result<(Run, Option<PathBuf>), DrillError> {
        for (what, hash) in &self.benign.blocked {
            context
                .progress
                .step(&format!("{NAME}: an honest {what} failed ({hash})"));
        }
        let order = self.order();
        let report = match &self.incident {
            Some(incident) => {
                Some(dossier::publish(&self.folder, incident, &self.texts, unguarded, &self.damage).await?)
            }
            None => None,
        };
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
            detected_block: self.incident.as_ref().map(|incident| incident.opened_block),
            contained_block: self.containment.map(|containment| containment.raised.block),
            first_bad_block: self.attack.change.block,
            benign_txs: self.benign.sent,
            benign_blocked: u64::try_from(self.benign.blocked.len()).unwrap_or(u64::MAX),
            false_trips: self.false_trips,
            contained_ms: self.contained_ms,
            latency_ms: self.incident.as_ref().map(latency).unwrap_or_default(),
        };
        Ok((run, report))
    }
}

#[cfg(test)]
mod tests;
