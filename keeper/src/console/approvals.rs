//! Approvals: what people are asked, and the one thing that can be changed through the console, by whoever shows a token of
//! `[people]`.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cordon_client::config::{People, SecretError, SecretText};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Shown;
use super::api::Failure;
use crate::clock::utc_ms;
use crate::record::ApproveError;

/// Least length of a token: what cannot be guessed.
const SHORTEST: usize = 16;

/// Why tokens cannot be used. No message contains one.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It could not be read.
    #[error("the token of {who}: {source}")]
    Credential {
        /// Whose it is.
        who: String,
        /// Why.
        source: SecretError,
    },
    /// It can be guessed.
    #[error("the token of {who} is shorter than {SHORTEST} characters: make one with `openssl rand -hex 32`")]
    Short {
        /// Whose it is.
        who: String,
    },
    /// Two people have the same.
    #[error("{who} and {other} have the same token: nobody could tell who approves")]
    Shared {
        /// One.
        who: String,
        /// The other.
        other: String,
    },
}

/// Who may approve through the console.
#[derive(Debug, Clone, Default)]
pub struct Approvers {
    pub(crate) people: People,
    /// Digests of tokens: comparing them takes as long wherever they differ.
    tokens: Vec<(String, [u8; 32])>,
}

impl Approvers {
    /// The people of a configuration; their tokens are read. `directory` is where relative paths start.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn new(people: &People, directory: &Path) -> Result<Self, TokenError> {
        let mut tokens: Vec<(String, [u8; 32])> = Vec::new();
        for (who, credential) in &people.tokens {
            let token = credential.read(directory).map_err(|source| TokenError::Credential {
                who: who.clone(),
                source,
            })?;
            if token.expose().len() < SHORTEST {
                return Err(TokenError::Short { who: who.clone() });
            }
            let digest = digest(&token);
            if let Some((other, _)) = tokens.iter().find(|(_, held)| *held == digest) {
                return Err(TokenError::Shared {
                    who: other.clone(),
                    other: who.clone(),
                });
            }
            tokens.push((who.clone(), digest));
        }
        Ok(Self {
            people: people.clone(),
            tokens,
        })
    }

    /// Whose token a request shows.
    fn who(&self, headers: &HeaderMap) -> Option<&str> {
        let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = shown.strip_prefix("Bearer ")?;
        let digest = digest(&SecretText::new(token.trim()));
        let found = self.tokens.iter().find(|(_, held)| *held == digest);
        found.map(|(who, _)| who.as_str())
    }
}

fn digest(token: &SecretText) -> [u8; 32] {
    Sha256::digest(token.expose().as_bytes()).into()
}

/// An answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    incident: i64,
    step: String,
    approve: bool,
}

pub(super) async fn open(State(shown): State<Arc<Shown>>) -> Result<Json<Value>, Failure> {
    let open = shown.store.open_approvals().await?;
    let list: Vec<Value> = open
        .iter()
        .map(|asked| {
            json!({
                "incident": asked.incident,
                "playbook": asked.playbook,
                "step": asked.step,
                "role": asked.role,
                "text": asked.text,
                "until": utc_ms(asked.until_ms),
            })
        })
        .collect();
    Ok(Json(json!({ "approvals": list })))
}

/// Takes an answer from whoever the token belongs to. A browser sends no such header for a page from elsewhere.
pub(super) async fn answer(
    State(shown): State<Arc<Shown>>,
    headers: HeaderMap,
    answer: Result<Json<Answer>, JsonRejection>,
) -> Result<Response, Failure> {
    let Some(who) = shown.approvers.who(&headers) else {
        let error = "a token of [people] is wanted: Authorization: Bearer TOKEN";
        let mut response = (StatusCode::UNAUTHORIZED, Json(json!({ "error": error }))).into_response();
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        return Ok(response);
    };
    let Json(answer) = answer.map_err(|error| Failure::Refused(error.status(), error.body_text()))?;
    let asked = (answer.incident, answer.step.as_str());
    let result = shown
        .store
        .approve(&shown.approvers.people, asked, who, answer.approve)
        .await;
    let (status, error) = match result {
        Ok(approved) => {
            let answer = json!({
                "playbook": approved.playbook,
                "step": approved.step,
                "by": who,
                "approved": answer.approve,
            });
            return Ok(Json(answer).into_response());
        }
        Err(ApproveError::Store(error)) => return Err(error.into()),
        Err(error @ ApproveError::NotAsked { .. }) => (StatusCode::NOT_FOUND, error),
        Err(error @ ApproveError::Ambiguous { .. }) => (StatusCode::CONFLICT, error),
        Err(error @ ApproveError::NotOfRole { .. }) => (StatusCode::FORBIDDEN, error),
    };
    Ok((status, Json(json!({ "error": error.to_string() }))).into_response())
}
