//! What people and machines are sent: titles, what it means for a page, and the facts.

use std::fmt::Write;

use alloy::primitives::Address;
use cordon_client::config::{Audience, Severity};
use serde_json::{Value, json};

use super::body::{actions, management, technical};
use crate::clock::utc_ms;
use crate::record::{Incident, Notice, NoticeKind, Store};
use crate::text::one_line;

/// Longest title, in characters: what pagers show on a locked phone.
pub(super) const TITLE: usize = 120;
/// Longest line of a text that is not ours.
const LINE: usize = 500;
/// Notices that a digest names; the rest is counted.
const NAMED: usize = 15;

/// What a message means for the page that a pager keeps of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody has to look.
    Trigger,
    /// There is more to know about an open page; nobody is woken again.
    Update,
    /// Somebody takes care of it.
    Acknowledge,
    /// It is over.
    Resolve,
}

impl Event {
    /// Name in machine-readable messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Update => "update",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
        }
    }
}

/// Which keeper speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Chain id.
    pub chain_id: u64,
    /// The guard.
    pub guard: Address,
    /// Name of the record that counts incidents and notices; empty for records that have none.
    pub record: String,
}

impl Origin {
    /// The keeper whose record this is.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            chain_id: store.chain_id(),
            guard: store.guard(),
            record: store.name().unwrap_or_default().to_owned(),
        }
    }
}

/// A message, the same for every attempt to deliver it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What its topic is known by: the same for all messages of it.
    pub key: String,
    /// What the pages of a pager are known by that it is about: one, but for an end.
    pub pages: Vec<String>,
    /// What this message is known by, so that a receiver can tell a second delivery.
    pub id: String,
    /// What it means for the page.
    pub event: Event,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The text, in lines.
    pub body: String,
    /// The same for machines.
    pub facts: Value,
    /// When it happened: wall clock, Unix milliseconds.
    pub at_ms: i64,
}

/// Writes the message of one notice. `repeated`: it was told before and nobody has acknowledged it.
#[must_use]
pub fn message(
    origin: &Origin,
    notice: &Notice,
    incident: Option<&Incident>,
    audience: Audience,
    repeated: bool,
) -> Message {
    let mut title = title(notice, incident);
    if repeated {
        title = format!("Not acknowledged: {title}");
    }
    let body = match audience {
        Audience::Technical => technical(origin, notice, incident),
        Audience::Management => management(origin, notice, incident),
    };
    Message {
        pages: vec![key(origin, &notice.topic)],
        key: key(origin, &notice.topic),
        id: format!("{}-{}", key(origin, "notice"), notice.id),
        event: event(notice),
        severity: notice.severity,
        title: shortened(&title, TITLE),
        body,
        facts: facts(origin, notice, incident),
        at_ms: notice.at_ms,
    }
}

impl Message {
    /// The same about these pages of its topic, as the record counts them.
    #[must_use]
    pub fn on_pages(self, pages: &[i64]) -> Self {
        // A dot is in no id, so that no other topic has such a key.
        let name = |page: &i64| match page {
            0 => self.key.clone(),
            page => format!("{}.{page}", self.key),
        };
        Self {
            pages: pages.iter().map(name).collect(),
            ..self
        }
    }
}

/// Adds to the message of one notice what else there is to tell of its topic.
#[must_use]
pub fn joined(message: Message, others: &[(Notice, Option<Incident>)]) -> Message {
    let severities = others.iter().map(|(notice, _)| notice.severity);
    let severity = severities.chain([message.severity]).min().unwrap_or(message.severity);
    let more = format!(" (and {} more)", others.len());
    let title = shortened(&message.title, TITLE.saturating_sub(more.chars().count()));
    Message {
        severity,
        title: title + &more,
        body: format!("{}also:\n{}", message.body, list(others)),
        ..message
    }
}

/// The first of the notices with their times and titles, a line each, and how many are left.
fn list(notices: &[(Notice, Option<Incident>)]) -> String {
    let mut text = String::new();
    for (notice, incident) in notices.iter().take(NAMED) {
        let _ = writeln!(text, "{} - {}", utc_ms(notice.at_ms), title(notice, incident.as_ref()));
    }
    let left = notices.len().saturating_sub(NAMED);
    if left > 0 {
        let _ = writeln!(text, "and {left} more; all of them are in the record");
    }
    text
}

/// Writes one message of several notices, which begin with the worst, for a channel that would drown in them.
#[must_use]
pub fn digest(origin: &Origin, notices: &[(Notice, Option<Incident>)]) -> Message {
    let severity = notices
        .iter()
        .map(|(notice, _)| notice.severity)
        .min()
        .unwrap_or(Severity::P5);
    let ids: Vec<String> = notices.iter().map(|(notice, _)| notice.id.to_string()).collect();
    Message {
        pages: vec![key(origin, "digest")],
        key: key(origin, "digest"),
        id: format!("{}-{}", key(origin, "notices"), ids.join("-")),
        event: Event::Trigger,
        severity,
        title: format!("[{}] {} things happened", severity.name(), notices.len()),
        body: list(notices),
        facts: json!({ "notices": ids }),
        at_ms: notices.iter().map(|(notice, _)| notice.at_ms).max().unwrap_or_default(),
    }
}

