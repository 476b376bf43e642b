//! `safe-patient-thief`: the Safe of [`safe`](super::safe) again, and a thief who knows its transaction guard. With one owner's stolen key
//! the swap of the master copy is scheduled as it has to be, and nine days later it is executed with signatures that look routine.

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
    providers::ext::AnvilApi,
    sol_types::SolCall,
};

use super::{
    Holding, Play, Story, Struck,
    safe::{self, DELEGATECALL, HANDOVER_DELAY, SCOPE, SafeMasterCopy},
};
use crate::{
    abi::{IBackdoor, ISafe, ISafeTransactionGuard, ITokenDisguise},
    attack::{Attack, Landed},
    benign::Wave,
    cast,
    dossier::Note,
    error::DrillError,
    fork::Fork,
    live::{Book, Builder},
    outcome::Detector,
    scenario::Scenario,
    stage::{Grant, Stage},
    tools::Tools,
};

/// The drill.
pub(crate) struct SafePatientThief;

/// The owner whose key was stolen.
const STOLEN: u32 = cast::VAULT_BORROWER;

impl Play for SafePatientThief {
    const SCENARIO: Scenario = Scenario::SafePatientThief;
    const TEMPLATE: &'static str = SafeMasterCopy::TEMPLATE;
    const DETECTOR: Detector = Detector::Keeper;
    const DELAYS: &'static [u64] = &[2];
    const STORY: Story = Story {
        change: "with one owner's stolen key the thief scheduled the DELEGATECALL that replaces the Safe's code",
        taking: "after nine days the thief called `sweep` of the code that was to be there",
        held: "the transaction guard refused the DELEGATECALL: it was not scheduled any more",
    };

    async fn deploy(tools: &Tools, builder: &Builder<'_>) -> Result<Book, DrillError> {
        SafeMasterCopy::deploy(tools, builder).await
    }

    fn grants(book: &Book, guard: Address) -> Result<Vec<Grant>, DrillError> {
        SafeMasterCopy::grants(book, guard)
    }

    fn traffic(book: &Book, guarded: bool) -> Result<Vec<Wave>, DrillError> {
        SafeMasterCopy::traffic(book, guarded)
    }

    async fn strike(fork: &Fork, book: &Book, delay: u64, stage: Option<&Stage>) -> Result<Struck, DrillError> {
        let (thief, stolen) = (fork.account(cast::THIEF)?, fork.account(STOLEN)?);
        let safe = book.get("safe")?;
        let disguise = ITokenDisguise::transferCall {
            to: book.get("backdoor")?,
            amount: U256::ZERO,
        };
        let (to, value, data) = (book.get("swap")?, U256::ZERO, disguise.abi_encode());
        let schedule = ISafeTransactionGuard::scheduleCall {
            to,
            value,
            data: data.clone().into(),
            operation: DELEGATECALL,
        };
        fork.next_block().await?;
        let scheduling = fork.chain.send(stolen, book.get("safe_guard")?, &schedule).await?;
        let change = Landed::try_from(&fork.mined(scheduling, "the scheduled swap").await?)?;
        let mut notes = Vec::new();
        match stage {
            Some(stage) => notes = answer(fork, book, stage, change.block, &schedule).await?,
            None => {
                fork.until(change.block + delay - 1).await?;
            }
        }
        fork.chain
            .provider()
            .anvil_increase_time(HANDOVER_DELAY)
            .await
            .map_err(DrillError::rpc("moving the fork's clock"))?;
        if stage.is_some() {
            fork.next_block().await?;
        }
        let nonce = fork.chain.read(safe, &ISafe::nonceCall {}).await?.saturating_to();
        let swap = safe::signed(book, nonce, to, value, data, DELEGATECALL)?;
        let token = book.get("token")?;
        let swapping = fork.chain.send(thief, safe, &swap).await?;
        let sweeping = fork.chain.send(thief, safe, &IBackdoor::sweepCall { token }).await?;
        let taking = Landed::try_from(&fork.mined(sweeping, "the sweep").await?)?;
        let refusable = Landed::try_from(&fork.chain.receipt(swapping, "the swap").await?)?;
        Ok(Struck {
            attack: Attack { change, taking },
            refusable,
            notes,
        })
    }

    async fn wealth(fork: &Fork, book: &Book, at: BlockId) -> Result<Vec<Holding>, DrillError> {
        SafeMasterCopy::wealth(fork, book, at).await
    }
}

/// What follows the guard's trip: a guardian, who has seen in the event what was to be run, cancels it, and releases the scope.
async fn answer(
    fork: &Fork,
    book: &Book,
    stage: &Stage,
    first_bad: u64,
    scheduled: &ISafeTransactionGuard::scheduleCall,
) -> Result<Vec<Note>, DrillError> {
    if stage.contained_since(fork, first_bad).await?.is_none() {
        return Ok(Vec::new());
    }
    let cancel = ISafeTransactionGuard::cancelCall {
        to: scheduled.to,
        value: scheduled.value,
        data: scheduled.data.clone(),
        operation: scheduled.operation,
    };
    let guardian = fork.account(cast::GUARDIAN)?;
    let cancelled = fork.chain.execute(guardian, book.get("safe_guard")?, &cancel).await?;
    // The keeper evaluates two blocks in which all is well before anybody asks for a release.
    fork.next_block().await?;
    fork.next_block().await?;
    stage.release(fork, SCOPE).await?;
    let told = "a guardian of the guard read in the event what was to be run, and cancelled it";
    Ok(vec![Note::new(Landed::try_from(&cancelled)?, "guardian", told)])
}
