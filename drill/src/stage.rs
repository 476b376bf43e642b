//! Sets a guard and its keeper up on a fork, the way a team would: deploy, give the roles it needs and no more, seal, run.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use alloy::{
    primitives::{Address, B256, Bytes},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{Filter, Log},
    sol_types::SolEvent,
};
use cordon_client::{
    Config,
    build::Artifacts,
    config::Severity,
    deploy::{GuardOptions, deploy_guard, seal},
    guard::ICordonGuard,
};
use cordon_keeper::{
    Keeper, KeeperError, Options, Signers,
    record::{Incident, IntentKind, Store},
    report::RuleTexts,
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Context, attack::Landed, cast, chain::signer, config::Template, error::DrillError, fork::Fork};

/// How long the drill waits for the keeper to contain an attack, and then for its record.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it looks.
const POLL: Duration = Duration::from_millis(20);

/// One call by which the protocol's owner gives the guard what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The protocol's contract.
    pub(crate) target: Address,
    /// Encoded call.
    pub(crate) calldata: Bytes,
    /// What it gives.
    pub(crate) what: &'static str,
}

/// A guarded fork with a running keeper. Dropping it stops the keeper.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The guard.
    pub(crate) guard: Address,
    /// Names of the rules, by number, with their severity.
    pub(crate) rules: Vec<(String, u8, Severity)>,
    /// Texts of the rules, for reports.
    pub(crate) texts: RuleTexts,
    /// Names of the scopes.
    pub(crate) scopes: Vec<String>,
    /// The block in which everything was set up.
    pub(crate) ready_block: u64,
    store: Store,
    stop: DropGuard,
    keeper: JoinHandle<Result<(), KeeperError>>,
}

/// The guard's answer to an attack, as it stands in the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Containment {
    /// The transaction that raised the level.
    pub(crate) raised: Landed,
}

impl Stage {
    /// Deploys the guard with `template`'s rules, lets the owner make the grants, seals, and starts the keeper. `folder` gets
    /// `cordon.toml`, the keeper's record and its reports. The fork runs on the clock afterwards.
    pub(crate) async fn raise(
        context: &Context<'_>,
        fork: &mut Fork,
        template: &Template,
        grants: impl FnOnce(Address) -> Result<Vec<Grant>, DrillError>,
        folder: &Path,
    ) -> Result<Self, DrillError> {
        let file = folder.join("cordon.toml");
        let config = Config::parse(&template.before_deployment()?, &file)?;
        let compiled = config.compile()?;
        let artifacts = Artifacts::load(&context.tools.guard_programs()?)?;
        let governor = signer(cast::GOVERNOR)?;
        let from = governor.address();
        let provider = cordon_client::chain::connect(&config.chain, Some(governor)).await?;
        let deployment = deploy_guard(&provider, from, &config, &compiled, &artifacts, GuardOptions::default()).await?;
        let guard = deployment.guard;
        for grant in grants(guard)? {
            let owner = fork.account(cast::ADMIN)?;
            let hash = fork
                .chain
                .send_raw(owner, grant.target, grant.calldata, grant.what)
                .await?;
            fork.chain.succeeded(hash, grant.what).await?;
        }
        seal(&provider, from, guard, &config, &compiled).await?;
        std::fs::write(&file, template.with_guard(guard)?).map_err(DrillError::file("write", &file))?;
        Self::run_keeper(fork, &file, guard).await
    }

