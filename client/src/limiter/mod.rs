//! The limiter from outside the chain: putting it there, changing it as the governor, and what everybody may ask of it.

mod abi;
mod status;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256, address, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};

pub use abi::ICordonLimiter;
pub use status::{ItemState, LimitState, LimiterStatus, limiter_status};

use crate::chain::{ChainError, code, explain_call, send};
use crate::deploy::{DeployError, deploy_at_fixed_address};
use crate::guard::ICordonGuard;
use crate::program::Program;

/// The native asset, as the limiter writes it.
pub const NATIVE: Address = address!("0x0000000000000000000000000000000000000001");

/// A limiter that was put on the chain, or found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeployedLimiter {
    /// Its account.
    pub limiter: Address,
    /// Whether it was made now.
    pub created: bool,
}

/// What became of a change that may need an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governed {
    /// It is in force; the transaction.
    Done(B256),
    /// It was announced.
    Announced {
        /// Hash of the announced call.
        action_hash: B256,
        /// From when on it can be made, Unix seconds.
        executable_at: u64,
    },
}

/// Creates, activates and sets up a limiter for `guard` in one transaction, with `delay` seconds of quarantine, and reads back what it
/// was set up with. Its address follows from guard, delay and `salt` (not zero), so that a second run finds it.
///
/// # Errors
/// [`DeployError::NoCode`] when there is no guard; [`DeployError::Differs`] when another limiter is there.
pub async fn deploy_limiter<P: Provider>(
    provider: &P,
    from: Address,
    guard: Address,
    delay: u32,
    program: &Program,
    salt: B256,
) -> Result<DeployedLimiter, DeployError> {
    if code(provider, guard).await?.is_empty() {
        return Err(DeployError::NoCode(vec![("guard".into(), guard)]));
    }
    ICordonGuard::new(guard, provider)
        .governor()
        .call()
        .await
        .map_err(|error| explain_call("asking the guard for its governor", error))?;
    let initialize = ICordonLimiter::initializeCall { guard, delay }.abi_encode();
    let (limiter, created) = deploy_at_fixed_address(provider, from, program, initialize.into(), salt).await?;
    let config = ICordonLimiter::new(limiter, provider)
        .config()
        .call()
        .await
        .map_err(|error| explain_call("reading the limiter's set-up", error))?;
    if (config.guard, config.delay) != (guard, delay) {
        let difference = format!(
            "the limiter {limiter} has guard {} and a delay of {} s, wanted are {guard} and {delay} s",
            config.guard, config.delay
        );
        return Err(DeployError::Differs {
            guard,
            differences: vec![difference],
        });
    }
    Ok(DeployedLimiter { limiter, created })
}

/// Makes a governor's call of the limiter, or announces it. What loosens is refused before its announcement is as old as the guard's
/// delay, once the guard is sealed.
///
/// # Errors
/// [`ChainError::Reverted`] with the limiter's error.
pub async fn govern<P: Provider>(
    provider: &P,
    from: Address,
    limiter: Address,
    what: &str,
    calldata: Vec<u8>,
    announce: bool,
) -> Result<Governed, ChainError> {
    if !announce {
        let receipt = order(provider, from, limiter, what, calldata).await?;
        return Ok(Governed::Done(receipt.transaction_hash));
    }
    let action_hash = keccak256(&calldata);
    let call = ICordonLimiter::announceCall {
        actionHash: action_hash,
    };
    let what = format!("announcing {what}");
    let receipt = order(provider, from, limiter, &what, call.abi_encode()).await?;
    let mut logs = receipt.logs().iter().filter(|log| log.address() == limiter);
    let announced = logs
        .find_map(|log| ICordonLimiter::Announced::decode_log(&log.inner).ok())
        .ok_or_else(|| ChainError::Refused {
            what,
            reason: format!("the transaction {} announced nothing", receipt.transaction_hash),
        })?;
    Ok(Governed::Announced {
        action_hash,
        executable_at: announced.executableAt,
    })
}

/// Takes an announcement back, as governor or guardian. Returns the transaction.
///
/// # Errors
/// [`ChainError::Reverted`] with the limiter's error.
pub async fn cancel_announcement<P: Provider>(
    provider: &P,
    from: Address,
    limiter: Address,
    action_hash: B256,
) -> Result<B256, ChainError> {
    let call = ICordonLimiter::cancelAnnouncementCall {
        actionHash: action_hash,
    };
    let receipt = order(provider, from, limiter, "cancelling an announcement", call.abi_encode()).await?;
    Ok(receipt.transaction_hash)
}

/// Pays an item that is due. Returns to whom, and how many units.
///
/// # Errors
/// [`ChainError::Reverted`] with the limiter's error.
pub async fn release<P: Provider>(
    provider: &P,
    from: Address,
    limiter: Address,
    item: u64,
) -> Result<(Address, U256), ChainError> {
    let call = ICordonLimiter::releaseCall { item: U256::from(item) };
    let what = format!("releasing item {item}");
    let receipt = order(provider, from, limiter, &what, call.abi_encode()).await?;
    let mut logs = receipt.logs().iter().filter(|log| log.address() == limiter);
    logs.find_map(|log| ICordonLimiter::Released::decode_log(&log.inner).ok())
        .map(|released| (released.to, released.amount))
        .ok_or_else(|| ChainError::Refused {
            what,
            reason: format!("the transaction {} paid nothing", receipt.transaction_hash),
        })
}

async fn order<P: Provider>(
    provider: &P,
    from: Address,
    limiter: Address,
    what: &str,
    calldata: Vec<u8>,
) -> Result<TransactionReceipt, ChainError> {
    if code(provider, limiter).await?.is_empty() {
        return Err(ChainError::Refused {
            what: what.to_owned(),
            reason: format!("there is no contract at {limiter}"),
        });
    }
    let request = TransactionRequest::default()
        .with_from(from)
        .with_to(limiter)
        .with_input(calldata);
    send(provider, what, request).await
}
