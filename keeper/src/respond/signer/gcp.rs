//! A key in GCP KMS, over gRPC. Who asks comes from application default credentials: the file that
//! GOOGLE_APPLICATION_CREDENTIALS names, gcloud's, or the machine's metadata server.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::Signer;
use alloy_signer_gcp::gcloud_sdk::google::cloud::kms::v1::key_management_service_client::KeyManagementServiceClient;
use alloy_signer_gcp::gcloud_sdk::tonic::Code;
use alloy_signer_gcp::gcloud_sdk::{GCP_DEFAULT_SCOPES, GoogleApi, TokenSourceType};
use alloy_signer_gcp::{GcpKeyRingRef, GcpSigner, GcpSignerError, KeySpecifier};
use cordon_client::config::GcpKeyVersion;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;

use super::held::{Finder, Holder, shortened, with_causes};

const PUBLIC: &str = "https://cloudkms.googleapis.com";
/// One attempt of a signature; the time limit of all of them is the caller's.
const ATTEMPT: Duration = Duration::from_millis(900);
/// Before the second attempt; doubled after each.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// A key with its public half.
#[derive(Debug)]
struct GcpKey(GcpSigner);

/// Says who asks.
pub(super) type Credentials = Arc<dyn Fn() -> TokenSourceType + Send + Sync>;

/// Application default credentials.
pub(super) fn application_default() -> Credentials {
    Arc::new(|| TokenSourceType::Default)
}

/// What finds `key`.
pub(super) fn finder(key: &GcpKeyVersion, endpoint: Option<&Url>, credentials: Credentials) -> Finder {
    let key = key.clone();
    let endpoint = endpoint.map_or(PUBLIC, Url::as_str).trim_end_matches('/').to_owned();
    Arc::new(move || {
        let (key, endpoint, source) = (key.clone(), endpoint.clone(), credentials());
        async move {
            let client = GoogleApi::from_function_with_token_source(
                KeyManagementServiceClient::new,
                endpoint,
                None,
                GCP_DEFAULT_SCOPES.clone(),
                source,
            )
            .await
            .map_err(|error| with_causes(&error))?;
            let ring = GcpKeyRingRef::new(&key.project, &key.location, &key.ring);
            let name = KeySpecifier::new(ring, &key.key, key.version);
            let signer = GcpSigner::new(client, name, None).await.map_err(|error| said(&error))?;
            Ok(Arc::new(GcpKey(signer)) as Arc<dyn Holder>)
        }
        .boxed()
    })
}

impl Holder for GcpKey {
    fn address(&self) -> Address {
        Signer::address(&self.0)
    }

    fn sign_hash<'a>(&'a self, hash: &'a B256) -> BoxFuture<'a, Result<Signature, String>> {
        Box::pin(async move {
            let mut wait = FIRST_WAIT;
            loop {
                let why = match tokio::time::timeout(ATTEMPT, self.0.sign_digest(hash)).await {
                    Ok(Ok(signature)) => return Ok(Signature::from_signature_and_parity(signature, false)),
                    Ok(Err(error)) if !may_pass(&error) => return Err(said(&error)),
                    Ok(Err(error)) => said(&error),
                    Err(_) => "no answer in time".to_owned(),
                };
                tracing::info!("GCP KMS is asked again: {why}");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
        })
    }
}

/// Whether the same request may be answered a moment later.
fn may_pass(error: &GcpSignerError) -> bool {
    let GcpSignerError::RequestError(status) = error else {
        return false;
    };
    matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::Internal | Code::Aborted | Code::DeadlineExceeded
    )
}

/// What went wrong, as the service says it.
fn said(error: &GcpSignerError) -> String {
    match error {
        GcpSignerError::RequestError(status) => {
            shortened(&format!("it refuses ({:?}): {}", status.code(), status.message()))
        }
        GcpSignerError::K256(_) | GcpSignerError::Spki(_) => {
            "what it answers is not of secp256k1 (the key has to be EC_SIGN_SECP256K1_SHA256)".to_owned()
        }
        other => with_causes(other),
    }
}
