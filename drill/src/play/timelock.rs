//! `timelock-takeover`: whoever controls the governor of a timelock queues an operation that takes the whole treasury.
//!
//! OpenZeppelin's TimelockController 5.4.0 as published. `TimelockGate` is all that is added to it.

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U256},
    providers::{Provider, ext::AnvilApi},
    sol_types::{SolCall, SolConstructor, SolValue},
};

use super::{Holding, Play, Story, Struck};
use crate::{
    abi::{Everyday, IMintable, IParameters, ITimelock, ITimelockGate},
    artifact::Artifact,
    attack::{Attack, Landed},
    benign::{Step, Wave},
    cast,
    chain::{signer, units},
    dossier::Note,
    error::DrillError,
    fork::Fork,
    live::{Batch, Book, Builder, MINT},
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct TimelockTakeover;

/// Ether in the treasury.
const TREASURY: u64 = 5_000;
/// The timelock's delay, in seconds.
const DELAY: u64 = 2 * 86_400;
/// How long the gate's guard may hold an operation.
const PATIENCE: u64 = 14 * 86_400;
/// Governance's scope in the guard.
const SCOPE: u8 = 1;
/// Waves of honest traffic, and operations executed and queued in each.
const WAVES: u64 = 14;
const OPERATIONS: u64 = 3;

impl Play for TimelockTakeover {
    const SCENARIO: Scenario = Scenario::TimelockTakeover;
    const TEMPLATE: &'static str = include_str!("../../../tests/scenarios/timelock/cordon.toml");
    const DETECTOR: Detector = Detector::Keeper;
    const DELAYS: &'static [u64] = &[2];
    const STORY: Story = Story {
        change: "the holder of PROPOSER_ROLE queued an operation that sends the whole treasury to a fresh account",
        taking: "after the timelock's two days the fresh account executed it, or tried to",
        held: "the operation was not there any more",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        let (published, ours) = (tools.openzeppelin_artifacts()?, tools.solidity_artifacts()?);
        let (admin, thief) = (builder.admin.address(), signer(cast::THIEF)?.address());
        let mut book = Book::default();
        // Without a delay at first, so that the operations of the set-up are ready at once.
        let arguments = ITimelock::constructorCall {
            minDelay: U256::ZERO,
            proposers: vec![admin, thief],
            executors: Vec::new(),
            admin,
        };
        let timelock = builder
            .deploy(
                &Artifact::hardhat_flat(&published, "TimelockController")?,
                arguments.abi_encode(),
            )
            .await?;
        book.set("timelock", timelock);
        let arguments = IMintable::constructorCall {
            name: "Test Dollar".to_owned(),
            symbol: "TUSD".to_owned(),
            decimals: 6,
        };
        let token = builder
            .deploy(&Artifact::forge(&ours, "TestToken")?, arguments.abi_encode())
            .await?;
        book.set("token", token);
        let parameters = builder
            .deploy(&Artifact::forge(&ours, "Parameters")?, timelock.abi_encode())
            .await?;
        book.set("parameters", parameters);
        let everyday = vec![Everyday {
            target: parameters,
            selector: IParameters::setFeeCall::SELECTOR.into(),
        }];
        let arguments = ITimelockGate::constructorCall {
            binder: admin,
            timelock,
            scope: SCOPE,
            council: Address::ZERO,
            patience: U256::from(PATIENCE),
            everyday,
        };
        let gate = builder
            .deploy(&Artifact::forge(&ours, "TimelockGate")?, arguments.abi_encode())
            .await?;
        book.set("gate", gate);
        settle_in(builder, &book).await?;
        Ok(book)
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        Ok(vec![Grant {
            target: book.get("gate")?,
            calldata: ITimelockGate::bindCall { guard }.abi_encode().into(),
            what: "binding the timelock's gate",
        }])
    }

    /// Operations that are vetted and queued, others that are executed, and people who pay in.
    fn traffic(book: &Book, _: bool) -> Result<Vec<Wave>, DrillError> {
        (0..WAVES).map(|wave| plan_wave(book, wave)).collect()
    }

    async fn strike(fork: &Fork, book: &Book, delay: u64, stage: Option<&Stage>) -> Result<Struck, DrillError> {
        let (thief, fresh) = (fork.account(cast::THIEF)?, fork.account(cast::FRESH)?);
        let (timelock, gate) = (book.get("timelock")?, book.get("gate")?);
        let theft = ITimelock::scheduleCall {
            target: fresh.address(),
            value: units(TREASURY, 18),
            data: Bytes::new(),
            predecessor: B256::ZERO,
            salt: B256::ZERO,
            delay: U256::from(DELAY),
        };
        fork.next_block().await?;
        let queueing = fork.chain.send(thief, timelock, &theft).await?;
        let change = Landed::try_from(&fork.mined(queueing, "the queued theft").await?)?;
        let mut notes = Vec::new();
        match stage {
            Some(stage) => notes = answer(fork, book, stage, change.block, &theft).await?,
            None => {
                fork.until(change.block + delay - 1).await?;
            }
        }
        fork.chain
            .provider()
            .anvil_increase_time(DELAY)
            .await
            .map_err(DrillError::rpc("moving the fork's clock"))?;
        if stage.is_some() {
            fork.next_block().await?;
        }
        let execute = ITimelockGate::executeCall {
            target: theft.target,
            value: theft.value,
            payload: theft.data,
            predecessor: theft.predecessor,
            salt: theft.salt,
        };
        let executing = fork.chain.send(fresh, gate, &execute).await?;
        let taking = Landed::try_from(&fork.mined(executing, "the theft").await?)?;
        Ok(Struck {
            attack: Attack { change, taking },
            refusable: taking,
            notes,
        })
    }

    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        let balance = fork.chain.provider().get_balance(book.get("timelock")?).block_id(at);
        let ether = balance.await.map_err(DrillError::rpc("reading the treasury's ether"))?;
        Ok(vec![Holding {
            asset: "ETH",
            decimals: 18,
            amount: ether,
        }])
    }
}

