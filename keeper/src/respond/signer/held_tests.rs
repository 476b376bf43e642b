//! What a holder may do wrong, whoever it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicU32, Ordering};

use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;

use super::super::KeySigner;
use super::*;

/// How a device behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Signs,
    /// Is taken out after a signature.
    IsTakenOut,
    /// Answers what the library cannot read.
    Confuses,
    SignsWithAnother,
}

#[derive(Debug)]
struct Device {
    key: PrivateKeySigner,
    manner: Manner,
    signed: AtomicU32,
}

impl Holder for Device {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn sign_hash<'a>(&'a self, hash: &'a B256) -> BoxFuture<'a, Result<Signature, String>> {
        Box::pin(async move {
            let before = self.signed.fetch_add(1, Ordering::SeqCst);
            match self.manner {
                Manner::IsTakenOut if before > 0 => Err("no device".to_owned()),
                Manner::Confuses => panic!("index out of range"),
                Manner::SignsWithAnother => Ok(PrivateKeySigner::random().sign_hash_sync(hash).unwrap()),
                _ => {
                    // Neither the parity nor the half of s is to be relied on.
                    let signature = self.key.sign_hash_sync(hash).unwrap();
                    Ok(signature.with_parity(!signature.v()))
                }
            }
        })
    }

    fn is_lost_after_error(&self) -> bool {
        true
    }
}

fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap()
}

fn place(address: Option<Address>) -> Secret {
    Secret::Ledger {
        path: "m/44'/60'/0'/0/0".to_owned(),
        address,
    }
}

/// A key at `place` whose device is found, and counts how often it was looked for.
async fn found(manner: Manner, configured: Option<Address>) -> (Result<HeldKey, KeyError>, Arc<AtomicU32>) {
    let looks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&looks);
    let find: Finder = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let device = Device {
            key: key(),
            manner,
            signed: AtomicU32::new(0),
        };
        async move { Ok(Arc::new(device) as Arc<dyn Holder>) }.boxed()
    });
    (HeldKey::found_by(place(configured), find).await, looks)
}

/// A key that a person confirms, who always does.
pub(in crate::respond) async fn by_hand(key: PrivateKeySigner) -> KeySigner {
    let find: Finder = Arc::new(move || {
        let device = Device {
            key: key.clone(),
            manner: Manner::Signs,
            signed: AtomicU32::new(0),
        };
        async move { Ok(Arc::new(device) as Arc<dyn Holder>) }.boxed()
    });
    KeySigner::Held(HeldKey::found_by(place(None), find).await.unwrap())
}

#[tokio::test]
async fn a_signature_is_put_into_the_form_that_the_chain_takes() {
    let (held, _) = found(Manner::Signs, None).await;
    let held = held.unwrap();
    let hash = B256::repeat_byte(7);
    assert_eq!(
        held.sign_hash(&hash).await.unwrap(),
        key().sign_hash_sync(&hash).unwrap()
    );
    let upper = Signature::new(
        key().sign_hash_sync(&hash).unwrap().r(),
        alloy::primitives::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256)
            - key().sign_hash_sync(&hash).unwrap().s(),
        false,
    );
    assert_eq!(held.check(&hash, upper).unwrap(), key().sign_hash_sync(&hash).unwrap());
    assert!(held.check(&B256::repeat_byte(8), upper).is_err(), "of another hash");
}

#[tokio::test]
async fn a_device_that_was_taken_out_is_looked_for_again() {
    let (held, looks) = found(Manner::IsTakenOut, None).await;
    let held = held.unwrap();
    let hash = B256::repeat_byte(7);
    held.sign_hash(&hash).await.unwrap();
    let error = held.sign_hash(&hash).await.unwrap_err();
    assert_eq!(error, "Ledger at m/44'/60'/0'/0/0: no device");
    held.sign_hash(&hash).await.unwrap();
    assert_eq!(looks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_cannot_be_believed_is_an_error_and_ends_nothing() {
    for (manner, why) in [
        (Manner::Confuses, "its answer could not be read"),
        (Manner::SignsWithAnother, "a signature that is not of"),
    ] {
        let (held, _) = found(manner, None).await;
        let error = held.unwrap().sign_hash(&B256::repeat_byte(7)).await.unwrap_err();
        assert!(error.contains(why), "{manner:?}: {error}");
    }
    let (held, _) = found(Manner::Signs, Some(Address::repeat_byte(1))).await;
    assert!(matches!(held, Err(KeyError::OtherAccount { .. })));
}

#[tokio::test]
async fn a_person_is_asked_for_nothing_that_is_not_needed() {
    let (held, _) = found(Manner::Confuses, Some(key().address())).await;
    let signer = KeySigner::Held(held.unwrap());
    assert!(signer.needs_hand() && signer.is_elsewhere());
    // It would have failed if it had asked for a signature.
    signer.probe(1).await.unwrap();
}

#[tokio::test]
async fn a_holder_that_is_not_there_is_told_with_its_place() {
    let find: Finder = Arc::new(|| async { Err("no device".to_owned()) }.boxed());
    let error = HeldKey::found_by(place(None), Arc::clone(&find)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Ledger at m/44'/60'/0'/0/0 cannot be asked for its account: no device")
    );
    let held = HeldKey::found_by(place(Some(key().address())), find).await.unwrap();
    let error = held.sign_hash(&B256::ZERO).await.unwrap_err();
    assert_eq!(error, "Ledger at m/44'/60'/0'/0/0 does not answer: no device");
}

/// Whatever this program was built with.
#[tokio::test]
async fn a_key_of_a_missing_feature_says_how_to_build_it() {
    let gcp = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";
    for (secret, feature, is_built) in [
        (place(None), "ledger", cfg!(feature = "ledger")),
        (
            Secret::AwsKms {
                key: "alias/keeper".to_owned(),
                region: None,
                endpoint: None,
                address: None,
            },
            "aws-kms",
            cfg!(feature = "aws-kms"),
        ),
        (
            Secret::GcpKms {
                key: cordon_client::config::GcpKeyVersion::parse(gcp).unwrap(),
                endpoint: None,
                address: None,
            },
            "gcp-kms",
            cfg!(feature = "gcp-kms"),
        ),
    ] {
        assert_eq!(finder(&secret).is_ok(), is_built, "{feature}");
        let wanted = format!("cargo build --release -p cordon-cli --features {feature}");
        let error = not_built(&secret).to_string();
        assert!(error.ends_with(&wanted), "{error}");
    }
}

/// No device can be had here, so that it is missing is all that can be seen: the transport of the library takes no other device
/// than one of this machine's USB.
#[cfg(feature = "ledger")]
#[tokio::test]
async fn without_a_ledger_the_keeper_says_so() {
    let error = HeldKey::open(place(None)).await.unwrap_err().to_string();
    assert!(
        error.starts_with("Ledger at m/44'/60'/0'/0/0 cannot be asked for its account: "),
        "{error}"
    );
    let held = HeldKey::open(place(Some(key().address()))).await.unwrap();
    let error = held.probe().await.unwrap_err();
    assert!(
        error.starts_with("Ledger at m/44'/60'/0'/0/0 does not answer: "),
        "{error}"
    );
}
