//! Levels of the scopes at a block.

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard as Guard;
use cordon_core::level::Level;
use cordon_core::scope::{ScopeState, key};

use super::events::level;
use crate::chain::{CallError, Rpc};
use crate::decide::ScopeReading;

/// Scopes whose levels fit the first word of `levels()`.
const PER_WORD: u8 = 85;
const SCOPES: u8 = 128;

/// All scopes that are not `Normal` at the block, and those of `also` that still have effects in force.
pub(super) async fn read(rpc: &Rpc, guard: Address, block: B256, also: &[u8]) -> Result<Vec<ScopeReading>, CallError> {
    let data = Guard::levelsCall {}.abi_encode().into();
    let answer = rpc.call(None, guard, data, None, block.into()).await?;
    let levels = Guard::levelsCall::abi_decode_returns(&answer).map_err(|error| malformed("levels", &error))?;
    let interesting: Vec<u8> = (0..SCOPES)
        .filter(|scope| also.contains(scope) || level_of(levels._0, levels._1, *scope) != Level::Normal as u8)
        .collect();
    let read = futures::future::join_all(
        interesting
            .iter()
            .map(|scope| scope_at(rpc, guard, block.into(), *scope)),
    );
    let mut readings = Vec::with_capacity(interesting.len());
    for reading in read.await {
        let reading = reading?;
        if reading.level != Level::Normal || reading.applied || reading.incident {
            readings.push(reading);
        }
    }
    Ok(readings)
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
    CallError::Rpc(crate::chain::RpcError::Refused {
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
