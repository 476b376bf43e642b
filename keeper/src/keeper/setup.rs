//! A keeper set up, with every check that can be made beforehand.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use alloy::primitives::Address;
use cordon_client::CompiledConfig;
use cordon_client::guard::ICordonGuard as Guard;
use tokio::sync::broadcast;

use super::Keeper;
use super::checks::{check_account, check_guard};
use crate::alarm::Alarms;
use crate::chain::Rpc;
use crate::console::Approvers;
use crate::decide::Response;
use crate::error::KeeperError;
use crate::options::{Options, Signers};
use crate::policy;
use crate::record::{Names, Store};
use crate::report::{Reports, RuleTexts};
use crate::respond::{Account, Heartbeat, LastBeat, Queue, Responder};
use crate::rules::{Reader, Watched};
use crate::second::SecondLook;

/// Events that a slow listener may lag behind.
const EVENTS: usize = 4_096;

impl Keeper {
    /// Sets a keeper up and checks chain, guard, rulebook, roles and funds. Nothing is sent.
    ///
    /// # Errors
    /// See [`KeeperError`]: each says what is wrong and what to do.
    pub async fn new(
        options: Options,
        compiled: &CompiledConfig,
        store: Store,
        signers: Signers,
    ) -> Result<Self, KeeperError> {
        if store.guard() != options.guard {
            return Err(KeeperError::OtherRecord {
                record: store.guard(),
                configured: options.guard,
            });
        }
        let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?.with_rates(&options.rates);
        rpc.verify().await?;
        let version = compiled.code_hash();
        check_guard(&rpc, options.guard, version).await?;
        let policies = policy::policies(compiled, &options);
        let (events, _) = broadcast::channel(EVENTS);
        let alarms = Alarms::new(store.clone(), events.clone());
        let accounts: Vec<Account> = std::iter::once(signers.keeper)
            .chain(signers.more)
            .map(|signer| {
                let account = Account::new(signer, rpc.clone()).only_in_turn(store.clone());
                account.telling(alarms.clone())
            })
            .collect();
        for (position, account) in accounts.iter().enumerate() {
            let others = accounts.iter().skip(position.saturating_add(1));
            if others.clone().any(|other| other.address() == account.address()) {
                return Err(KeeperError::SameAccount {
                    account: account.address(),
                });
            }
        }
        let contains = policies
            .iter()
            .find(|policy| policy.response == Response::Contain)
            .map(|policy| format!("rule `{}`", policy.id))
            .or_else(|| {
                let plays = options.playbooks.iter().find(|playbook| playbook.contains());
                plays.map(|playbook| format!("playbook `{}`", playbook.id))
            });
        if let (Some(who), None) = (&contains, &signers.heartbeat) {
            return Err(KeeperError::NoHeartbeat { who: who.clone() });
        }
        for account in &accounts {
            let role = contains.as_ref().map(|_| Guard::Role::Keeper);
            check_account(&rpc, options.guard, account.address(), role).await?;
        }
        let heartbeat = match signers.heartbeat {
            Some(signer) => {
                let account = Account::new(signer, rpc.clone()).only_in_turn(store.clone());
                check_account(&rpc, options.guard, account.address(), Some(Guard::Role::Heartbeat)).await?;
                Some(Heartbeat {
                    account,
                    guard: options.guard,
                    settings: options.deliver,
                    interval: options.heartbeat,
                    alarms: alarms.clone(),
                    last: LastBeat::default(),
                })
            }
            None => {
                tracing::warn!(
                    "no heartbeat key: the guard will not accept `contain` from this keeper; trips need none"
                );
                None
            }
        };
        let names = policy::names(compiled, &options);
        let reader = policy::reader(rpc.clone(), compiled, &options);
        let second = second_look((&rpc, options.guard), compiled, &store, (&names, &alarms));
        let reports = Reports::new(options.reports.clone(), RuleTexts::of(compiled));
        let responder = Responder {
            rpc: rpc.clone(),
            guard: options.guard,
            accounts,
            settings: options.deliver,
            gas: policy::gas(compiled),
            names: names.clone(),
            store: store.clone(),
            queue: Queue::default(),
            ended: Arc::default(),
            alarms: alarms.clone(),
            events: events.clone(),
            reports: reports.clone(),
            version,
            rulebook: reader.rulebook().clone(),
            reader: reader.clone(),
            policies: Arc::new(policies.clone()),
        };
        Ok(Self {
            options,
            rpc,
            store,
            policies,
            names,
            version,
            streams: u8::try_from(compiled.streams.len()).unwrap_or(u8::MAX),
            sets: compiled.sets.clone(),
            reader,
            second: Some(second),
            responder: Some(responder),
            alarms,
            reports,
            heartbeat,
            events,
            channels: Vec::new(),
            dead_man: None,
            approvers: Approvers::default(),
            config_digest: None,
            mark: mark(),
            console: None,
        })
    }

    /// Sets a keeper up that has no guard and no key: it watches, evaluates rules and tells. Nothing is sent.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub async fn watching(options: Options, compiled: &CompiledConfig, store: Store) -> Result<Self, KeeperError> {
        if store.guard() != Address::ZERO {
            return Err(KeeperError::OtherRecord {
                record: store.guard(),
                configured: Address::ZERO,
            });
        }
        let options = Options {
            guard: Address::ZERO,
            ..options
        };
        let rpc = Rpc::new(&options.rpc, options.chain_id, options.rpc_timeout)?.with_rates(&options.rates);
        rpc.verify().await?;
        let (events, _) = broadcast::channel(EVENTS);
        let (policies, names) = (policy::policies(compiled, &options), policy::names(compiled, &options));
        let alarms = Alarms::new(store.clone(), events.clone());
        // Without rules there are no incidents, and no folder is needed for them.
        let has_rules = !policies.is_empty();
        let folder = options.reports.clone().filter(|_| has_rules);
        let second = has_rules.then(|| second_look((&rpc, Address::ZERO), compiled, &store, (&names, &alarms)));
        Ok(Self {
            reader: policy::reader(rpc.clone(), compiled, &options),
            second,
            responder: None,
            alarms,
            reports: Reports::new(folder, RuleTexts::of(compiled)),
            policies,
            names,
            version: compiled.version(),
            streams: 0,
            sets: Vec::new(),
            heartbeat: None,
            channels: Vec::new(),
            dead_man: None,
            approvers: Approvers::default(),
            config_digest: None,
            mark: mark(),
            console: None,
            options,
            rpc,
            store,
            events,
        })
    }
}

/// Who evaluates a second time what was evaluated.
fn second_look(
    (rpc, guard): (&Rpc, Address),
    compiled: &CompiledConfig,
    store: &Store,
    (names, alarms): (&Names, &Alarms),
) -> SecondLook {
    let programs = policy::programs(compiled);
    let asked = Reader::new(rpc.clone(), guard, Watched::default())
        .with_programs(programs.clone(), compiled.rulebook.rules.len())
        .with_finality(policy::finalities(compiled));
    SecondLook {
        native: asked.clone().with_programs(programs, 0),
        reader: asked,
        rpc: rpc.clone(),
        store: store.clone(),
        names: names.clone(),
        alarms: alarms.clone(),
    }
}

/// Process ids are not enough: in containers most are 1, and keepers that were taken for one would not hear each other.
fn mark() -> String {
    let chance = RandomState::new().hash_one(std::process::id());
    format!("(process {}) {chance:016x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn two_keepers_with_the_same_process_id_have_different_names() {
        assert_ne!(mark(), mark());
    }
}