    async fn run_keeper(fork: &mut Fork, file: &Path, guard: Address) -> Result<Self, DrillError> {
        // Exactly what `cordon keeper run --config` does, but for the keys, which are the mnemonic's.
        let config = Config::load(file)?;
        let compiled = config.compile()?;
        let options = Options::from_config(&config)?;
        let section = config.keeper.as_ref().ok_or(KeeperError::NoSection)?;
        let store = Store::at(&section.store, config.source.directory(), options.chain_id, guard)
            .await
            .map_err(KeeperError::from)?;
        let signers = Signers::local(signer(cast::KEEPER)?, Some(signer(cast::HEARTBEAT)?));
        let keeper = Keeper::new(options, &compiled, store.clone(), signers).await?;
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keeper.run(stop.clone()));
        let rules = compiled
            .rules
            .iter()
            .map(|rule| (rule.id.clone(), rule.scope, rule.severity))
            .collect();
        let texts = RuleTexts::of(&compiled);
        fork.run_on_clock().await?;
        // The keeper is at work once it has evaluated blocks of the clock.
        let ready_block = fork.next_block().await?;
        fork.until(ready_block + 2).await?;
        Ok(Self {
            guard,
            rules,
            texts,
            scopes: compiled.scopes,
            ready_block,
            store,
            stop: stop.drop_guard(),
            keeper,
        })
    }

    /// How often a rule was found breached before block `end`: by the guard (in transactions) or by the keeper (decisions),
    /// whichever is more.
    pub(crate) async fn trips_before(&self, fork: &Fork, end: u64) -> Result<u64, DrillError> {
        let topics = vec![
            ICordonGuard::LevelRaised::SIGNATURE_HASH,
            ICordonGuard::RuleTripped::SIGNATURE_HASH,
            ICordonGuard::RuleObserved::SIGNATURE_HASH,
            ICordonGuard::ShadowBreach::SIGNATURE_HASH,
        ];
        let logs = self.logs(fork, topics, self.ready_block, end.saturating_sub(1)).await?;
        let transactions: BTreeSet<B256> = logs.iter().filter_map(|log| log.transaction_hash).collect();
        let intents = self.store.intents().await.map_err(KeeperError::from)?;
        let decided = intents
            .iter()
            .filter(|intent| matches!(intent.kind, IntentKind::Trip | IntentKind::Contain) && intent.block_number < end)
            .count();
        Ok(u64::try_from(transactions.len().max(decided)).unwrap_or(u64::MAX))
    }

    /// Waits for the first raised level at or after `from`; `None` when there is none in time.
    pub(crate) async fn contained_since(&self, fork: &Fork, from: u64) -> Result<Option<Containment>, DrillError> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let head = fork.chain.head().await?;
            let logs = self
                .logs(fork, vec![ICordonGuard::LevelRaised::SIGNATURE_HASH], from, head)
                .await?;
            if let Some(hash) = logs.first().and_then(|log| log.transaction_hash) {
                let receipt = fork.chain.receipt(hash, "the containment").await?;
                return Ok(Some(Containment {
                    raised: Landed::try_from(&receipt)?,
                }));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(None)
    }

    async fn logs(&self, fork: &Fork, topics: Vec<B256>, from: u64, to: u64) -> Result<Vec<Log>, DrillError> {
        if to < from {
            return Ok(Vec::new());
        }
        let filter = Filter::new()
            .address(self.guard)
            .event_signature(topics)
            .from_block(from)
            .to_block(to);
        fork.chain
            .provider()
            .get_logs(&filter)
            .await
            .map_err(DrillError::rpc("reading the guard's events"))
    }

    /// Waits until the keeper's record has an incident for which `ready` holds, and answers it: the earliest contained first.
    /// Without one in time, what there is.
    pub(crate) async fn incident(&self, ready: impl Fn(&Incident) -> bool) -> Result<Option<Incident>, DrillError> {
        let start = Instant::now();
        loop {
            let mut incidents = self.store.incidents().await.map_err(KeeperError::from)?;
            incidents.sort_by_key(|incident| (incident.contained_block.unwrap_or(u64::MAX), incident.id));
            let late = start.elapsed() > PATIENCE;
            if late || incidents.first().is_some_and(&ready) {
                return Ok(incidents.into_iter().next());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A guardian queues the release of `scope`, waits as long as the guard wants (by the fork's clock, which is moved), and
    /// releases it. Answers by how much the clock was moved.
    pub(crate) async fn release(&self, fork: &Fork, scope: u8) -> Result<Duration, DrillError> {
        let guardian = fork.account(cast::GUARDIAN)?;
        fork.chain
            .execute(guardian, self.guard, &ICordonGuard::queueReleaseCall { scope })
            .await?;
        let status = fork
            .chain
            .read(self.guard, &ICordonGuard::scopeStatusCall { scope })
            .await?;
        let now = fork.chain.timestamp(fork.chain.head().await?).await?;
        let wait = status.releaseAt.saturating_sub(now);
        fork.chain
            .provider()
            .anvil_increase_time(wait)
            .await
            .map_err(DrillError::rpc("moving the fork's clock"))?;
        fork.next_block().await?;
        fork.chain
            .execute(guardian, self.guard, &ICordonGuard::releaseCall { scope })
            .await?;
        Ok(Duration::from_secs(wait))
    }

    /// Stops the keeper and closes its record.
    pub(crate) async fn close(self) -> Result<(), DrillError> {
        drop(self.stop);
        match tokio::time::timeout(PATIENCE, self.keeper).await {
            Ok(Ok(result)) => result?,
            Ok(Err(error)) => {
                return Err(DrillError::KeeperDied {
                    reason: error.to_string(),
                });
            }
            Err(_) => {
                return Err(DrillError::Timeout {
                    what: "stopping the keeper".to_owned(),
                    seconds: PATIENCE.as_secs(),
                });
            }
        }
        self.store.close().await;
        Ok(())
    }
}
