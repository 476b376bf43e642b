//! A key in AWS KMS. Who asks comes from the SDK's own chain: environment, profile, web identity, container, instance.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::Signer;
use alloy_signer_aws::{AwsSigner, AwsSignerError};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::config::SharedCredentialsProvider;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;

use super::aws_http::client;
use super::held::{Finder, Holder, shortened, with_causes};

/// One attempt of a request; three fit into what a signature may take.
const ATTEMPT: Duration = Duration::from_millis(900);
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// A key with its public half.
#[derive(Debug)]
struct AwsKey(AwsSigner);

/// What finds `key`. `credentials` replace what the SDK's own chain finds.
pub(super) fn finder(
    key: &str,
    region: Option<&str>,
    endpoint: Option<&Url>,
    credentials: Option<SharedCredentialsProvider>,
) -> Finder {
    let key = key.to_owned();
    let region = region.or_else(|| region_of(&key)).map(str::to_owned);
    let endpoint = endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned());
    Arc::new(move || {
        let (key, region) = (key.clone(), region.clone());
        let (endpoint, credentials) = (endpoint.clone(), credentials.clone());
        async move {
            let client = connect(region, endpoint, credentials).await?;
            let signer = AwsSigner::new(client, key, None).await.map_err(|error| said(&error))?;
            Ok(Arc::new(AwsKey(signer)) as Arc<dyn Holder>)
        }
        .boxed()
    })
}

/// The region that an ARN names: `arn:PARTITION:kms:REGION:ACCOUNT:…`.
fn region_of(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("kms");
    parts.next().filter(|region| is_arn && !region.is_empty())
}

async fn connect(
    region: Option<String>,
    endpoint: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
) -> Result<aws_sdk_kms::Client, String> {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_WAIT);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client()?)
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(credentials) = credentials {
        loader = loader.credentials_provider(credentials);
    }
    let shared = loader.load().await;
    if shared.region().is_none() {
        return Err(
            "no region is known: set `region`, or AWS_REGION in the environment, or name the key by its ARN".to_owned(),
        );
    }
    let mut config = aws_sdk_kms::config::Builder::from(&shared);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(aws_sdk_kms::Client::from_conf(config.build()))
}

impl Holder for AwsKey {
    fn address(&self) -> Address {
        Signer::address(&self.0)
    }

    fn sign_hash<'a>(&'a self, hash: &'a B256) -> BoxFuture<'a, Result<Signature, String>> {
        Box::pin(async move {
            let signature = self.0.sign_digest(hash).await.map_err(|error| said(&error))?;
            Ok(Signature::from_signature_and_parity(signature, false))
        })
    }
}

/// What went wrong, as the service says it.
fn said(error: &AwsSignerError) -> String {
    match error {
        AwsSignerError::Sign(error) => refused(error),
        AwsSignerError::GetPublicKey(error) => refused(error),
        AwsSignerError::K256(_) | AwsSignerError::Spki(_) => {
            "what it answers is not of secp256k1 (the key has to be ECC_SECG_P256K1, for signing)".to_owned()
        }
        other => shortened(&other.to_string()),
    }
}

fn refused<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(refusal) => {
            let (code, message) = (refusal.err().code(), refusal.err().message());
            let status = refusal.raw().status().as_u16();
            shortened(&format!(
                "it refuses ({}): {}",
                code.map_or_else(|| status.to_string(), str::to_owned),
                message.unwrap_or("no reason given")
            ))
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::ResponseError(response) => {
            format!(
                "what it answers cannot be read (status {})",
                response.raw().status().as_u16()
            )
        }
        other => with_causes(other),
    }
}
