//! A key in AWS KMS, against a server that speaks its protocol (JSON 1.1, DER, Signature Version 4).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::respond::common::Anvil;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, Signature};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_types::base64;
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cordon_client::config::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::super::account::Account;
use super::super::armory::Readiness;
use super::super::deliver::{Call, DeliverSettings};
use super::super::delivery::Delivery;
use super::super::keys::KeyWatch;
use super::aws::finder;
use super::held::HeldKey;
use super::mock::{Manner, Outcome, Vault, signed_here, transaction};
use super::{KeyError, KeySigner};
use crate::alarm::Alarms;
use crate::chain::Rpc;
use crate::record::{AlarmKind, Store};

const ACCESS_KEY: &str = "AKIDEXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI-secret-of-the-test";
const KEY: &str = "alias/keeper";

/// A server on a free port.
struct Kms {
    vault: Arc<Vault>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Kms {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kms {
    async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let vault = Arc::new(Vault::new());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&vault));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { vault, address, task }
    }

    async fn open(&self, account: Option<Address>) -> Result<HeldKey, KeyError> {
        opened(self.address, account).await
    }

    async fn signer(&self) -> KeySigner {
        KeySigner::Held(self.open(None).await.unwrap())
    }
}

async fn opened(address: SocketAddr, account: Option<Address>) -> Result<HeldKey, KeyError> {
    let endpoint = format!("http://{address}/").parse().unwrap();
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let find = finder(
        KEY,
        Some("eu-central-1"),
        Some(&endpoint),
        Some(SharedCredentialsProvider::new(credentials)),
    );
    let place = Secret::AwsKms {
        key: KEY.to_owned(),
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(endpoint),
        address: account,
    };
    HeldKey::found_by(place, find).await
}

async fn answer(State(vault): State<Arc<Vault>>, headers: HeaderMap, body: Body) -> Response {
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let asker = text("authorization").to_owned();
    let is_signed = asker.starts_with("AWS4-HMAC-SHA256 Credential=")
        && asker.contains("SignedHeaders=")
        && asker.contains("Signature=")
        && !text("x-amz-date").is_empty();
    vault.askers.lock().unwrap().push(asker);
    if !is_signed {
        return error(
            StatusCode::BAD_REQUEST,
            "MissingAuthenticationTokenException",
            "who asks?",
        );
    }
    assert_eq!(text("content-type"), "application/x-amz-json-1.1");
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let outcome = match text("x-amz-target") {
        "TrentService.GetPublicKey" => vault.public_key(),
        "TrentService.Sign" => {
            assert_eq!(asked["MessageType"], "DIGEST");
            assert_eq!(asked["SigningAlgorithm"], "ECDSA_SHA_256");
            let digest = base64::decode(asked["Message"].as_str().unwrap()).unwrap();
            assert_eq!(digest.len(), 32);
            vault.sign(&digest).await
        }
        other => panic!("{other}"),
    };
    assert_eq!(asked["KeyId"], KEY);
    let is_key = text("x-amz-target").ends_with("PublicKey");
    match outcome {
        Outcome::Der(der) if is_key => json_answer(&json!({
            "KeyId": "arn:aws:kms:eu-central-1:111122223333:key/1234", "PublicKey": base64::encode(der),
            "KeySpec": "ECC_SECG_P256K1", "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["ECDSA_SHA_256"],
        })),
        Outcome::Der(der) => json_answer(&json!({
            "KeyId": "arn:aws:kms:eu-central-1:111122223333:key/1234", "Signature": base64::encode(der),
            "SigningAlgorithm": "ECDSA_SHA_256",
        })),
        Outcome::Busy => error(StatusCode::BAD_REQUEST, "ThrottlingException", "Rate exceeded"),
        Outcome::Broken => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "KMSInternalException",
            "something went wrong",
        ),
        Outcome::Denied => error(
            StatusCode::BAD_REQUEST,
            "AccessDeniedException",
            "User: arn:aws:iam::111122223333:user/keeper is not authorized to perform: kms:Sign",
        ),
    }
}

fn json_answer(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/x-amz-json-1.1")],
        value.to_string(),
    )
        .into_response()
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, json_answer(&json!({ "__type": kind, "message": message }))).into_response()
}

