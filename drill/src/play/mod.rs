//! Drills that are told apart only by what is deployed, what honest people do, what the thief does, and what was lost.
//!
//! A [`Play`] says these four; [`run`] carries it out without and with the guard, and writes the report.

pub(crate) mod bridge;
pub(crate) mod lending;
pub(crate) mod options;
pub(crate) mod pool;
pub(crate) mod safe;
pub(crate) mod safe_patient;
pub(crate) mod timelock;

mod ours;

use std::path::PathBuf;

use alloy::{eips::BlockId, primitives::U256};
use cordon_keeper::{record::Incident, report::RuleTexts};

use crate::{
    Context,
    attack::{Attack, Landed},
    benign::{self, Benign, Wave},
    config::Template,
    dossier::{self, Note},
    error::DrillError,
    fork::{Fork, Pace},
    live::{Book, Builder},
    loss::{Loss, parts},
    outcome::{Detector, Latency, Order, Outcome, Run},
    refusal,
    scenario::{Scenario, fresh_folder, latency, proven},
    score::Damage,
    stage::{Grant, Stage},
    tools::Tools,
};

/// An amount of one asset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// Ticker.
    pub(crate) asset: &'static str,
    /// Decimals of the asset.
    pub(crate) decimals: u8,
    /// Smallest units.
    pub(crate) amount: U256,
}

/// What happened, for the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    /// What the attacker's change is.
    pub(crate) change: &'static str,
    /// What the taking is, whether it went through or not.
    pub(crate) taking: &'static str,
    /// What stood in the way.
    pub(crate) held: &'static str,
}

/// How an attack went, and which of its transactions the guard is to refuse.
#[derive(Debug, Clone)]
pub(crate) struct Struck {
    /// The attack.
    pub(crate) attack: Attack,
    /// The transaction that the guard, or an adapter of it, refuses.
    pub(crate) refusable: Landed,
    /// What people did meanwhile, with what to say about it.
    pub(crate) notes: Vec<Note>,
}

/// One drill.
pub(crate) trait Play {
    /// Its name and kind.
    const SCENARIO: Scenario;
    /// Template of its `cordon.toml`.
    const TEMPLATE: &'static str;
    /// Who is to find out.
    const DETECTOR: Detector;
    /// Blocks between change and taking, one run each.
    const DELAYS: &'static [u64];
    /// What the report tells.
    const STORY: Story;

    /// Deploys the protocol on the live chain.
    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError>;
    /// What the protocol's owner does for the guard.
    fn grants(book: &Book, guard: alloy::primitives::Address) -> Result<Vec<Grant>, DrillError>;
    /// What honest people do.
    fn traffic(book: &Book, guarded: bool) -> Result<Vec<Wave>, DrillError>;
    /// What the thief does; `stage` is there when the guard is.
    async fn strike(fork: &Fork, book: &Book, delay: u64, stage: Option<&Stage>) -> Result<Struck, DrillError>;
    /// What those own who are to be protected, at the end of a block.
    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError>;
}

/// All runs of a drill.
pub(crate) async fn run<P: Play>(context: &Context<'_>) -> Result<Outcome, DrillError> {
    let name = P::SCENARIO.name();
    let book = context.live.book(P::SCENARIO)?;
    let mut runs = Vec::new();
    let mut reports = Vec::new();
    for delay in P::DELAYS.iter().copied() {
        context
            .progress
            .step(&format!("{name}, k = {delay}: without the guard"));
        let unguarded = unguarded::<P>(context, book, delay).await?;
        context.progress.step(&format!("{name}, k = {delay}: with the guard"));
        let guarded = Guarded::play::<P>(context, book, delay).await?;
        let (run, report) = guarded.conclude::<P>(context, &unguarded).await?;
        runs.push(run);
        reports.extend(report);
    }
    Ok(Outcome {
        scenario: name,
        real_bytecode: P::SCENARIO.real_bytecode(),
        runs,
        reports,
    })
}

/// The attack without the guard, after the same honest traffic.
async fn unguarded<P: Play>(context: &Context<'_>, book: &Book, delay: u64) -> Result<Damage, DrillError> {
    let fork = Fork::start(context.live, Pace::OnDemand).await?;
    let benign = benign::run(&fork, &P::traffic(book, false)?).await?;
    let struck = P::strike(&fork, book, delay, None).await?;
    let damage = damage::<P>(&fork, book, &struck.attack).await?;
    fork.stop().await?;
    proven(P::SCENARIO.name(), delay, &benign, &struck.attack, damage)
}

