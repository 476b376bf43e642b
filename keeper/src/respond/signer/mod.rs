//! Keys: in this process, with a service that signs transactions, or where they never leave: AWS KMS, GCP KMS, a Ledger.

#[cfg(feature = "aws-kms")]
mod aws;
#[cfg(feature = "aws-kms")]
mod aws_http;
#[cfg(all(test, feature = "aws-kms"))]
mod aws_tests;
#[cfg(feature = "gcp-kms")]
mod gcp;
#[cfg(all(test, feature = "gcp-kms"))]
mod gcp_tests;
mod held;
#[cfg(feature = "ledger")]
mod ledger;
#[cfg(all(test, any(feature = "aws-kms", feature = "gcp-kms")))]
mod mock;
mod service;

use std::fmt;
use std::path::Path;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2930::AccessList;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use cordon_client::config::{Secret, SecretError};

pub use held::HeldKey;
#[cfg(test)]
pub(super) use held::tests::by_hand;
pub use service::RemoteSigner;

/// Why a configured key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No HTTP client could be made.
    #[error("no HTTP client for the signing service can be made: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
    /// This program was built without what asks the holder.
    #[error(
        "{place}: this program was built without the feature `{feature}`; build one that has it: cargo build --release -p cordon-cli --features {feature}"
    )]
    NotBuilt {
        /// Who holds the key.
        place: String,
        /// The feature of `cordon-cli` and `cordon-keeper`.
        feature: &'static str,
    },
    /// The holder could not be asked for the account.
    #[error(
        "{place} cannot be asked for its account: {reason} (with `address` in the configuration the keeper starts all the same, and goes on asking)"
    )]
    Unreachable {
        /// Who holds the key.
        place: String,
        /// Why, without secrets.
        reason: String,
    },
    /// The holder has the key of another account.
    #[error(
        "{place} is the key of {held}, and `address` says {configured}: correct the one or the other in cordon.toml"
    )]
    OtherAccount {
        /// Who holds the key.
        place: String,
        /// The account of its key.
        held: Address,
        /// The account that is configured.
        configured: Address,
    },
}

/// A key of the keeper.
#[derive(Debug, Clone)]
pub enum KeySigner {
    /// In this process.
    Local(PrivateKeySigner),
    /// With a service.
    Remote(RemoteSigner),
    /// Where it never leaves.
    Held(HeldKey),
}

impl From<PrivateKeySigner> for KeySigner {
    fn from(signer: PrivateKeySigner) -> Self {
        Self::Local(signer)
    }
}

impl fmt::Display for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(signer) => write!(f, "{}, in this process", signer.address()),
            Self::Remote(signer) => write!(f, "{}, with a signing service", signer.address()),
            Self::Held(key) => write!(f, "{}, {}", key.address(), key.place()),
        }
    }
}

impl KeySigner {
    /// The configured key. `directory` is where relative paths start. Holders of keys are asked for their account, within
    /// seconds; one that does not answer is an error only when the configuration does not say the account.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub async fn open(secret: &Secret, directory: &Path) -> Result<Self, KeyError> {
        match secret {
            Secret::Env(_) | Secret::Keystore { .. } => Ok(Self::Local(secret.signer(directory)?)),
            Secret::Service { url, address } => RemoteSigner::new(url.read(directory)?, *address)
                .map(Self::Remote)
                .map_err(|error| KeyError::Client {
                    reason: error.without_url().to_string(),
                }),
            Secret::AwsKms { .. } | Secret::GcpKms { .. } | Secret::Ledger { .. } => {
                HeldKey::open(secret.clone()).await.map(Self::Held)
            }
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Local(signer) => signer.address(),
            Self::Remote(signer) => signer.address(),
            Self::Held(key) => key.address(),
        }
    }

    /// Whether somebody else is asked for each signature, who may be out of reach.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Local(_))
    }

    /// Whether a person has to confirm each signature: then nothing is signed ahead.
    #[must_use]
    pub fn needs_hand(&self) -> bool {
        matches!(self, Self::Held(key) if key.needs_hand())
    }

    /// Makes sure that it can sign now: by a transaction on `chain_id` that no chain takes, since its nonce is the last but one
    /// of all; where a person would have to confirm it, by asking for the account.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub async fn probe(&self, chain_id: u64) -> Result<(), String> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Held(key) if key.needs_hand() => key.probe().await,
            Self::Remote(_) | Self::Held(_) => self.sign(unusable(chain_id, self.address())).await.map(|_| ()),
        }
    }

    /// The signature of a hash, 65 bytes with v 27 or 28. The error is a sentence without secrets.
    pub(super) async fn sign_hash(&self, hash: &B256) -> Result<Bytes, String> {
        let signature = match self {
            Self::Local(signer) => signer.sign_hash_sync(hash).map_err(|error| error.to_string())?,
            Self::Held(key) => key.sign_hash(hash).await?,
            Self::Remote(signer) => {
                return Err(format!(
                    "the service that holds the key of {} signs transactions only",
                    signer.address()
                ));
            }
        };
        Ok(signature.as_bytes().to_vec().into())
    }

    /// The signed transaction. The error is a sentence without secrets.
    pub(super) async fn sign(&self, tx: TxEip1559) -> Result<TxEnvelope, String> {
        match self {
            Self::Local(signer) => {
                let signature = signer
                    .sign_hash_sync(&tx.signature_hash())
                    .map_err(|error| error.to_string())?;
                Ok(TxEnvelope::from(tx.into_signed(signature)))
            }
            Self::Remote(signer) => signer.sign(tx).await,
            Self::Held(key) => {
                let signature = key.sign_transaction(&tx).await?;
                Ok(TxEnvelope::from(tx.into_signed(signature)))
            }
        }
    }
}

/// A transaction that no chain takes: it offers nothing, and an account cannot get as far as its nonce.
fn unusable(chain_id: u64, account: Address) -> TxEip1559 {
    TxEip1559 {
        chain_id,
        nonce: u64::MAX - 1,
        gas_limit: 21_000,
        max_fee_per_gas: 0,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(account),
        value: U256::ZERO,
        access_list: AccessList::default(),
        input: Bytes::new(),
    }
}
