//! Transactions as the pool and the blocks hold them.

use alloy::{
    consensus::{Signed, Transaction as _, TxEnvelope},
    eips::eip2718::Decodable2718,
    primitives::{Address, B256, Signature, U256},
    rpc::types::TransactionRequest,
    signers::{SignerSync, local::PrivateKeySigner},
};
use revm::context::TxEnv;
use serde_json::Value;

use crate::signature::signer;

/// A transaction could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransactionError {
    #[error("the raw transaction cannot be decoded: {0}")]
    Decode(String),
    #[error("the signature of the transaction is not valid: no account can be recovered from it")]
    Signature,
    #[error("blob transactions (EIP-4844) do not exist on Arbitrum chains")]
    Blobs,
    #[error("the transaction request is incomplete: {0} missing")]
    Incomplete(String),
    #[error("signing failed: {0}")]
    Sign(String),
}

/// A transaction with a known sender.
#[derive(Clone, Debug)]
pub(crate) struct SignedTransaction {
    pub(crate) envelope: TxEnvelope,
    pub(crate) sender: Address,
}

impl SignedTransaction {
    /// Decodes a raw transaction and recovers its sender.
    pub(crate) fn decode(raw: &[u8]) -> Result<Self, TransactionError> {
        let mut rest = raw;
        let envelope =
            TxEnvelope::decode_2718(&mut rest).map_err(|error| TransactionError::Decode(error.to_string()))?;
        if !rest.is_empty() {
            return Err(TransactionError::Decode(format!("{} bytes follow its end", rest.len())));
        }
        if envelope.is_eip4844() {
            return Err(TransactionError::Blobs);
        }
        let sender = signer(&envelope).ok_or(TransactionError::Signature)?;
        Ok(Self { envelope, sender })
    }

    /// Makes a transaction of a complete request.
    ///
    /// With no key (impersonation) the signature names the sender instead of proving it, so that equal requests of two senders
    /// have different hashes.
    pub(crate) fn from_request(
        request: TransactionRequest,
        sender: Address,
        key: Option<&PrivateKeySigner>,
    ) -> Result<Self, TransactionError> {
        let typed = request
            .build_typed_tx()
            .map_err(|request| TransactionError::Incomplete(missing(&request)))?;
        if typed.tx_type() == alloy::consensus::TxType::Eip4844 {
            return Err(TransactionError::Blobs);
        }
        let signature = match key {
            Some(key) => {
                let hash = alloy::consensus::SignableTransaction::signature_hash(&typed);
                key.sign_hash_sync(&hash)
                    .map_err(|error| TransactionError::Sign(error.to_string()))?
            }
            None => impersonated(sender),
        };
        Ok(Self {
            envelope: typed.into_envelope(signature),
            sender,
        })
    }

    /// Reads a transaction as another node tells it. The sender is believed, since that node may have impersonated it.
    pub(crate) fn from_rpc(transaction: &Value) -> Result<Self, TransactionError> {
        let decode = |error: serde_json::Error| TransactionError::Decode(error.to_string());
        let sender = transaction.get("from").cloned().unwrap_or_default();
        Ok(Self {
            sender: serde_json::from_value(sender).map_err(decode)?,
            envelope: serde_json::from_value(transaction.clone()).map_err(decode)?,
        })
    }

    pub(crate) fn hash(&self) -> B256 {
        *self.envelope.tx_hash()
    }

    /// Whether the signature proves nothing.
    pub(crate) fn is_impersonated(&self) -> bool {
        let signature = self.envelope.signature();
        *signature == impersonated(self.sender) || signature.r().is_zero()
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// The most wei per gas that the sender pays.
    pub(crate) fn max_fee(&self) -> u128 {
        self.envelope.max_fee_per_gas()
    }

    /// The most wei that the transaction can cost its sender, value included.
    pub(crate) fn max_cost(&self) -> U256 {
        U256::from(self.max_fee())
            .saturating_mul(U256::from(self.envelope.gas_limit()))
            .saturating_add(self.envelope.value())
    }

    /// The transaction for the EVM; its gas limit is cut to `gas_cap`.
    pub(crate) fn to_env(&self, gas_cap: u64) -> TxEnv {
        let envelope = &self.envelope;
        let mut env = TxEnv {
            tx_type: envelope.tx_type() as u8,
            caller: self.sender,
            gas_limit: envelope.gas_limit().min(gas_cap),
            gas_price: envelope.max_fee_per_gas(),
            kind: envelope.kind(),
            value: envelope.value(),
            data: envelope.input().clone(),
            nonce: envelope.nonce(),
            chain_id: envelope.chain_id(),
            access_list: envelope.access_list().cloned().unwrap_or_default(),
            gas_priority_fee: envelope.max_priority_fee_per_gas(),
            ..TxEnv::default()
        };
        if let Some(list) = envelope.authorization_list() {
            env.set_signed_authorization(list.to_vec());
        }
        env
    }
}

/// The signature of a transaction that no key signed.
fn impersonated(sender: Address) -> Signature {
    let named = U256::from_be_slice(sender.as_slice()).saturating_add(U256::ONE);
    Signature::new(named, U256::ONE, false)
}

/// The same transaction under the hash by which it is known: a node that impersonates may have made it from something else.
pub(crate) fn with_hash(envelope: TxEnvelope, hash: B256) -> TxEnvelope {
    if *envelope.tx_hash() == hash {
        return envelope;
    }
    match envelope {
        TxEnvelope::Legacy(signed) => renamed(signed, hash).into(),
        TxEnvelope::Eip2930(signed) => renamed(signed, hash).into(),
        TxEnvelope::Eip1559(signed) => renamed(signed, hash).into(),
        TxEnvelope::Eip4844(signed) => renamed(signed, hash).into(),
        TxEnvelope::Eip7702(signed) => renamed(signed, hash).into(),
    }
}

fn renamed<T>(signed: Signed<T>, hash: B256) -> Signed<T> {
    let signature = *signed.signature();
    Signed::new_unchecked(signed.strip_signature(), signature, hash)
}

fn missing(request: &TransactionRequest) -> String {
    match request.missing_keys() {
        Err((_, keys)) => keys.join(", "),
        Ok(_) => "fields of its type".to_owned(),
    }
}