#[tokio::test]
async fn a_key_in_kms_signs_what_a_key_at_hand_would() {
    let kms = Kms::start().await;
    let signer = kms.signer().await;
    assert_eq!(signer.address(), kms.vault.local().address());
    for manner in [Manner::Well, Manner::HighS] {
        kms.vault.behave(manner);
        let signed = signer.sign(transaction()).await.unwrap();
        assert_eq!(
            signed.encoded_2718(),
            signed_here(&kms.vault).encoded_2718(),
            "{manner:?}"
        );
        let hash = B256::repeat_byte(0x11);
        let signature = signer.sign_hash(&hash).await.unwrap();
        assert!(matches!(signature[64], 27 | 28));
        let read = Signature::try_from(signature.as_ref()).unwrap();
        assert_eq!(read.recover_address_from_prehash(&hash).unwrap(), signer.address());
        assert!(read.normalize_s().is_none(), "s lies in the lower half");
        signer.probe(1).await.unwrap();
    }
    let askers = kms.vault.askers.lock().unwrap();
    assert!(askers.len() >= 7);
    for asker in askers.iter() {
        assert!(asker.contains(&format!("Credential={ACCESS_KEY}/")), "{asker}");
        assert!(asker.contains("/eu-central-1/kms/aws4_request"), "{asker}");
        assert!(!asker.contains(SECRET_KEY));
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_told_in_time() {
    let kms = Kms::start().await;
    let signer = kms.signer().await;
    for manner in [Manner::Throttles(2), Manner::Breaks(2)] {
        kms.vault.behave(manner);
        signer.sign(transaction()).await.unwrap();
        assert_eq!(kms.vault.requests(), 3, "{manner:?}");
    }
    for (manner, why) in [
        (Manner::Throttles(99), "ThrottlingException): Rate exceeded"),
        (Manner::Breaks(99), "KMSInternalException): something went wrong"),
        (Manner::Denies, "is not authorized to perform: kms:Sign"),
        (Manner::Garbage, "is not of secp256k1"),
        (Manner::OtherKey, "answers a signature that is not of"),
        (Manner::Slow, "no answer"),
    ] {
        kms.vault.behave(manner);
        let begun = Instant::now();
        let error = signer.sign(transaction()).await.unwrap_err();
        assert!(
            error.contains(why) && error.contains("AWS KMS key alias/keeper"),
            "{manner:?}: {error}"
        );
        assert!(!error.contains(SECRET_KEY) && !error.contains("Signature="), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{manner:?}: {:?}",
            begun.elapsed()
        );
        assert!(signer.probe(1).await.is_err(), "{manner:?}");
    }
    kms.vault.behave(Manner::Well);
    signer.sign(transaction()).await.unwrap();
}

#[tokio::test]
async fn the_account_of_the_key_is_the_configured_one_or_the_keeper_does_not_start() {
    let kms = Kms::start().await;
    let held = kms.vault.local().address();
    assert_eq!(kms.open(Some(held)).await.unwrap().address(), held);
    let error = kms.open(Some(Address::repeat_byte(1))).await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("is the key of {held}")) && error.contains("AWS KMS key alias/keeper"),
        "{error}"
    );
    kms.vault.behave(Manner::Denies);
    let error = kms.open(None).await.unwrap_err().to_string();
    assert!(
        error.contains("AccessDeniedException") && error.contains("`address`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_kms_that_is_out_of_reach_at_the_start_is_found_later() {
    let kms = Kms::start().await;
    let (address, account) = (kms.address, kms.vault.local().address());
    drop(kms);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = opened(address, None).await.unwrap_err().to_string();
    assert!(error.contains("cannot be asked for its account"), "{error}");
    let key = opened(address, Some(account)).await.unwrap();
    let signer = KeySigner::Held(key);
    let error = signer.sign(transaction()).await.unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
    let kms = Kms::at(address).await;
    let signed = signer.sign(transaction()).await.unwrap();
    assert_eq!(signed.encoded_2718(), signed_here(&kms.vault).encoded_2718());
}

#[tokio::test]
async fn a_transaction_of_a_key_in_kms_is_confirmed_by_a_node() {
    let (kms, anvil) = (Kms::start().await, Anvil::start(&[]).await);
    let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), Duration::from_secs(2)).unwrap();
    let account = Account::new(kms.signer().await, rpc.clone());
    anvil
        .rpc("anvil_setBalance", json!([account.address(), "0xde0b6b3a7640000"]))
        .await;
    let call = Call {
        to: Address::repeat_byte(0x77),
        data: Bytes::from_static(b"hello"),
        gas: 100_000,
    };
    // One after the other, also through a service that is busy.
    for (nonce, manner) in [(0, Manner::Well), (1, Manner::HighS), (2, Manner::Throttles(2))] {
        kms.vault.behave(manner);
        let settings = DeliverSettings::default();
        let delivery = Delivery::unrecorded(&account, &settings, &call);
        let delivered = delivery.run(|_, _| {}).await.unwrap();
        assert!(delivered.receipt.status());
        assert_eq!(delivered.receipt.from, kms.vault.local().address());
        assert_eq!(delivered.sent.nonce, nonce);
    }
    assert_eq!(rpc.counts(account.address(), 0).await.unwrap().agreed, 3);
}

