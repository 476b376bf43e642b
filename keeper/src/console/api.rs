//! The resources.

use std::fmt::Display;
use std::sync::Arc;

use alloy::primitives::B256;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shown, json as show, metrics};
use crate::health::Health;
use crate::record::{Store, StoreError};

/// Entries of a list unless asked for, and at most.
const FEW: u32 = 20;
const MANY: u32 = 100;

type Shared = State<Arc<Shown>>;

/// Which part of a list, newest first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<u32>,
    before: Option<i64>,
}

type Asked = Result<Query<Page>, QueryRejection>;

impl Page {
    /// What was asked for.
    fn of(asked: Asked) -> Result<Self, Failure> {
        let Query(page) = asked.map_err(|error| Failure::Refused(error.status(), error.body_text()))?;
        match page.limit {
            Some(limit) if limit == 0 || limit > MANY => {
                let text = format!("`limit` {limit} is not between 1 and {MANY}");
                Err(Failure::BadRequest(text))
            }
            _ => Ok(page),
        }
    }

    fn most(&self) -> u32 {
        self.limit.unwrap_or(FEW)
    }
}

/// Why a request has no answer.
pub(super) enum Failure {
    NotFound(&'static str),
    BadRequest(String),
    /// What was sent cannot be read.
    Refused(StatusCode, String),
    Record,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, format!("there is no such {what}")),
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, text),
            Self::Refused(status, text) => (status, text),
            Self::Record => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the record could not be read; see the log".to_owned(),
            ),
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the console could not read the record");
        Self::Record
    }
}

fn parse<T: std::str::FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Failure> {
    let short: String = text.chars().take(80).collect();
    text.parse()
        .map_err(|error| Failure::BadRequest(format!("`{short}` is no {what}: {error}")))
}

/// Health of a keeper that waits for its turn: 200 while it can take it, 503 when it cannot reach the record.
pub(super) async fn standing_by(State(store): State<Store>) -> Response {
    // Whoever asks wants to know now.
    let asked = tokio::time::timeout(std::time::Duration::from_secs(1), store.lease_holder()).await;
    let asked = asked.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut.into()));
    let (status, why) = match asked {
        Ok(Some(holder)) => (StatusCode::OK, format!("{} has the turn", holder.holder)),
        Ok(None) => (StatusCode::OK, "nobody has the turn".to_owned()),
        Err(error) => {
            tracing::error!(%error, "the record of the fleet cannot be reached");
            let why = "the record of the fleet cannot be reached; see the log".to_owned();
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                Json(json!({ "status": "ill", "why": why })),
            )
                .into_response();
        }
    };
    (status, Json(json!({ "status": "standby", "why": why }))).into_response()
}

/// What can be measured of a keeper that waits for its turn, which it does also when it has lost it with the database.
pub(super) async fn measured_standing_by(State(store): State<Store>) -> Response {
    let asked = tokio::time::timeout(std::time::Duration::from_secs(1), store.lease_holder()).await;
    as_metrics(metrics::standing_by(matches!(asked, Ok(Ok(_)))))
}

/// Everything else is asked of the keeper that works.
pub(super) async fn not_here() -> Response {
    let error = "this keeper waits for its turn: ask the one that works";
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error }))).into_response()
}

/// 200 while the keeper is well or has only begun, 503 otherwise: what an orchestrator restarts or pages by.
pub(super) async fn health(State(shown): Shared) -> Response {
    let (status, name, why) = match shown.progress.health(&shown.heads) {
        Health::Well => (StatusCode::OK, "well", None),
        Health::Starting => (StatusCode::OK, "starting", None),
        Health::Ill(why) | Health::Idle(why) => (StatusCode::SERVICE_UNAVAILABLE, "ill", Some(why)),
    };
    (status, Json(json!({ "status": name, "why": why }))).into_response()
}

pub(super) async fn measured(State(shown): Shared) -> Response {
    as_metrics(shown.metrics.render(&shown).await)
}

