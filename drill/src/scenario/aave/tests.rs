#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::Filter,
    sol,
    sol_types::SolEvent,
};
use cordon_client::guard::ICordonGuard;

use super::*;
use crate::{Tools, live::Live, live::supply_call, progress::Silent};

sol! {
    interface IMarketData {
        function getPaused(address asset) external view returns (bool);
        function getReserveConfigurationData(address asset) external view returns (uint256 decimals, uint256 ltv, uint256 threshold, uint256 bonus, uint256 factor, bool collateral, bool borrowing, bool stable, bool active, bool frozen);
    }
}

const QUARTER: u64 = 15 * 60;
const HOUR: u64 = 60 * 60;

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

/// A market whose thief has taken a loan against the false price in the very block of the change: the guard's rules on prices
/// were too late, and an account is left that owes more than it owns.
struct Robbed<'a> {
    market: &'a AaveMarket,
    fork: Fork,
    stage: Stage,
    /// Time of the block in which it was contained.
    contained: u64,
}

impl<'a> Robbed<'a> {
    async fn new(context: &Context<'a>) -> Self {
        let market = context.live.aave.as_ref().unwrap();
        let mut fork = Fork::start(context.live, Pace::Automatic).await.unwrap();
        let template = Template::aave(market, &fork.http(), &fork.ws()).unwrap();
        let grants = |guard| Ok(roles(market.acl, guard));
        let stage = Stage::raise(context, &mut fork, &template, grants, &context.out)
            .await
            .unwrap();
        let prepared = attack::aave::prepare(&fork, context.tools, market).await.unwrap();
        let attack = attack::aave::strike(&fork, market, &prepared, 0, Arrival::Attacker, Some(stage.guard))
            .await
            .unwrap();
        assert!(attack.taking.succeeded);
        let contained = stage
            .contained_since(&fork, attack.change.block)
            .await
            .unwrap()
            .unwrap();
        let contained = fork.chain.timestamp(contained.raised.block).await.unwrap();
        Self {
            market,
            fork,
            stage,
            contained,
        }
    }

    fn rule(&self, name: &str) -> u16 {
        u16::try_from(self.stage.rules.iter().position(|(id, ..)| id == name).unwrap()).unwrap()
    }

    /// Moves the clock to `seconds` after the containment.
    async fn wait(&self, seconds: u64) {
        let now = self
            .fork
            .chain
            .timestamp(self.fork.chain.head().await.unwrap())
            .await
            .unwrap();
        let ahead = (self.contained + seconds).saturating_sub(now);
        self.fork.chain.provider().anvil_increase_time(ahead).await.unwrap();
        self.fork.next_block().await.unwrap();
    }

    /// What each reserve says to `ask`.
    async fn reserves<C: SolCall>(&self, ask: impl Fn(Address) -> C) -> Vec<C::Return> {
        let mut answers = Vec::new();
        for asset in self.market.assets() {
            answers.push(self.fork.chain.read(self.market.data, &ask(asset.token)).await.unwrap());
        }
        answers
    }

    async fn paused(&self) -> Vec<bool> {
        self.reserves(|asset| IMarketData::getPausedCall { asset }).await
    }

    async fn borrowing(&self) -> Vec<bool> {
        let answers = self
            .reserves(|asset| IMarketData::getReserveConfigurationDataCall { asset })
            .await;
        answers.iter().map(|answer| answer.borrowing).collect()
    }

    /// Whether a supplier's deposit and a borrower's repayment pass.
    async fn open(&self) -> (bool, bool) {
        let usdc = &self.market.usdc;
        let supplier = self.fork.account(cast::SUPPLIERS.start).unwrap();
        let borrower = self.fork.account(cast::BORROWERS.start).unwrap();
        let supply = supply_call(usdc, usdc.units(10), supplier.address());
        let repay = repay_call(usdc, usdc.units(10), borrower.address());
        let supplied = self.fork.chain.send(supplier, self.market.pool, &supply).await.unwrap();
        let repaid = self.fork.chain.send(borrower, self.market.pool, &repay).await.unwrap();
        let passed = async |hash| self.fork.mined(hash, "honest business").await.unwrap().status();
        (passed(supplied).await, passed(repaid).await)
    }