/// Roles, funds, operations that are ready, and then the delay.
async fn settle_in(builder: &Builder<'_>, book: &Book) -> Result<(), DrillError> {
    let (timelock, gate) = (book.get("timelock")?, book.get("gate")?);
    let provider = builder.chain.provider();
    provider
        .anvil_set_balance(timelock, units(TREASURY, 18))
        .await
        .map_err(DrillError::rpc("funding the treasury"))?;
    for role in ["EXECUTOR_ROLE", "CANCELLER_ROLE"] {
        let (role, account) = (alloy::primitives::keccak256(role), gate);
        builder
            .execute(timelock, &ITimelock::grantRoleCall { role, account })
            .await?;
    }
    let mut batch = Batch::new(builder.chain);
    for turn in 0..WAVES * OPERATIONS {
        let (vet, schedule) = operation(book, turn, 0)?;
        batch.send(&builder.admin, gate, &vet).await?;
        batch.send(&builder.admin, timelock, &schedule).await?;
    }
    for holder in cast::SUPPLIERS.chain(cast::BORROWERS) {
        let (account, amount) = (signer(holder)?.address(), units(MINT, 6));
        let mint = IMintable::mintCall { account, amount };
        batch.send(&builder.admin, book.get("token")?, &mint).await?;
    }
    batch.succeed().await?;
    let (target, value, data) = (
        timelock,
        U256::ZERO,
        ITimelock::updateDelayCall {
            delay: U256::from(DELAY),
        },
    );
    let data: Bytes = data.abi_encode().into();
    let (predecessor, salt) = (B256::ZERO, B256::ZERO);
    let schedule = ITimelock::scheduleCall {
        target,
        value,
        data: data.clone(),
        predecessor,
        salt,
        delay: U256::ZERO,
    };
    builder.execute(timelock, &schedule).await?;
    let execute = ITimelockGate::executeCall {
        target,
        value,
        payload: data,
        predecessor,
        salt,
    };
    builder.execute(gate, &execute).await
}

/// An everyday operation: how it is vetted, and how it is queued.
fn operation(
    book: &Book,
    turn: u64,
    delay: u64,
) -> Result<(ITimelockGate::vetCall, ITimelock::scheduleCall), DrillError> {
    let target = book.get("parameters")?;
    let bps = U256::from(10 + turn % 40);
    let data: Bytes = IParameters::setFeeCall { bps }.abi_encode().into();
    let salt = B256::from(U256::from(turn + 1));
    let (value, predecessor) = (U256::ZERO, B256::ZERO);
    let vet = ITimelockGate::vetCall {
        target,
        value,
        data: data.clone(),
        predecessor,
        salt,
    };
    let schedule = ITimelock::scheduleCall {
        target,
        value,
        data,
        predecessor,
        salt,
        delay: U256::from(delay),
    };
    Ok((vet, schedule))
}

fn plan_wave(book: &Book, wave: u64) -> Result<Wave, DrillError> {
    let (timelock, gate, token) = (book.get("timelock")?, book.get("gate")?, book.get("token")?);
    let mut steps = Vec::new();
    for turn in wave * OPERATIONS..(wave + 1) * OPERATIONS {
        let (ready, _) = operation(book, turn, 0)?;
        let execute = ITimelockGate::executeCall {
            target: ready.target,
            value: ready.value,
            payload: ready.data,
            predecessor: ready.predecessor,
            salt: ready.salt,
        };
        steps.push(Step::new(cast::LIQUIDATOR, gate, &execute, "executed operation"));
        let (vet, schedule) = operation(book, WAVES * OPERATIONS + turn, DELAY)?;
        steps.push(Step::new(cast::ADMIN, gate, &vet, "vetted operation"));
        steps.push(Step::new(cast::ADMIN, timelock, &schedule, "queued operation"));
    }
    for (turn, actor) in (0u64..).zip(cast::SUPPLIERS.chain(cast::BORROWERS)) {
        let (to, amount) = (timelock, units(100 + 7 * turn + wave, 6));
        steps.push(Step::new(
            actor,
            token,
            &IMintable::transferCall { to, amount },
            "payment in",
        ));
    }
    Ok(steps)
}

/// What follows the guard's trip: somebody who is nobody stops the operation, and a guardian releases the scope.
async fn answer(
    fork: &Fork,
    book: &Book,
    stage: &Stage,
    first_bad: u64,
    theft: &ITimelock::scheduleCall,
) -> Result<Vec<Note>, DrillError> {
    if stage.contained_since(fork, first_bad).await?.is_none() {
        return Ok(Vec::new());
    }
    let id = ITimelock::hashOperationCall {
        target: theft.target,
        value: theft.value,
        data: theft.data.clone(),
        predecessor: theft.predecessor,
        salt: theft.salt,
    };
    let id = fork.chain.read(book.get("timelock")?, &id).await?;
    let anyone = fork.account(cast::LIQUIDATOR)?;
    let stop = ITimelockGate::stopCall { id };
    let stopped = fork.chain.execute(anyone, book.get("gate")?, &stop).await?;
    // The keeper evaluates two blocks in which all is well before anybody asks for a release.
    fork.next_block().await?;
    fork.next_block().await?;
    stage.release(fork, SCOPE).await?;
    let told = "somebody without any role cancelled the operation through the gate, which the raised level allows";
    Ok(vec![Note::new(Landed::try_from(&stopped)?, "anyone", told)])
}
