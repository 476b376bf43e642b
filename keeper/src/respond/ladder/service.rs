//! The Safe Transaction Service: where owners find what they are to sign.

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use cordon_client::config::SecretText;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

use super::safe::SafeTx;

/// How long it may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// More than any answer that matters.
const LONGEST: usize = 1 << 20;

/// Why a proposal is not with the service. No text contains the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceError {
    /// It may pass later.
    #[error("{0}")]
    Later(String),
    /// It will not pass unless somebody changes something.
    #[error("the service refuses the proposal: {0}")]
    Refused(String),
}

/// A service that is asked.
#[derive(Debug, Clone)]
pub(crate) struct SafeClient {
    url: Url,
    key: Option<SecretText>,
    client: reqwest::Client,
}

/// What is proposed.
#[derive(Debug, Clone)]
pub(crate) struct Proposal {
    pub(crate) safe: Address,
    pub(crate) tx: SafeTx,
    pub(crate) hash: B256,
    pub(crate) sender: Address,
    pub(crate) signature: Bytes,
}

impl SafeClient {
    pub(crate) fn new(url: Url, key: Option<SecretText>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { url, key, client })
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v2/{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// Whether the service has the proposal.
    pub(crate) async fn has(&self, hash: B256) -> Result<bool, ServiceError> {
        let request = self.client.get(self.at(&format!("multisig-transactions/{hash}/")));
        let (status, body) = self.send(request).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::OK => {
                let said = body.get("safeTxHash").and_then(Value::as_str).map(str::parse::<B256>);
                if matches!(said, Some(Ok(said)) if said == hash) {
                    Ok(true)
                } else {
                    Err(ServiceError::Later("the service answers something else".to_owned()))
                }
            }
            status => Err(trouble(status, &body)),
        }
    }