/// What those who are to be protected had before the attack and lack after it.
async fn damage<P: Play>(fork: &Fork, book: &Book, attack: &Attack) -> Result<Damage, DrillError> {
    let before = P::wealth(fork, book, BlockId::number(attack.change.block - 1)).await?;
    let after = P::wealth(fork, book, BlockId::latest()).await?;
    let mut losses = Vec::new();
    for (had, has) in before.iter().zip(after) {
        let lost = had.amount.saturating_sub(has.amount);
        losses.push(Loss::new(had.asset, had.decimals, lost, parts(lost, had.amount)));
    }
    let main = losses.iter().find(|loss| !loss.amount().is_zero()).or(losses.first());
    let main = main.cloned().ok_or_else(|| DrillError::OutOfRange {
        what: "a loss of nothing at all".to_owned(),
    })?;
    losses.retain(|loss| !loss.amount().is_zero());
    Ok(Damage { main, by_asset: losses })
}

/// What happened with the guard.
struct Guarded {
    folder: PathBuf,
    delay: u64,
    benign: Benign,
    false_trips: u64,
    struck: Struck,
    incident: Option<Incident>,
    damage: Damage,
    texts: RuleTexts,
    contained: Option<u64>,
    contained_ms: Option<u64>,
}

impl Guarded {
    async fn play<P: Play>(context: &Context<'_>, book: &Book, delay: u64) -> Result<Self, DrillError> {
        let folder = fresh_folder(context, P::SCENARIO.name(), &format!("k{delay}"))?;
        let mut fork = Fork::start(context.live, Pace::Automatic).await?;
        let template = Template::of(P::TEMPLATE, book, &fork.http(), &fork.ws())?;
        let stage = Stage::raise(context, &mut fork, &template, |guard| P::grants(book, guard), &folder).await?;
        let benign = benign::run(&fork, &P::traffic(book, true)?).await?;
        let struck = P::strike(&fork, book, delay, Some(&stage)).await?;
        let first_bad = struck.attack.change.block;
        let false_trips = stage.trips_before(&fork, first_bad).await?;
        let damage = damage::<P>(&fork, book, &struck.attack).await?;
        let (mut incident, mut contained, mut contained_ms) = (None, None, None);
        if P::DETECTOR == Detector::Keeper {
            if let Some(raised) = stage.contained_since(&fork, first_bad).await? {
                incident = stage.incident(|incident| incident.ended_block.is_some()).await?;
                contained = Some(raised.raised.block);
                contained_ms = fork.millis_between(first_bad, raised.raised.block);
            }
        } else if !struck.refusable.succeeded {
            incident = refusal::incident(&fork, &stage, struck.attack.change.block, &struck.refusable).await?;
            contained = incident.as_ref().map(|_| struck.refusable.block);
        }
        if let Some(incident) = &mut incident {
            dossier::tell(incident, &fork.chain, notes::<P>(&struck)).await?;
        }
        let texts = stage.texts.clone();
        stage.close().await?;
        fork.stop().await?;
        Ok(Self {
            folder,
            delay,
            benign,
            false_trips,
            struck,
            incident,
            damage,
            texts,
            contained,
            contained_ms,
        })
    }

    async fn conclude<P: Play>(
        self,
        context: &Context<'_>,
        unguarded: &Damage,
    ) -> Result<(Run, Option<PathBuf>), DrillError> {
        let name = P::SCENARIO.name();
        for (what, hash) in &self.benign.blocked {
            context
                .progress
                .step(&format!("{name}: an honest {what} failed ({hash})"));
        }
        let report = match &self.incident {
            Some(incident) => {
                Some(dossier::publish(&self.folder, incident, &self.texts, unguarded, &self.damage).await?)
            }
            None => None,
        };
        let (order, detected_by) = match self.incident {
            Some(_) => (Order::GuardFirst, P::DETECTOR),
            None => (Order::AttackerFirst, Detector::None),
        };
        let by_keeper = self.incident.as_ref().filter(|_| P::DETECTOR == Detector::Keeper);
        let run = Run {
            // As planned: where people act in between it takes as long as they take.
            attacker_delay_blocks: self.delay,
            order,
            saved_bps: self.damage.main.saved_bps(&unguarded.main),
            loss_unguarded: unguarded.main.clone(),
            loss_guarded: self.damage.main,
            detected_by,
            detected_block: self.incident.as_ref().map(|incident| incident.opened_block),
            contained_block: self.contained,
            first_bad_block: self.struck.attack.change.block,
            benign_txs: self.benign.sent,
            benign_blocked: u64::try_from(self.benign.blocked.len()).unwrap_or(u64::MAX),
            false_trips: self.false_trips,
            latency_ms: by_keeper.map_or_else(Latency::default, latency),
            contained_ms: self.contained_ms,
        };
        Ok((run, report))
    }
}

/// The attack and what people did, for the timeline.
fn notes<P: Play>(struck: &Struck) -> Vec<Note> {
    let Struck {
        attack,
        refusable,
        notes,
    } = struck;
    let mut told = vec![Note::new(attack.change, "attack", P::STORY.change)];
    if attack.taking.hash != attack.change.hash {
        told.push(Note::new(attack.taking, "attack", P::STORY.taking));
    }
    if !refusable.succeeded {
        told.push(Note::new(*refusable, "hook", P::STORY.held));
    }
    told.extend(notes.iter().cloned());
    told
}
