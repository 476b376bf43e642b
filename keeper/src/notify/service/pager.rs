//! PagerDuty and Opsgenie: one page per topic until somebody acknowledges it, kept together by the key that every message of the page
//! carries, so that a message which is delivered twice wakes nobody twice. Both append to a page that is acknowledged, and wake nobody:
//! what is new then needs another key.

use cordon_client::config::{SecretText, Severity};
use serde_json::{Value, json};

use super::super::http::Http;
use super::super::message::{Event, shortened};
use super::{Message, SendError};
use crate::clock::utc_ms;

/// Characters of PagerDuty's summary and Opsgenie's message.
const SUMMARY: usize = 1_024;
const OPSGENIE_TITLE: usize = 130;
const OPSGENIE_TEXT: usize = 15_000;

/// The Events API v2 of PagerDuty (developer.pagerduty.com/docs/events-api-v2).
pub(super) async fn pagerduty(http: &Http, server: &str, key: &SecretText, message: &Message) -> Result<(), SendError> {
    for page in &message.pages {
        pagerduty_page(http, server, (key, page), message).await?;
    }
    Ok(())
}

async fn pagerduty_page(
    http: &Http,
    server: &str,
    (key, page): (&SecretText, &str),
    message: &Message,
) -> Result<(), SendError> {
    let action = match message.event {
        // An update under the key of an open page is added to it and wakes nobody.
        Event::Trigger | Event::Update => "trigger",
        Event::Acknowledge => "acknowledge",
        Event::Resolve => "resolve",
    };
    let severity = match message.severity {
        Severity::P1 => "critical",
        Severity::P2 => "error",
        Severity::P3 => "warning",
        Severity::P4 | Severity::P5 => "info",
    };
    let mut body = json!({
        "routing_key": key.expose(),
        "event_action": action,
        "dedup_key": page,
    });
    if action == "trigger" {
        let payload = json!({
            "summary": shortened(&message.title, SUMMARY),
            "source": "cordon-keeper",
            "severity": severity,
            "custom_details": { "text": message.body, "facts": message.facts, "happened": utc_ms(message.at_ms) },
        });
        if let Some(fields) = body.as_object_mut() {
            fields.insert("payload".to_owned(), payload);
        }
    }
    let target = format!("{server}v2/enqueue");
    let answer = http.post(&target, &[], body.to_string().into_bytes(), &[key]).await?;
    let parsed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match answer.trouble() {
        Some(error) => Err(error),
        None if parsed.get("status").and_then(Value::as_str) == Some("success") => Ok(()),
        None => Err(answer.strange("PagerDuty's `\"status\": \"success\"`")),
    }
}

/// The Alert API of Opsgenie (docs.opsgenie.com/docs/alert-api); the alias keeps one alert per topic.
pub(super) async fn opsgenie(http: &Http, server: &str, key: &SecretText, message: &Message) -> Result<(), SendError> {
    for page in &message.pages {
        opsgenie_page(http, server, (key, page), message).await?;
    }
    Ok(())
}

async fn opsgenie_page(
    http: &Http,
    server: &str,
    (key, page): (&SecretText, &str),
    message: &Message,
) -> Result<(), SendError> {
    let (path, body) = match message.event {
        Event::Trigger | Event::Update => (
            "v2/alerts".to_owned(),
            json!({
                "message": shortened(&message.title, OPSGENIE_TITLE),
                "alias": page,
                "description": shortened(&message.body, OPSGENIE_TEXT),
                "priority": message.severity.name(),
                "source": "cordon-keeper",
                "details": { "facts": message.facts.to_string() },
            }),
        ),
        Event::Acknowledge => (of_alert(page, "acknowledge"), note(message)),
        Event::Resolve => (of_alert(page, "close"), note(message)),
    };
    let headers = [("authorization", format!("GenieKey {}", key.expose()))];
    let target = format!("{server}{path}");
    let answer = http
        .post(&target, &headers, body.to_string().into_bytes(), &[key])
        .await?;
    let parsed: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match answer.trouble() {
        Some(error) => Err(error),
        // Requests are processed later; its number is the word that it was taken.
        None if parsed.get("requestId").is_some_and(Value::is_string) => Ok(()),
        None => Err(answer.strange("Opsgenie's answer with a `requestId`")),
    }
}

/// The keys are letters, digits, dashes and dots: they need no escaping in a path.
fn of_alert(key: &str, action: &str) -> String {
    format!("v2/alerts/{key}/{action}?identifierType=alias")
}

fn note(message: &Message) -> Value {
    json!({ "source": "cordon-keeper", "note": shortened(&message.title, SUMMARY) })
}
