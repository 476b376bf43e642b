//! A fork of the live chain for one run, fresh from the same block.

use std::{collections::BTreeMap, time::Duration};

use alloy::{
    primitives::B256,
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionReceipt,
};
use cordon_node::{NodeConfig, NodeHandle, TransactionOrder};
use futures::future::try_join_all;
use url::Url;

use crate::{
    arrivals::Arrivals,
    cast,
    chain::{Account, Chain},
    error::DrillError,
    live::{CHAIN_ID, Live},
};

/// Time between blocks where the keeper races an attacker, as on Arbitrum.
pub(crate) const BLOCK_TIME: Duration = Duration::from_millis(250);

/// Room for a wave of honest transactions in one block, each with a generous limit.
const BLOCK_GAS: u64 = 1_000_000_000;

/// How blocks come about on a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One per transaction: while a guard is set up.
    Automatic,
    /// Every 250 ms, as on Arbitrum: with a keeper in the race.
    Clock,
    /// When the drill asks: without a keeper nobody races, and waiting would show nothing.
    OnDemand,
}

/// A fork and everybody's accounts on it.
#[derive(Debug)]
pub(crate) struct Fork {
    node: NodeHandle,
    pace: Pace,
    /// The chain.
    pub(crate) chain: Chain,
    accounts: BTreeMap<u32, Account>,
    /// Since blocks come by the clock.
    arrivals: Option<Arrivals>,
}

impl Fork {
    /// Forks the live chain at its fork block.
    pub(crate) async fn start(live: &Live, pace: Pace) -> Result<Self, DrillError> {
        let upstream = Url::parse(live.endpoint()).map_err(|error| DrillError::OutOfRange {
            what: format!("the live chain's endpoint ({error})"),
        })?;
        let config = NodeConfig {
            fork_url: Some(upstream),
            fork_block_number: Some(live.fork_block),
            fork_chain_id: Some(CHAIN_ID),
            block_time: (pace == Pace::Clock).then_some(BLOCK_TIME),
            no_mining: pace == Pace::OnDemand,
            order: TransactionOrder::Arrival,
            gas_limit: Some(BLOCK_GAS),
            ..NodeConfig::default()
        };
        let node = cordon_node::spawn(config).await?;
        let chain = Chain::connect(&node.http_endpoint()).await?;
        // Fees are estimated from the newest block, and the idle live chain has let its base fee fall below the fork's floor:
        // the first block of the fork's own puts that right.
        chain
            .provider()
            .anvil_mine(Some(1), None)
            .await
            .map_err(DrillError::rpc("mining the fork's first block"))?;
        let accounts = try_join_all((0..cast::COUNT).map(|index| chain.account(index))).await?;
        let accounts = (0..cast::COUNT).zip(accounts).collect();
        Ok(Self {
            node,
            pace,
            chain,
            accounts,
            arrivals: None,
        })
    }

    /// One of the cast.
    pub(crate) fn account(&self, index: u32) -> Result<&Account, DrillError> {
        self.accounts.get(&index).ok_or_else(|| DrillError::OutOfRange {
            what: format!("drill account {index}"),
        })
    }

    /// Lets the next block come, and answers its number.
    pub(crate) async fn next_block(&self) -> Result<u64, DrillError> {
        let head = self.chain.head().await?;
        self.until(head + 1).await
    }

    /// Lets blocks come until the head is at least `block`.
    pub(crate) async fn until(&self, block: u64) -> Result<u64, DrillError> {
        if self.pace == Pace::OnDemand {
            let head = self.chain.head().await?;
            let missing = block.saturating_sub(head);
            for _ in 0..missing {
                self.chain
                    .provider()
                    .anvil_mine(Some(1), None)
                    .await
                    .map_err(DrillError::rpc("mining a block"))?;
            }
        }
        self.chain.reach(block).await
    }

    /// Lets the transaction be mined, and answers its receipt, whatever became of it.
    pub(crate) async fn mined(&self, hash: B256, what: &str) -> Result<TransactionReceipt, DrillError> {
        if self.pace == Pace::OnDemand {
            self.next_block().await?;
        }
        self.chain.receipt(hash, what).await
    }

    /// From now on blocks come every 250 ms.
    pub(crate) async fn run_on_clock(&mut self) -> Result<(), DrillError> {
        self.arrivals = Some(Arrivals::listen(&self.ws()).await?);
        let every = (BLOCK_TIME.as_secs_f64(),);
        let set = self
            .chain
            .provider()
            .raw_request::<_, serde_json::Value>("evm_setIntervalMining".into(), every);
        set.await.map_err(DrillError::rpc("setting the time between blocks"))?;
        self.pace = Pace::Clock;
        Ok(())
    }

    /// Milliseconds from the arrival of block `from` to that of block `to`, as an observer beside the keeper saw it; `None` when
    /// blocks do not come by the clock.
    pub(crate) fn millis_between(&self, from: u64, to: u64) -> Option<u64> {
        let between = self.arrivals.as_ref()?.between(from, to)?;
        u64::try_from(between.as_millis()).ok()
    }

    /// HTTP endpoint.
    pub(crate) fn http(&self) -> String {
        self.node.http_endpoint()
    }

    /// WebSocket endpoint.
    pub(crate) fn ws(&self) -> String {
        self.node.ws_endpoint()
    }

    /// Stops the fork and waits until its port is free.
    pub(crate) async fn stop(self) -> Result<(), DrillError> {
        Ok(self.node.stop().await?)
    }
}