    /// Transactions in which `rule` was tripped, with their blocks.
    async fn trips(&self, rule: u16) -> Vec<(u64, B256)> {
        let filter = Filter::new()
            .address(self.stage.guard)
            .event_signature(ICordonGuard::RuleTripped::SIGNATURE_HASH)
            .topic1(U256::from(rule))
            .from_block(self.stage.ready_block);
        let logs = self.fork.chain.provider().get_logs(&filter).await.unwrap();
        logs.iter()
            .map(|log| (log.block_number.unwrap(), log.transaction_hash.unwrap()))
            .collect()
    }
}

/// Polls until `holds`, for as long as a keeper may take.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_real_pool_is_short_and_a_robbed_market_stays_closed_to_new_debt_until_it_is_made_good() {
    let tools = Tools::discover(None, None).unwrap();
    let live = Live::start(&tools, &[Scenario::AaveOracle], &Silent).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let context = Context {
        tools: &tools,
        live: &live,
        out: folder.path().to_owned(),
        progress: &Silent,
    };
    let robbed = Robbed::new(&context).await;
    let (fork, stage, market) = (&robbed.fork, &robbed.stage, robbed.market);
    assert_eq!(robbed.borrowing().await, [false; 3], "no new debt");
    assert_eq!(robbed.open().await, (true, true), "everybody else goes on");

    // A guardian halts everything: the last call pauses the real pool, repayment included.
    let guardian = fork.account(cast::GUARDIAN).unwrap();
    let halt = ICordonGuard::containCall {
        scope: WHOLE_PROTOCOL,
        level: ICordonGuard::Level::Halted,
        duration: u32::try_from(QUARTER).unwrap(),
        evidence: B256::ZERO,
    };
    fork.chain.execute(guardian, stage.guard, &halt).await.unwrap();
    assert_eq!(robbed.paused().await, [true; 3]);
    assert_eq!(robbed.open().await, (false, false), "nothing moves");

    // A quarter of an hour later the keeper takes the pause back, and nothing but the pause.
    robbed.wait(QUARTER + 60).await;
    until("the pool is open again", async || robbed.paused().await == [false; 3]).await;
    assert_eq!(robbed.open().await, (true, true));
    assert_eq!(robbed.borrowing().await, [false; 3]);

    // The price has been right since the first block of containment; the account that owes more than it owns is what keeps the
    // market contained, an hour later and after.
    robbed.wait(HOUR + 2 * QUARTER).await;
    let (solvent, price) = (robbed.rule("account-solvent"), robbed.rule("weth-price-near-reference"));
    let before = robbed.contained + HOUR;
    let renewed = async || {
        let mut late = None;
        for (block, _) in robbed.trips(solvent).await {
            if fork.chain.timestamp(block).await.unwrap() > before {
                late = Some(block);
            }
        }
        late
    };
    until("the insolvent account is tripped again", async || {
        renewed().await.is_some()
    })
    .await;
    let block = renewed().await.unwrap();
    let thief = fork.account(cast::FRESH).unwrap().address();
    let verdict = async |rule, witness: Vec<B256>| {
        let call = ICordonGuard::evaluateCall { rule, witness };
        fork.chain
            .read_at(stage.guard, &call, BlockId::number(block))
            .await
            .unwrap()
            .verdict
    };
    assert_eq!(
        verdict(solvent, vec![thief.into_word()]).await,
        ICordonGuard::Verdict::Breached
    );
    assert_eq!(verdict(price, Vec::new()).await, ICordonGuard::Verdict::Holds);
    assert_eq!(robbed.borrowing().await, [false; 3]);

    // Once the debt is made good people release it, and the guard gives back what it took.
    assert!(cover(fork, market).await.unwrap().is_some());
    fork.next_block().await.unwrap();
    fork.next_block().await.unwrap();
    stage.release(fork, WHOLE_PROTOCOL).await.unwrap();
    assert_eq!(robbed.borrowing().await, [true; 3]);
    assert_eq!(robbed.paused().await, [false; 3]);
    assert_eq!(robbed.open().await, (true, true));

    let Robbed { fork, stage, .. } = robbed;
    stage.close().await.unwrap();
    fork.stop().await.unwrap();
    live.stop().await;
}
