//! `forged-message`: after a careless change every message that nobody proved counts as proven (Nomad, August 2022).

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, U256},
    sol_types::SolConstructor,
};

use super::{
    Holding, Play, Story, Struck,
    ours::{self, SCOPE, WAVES, dollars, people},
};
use crate::{
    abi::{IBridgeEscrow, IMintable},
    attack::{Attack, Landed},
    benign::{Step, Wave},
    cast,
    chain::signer,
    error::DrillError,
    fork::Fork,
    live::{Book, Builder},
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct ForgedMessage;

/// What the escrow holds at the start, whole dollars.
const ESCROW: u64 = 5_000_000;
/// Messages that arrive in each wave.
const MESSAGES: u64 = 3;
/// The root under which the other side's messages are proven.
const ROOT: B256 = B256::repeat_byte(0x42);
/// Number of the forged message, which no honest one has.
const FORGED: u64 = 1_000_000;

impl Play for ForgedMessage {
    const SCENARIO: Scenario = Scenario::ForgedMessage;
    const TEMPLATE: &'static str = include_str!("../../../tests/scenarios/bridge/cordon.toml");
    const DETECTOR: Detector = Detector::Hook;
    const DELAYS: &'static [u64] = &[0, 1];
    const STORY: Story = Story {
        change: "the owner, by mistake, trusted the root zero, which every message has that nobody proved",
        taking: "the thief brought a message that nobody had proven, for most of the escrow",
        held: "the hook after the release found more released than was ever proven, and reverted it",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        let mut book = Book::default();
        let token = ours::token(tools, builder, "TUSD").await?;
        book.set("token", token);
        let arguments = IBridgeEscrow::constructorCall {
            asset: token,
            updater: signer(cast::FEED_OPERATOR)?.address(),
            owner: builder.admin.address(),
            scope: SCOPE,
        };
        let escrow = ours::contract(tools, builder, "BridgeEscrow", arguments.abi_encode()).await?;
        book.set("escrow", escrow);
        ours::endow(builder, token, escrow, people().map(|(_, index)| index)).await?;
        let (account, amount) = (escrow, dollars(ESCROW));
        builder.execute(token, &IMintable::mintCall { account, amount }).await?;
        let (root, trusted) = (ROOT, true);
        builder
            .execute(escrow, &IBridgeEscrow::setTrustedCall { root, trusted })
            .await?;
        Ok(book)
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        ours::hooks(book, "escrow", guard)
    }

    /// People lock; messages are proven, and released in the next wave by anybody.
    fn traffic(book: &Book, _: bool) -> Result<Vec<Wave>, DrillError> {
        (0..WAVES).map(|wave| plan_wave(book, wave)).collect()
    }

    async fn strike(fork: &Fork, book: &Book, delay: u64, _: Option<&Stage>) -> Result<Struck, DrillError> {
        let escrow = book.get("escrow")?;
        let (root, trusted) = (B256::ZERO, true);
        fork.next_block().await?;
        let mistake = IBridgeEscrow::setTrustedCall { root, trusted };
        let erring = fork.chain.send(fork.account(cast::ADMIN)?, escrow, &mistake).await?;
        if delay > 0 {
            let first_bad = Landed::try_from(&fork.mined(erring, "the mistake").await?)?.block;
            fork.until(first_bad + delay - 1).await?;
        }
        let forged = IBridgeEscrow::releaseCall {
            to: signer(cast::FRESH)?.address(),
            amount: dollars(ESCROW),
            number: U256::from(FORGED),
        };
        let releasing = fork.chain.send(fork.account(cast::THIEF)?, escrow, &forged).await?;
        let taking = Landed::try_from(&fork.mined(releasing, "the forged release").await?)?;
        let change = Landed::try_from(&fork.chain.receipt(erring, "the mistake").await?)?;
        Ok(Struck {
            attack: Attack { change, taking },
            refusable: taking,
            notes: Vec::new(),
        })
    }

    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        let (token, escrow) = (book.get("token")?, book.get("escrow")?);
        Ok(vec![ours::tokens(fork, "TUSD", token, escrow, at).await?])
    }
}

fn plan_wave(book: &Book, wave: u64) -> Result<Wave, DrillError> {
    let escrow = book.get("escrow")?;
    let mut steps = Vec::new();
    for turn in 0..MESSAGES {
        let (to, amount, number) = message(wave, turn)?;
        let prove = IBridgeEscrow::proveCall {
            to,
            amount,
            number,
            root: ROOT,
        };
        steps.push(Step::new(cast::FEED_OPERATOR, escrow, &prove, "proof"));
        if let Some(before) = wave.checked_sub(1) {
            let (to, amount, number) = message(before, turn)?;
            let release = IBridgeEscrow::releaseCall { to, amount, number };
            steps.push(Step::new(cast::LIQUIDATOR, escrow, &release, "release"));
        }
    }
    for (turn, actor) in people() {
        let amount = dollars(100 + 7 * turn + wave);
        steps.push(Step::new(actor, escrow, &IBridgeEscrow::lockCall { amount }, "lock"));
    }
    Ok(steps)
}

/// To whom, how much, and its number.
fn message(wave: u64, turn: u64) -> Result<(Address, U256, U256), DrillError> {
    let number = wave * MESSAGES + turn;
    let to = signer(cast::VICTIM)?.address();
    Ok((to, dollars(1_000 + number), U256::from(number)))
}
