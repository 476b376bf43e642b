//! A key in GCP KMS, against a server that speaks its protocol: gRPC over HTTP/2.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::respond::common::Anvil;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, Bytes as Data};
use alloy_signer_gcp::gcloud_sdk::TokenSourceType;
use alloy_signer_gcp::gcloud_sdk::google::cloud::kms::v1::{
    AsymmetricSignRequest, AsymmetricSignResponse, GetPublicKeyRequest, PublicKey, digest::Digest,
};
use alloy_signer_gcp::gcloud_sdk::prost::Message;
use alloy_signer_gcp::gcloud_sdk::tonic::service::Routes;
use alloy_signer_gcp::gcloud_sdk::tonic::transport::server::TcpIncoming;
use alloy_signer_gcp::gcloud_sdk::tonic::transport::{Channel, ClientTlsConfig, Server};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use cordon_client::config::{GcpKeyVersion, Secret};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::super::account::Account;
use super::super::deliver::{Call, DeliverSettings};
use super::super::delivery::Delivery;
use super::gcp::finder;
use super::held::HeldKey;
use super::mock::{Manner, Outcome, Vault, signed_here, transaction};
use super::{KeyError, KeySigner};
use crate::chain::Rpc;

const NAME: &str = "projects/p/locations/global/keyRings/ring/cryptoKeys/keeper/cryptoKeyVersions/1";
const TOKEN: &str = "ya29.token-of-the-test";
/// Made for this test: it belongs to nobody.
const PRIVATE_KEY: &str = include_str!("../../../tests/data/service-account-of-nobody.pem");