/// Messages that test a channel: an open page, and its end.
#[must_use]
pub fn test_message(origin: &Origin, at_ms: i64) -> [Message; 2] {
    let key = key(origin, &format!("test:{at_ms}"));
    let make = |event, title: &str, body: &str| Message {
        pages: vec![key.clone()],
        key: key.clone(),
        id: format!("{key}-{}", Event::name(event)),
        event,
        severity: Severity::P4,
        title: title.to_owned(),
        body: body.to_owned(),
        facts: json!({ "test": true, "chain": origin.chain_id, "guard": origin.guard.to_string() }),
        at_ms,
    };
    [
        make(
            Event::Trigger,
            "Test of this channel",
            "A test of the keeper's notifications. Nothing has happened; nobody has to do anything.",
        ),
        make(
            Event::Resolve,
            "End of the test",
            "The test of the keeper's notifications is over.",
        ),
    ]
}

fn key(origin: &Origin, topic: &str) -> String {
    let guard: String = origin.guard.to_string().to_lowercase().chars().take(10).collect();
    let mut key = format!("cordon-{}-{guard}-", origin.chain_id);
    if !origin.record.is_empty() {
        key.push_str(&origin.record);
        key.push('-');
    }
    key + &topic.replace(':', "-")
}

/// What a notice means for the page of its topic.
pub(super) fn event(notice: &Notice) -> Event {
    match notice.kind {
        _ if notice.ends => Event::Resolve,
        NoticeKind::Opened
        | NoticeKind::Stopped
        | NoticeKind::Alarm
        | NoticeKind::Reorged
        | NoticeKind::Seen
        | NoticeKind::Called => Event::Trigger,
        NoticeKind::Acknowledged => Event::Acknowledge,
        NoticeKind::Contained
        | NoticeKind::Released
        | NoticeKind::Settled
        | NoticeKind::Closed
        | NoticeKind::Cleared
        | NoticeKind::Told
        | NoticeKind::Retracted => Event::Update,
    }
}

fn title(notice: &Notice, incident: Option<&Incident>) -> String {
    format!("[{}] {}", notice.severity.name(), what(notice, incident))
}

/// What has happened, in a few words.
pub(super) fn what(notice: &Notice, incident: Option<&Incident>) -> String {
    let subject = line(&notice.subject);
    let cause = incident.and_then(|incident| incident.rule_name.as_deref()).map_or_else(
        || "raised on the chain".to_owned(),
        |rule| format!("{rule} is breached"),
    );
    match notice.kind {
        NoticeKind::Opened => format!("{subject}: {cause}"),
        NoticeKind::Contained => format!("{subject} is contained"),
        NoticeKind::Reorged => format!("{subject}: containment was reorganised away"),
        NoticeKind::Released => format!("{subject} was released"),
        NoticeKind::Settled => format!("{subject} opens again"),
        NoticeKind::Closed => format!("{subject}: the incident is closed"),
        NoticeKind::Stopped => format!("{subject}: a call was stopped by the hook"),
        NoticeKind::Alarm => format!("keeper alarm {}: {subject}", short(&notice.topic)),
        NoticeKind::Cleared => format!("keeper alarm {} cleared: {subject}", short(&notice.topic)),
        NoticeKind::Acknowledged => format!("{subject}: acknowledged"),
        NoticeKind::Seen | NoticeKind::Told | NoticeKind::Called => format!("{subject}: {}", line(&notice.text)),
        NoticeKind::Retracted => format!("{subject}: what was seen was reorganised away"),
    }
}

pub(super) fn short(topic: &str) -> &str {
    topic.split_once(':').map_or(topic, |(_, short)| short)
}

/// What a watch found, for machines.
pub(super) fn sighting(notice: &Notice) -> Option<Value> {
    serde_json::from_str(notice.facts.as_deref()?).ok()
}

fn facts(origin: &Origin, notice: &Notice, incident: Option<&Incident>) -> Value {
    json!({
        "topic": notice.topic,
        "kind": notice.kind.name(),
        "event": event(notice).name(),
        "severity": notice.severity.name(),
        "subject": notice.subject,
        "text": notice.text,
        "chain": origin.chain_id,
        "guard": origin.guard.to_string(),
        "block": notice.block_number,
        "at": utc_ms(notice.at_ms),
        "sighting": sighting(notice),
        "incident": incident.map(|incident| json!({
            "id": incident.id,
            "scope": incident.scope_name,
            "state": incident.state.name(),
            "rule": incident.rule_name,
            "level": incident.level.name(),
            "first_bad_block": incident.first_bad_block,
            "contained_block": incident.contained_block,
            "closed_for_users": incident
                .closures
                .iter()
                .filter(|closure| closure.to_time.is_none())
                .map(|closure| actions(closure.actions))
                .collect::<Vec<_>>(),
        })),
    })
}

/// A text that may come from the chain or from a node, as one line of bounded length.
pub(super) fn line(text: &str) -> String {
    shortened(one_line(text).trim(), LINE)
}

/// The text, cut with a mark when it is longer than `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