#[tokio::test]
async fn a_key_that_does_not_sign_is_an_alarm_before_it_is_needed() {
    let (kms, anvil) = (Kms::start().await, Anvil::start(&[]).await);
    let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), Duration::from_secs(2)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("cordon.db"), anvil.chain_id(), Address::ZERO)
        .await
        .unwrap();
    let alarms = Alarms::new(store.clone(), broadcast::channel(16).0);
    // What an earlier run has left.
    alarms
        .raise(AlarmKind::NotReady, "[keeper] key", "the key of before", None)
        .await;
    let local = Account::new(kms.vault.local(), rpc.clone());
    let held = Account::new(kms.signer().await, rpc);
    let readiness = Readiness::default();
    let watch = KeyWatch::new(&[local], Some(&held), alarms, readiness.clone()).every(Duration::from_millis(50));
    let running = tokio::spawn(watch.run());
    let open = || async {
        let alarms = store.alarms().await.unwrap().into_iter();
        let open = alarms.filter(|alarm| alarm.cleared_ms.is_none());
        open.map(|alarm| (alarm.subject, alarm.text)).collect::<Vec<_>>()
    };
    let open = &open;
    let until = |wanted: usize| async move {
        for _ in 0..200 {
            let found = open().await;
            if found.len() == wanted {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", open().await)
    };
    until(0).await;
    let ready = |is_ready| vec![(kms.vault.local().address().to_string(), is_ready)];
    assert_eq!(readiness.rules(), ready(true));
    kms.vault.behave(Manner::Denies);
    let found = until(1).await;
    assert_eq!(found[0].0, "[keeper] heartbeat_key");
    assert!(found[0].1.contains("AccessDeniedException"), "{found:?}");
    assert_eq!(readiness.rules(), ready(false));
    kms.vault.behave(Manner::Well);
    until(0).await;
    assert_eq!(readiness.rules(), ready(true));
    running.abort();
}

/// Not a test of its own: a process whose environment says who asks.
#[tokio::test]
#[ignore = "started by another test with an environment of its own"]
async fn child() {
    let Ok(endpoint) = std::env::var("CORDON_TEST_KMS") else {
        return;
    };
    let secret = Secret::AwsKms {
        key: KEY.to_owned(),
        region: None,
        endpoint: Some(endpoint.parse().unwrap()),
        address: None,
    };
    match KeySigner::open(&secret, std::path::Path::new(".")).await {
        Ok(signer) => println!("probed {signer}: {:?}", signer.probe(1).await),
        Err(error) => println!("refused: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_comes_from_the_sdks_own_chain() {
    let kms = Kms::start().await;
    let folder = tempfile::tempdir().unwrap();
    let child = |variables: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "respond::signer::aws_tests::child",
                "--ignored",
                "--nocapture",
            ])
            .env("CORDON_TEST_KMS", format!("http://{}", kms.address))
            .env("HOME", folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "AWS_PROFILE",
        ] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let (id, secret) = (("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY));
    let region = ("AWS_REGION", "ap-south-1");
    let told = child(&[id, secret, region]);
    let account = kms.vault.local().address();
    assert!(
        told.contains(&format!("probed {account}, AWS KMS key alias/keeper: Ok(())")),
        "{told}"
    );
    let scope = "/ap-south-1/kms/aws4_request";
    assert!(
        kms.vault
            .askers
            .lock()
            .unwrap()
            .iter()
            .all(|asker| asker.contains(scope))
    );
    // A profile of the file that the AWS tools share.
    let profile = format!(
        "[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\nregion = ap-south-1\n"
    );
    std::fs::create_dir(folder.path().join(".aws")).unwrap();
    std::fs::write(folder.path().join(".aws/credentials"), profile).unwrap();
    assert!(child(&[]).contains("Ok(())"));
    std::fs::remove_dir_all(folder.path().join(".aws")).unwrap();
    let told = child(&[id, secret]);
    assert!(told.contains("no region is known"), "{told}");
    let told = child(&[region]);
    assert!(told.contains("refused:") && told.contains("credential"), "{told}");
}
