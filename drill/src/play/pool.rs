//! `reentrancy`: whoever is paid by a pool calls it again before it has written down the payment (The DAO, 2016, and many since).

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    sol_types::{SolCall, SolConstructor},
};

use super::{
    Holding, Play, Story, Struck,
    ours::{self, SCOPE, WAVES, finney, people},
};
use crate::{
    abi::{IEtherPool, IPoolReenterer},
    attack::{Attack, Landed},
    benign::{Step, Wave},
    cast,
    error::DrillError,
    fork::Fork,
    live::{Book, Builder},
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct Reentrancy;

/// What everybody deposits at the start, and what the thief brings, in thousandths of an ether.
const DEPOSIT: u64 = 100_000;
const STAKE: u64 = 100_000;
/// Calls within calls that the thief makes.
const ROUNDS: u64 = 20;

impl Play for Reentrancy {
    const SCENARIO: Scenario = Scenario::Reentrancy;
    const TEMPLATE: &'static str = include_str!("../../../tests/scenarios/pool/cordon.toml");
    const DETECTOR: Detector = Detector::Hook;
    const DELAYS: &'static [u64] = &[0];
    const STORY: Story = Story {
        change: "the thief's contract was paid by the pool and called `withdraw` again, twenty times over",
        taking: "the payments",
        held: "the hook after the innermost withdrawal found less ether than is owed, and reverted it, and with it all of them",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        let mut book = Book::default();
        let arguments = IEtherPool::constructorCall {
            owner: builder.admin.address(),
            scope: SCOPE,
        };
        let pool = ours::contract(tools, builder, "EtherPool", arguments.abi_encode()).await?;
        book.set("pool", pool);
        let reenterer = ours::weapon(tools, builder, "EtherPool", "PoolReenterer").await?;
        book.set("reenterer", reenterer);
        for (_, index) in people() {
            let account = builder.chain.account(index).await?;
            let deposit = IEtherPool::depositCall {}.abi_encode().into();
            let what = "a first deposit";
            let sent = builder
                .chain
                .send_paying(&account, pool, deposit, finney(DEPOSIT), what)
                .await?;
            builder.chain.succeeded(sent, what).await?;
        }
        Ok(book)
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        ours::hooks(book, "pool", guard)
    }

    /// Deposits and withdrawals in turn.
    fn traffic(book: &Book, _: bool) -> Result<Vec<Wave>, DrillError> {
        let pool = book.get("pool")?;
        let wave = |wave: u64| {
            let step = |(turn, actor): (u64, u32)| {
                let amount = finney(400 + 31 * turn + wave);
                if (turn + wave).is_multiple_of(2) {
                    Step::paying(actor, pool, &IEtherPool::depositCall {}, amount, "deposit")
                } else {
                    Step::new(actor, pool, &IEtherPool::withdrawCall { amount }, "withdrawal")
                }
            };
            people().map(step).collect()
        };
        Ok((0..WAVES).map(wave).collect())
    }

    async fn strike(fork: &Fork, book: &Book, _: u64, _: Option<&Stage>) -> Result<Struck, DrillError> {
        let drain = IPoolReenterer::drainCall {
            pool: book.get("pool")?,
            rounds: U256::from(ROUNDS),
        };
        fork.next_block().await?;
        let what = "the re-entrant withdrawal";
        let draining = fork
            .chain
            .send_paying(
                fork.account(cast::THIEF)?,
                book.get("reenterer")?,
                drain.abi_encode().into(),
                finney(STAKE),
                what,
            )
            .await?;
        let drained = Landed::try_from(&fork.mined(draining, what).await?)?;
        Ok(Struck {
            attack: Attack {
                change: drained,
                taking: drained,
            },
            refusable: drained,
            notes: Vec::new(),
        })
    }

    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        Ok(vec![ours::ether(fork, book.get("pool")?, at).await?])
    }
}
