//! Levels of the scopes at a block.

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{SolCall, SolError};
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::level::Level;
use cordon_core::scope::{ScopeState, key};

use super::events::level;
use crate::chain::{Answer, CallError, Question, Refusal, Rpc, RpcError};
use crate::decide::ScopeReading;

/// Scopes whose levels fit the first word of `levels()`.
const PER_WORD: u8 = 85;
const SCOPES: u8 = 128;

/// Gas of one question about a scope; it takes about 75,000 where nothing is cached.
const GAS: u64 = 1_000_000;

/// All scopes that are not `Normal` at the block, and those of `also` that still have effects in force: one round trip when no other
/// scope than those is raised, however many they are.
///
/// # Errors
/// [`CallError`] when the guard does not answer as its ABI promises.
pub(super) async fn read(rpc: &Rpc, guard: Address, block: B256, also: &[u8]) -> Result<Vec<ScopeReading>, CallError> {
    let mut questions = vec![asked(guard, Guard::levelsCall {}.abi_encode())];
    questions.extend(also.iter().flat_map(|scope| about(guard, *scope)));
    let mut answers = rpc.ask_many(block, &questions).await?.into_iter();
    let levels = Guard::levelsCall::abi_decode_returns(&output(answers.next())?);
    let levels = levels.map_err(|error| malformed("levels", &error))?;
    let mut readings = told(also, answers)?;
    let is_other = |scope: &u8| !also.contains(scope) && level_of(levels._0, levels._1, *scope) != Level::Normal as u8;
    let others: Vec<u8> = (0..SCOPES).filter(is_other).collect();
    if !others.is_empty() {
        let questions: Vec<Question> = others.iter().flat_map(|scope| about(guard, *scope)).collect();
        readings.extend(told(&others, rpc.ask_many(block, &questions).await?.into_iter())?);
    }
    readings.retain(|reading| reading.level != Level::Normal || reading.applied || reading.incident);
    readings.sort_unstable_by_key(|reading| reading.scope);
    Ok(readings)
}

fn asked(guard: Address, data: Vec<u8>) -> Question {
    Question::Call {
        to: guard,
        data: data.into(),
        gas: Some(GAS),
        code: None,
    }
}

/// What is asked about a scope: its status, and its word.
fn about(guard: Address, scope: u8) -> [Question; 2] {
    let status = asked(guard, Guard::scopeStatusCall { scope }.abi_encode());
    [status, Question::Storage(guard, key(scope))]
}

/// The readings of `scopes`, of which each is answered by two.
fn told(
    scopes: &[u8],
    mut answers: impl Iterator<Item = Result<Answer, Refusal>>,
) -> Result<Vec<ScopeReading>, CallError> {
    let mut readings = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let (status, word) = (output(answers.next()), answers.next());
        let status = match status {
            // A rulebook that was adopted meanwhile has the scope no more: nothing of it is in force then.
            Err(CallError::Reverted(data)) if Guard::BadScope::abi_decode(&data).is_ok() => continue,
            status => Guard::scopeStatusCall::abi_decode_returns(&status?),
        };
        let status = status.map_err(|error| malformed("scopeStatus", &error))?;
        let word = match word {
            Some(Ok(Answer::Word(word))) => Some(word.into()),
            other => {
                tracing::warn!(scope, answer = ?other, "the word of a scope could not be read");
                None
            }
        };
        readings.push(reading(*scope, &status, word));
    }
    Ok(readings)
}

/// What a call answered.
fn output(answer: Option<Result<Answer, Refusal>>) -> Result<Bytes, CallError> {
    let refused = |message: &str| {
        CallError::Rpc(RpcError::Refused {
            method: "eth_call",
            code: 0,
            message: message.to_owned(),
        })
    };
    match answer {
        Some(Ok(Answer::Output(output))) => Ok(output),
        Some(Err(Refusal::Reverted(data))) => Err(CallError::Reverted(data)),
        Some(Err(Refusal::OutOfGas)) => Err(refused("out of gas")),
        Some(Err(Refusal::Node(reason))) => Err(refused(&reason)),
        Some(Ok(Answer::Word(_))) | None => Err(refused("it was not answered")),
    }
}

async fn status(rpc: &Rpc, guard: Address, block: BlockId, scope: u8) -> Result<Guard::ScopeStatus, CallError> {
    let data = Guard::scopeStatusCall { scope }.abi_encode().into();
    let answer = rpc.call(None, guard, data, None, block).await?;
    Guard::scopeStatusCall::abi_decode_returns(&answer).map_err(|error| malformed("scopeStatus", &error))
}

/// One scope at a block.
///
/// # Errors
/// See [`CallError`].
pub async fn scope_at(rpc: &Rpc, guard: Address, block: BlockId, scope: u8) -> Result<ScopeReading, CallError> {
    let word = rpc.storage(guard, key(scope), block);
    let (status, word) = futures::future::join(status(rpc, guard, block, scope), word).await;
    let word = match word {
        Ok(word) => Some(word),
        Err(error) if error.is_unreachable() => return Err(error.into()),
        Err(error) => {
            tracing::warn!(scope, %error, "the word of a scope could not be read");
            None
        }
    };
    Ok(reading(scope, &status?, word))
}

/// A scope's status as the keeper uses it. A level that is no level counts as the strictest: nothing is done about it twice.
fn reading(scope: u8, status: &Guard::ScopeStatus, word: Option<U256>) -> ScopeReading {
    let level = level(status.level).unwrap_or(Level::Halted);
    // Two requests at `latest` may have been answered on two blocks: what does not fit the status is not believed.
    let fits = |state: &ScopeState| state.level.rank() >= level.rank() && level != Level::Normal;
    ScopeReading {
        scope,
        level,
        expires_at: status.expiresAt,
        applied: !status.applied.is_zero(),
        releasing: status.releaseAt != 0,
        incident: status.incident != 0,
        state: word.map(ScopeState::unpack).filter(fits),
    }
}

fn level_of(low: U256, high: U256, scope: u8) -> u8 {
    let (word, place) = if scope < PER_WORD {
        (low, scope)
    } else {
        (high, scope.saturating_sub(PER_WORD))
    };
    let bits: U256 = (word >> (3 * usize::from(place))) & U256::from(7);
    bits.byte(0)
}

pub(super) fn malformed(what: &str, error: &alloy::sol_types::Error) -> CallError {
    CallError::Rpc(RpcError::Refused {
        method: "eth_call",
        code: 0,
        message: format!(
            "the guard's answer to {what} is not what its ABI promises ({error}): is the address in [guard] a guard?"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_three_bits_each() {
        let low = U256::from(2) << (3 * 84) | U256::from(3);
        let high = U256::from(4) | U256::from(1) << (3 * 42);
        let of = |scope| level_of(low, high, scope);
        assert_eq!([of(0), of(1), of(84), of(85), of(86), of(127)], [3, 0, 2, 4, 0, 1]);
    }
}
