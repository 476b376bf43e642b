//! `double-exercise`: ether delivered once is counted against each of several writers of put options (Opyn, August 2020).

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    sol_types::{SolCall, SolConstructor},
};

use super::{
    Holding, Play, Story, Struck,
    ours::{self, SCOPE, WAVES, dollars, finney, people},
};
use crate::{
    abi::IOptionBook,
    attack::{Attack, Landed},
    benign::{Step, Wave},
    cast,
    chain::signer,
    error::DrillError,
    fork::Fork,
    live::{Batch, Book, Builder},
    loss::one,
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct DoubleExercise;

/// Dollars for a thousandth of an ether.
const STRIKE: u64 = 3;
/// Options that the thief buys from every writer.
const WRITTEN: u64 = 20_000;
/// Options that every buyer gets from every writer.
const BOUGHT: u64 = 500;
/// Options that the thief exercises against every writer at once, for ether delivered once.
const STOLEN: u64 = WRITTEN;

impl Play for DoubleExercise {
    const SCENARIO: Scenario = Scenario::DoubleExercise;
    const TEMPLATE: &'static str = include_str!("../../../tests/scenarios/options/cordon.toml");
    const DETECTOR: Detector = Detector::Hook;
    const DELAYS: &'static [u64] = &[0];
    const STORY: Story = Story {
        change: "the thief delivered ether once and exercised against six writers",
        taking: "six strikes",
        held: "the hook after the exercise found the writers credited with more ether than there is, and reverted it",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        let mut book = Book::default();
        let token = ours::token(tools, builder, "TUSD").await?;
        book.set("token", token);
        let arguments = IOptionBook::constructorCall {
            asset: token,
            strike: dollars(STRIKE),
            owner: builder.admin.address(),
            scope: SCOPE,
        };
        let options = ours::contract(tools, builder, "OptionBook", arguments.abi_encode()).await?;
        book.set("book", options);
        ours::endow(builder, token, options, cast::SUPPLIERS).await?;
        let mut batch = Batch::new(builder.chain);
        for index in cast::SUPPLIERS {
            let writer = builder.chain.account(index).await?;
            for buyer in cast::BORROWERS {
                let (units, to) = (U256::from(BOUGHT), signer(buyer)?.address());
                batch
                    .send(&writer, options, &IOptionBook::writeCall { units, to })
                    .await?;
            }
            let units = U256::from(WRITTEN);
            let to = signer(cast::THIEF)?.address();
            batch
                .send(&writer, options, &IOptionBook::writeCall { units, to })
                .await?;
        }
        batch.succeed().await?;
        Ok(book)
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        ours::hooks(book, "book", guard)
    }

    fn traffic(book: &Book, _: bool) -> Result<Vec<Wave>, DrillError> {
        (0..WAVES).map(|wave| plan_wave(book, wave)).collect()
    }

    async fn strike(fork: &Fork, book: &Book, _: u64, _: Option<&Stage>) -> Result<Struck, DrillError> {
        let exercise = IOptionBook::exerciseCall {
            units: U256::from(STOLEN),
            writers: (0..u64::from(cast::SUPPLIERS.end - cast::SUPPLIERS.start))
                .map(writer)
                .collect::<Result<_, _>>()?,
        };
        fork.next_block().await?;
        let options = book.get("book")?;
        let exercising = fork
            .chain
            .send_paying(
                fork.account(cast::THIEF)?,
                options,
                exercise.abi_encode().into(),
                finney(STOLEN),
                "the double exercise",
            )
            .await?;
        let exercised = Landed::try_from(&fork.mined(exercising, "the double exercise").await?)?;
        Ok(Struck {
            attack: Attack {
                change: exercised,
                taking: exercised,
            },
            refusable: exercised,
            notes: Vec::new(),
        })
    }

    /// What the writers have, in dollars: collateral, and ether at the strike.
    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        let options = book.get("book")?;
        let mut held = ours::tokens(fork, "TUSD", book.get("token")?, options, at).await?;
        let delivered = ours::ether(fork, options, at).await?;
        let worth = delivered.amount.saturating_mul(dollars(STRIKE)) / one(15);
        held.amount = held.amount.saturating_add(worth);
        Ok(vec![held])
    }
}

fn writer(turn: u64) -> Result<Address, DrillError> {
    let count = u64::from(cast::SUPPLIERS.end - cast::SUPPLIERS.start);
    let index = u32::try_from(turn % count).map_or(cast::SUPPLIERS.start, |turn| cast::SUPPLIERS.start + turn);
    Ok(signer(index)?.address())
}

/// Buyers exercise against one writer each; writers write more, and collect what was delivered.
fn plan_wave(book: &Book, wave: u64) -> Result<Wave, DrillError> {
    let options = book.get("book")?;
    people()
        .map(|(turn, actor)| {
            if cast::SUPPLIERS.contains(&actor) {
                if (wave + turn) % 3 == 2 {
                    return Ok(Step::new(
                        actor,
                        options,
                        &IOptionBook::collectCall {},
                        "collected ether",
                    ));
                }
                let (units, to) = (U256::from(10 + wave), signer(actor)?.address());
                return Ok(Step::new(
                    actor,
                    options,
                    &IOptionBook::writeCall { units, to },
                    "writing",
                ));
            }
            let units = 3 + (turn + wave) % 7;
            let exercise = IOptionBook::exerciseCall {
                units: U256::from(units),
                writers: vec![writer(turn + wave)?],
            };
            Ok(Step::paying(actor, options, &exercise, finney(units), "exercise"))
        })
        .collect()
}