    /// Proposes a transaction, and makes sure that the service has it.
    pub(crate) async fn propose(&self, proposal: &Proposal) -> Result<(), ServiceError> {
        let tx = &proposal.tx;
        let body = json!({
            "to": tx.to, "value": tx.value.to_string(), "data": tx.data, "operation": tx.operation,
            "safeTxGas": tx.safeTxGas.to_string(), "baseGas": tx.baseGas.to_string(), "gasPrice": tx.gasPrice.to_string(),
            "gasToken": tx.gasToken, "refundReceiver": tx.refundReceiver, "nonce": tx.nonce.to_string(),
            "contractTransactionHash": proposal.hash, "sender": proposal.sender, "signature": proposal.signature,
            "origin": "Cordon keeper",
        });
        let path = format!("safes/{}/multisig-transactions/", proposal.safe);
        let (status, answer) = self.send(self.client.post(self.at(&path)).json(&body)).await?;
        if !status.is_success() {
            return Err(trouble(status, &answer));
        }
        // A proxy's welcome page is no confirmation.
        if self.has(proposal.hash).await? {
            Ok(())
        } else {
            Err(ServiceError::Later(
                "the service has taken the proposal and does not have it".to_owned(),
            ))
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Value), ServiceError> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        let failed = |error: reqwest::Error| {
            ServiceError::Later(format!("the service does not answer: {}", error.without_url()))
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(failed)?;
        if bytes.len() > LONGEST {
            return Err(ServiceError::Later("the service's answer is too long".to_owned()));
        }
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

fn trouble(status: StatusCode, body: &Value) -> ServiceError {
    let words: String = if body.is_null() {
        String::new()
    } else {
        body.to_string().chars().filter(|c| !c.is_control()).take(300).collect()
    };
    let text = format!("{status} {words}").trim_end().to_owned();
    let may_pass = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) || status.is_redirection();
    if may_pass {
        ServiceError::Later(text)
    } else {
        ServiceError::Refused(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use alloy::primitives::U256;
    use alloy::signers::SignerSync;
    use alloy::signers::local::PrivateKeySigner;
    use axum::extract::{Path, State};
    use axum::http::HeaderMap;
    use axum::response::{IntoResponse, Response};
    use axum::routing::{get, post};
    use axum::{Json, Router};

    use super::*;
    use crate::respond::ladder::safe::{hash, plain};

    const SAFE: Address = Address::repeat_byte(0x5a);

    /// How the service answers a proposal.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Manner {
        Takes,
        /// It answers as if, and keeps nothing.
        Forgets,
        Refuses,
        WantsAKey,
        IsBusy,
        Fails,
        /// A proxy before it answers for it.
        Welcomes,
        Redirects,
    }

    #[derive(Clone)]
    struct Service {
        manner: Manner,
        held: Arc<Mutex<BTreeMap<String, Value>>>,
    }

    async fn look(State(service): State<Service>, Path(hash): Path<String>) -> Response {
        if service.manner == Manner::Welcomes {
            return "welcome".into_response();
        }
        match service.held.lock().unwrap().get(&hash) {
            Some(_) => Json(json!({ "safeTxHash": hash, "isExecuted": false })).into_response(),
            None => (
                StatusCode::NOT_FOUND,
                Json(json!({ "detail": "No MultisigTransaction matches" })),
            )
                .into_response(),
        }
    }

    async fn take(
        State(service): State<Service>,
        Path(safe): Path<String>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> Response {
        // What the real one checks first: the hash, and who signed it.
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        let tx = SafeTx {
            nonce: text("nonce").parse().unwrap(),
            ..plain(text("to").parse().unwrap(), text("data").parse().unwrap(), U256::ZERO)
        };
        let digest = hash(&tx, 42_161, safe.parse().unwrap());
        let said = text("contractTransactionHash");
        assert_eq!(said.parse::<B256>().unwrap(), digest);
        let signature: Bytes = text("signature").parse().unwrap();
        let signer = alloy::primitives::Signature::from_raw(&signature)
            .unwrap()
            .recover_address_from_prehash(&digest)
            .unwrap();
        assert_eq!(signer, text("sender").parse::<Address>().unwrap());
        assert_eq!(headers["authorization"], "Bearer key-of-the-service");
        let answer =
            |status: StatusCode, text: &str| (status, Json(json!({ "nonFieldErrors": [text] }))).into_response();
        match service.manner {
            Manner::Takes => {
                service.held.lock().unwrap().insert(said, body);
                StatusCode::CREATED.into_response()
            }
            Manner::Forgets => StatusCode::CREATED.into_response(),
            Manner::Refuses => answer(StatusCode::UNPROCESSABLE_ENTITY, "Sender is not an owner or delegate"),
            Manner::WantsAKey => answer(StatusCode::UNAUTHORIZED, "Invalid API key"),
            Manner::IsBusy => answer(StatusCode::TOO_MANY_REQUESTS, "throttled"),
            Manner::Fails => answer(StatusCode::BAD_GATEWAY, "upstream"),
            Manner::Welcomes => "welcome".into_response(),
            Manner::Redirects => axum::response::Redirect::temporary("http://127.0.0.1:1/").into_response(),
        }
    }

    async fn propose(manner: Manner) -> (Result<(), ServiceError>, usize) {
        let service = Service {
            manner,
            held: Arc::default(),
        };
        let app = Router::new()
            .route("/tx/api/v2/multisig-transactions/{hash}/", get(look))
            .route("/tx/api/v2/safes/{safe}/multisig-transactions/", post(take))
            .with_state(service.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tx/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let key = PrivateKeySigner::random();
        let tx = plain(Address::repeat_byte(9), Bytes::from_static(b"halt"), U256::from(3));
        let digest = hash(&tx, 42_161, SAFE);
        let proposal = Proposal {
            safe: SAFE,
            tx,
            hash: digest,
            sender: key.address(),
            signature: key.sign_hash_sync(&digest).unwrap().as_bytes().to_vec().into(),
        };
        let token = SecretText::new("key-of-the-service");
        let client = SafeClient::new(url.parse().unwrap(), Some(token)).unwrap();
        let mut result = client.propose(&proposal).await;
        if result.is_ok() {
            // Proposing it once more changes nothing.
            result = client.propose(&proposal).await;
            assert!(client.has(digest).await.unwrap());
        }
        server.abort();
        let held = service.held.lock().unwrap().len();
        (result, held)
    }

    #[tokio::test]
    async fn a_proposal_is_taken_once_and_read_back() {
        assert_eq!(propose(Manner::Takes).await, (Ok(()), 1));
    }

    #[tokio::test]
    async fn every_other_answer_is_a_failure_that_says_whether_it_may_pass() {
        for (manner, passes, word) in [
            (Manner::Forgets, true, "does not have it"),
            (Manner::Refuses, false, "not an owner or delegate"),
            (Manner::WantsAKey, false, "Invalid API key"),
            (Manner::IsBusy, true, "throttled"),
            (Manner::Fails, true, "upstream"),
            (Manner::Welcomes, true, "something else"),
            (Manner::Redirects, true, "307"),
        ] {
            let error = propose(manner).await.0.unwrap_err();
            assert_eq!(matches!(error, ServiceError::Later(_)), passes, "{manner:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(word) && !text.contains("key-of"), "{manner:?}: {text}");
        }
    }

    #[tokio::test]
    async fn a_service_that_cannot_be_reached_may_come_back() {
        let client = SafeClient::new("http://127.0.0.1:1/".parse().unwrap(), None).unwrap();
        let error = client.has(B256::ZERO).await.unwrap_err();
        assert!(
            matches!(&error, ServiceError::Later(text) if text.contains("does not answer")),
            "{error}"
        );
    }
}