/// One message and how the call ended, as gRPC has them.
struct Answer(VecDeque<Frame<Bytes>>);

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn grpc(message: Option<Vec<u8>>, status: u8, text: &str) -> Response {
    let mut frames = VecDeque::new();
    if let Some(message) = message {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let framed = [&[0], length.as_slice(), &message].concat();
        frames.push_back(Frame::data(Bytes::from(framed)));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", u16::from(status).into());
    trailers.insert("grpc-message", text.parse().unwrap());
    frames.push_back(Frame::trailers(trailers));
    Response::builder()
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(Body::new(Answer(frames)))
        .unwrap()
}

async fn answer(State(vault): State<Arc<Vault>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
    vault.askers.lock().unwrap().push(text("authorization").to_owned());
    if text("authorization") != format!("Bearer {TOKEN}") {
        return grpc(None, 16, "who asks?");
    }
    assert_eq!(text("x-goog-request-params"), format!("name={NAME}"));
    let call = parts.uri.path().rsplit('/').next().unwrap().to_owned();
    let bytes = to_bytes(body, 10_000).await.unwrap();
    let message = &bytes[5..];
    let outcome = if call == "GetPublicKey" {
        assert_eq!(GetPublicKeyRequest::decode(message).unwrap().name, NAME);
        vault.public_key()
    } else {
        assert_eq!(call, "AsymmetricSign");
        let asked = AsymmetricSignRequest::decode(message).unwrap();
        let Some(Digest::Sha256(digest)) = asked.digest.unwrap().digest else {
            panic!("a digest of 32 bytes")
        };
        vault.sign(&digest).await
    };
    match outcome {
        Outcome::Der(der) if call == "GetPublicKey" => {
            let text = alloy::primitives::hex::encode(&der);
            let key = PublicKey {
                pem: pem(&text),
                ..PublicKey::default()
            };
            grpc(Some(key.encode_to_vec()), 0, "")
        }
        Outcome::Der(signature) => {
            let answer = AsymmetricSignResponse {
                signature,
                ..AsymmetricSignResponse::default()
            };
            grpc(Some(answer.encode_to_vec()), 0, "")
        }
        Outcome::Busy => grpc(None, 8, "quota exceeded"),
        Outcome::Broken => grpc(None, 14, "try again"),
        Outcome::Denied => grpc(None, 7, "permission cloudkms.cryptoKeyVersions.useToSign denied"),
    }
}

/// Bytes in hex as PEM, in base64.
fn pem(hex: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = alloy::primitives::hex::decode(hex).unwrap();
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |sum, at| {
            sum << 8 | u32::from(part.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let digit = DIGITS[usize::try_from(number >> (18 - 6 * at) & 63).unwrap()];
            text.push(if at <= part.len() { char::from(digit) } else { '=' });
        }
    }
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

/// A KMS and what hands out tokens, on free ports.
struct Kms {
    vault: Arc<Vault>,
    address: SocketAddr,
    tokens: SocketAddr,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Kms {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Kms {
    async fn start() -> Self {
        let vault = Arc::new(Vault::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&vault));
        let serving = Server::builder()
            .add_routes(Routes::from(app))
            .serve_with_incoming(TcpIncoming::from(listener));
        let kms = tokio::spawn(async move { serving.await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tokens = listener.local_addr().unwrap();
        let app = Router::new().route("/token", post(token));
        let handing = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            vault,
            address,
            tokens,
            tasks: [kms, handing],
        }
    }

    async fn open(&self, account: Option<Address>) -> Result<HeldKey, KeyError> {
        let endpoint: reqwest::Url = format!("http://{}", self.address).parse().unwrap();
        let key = GcpKeyVersion::parse(NAME).unwrap();
        let credentials = self.account(PRIVATE_KEY);
        let source = Arc::new(move || TokenSourceType::Json(credentials.clone()));
        let find = finder(&key, Some(&endpoint), source);
        let place = Secret::GcpKms {
            key,
            endpoint: Some(endpoint),
            address: account,
        };
        HeldKey::found_by(place, find).await
    }

    async fn signer(&self) -> KeySigner {
        KeySigner::Held(self.open(None).await.unwrap())
    }

    fn account(&self, private_key: &str) -> String {
        json!({
            "type": "service_account", "client_email": "keeper@p.iam.gserviceaccount.com", "private_key_id": "1",
            "private_key": private_key, "token_uri": format!("http://{}/token", self.tokens),
        })
        .to_string()
    }
}

/// Hands out a token for a signed assertion.
async fn token(body: String) -> Json<Value> {
    let assertion = body.split("assertion=").nth(1).unwrap();
    assert_eq!(assertion.split('.').count(), 3, "header, claims, signature: {body}");
    Json(json!({ "access_token": TOKEN, "token_type": "Bearer", "expires_in": 3_600 }))
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
        signer.probe(1).await.unwrap();
    }
    assert!(kms.vault.askers.lock().unwrap().len() >= 5);
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
        (Manner::Throttles(99), "no answer within 3 s"),
        (Manner::Breaks(99), "no answer within 3 s"),
        (Manner::Denies, "useToSign denied"),
        (Manner::Garbage, "is not of secp256k1"),
        (Manner::OtherKey, "answers a signature that is not of"),
        (Manner::Slow, "no answer"),
    ] {
        kms.vault.behave(manner);
        let begun = Instant::now();
        let error = signer.sign(transaction()).await.unwrap_err();
        assert!(error.contains(why) && error.contains(NAME), "{manner:?}: {error}");
        assert!(!error.contains(TOKEN), "{error}");
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{manner:?}: {:?}",
            begun.elapsed()
        );
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
    assert!(error.contains(&format!("is the key of {held}")), "{error}");
    kms.vault.behave(Manner::Denies);
    let error = kms.open(None).await.unwrap_err().to_string();
    assert!(error.contains("PermissionDenied"), "{error}");
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
        data: Data::from_static(b"hello"),
        gas: 100_000,
    };
    let settings = DeliverSettings::default();
    let delivery = Delivery::unrecorded(&account, &settings, &call);
    let delivered = delivery.run(|_, _| {}).await.unwrap();
    assert!(delivered.receipt.status());
    assert_eq!(delivered.receipt.from, kms.vault.local().address());
}

/// The library below chooses no cryptography by itself when several could be, and panics. The SDK sets its channel up like this, but
/// takes no port with https.
#[tokio::test]
async fn an_endpoint_behind_tls_is_greeted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let greeting = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap()
    });
    let tls = ClientTlsConfig::new().with_webpki_roots().domain_name("localhost");
    let endpoint = Channel::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
    let error = endpoint.tls_config(tls).unwrap().connect().await.unwrap_err();
    assert_eq!(
        greeting.await.unwrap(),
        0x16,
        "the first byte of a TLS handshake: {error}"
    );
}

/// Not a test of its own: a process whose environment says who asks.
#[tokio::test]
#[ignore = "started by another test with an environment of its own"]
async fn child() {
    let Ok(endpoint) = std::env::var("CORDON_TEST_KMS") else {
        return;
    };
    let secret = Secret::GcpKms {
        key: GcpKeyVersion::parse(NAME).unwrap(),
        endpoint: Some(endpoint.parse().unwrap()),
        address: None,
    };
    match KeySigner::open(&secret, std::path::Path::new(".")).await {
        Ok(signer) => println!("probed {signer}: {:?}", signer.probe(1).await),
        Err(error) => println!("refused: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_comes_from_application_default_credentials() {
    let kms = Kms::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("account.json");
    let child = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "respond::signer::gcp_tests::child",
                "--ignored",
                "--nocapture",
            ])
            .env("CORDON_TEST_KMS", format!("http://{}", kms.address))
            .env("HOME", folder.path())
            .env("GOOGLE_APPLICATION_CREDENTIALS", &path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = child(&kms.account(PRIVATE_KEY));
    let account = kms.vault.local().address();
    assert!(
        told.contains(&format!("probed {account}, GCP KMS key {NAME}: Ok(())")),
        "{told}"
    );
    let told = child("{}");
    assert!(
        told.contains("refused:") && told.contains("credentials json error"),
        "{told}"
    );
    let told = child(&kms.account("no key"));
    assert!(told.contains("refused:") && !told.contains("no key"), "{told}");
}
