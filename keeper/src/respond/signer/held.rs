//! A key that never leaves its holder: asked for signatures within a time limit, and believed only as far as the signature
//! proves itself.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::primitives::{Address, B256, Signature};
use cordon_client::config::Secret;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::KeyError;

/// How long a holder may take to be found and to say its account: the first request of a machine asks for credentials, too.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a service may take to sign.
const SIGN: Duration = Duration::from_secs(3);
/// How long a person may take to look at a transaction and confirm it.
const CONFIRM: Duration = Duration::from_secs(60);

/// What asks the holder of a key. Errors are sentences without secrets.
pub(super) trait Holder: fmt::Debug + Send + Sync {
    /// The account of its key.
    fn address(&self) -> Address;

    /// The signature of a hash. Its parity and the half that its s lies in do not matter.
    fn sign_hash<'a>(&'a self, hash: &'a B256) -> BoxFuture<'a, Result<Signature, String>>;

    /// The signature of a transaction.
    fn sign_transaction<'a>(&'a self, tx: &'a TxEip1559) -> BoxFuture<'a, Result<Signature, String>> {
        Box::pin(async move { self.sign_hash(&tx.signature_hash()).await })
    }

    /// Makes sure that it is there, without a signature.
    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether it has to be looked for again after an error: a device may have been unplugged.
    fn is_lost_after_error(&self) -> bool {
        false
    }
}

/// Looks for the holder of a key once more.
pub(super) type Finder = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Holder>, String>> + Send + Sync>;

/// A key that never leaves its holder. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct HeldKey {
    place: Arc<Secret>,
    address: Address,
    find: Finder,
    holder: Arc<Mutex<Option<Arc<dyn Holder>>>>,
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldKey({}, {})", self.address, self.place)
    }
}

impl HeldKey {
    /// The key at `place`.
    pub(super) async fn open(place: Secret) -> Result<Self, KeyError> {
        let find = finder(&place)?;
        Self::found_by(place, find).await
    }

    /// The key at `place`, whose holder `find` finds.
    pub(super) async fn found_by(place: Secret, find: Finder) -> Result<Self, KeyError> {
        let configured = match &place {
            Secret::AwsKms { address, .. } | Secret::GcpKms { address, .. } | Secret::Ledger { address, .. } => {
                *address
            }
            Secret::Env(_) | Secret::Keystore { .. } | Secret::Service { .. } => None,
        };
        let (address, holder) = match (within(CONNECT, find()).await, configured) {
            (Ok(holder), Some(configured)) if holder.address() != configured => {
                return Err(KeyError::OtherAccount {
                    place: place.to_string(),
                    held: holder.address(),
                    configured,
                });
            }
            (Ok(holder), _) => (holder.address(), Some(holder)),
            (Err(reason), Some(configured)) => {
                tracing::warn!(account = %configured, "{place} does not answer; it is asked again: {reason}");
                (configured, None)
            }
            (Err(reason), None) => {
                return Err(KeyError::Unreachable {
                    place: place.to_string(),
                    reason,
                });
            }
        };
        Ok(Self {
            place: Arc::new(place),
            address,
            find,
            holder: Arc::new(Mutex::new(holder)),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Secret {
        &self.place
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Whether a person has to confirm each signature.
    #[must_use]
    pub fn needs_hand(&self) -> bool {
        self.place.needs_hand()
    }

    pub(super) async fn sign_hash(&self, hash: &B256) -> Result<Signature, String> {
        let hash = *hash;
        let signature = self.ask(|holder| async move { holder.sign_hash(&hash).await }).await?;
        self.check(&hash, signature)
    }

    pub(super) async fn sign_transaction(&self, tx: &TxEip1559) -> Result<Signature, String> {
        let hash = tx.signature_hash();
        let tx = tx.clone();
        let signature = self.ask(|holder| async move { holder.sign_transaction(&tx).await });
        self.check(&hash, signature.await?)
    }

    /// Makes sure that the holder is there, without a signature.
    pub(super) async fn probe(&self) -> Result<(), String> {
        self.ask(|holder| async move { holder.probe().await }).await
    }

    /// Asks the holder within the time limit; looks for it first when it is not at hand.
    async fn ask<T, F>(&self, question: impl FnOnce(Arc<dyn Holder>) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, String>> + Send,
    {
        let limit = if self.needs_hand() { CONFIRM } else { SIGN };
        let holder = self.holder().await?;
        let is_lost = holder.is_lost_after_error();
        let answer = within(limit, question(holder)).await;
        if answer.is_err() && is_lost {
            *self.holder.lock().await = None;
        }
        answer.map_err(|reason| format!("{}: {reason}", self.place))
    }

    async fn holder(&self) -> Result<Arc<dyn Holder>, String> {
        let mut held = self.holder.lock().await;
        if let Some(holder) = held.as_ref() {
            return Ok(Arc::clone(holder));
        }
        let found = within(CONNECT, (self.find)())
            .await
            .map_err(|reason| format!("{} does not answer: {reason}", self.place))?;
        if found.address() != self.address {
            return Err(format!(
                "{} is the key of {} now, and not of {}",
                self.place,
                found.address(),
                self.address
            ));
        }
        *held = Some(Arc::clone(&found));
        Ok(found)
    }

    /// The signature in the one form that the chain takes (s in the lower half, with its parity), when it is the account's.
    fn check(&self, hash: &B256, signature: Signature) -> Result<Signature, String> {
        let signature = signature.normalize_s().unwrap_or(signature);
        [false, true]
            .into_iter()
            .map(|parity| signature.with_parity(parity))
            .find(|signature| signature.recover_address_from_prehash(hash).ok() == Some(self.address))
            .ok_or_else(|| format!("{} answers a signature that is not of {}", self.place, self.address))
    }
}

/// Waits so long; a library that panics on what it gets to read is one that does not answer.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("its answer could not be read".to_owned()),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// At most so much of what a holder says is repeated.
#[cfg(any(feature = "aws-kms", feature = "gcp-kms", feature = "ledger"))]
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LONGEST).collect()
}

/// What an error says, with its causes.
#[cfg(any(feature = "aws-kms", feature = "gcp-kms", feature = "ledger"))]
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !text.is_empty() && !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    shortened(&said.join(": "))
}

/// What finds the holder of a key, as far as this program was built with it.
fn finder(place: &Secret) -> Result<Finder, KeyError> {
    #[cfg(feature = "aws-kms")]
    if let Secret::AwsKms {
        key, region, endpoint, ..
    } = place
    {
        return Ok(super::aws::finder(key, region.as_deref(), endpoint.as_ref(), None));
    }
    #[cfg(feature = "gcp-kms")]
    if let Secret::GcpKms { key, endpoint, .. } = place {
        let credentials = super::gcp::application_default();
        return Ok(super::gcp::finder(key, endpoint.as_ref(), credentials));
    }
    #[cfg(feature = "ledger")]
    if let Secret::Ledger { path, .. } = place {
        return Ok(super::ledger::finder(path));
    }
    Err(not_built(place))
}

fn not_built(place: &Secret) -> KeyError {
    KeyError::NotBuilt {
        place: place.to_string(),
        feature: match place {
            Secret::GcpKms { .. } => "gcp-kms",
            Secret::Ledger { .. } => "ledger",
            _ => "aws-kms",
        },
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
pub(in crate::respond) mod tests;