fn as_metrics(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

pub(super) async fn status(State(shown): Shared) -> Result<Json<Value>, Failure> {
    let head = shown.heads.newest();
    let link = shown.heads.link();
    let open: Vec<Value> = shown
        .store
        .open_topics()
        .await?
        .into_iter()
        .map(|topic| json!({ "topic": topic.topic, "acknowledged_by": topic.acknowledged_by }))
        .collect();
    let health = match shown.progress.health(&shown.heads) {
        Health::Well => "well".to_owned(),
        Health::Starting => "starting".to_owned(),
        Health::Ill(why) | Health::Idle(why) => format!("ill: {why}"),
    };
    Ok(Json(json!({
        "chain": shown.store.chain_id(),
        "guard": shown.store.guard().to_string(),
        "keeper": shown.keeper.to_string(),
        "health": health,
        "head": head.map(|seen| seen.block.number),
        "evaluated": shown.progress.height(),
        "subscribed": link.subscribed,
        "open": open,
        "shadowed": shown.store.shadow_counts().await?.iter().map(|(_, count)| count).sum::<u64>(),
        "undelivered": shown.store.undelivered().await?,
        "configuration": shown.store.configurations(1).await?.first().map(show::configuration),
    })))
}

pub(super) async fn incidents(State(shown): Shared, asked: Asked) -> Result<Json<Value>, Failure> {
    let page = Page::of(asked)?;
    let incidents = shown.store.newest_incidents(page.before, page.most()).await?;
    let list: Vec<Value> = incidents.iter().map(show::incident_in_short).collect();
    Ok(Json(json!({ "incidents": list })))
}

pub(super) async fn incident(State(shown): Shared, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let id: i64 = parse("number of an incident", &id)?;
    let incident = shown.store.incident(id).await?.ok_or(Failure::NotFound("incident"))?;
    Ok(Json(show::incident(&incident)))
}

pub(super) async fn playbooks(State(shown): Shared, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let id: i64 = parse("number of an incident", &id)?;
    shown.store.incident(id).await?.ok_or(Failure::NotFound("incident"))?;
    let runs = shown.store.playbook_runs(id).await?;
    let list: Vec<Value> = runs.iter().map(show::playbook_run).collect();
    Ok(Json(json!({ "playbooks": list })))
}

pub(super) async fn newest_verdicts(State(shown): Shared) -> Result<Json<Value>, Failure> {
    let window = shown.store.window(1).await?;
    let block = window.last().ok_or(Failure::NotFound("block yet"))?;
    of_block(&shown, block.hash).await
}

pub(super) async fn verdicts(State(shown): Shared, Path(hash): Path<String>) -> Result<Json<Value>, Failure> {
    of_block(&shown, parse("hash of a block", &hash)?).await
}

async fn of_block(shown: &Shown, hash: B256) -> Result<Json<Value>, Failure> {
    let verdicts = shown
        .store
        .verdicts(hash)
        .await?
        .ok_or(Failure::NotFound("block in the record"))?;
    let list: Vec<Value> = verdicts
        .iter()
        .map(|verdict| show::verdict(verdict, &shown.names))
        .collect();
    Ok(Json(json!({ "block": hash, "verdicts": list })))
}

pub(super) async fn alarms(State(shown): Shared, asked: Asked) -> Result<Json<Value>, Failure> {
    let alarms = shown.store.newest_alarms(Page::of(asked)?.most()).await?;
    let list: Vec<Value> = alarms.iter().map(show::alarm).collect();
    Ok(Json(json!({ "alarms": list })))
}

pub(super) async fn shadow(State(shown): Shared, asked: Asked) -> Result<Json<Value>, Failure> {
    let shadowed = shown.store.shadowed(Page::of(asked)?.most()).await?;
    let list: Vec<Value> = shadowed
        .iter()
        .map(|intent| show::shadowed(intent, &shown.names))
        .collect();
    let counts = shown.store.shadow_counts().await?;
    let rules: serde_json::Map<String, Value> = counts
        .into_iter()
        .map(|(rule, count)| (shown.names.rule(rule), count.into()))
        .collect();
    Ok(Json(json!({ "shadowed": list, "rules": rules })))
}

pub(super) async fn configurations(State(shown): Shared, asked: Asked) -> Result<Json<Value>, Failure> {
    let held = shown.store.configurations(Page::of(asked)?.most()).await?;
    let list: Vec<Value> = held.iter().map(show::configuration).collect();
    Ok(Json(json!({ "configurations": list })))
}

pub(super) async fn notices(State(shown): Shared, asked: Asked) -> Result<Json<Value>, Failure> {
    let notices = shown.store.notices(Page::of(asked)?.most()).await?;
    let list: Vec<Value> = notices.iter().map(show::notice).collect();
    Ok(Json(json!({ "notices": list })))
}
