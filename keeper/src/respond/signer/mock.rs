//! What is behind a KMS in tests: a key, and the ways in which a service answers or fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy::signers::SignerSync;
use alloy::signers::k256::ecdsa::signature::hazmat::PrehashSigner;
use alloy::signers::k256::ecdsa::{Signature, SigningKey};
use alloy::signers::local::PrivateKeySigner;

/// How the service behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Manner {
    Well,
    /// The same signature with s in the upper half.
    HighS,
    /// Too busy for this many requests.
    Throttles(u32),
    /// An error of its own for this many requests.
    Breaks(u32),
    /// Refuses for good.
    Denies,
    /// Takes longer than anybody waits.
    Slow,
    /// Bytes that are no signature.
    Garbage,
    /// Signs with another key: an alias was turned, or the service taken over.
    OtherKey,
}

/// What a request is answered with.
pub(super) enum Outcome {
    Der(Vec<u8>),
    Busy,
    Broken,
    Denied,
}

/// A key in a service.
pub(super) struct Vault {
    key: Mutex<SigningKey>,
    manner: Mutex<Manner>,
    /// Requests since the manner was set.
    requests: AtomicU32,
    /// Headers that say who asks.
    pub(super) askers: Mutex<Vec<String>>,
}

fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_slice(B256::repeat_byte(number).as_slice()).unwrap()
}

impl Vault {
    pub(super) fn new() -> Self {
        Self {
            key: Mutex::new(signing_key(0x42)),
            manner: Mutex::new(Manner::Well),
            requests: AtomicU32::new(0),
            askers: Mutex::default(),
        }
    }

    pub(super) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
        self.requests.store(0, Ordering::SeqCst);
    }

    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The same key at hand.
    pub(super) fn local(&self) -> PrivateKeySigner {
        PrivateKeySigner::from_signing_key(self.key.lock().unwrap().clone())
    }

    /// The public key as X.509 has it (SubjectPublicKeyInfo).
    pub(super) fn public_key(&self) -> Outcome {
        if *self.manner.lock().unwrap() == Manner::Denies {
            return Outcome::Denied;
        }
        let head = hex!("3056301006072a8648ce3d020106052b8104000a034200");
        let key = self.key.lock().unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        Outcome::Der([&head, point.as_bytes()].concat())
    }

    /// Signs a digest, or not.
    pub(super) async fn sign(&self, digest: &[u8]) -> Outcome {
        let before = self.requests.fetch_add(1, Ordering::SeqCst);
        let manner = *self.manner.lock().unwrap();
        let mut key = self.key.lock().unwrap().clone();
        match manner {
            Manner::Throttles(times) if before < times => return Outcome::Busy,
            Manner::Breaks(times) if before < times => return Outcome::Broken,
            Manner::Denies => return Outcome::Denied,
            Manner::Garbage => return Outcome::Der(vec![0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]),
            Manner::Slow => tokio::time::sleep(Duration::from_secs(30)).await,
            Manner::OtherKey => key = signing_key(0x66),
            _ => {}
        }
        let signature: Signature = key.sign_prehash(digest).unwrap();
        let signature = match manner {
            Manner::HighS => {
                let (r, s) = signature.split_scalars();
                Signature::from_scalars(*r, -*s).unwrap()
            }
            _ => signature,
        };
        Outcome::Der(signature.to_der().as_bytes().to_vec())
    }
}

/// A call, as the keeper sends them.
pub(super) fn transaction() -> TxEip1559 {
    TxEip1559 {
        chain_id: 42_161,
        nonce: 7,
        gas_limit: 1_000_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::ZERO,
        access_list: alloy::eips::eip2930::AccessList::default(),
        input: Bytes::from_static(b"trip"),
    }
}

/// The transaction signed with the key at hand.
pub(super) fn signed_here(vault: &Vault) -> TxEnvelope {
    let tx = transaction();
    let signature = vault.local().sign_hash_sync(&tx.signature_hash()).unwrap();
    TxEnvelope::from(tx.into_signed(signature))
}
