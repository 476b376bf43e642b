//! `empty-market`: a lending market's new collateral, of which nobody has any shares yet, is inflated by a donation, and redeemed at a
//! rounding (Hundred Finance 2023, Sonne 2024).

use alloy::{eips::BlockId, primitives::Address, sol_types::SolConstructor};

use super::{
    Holding, Play, Story, Struck,
    ours::{self, SCOPE, WAVES, dollars, people},
};
use crate::{
    abi::{ILendingMarket, IMarketRaider, IMintable},
    attack::{Attack, Landed},
    benign::{Step, Wave},
    cast,
    error::DrillError,
    fork::Fork,
    live::{Batch, Book, Builder},
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct EmptyMarket;

/// What the thief donates, whole units; a flash loan could bring it.
const DONATION: u64 = 6_000_000;
/// What each lender lends at the start, whole dollars.
const LENT: u64 = 300_000;
/// What each borrower deposits and borrows at the start.
const COLLATERAL: u64 = 100_000;
const LOAN: u64 = 40_000;

impl Play for EmptyMarket {
    const SCENARIO: Scenario = Scenario::EmptyMarket;
    const TEMPLATE: &'static str = include_str!("../../../tests/scenarios/lending/cordon.toml");
    const DETECTOR: Detector = Detector::Hook;
    const DELAYS: &'static [u64] = &[0];
    const STORY: Story = Story {
        change: "in one transaction: two shares of the new collateral, a donation, a loan of all there is, a redemption of both shares' worth for one",
        taking: "the loan",
        held: "the hook after the redemption found the worth of a share moved, and reverted all of it",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        let mut book = Book::default();
        for (name, symbol) in [("token", "TUSD"), ("busy", "COLA"), ("fresh", "COLB")] {
            book.set(name, ours::token(tools, builder, symbol).await?);
        }
        let arguments = ILendingMarket::constructorCall {
            asset: book.get("token")?,
            owner: builder.admin.address(),
            scope: SCOPE,
        };
        let market = ours::contract(tools, builder, "LendingMarket", arguments.abi_encode()).await?;
        book.set("market", market);
        let everybody = || cast::SUPPLIERS.chain(cast::BORROWERS);
        ours::endow(builder, book.get("token")?, market, everybody()).await?;
        ours::endow(builder, book.get("busy")?, market, cast::BORROWERS).await?;
        let raider = ours::weapon(tools, builder, "LendingMarket", "MarketRaider").await?;
        book.set("raider", raider);
        let (account, amount) = (raider, dollars(DONATION));
        let mint = IMintable::mintCall { account, amount };
        builder.execute(book.get("fresh")?, &mint).await?;
        open(builder, &book).await?;
        Ok(book)
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        ours::hooks(book, "market", guard)
    }

    fn traffic(book: &Book, _: bool) -> Result<Vec<Wave>, DrillError> {
        (0..WAVES).map(|wave| plan_wave(book, wave)).collect()
    }

    async fn strike(fork: &Fork, book: &Book, _: u64, _: Option<&Stage>) -> Result<Struck, DrillError> {
        let raid = IMarketRaider::raidCall {
            market: book.get("market")?,
            collateral: book.get("fresh")?,
        };
        fork.next_block().await?;
        let raiding = fork
            .chain
            .send(fork.account(cast::THIEF)?, book.get("raider")?, &raid)
            .await?;
        let raided = Landed::try_from(&fork.mined(raiding, "the raid").await?)?;
        Ok(Struck {
            attack: Attack {
                change: raided,
                taking: raided,
            },
            refusable: raided,
            notes: Vec::new(),
        })
    }

    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        let (token, market) = (book.get("token")?, book.get("market")?);
        Ok(vec![ours::tokens(fork, "TUSD", token, market, at).await?])
    }
}

/// Lenders lend, borrowers deposit and borrow.
async fn open(builder: &Builder<'_>, book: &Book) -> Result<(), DrillError> {
    let (market, collateral) = (book.get("market")?, book.get("busy")?);
    let mut batch = Batch::new(builder.chain);
    for index in cast::SUPPLIERS {
        let lender = builder.chain.account(index).await?;
        let amount = dollars(LENT);
        batch
            .send(&lender, market, &ILendingMarket::lendCall { amount })
            .await?;
    }
    for index in cast::BORROWERS {
        let borrower = builder.chain.account(index).await?;
        let amount = dollars(COLLATERAL);
        batch
            .send(&borrower, market, &ILendingMarket::depositCall { collateral, amount })
            .await?;
        let amount = dollars(LOAN);
        batch
            .send(&borrower, market, &ILendingMarket::borrowCall { collateral, amount })
            .await?;
    }
    batch.succeed().await
}

fn plan_wave(book: &Book, wave: u64) -> Result<Wave, DrillError> {
    let (market, collateral) = (book.get("market")?, book.get("busy")?);
    people()
        .map(|(turn, actor)| {
            let lends = cast::SUPPLIERS.contains(&actor);
            let amount = dollars(500 + 13 * turn + wave);
            Ok(match (lends, (wave + turn) % 4) {
                (true, 0 | 2) => Step::new(actor, market, &ILendingMarket::lendCall { amount }, "supply"),
                (true, _) => Step::new(actor, market, &ILendingMarket::withdrawCall { amount }, "withdrawal"),
                (_, 0) => Step::new(
                    actor,
                    market,
                    &ILendingMarket::depositCall { collateral, amount },
                    "deposit",
                ),
                (_, 1) => Step::new(
                    actor,
                    market,
                    &ILendingMarket::borrowCall { collateral, amount },
                    "borrow",
                ),
                (_, 2) => Step::new(
                    actor,
                    market,
                    &ILendingMarket::redeemCall { collateral, amount },
                    "redemption",
                ),
                _ => Step::new(actor, market, &ILendingMarket::repayCall { amount }, "repayment"),
            })
        })
        .collect()
}
