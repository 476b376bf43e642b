//! Errors as JSON-RPC clients see them.

use alloy::{
    primitives::{Bytes, hex},
    sol_types::{Panic, Revert, SolError},
};
use jsonrpsee::types::ErrorObjectOwned;
use revm::context_interface::result::InvalidTransaction;
use serde_json::Value;

use crate::{evm::ExecutionError, pool::PoolError, state::StateError, trace::Names, transaction::TransactionError};

/// The most bytes of an unknown error's arguments that a message shows; the error's data has them all.
const MAX_SHOWN: usize = 256;

/// Why a method has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The call reverted with this data.
    #[error("{}", revert_message(.0))]
    Revert(Bytes),
    /// The parameters are wrong.
    #[error("{0}")]
    Params(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request is understood but refused.
    #[error("{0}")]
    Rejected(String),
    /// The method exists but cannot be answered here.
    #[error("{0}")]
    Unsupported(String),
    /// Refused with a code that the method's specification names.
    #[error("{message}")]
    Coded { code: i32, message: String },
    /// The node, or the chain below it, failed.
    #[error("{0}")]
    Internal(String),
    /// The forked chain answered with this error.
    #[error("{message}")]
    Upstream {
        code: i64,
        message: String,
        data: Option<Value>,
    },
}

impl RpcError {
    fn code(&self) -> i32 {
        match self {
            Self::Revert(_) => 3,
            Self::Params(_) => -32_602,
            Self::NotFound(_) => -32_001,
            Self::Rejected(_) => -32_000,
            Self::Unsupported(_) => -32_004,
            Self::Coded { code, .. } => *code,
            Self::Internal(_) => -32_603,
            Self::Upstream { code, .. } => i32::try_from(*code).unwrap_or(-32_603),
        }
    }
}

impl RpcError {
    /// The error for a client; the message of a revert tells what `names` know of its data.
    pub(crate) fn into_object(self, names: &Names) -> ErrorObjectOwned {
        match self {
            Self::Revert(data) => {
                let code = Self::Revert(Bytes::new()).code();
                ErrorObjectOwned::owned(code, names.revert_message(&data), Some(hex::encode_prefixed(data)))
            }
            other => other.into(),
        }
    }
}

/// "execution reverted" and the reason, where the data holds one that every client knows.
fn revert_message(data: &Bytes) -> String {
    if let Ok(revert) = Revert::abi_decode(data) {
        return format!("execution reverted: {}", revert.reason());
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return format!("execution reverted: {panic}");
    }
    unnamed_revert(data)
}

/// The message of a revert whose data has no known name. Clients such as `cast` take the reason out of a message, so that it says
/// which error it is.
pub(crate) fn unnamed_revert(data: &Bytes) -> String {
    match data.split_first_chunk::<4>() {
        Some((selector, [])) => format!("execution reverted: custom error {}", hex::encode_prefixed(selector)),
        Some((selector, arguments)) => format!(
            "execution reverted: custom error {}: {}",
            hex::encode_prefixed(selector),
            hex::encode(arguments.get(..MAX_SHOWN).unwrap_or(arguments))
        ),
        None => "execution reverted".to_owned(),
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            RpcError::Revert(data) => Self::owned(code, message, Some(hex::encode_prefixed(data))),
            RpcError::Upstream { data: Some(data), .. } => Self::owned(code, message, Some(data)),
            _ => Self::owned(code, message, None::<()>),
        }
    }
}

impl From<StateError> for RpcError {
    fn from(error: StateError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<PoolError> for RpcError {
    fn from(error: PoolError) -> Self {
        Self::Rejected(error.to_string())
    }
}

impl From<TransactionError> for RpcError {
    fn from(error: TransactionError) -> Self {
        Self::Params(error.to_string())
    }
}

impl From<ExecutionError> for RpcError {
    fn from(error: ExecutionError) -> Self {
        match error {
            // With anvil's code.
            ExecutionError::Invalid(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => Self::Coded {
                code: -32_003,
                message: format!("insufficient funds for gas * price + value: have {balance} want {fee}"),
            },
            ExecutionError::Invalid(reason) => Self::Rejected(reason.to_string()),
            ExecutionError::State(error) => error.into(),
            ExecutionError::Failed(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for RpcError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(format!("the answer cannot be written: {error}"))
    }
}
