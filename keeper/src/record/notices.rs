//! Notices: what people are to be told, written in the transaction that makes it true, so that a crash loses none.

use cordon_client::config::Severity;

use super::db::{Connection, Row, query, query_as};
use super::{AlarmKind, Store, StoreError, int};

/// What a notice says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// An incident was opened.
    Opened,
    /// The guard holds a raised level.
    Contained,
    /// A reorg took containment back.
    Reorged,
    /// People lowered the level before it expired.
    Released,
    /// The level expired and what the guard did was taken back.
    Settled,
    /// The incident is over.
    Closed,
    /// A hook stopped a call: an incident that is over as soon as it began.
    Stopped,
    /// An alarm was raised.
    Alarm,
    /// The cause of an alarm is gone.
    Cleared,
    /// Somebody takes care of it.
    Acknowledged,
    /// A watch found what it looks for.
    Seen,
    /// What a watch found was reorganised away.
    Retracted,
    /// A playbook tells something.
    Told,
    /// A playbook calls people: it has a question, or the incident is worse.
    Called,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Opened,
        Self::Contained,
        Self::Reorged,
        Self::Released,
        Self::Settled,
        Self::Closed,
        Self::Stopped,
        Self::Alarm,
        Self::Cleared,
        Self::Acknowledged,
        Self::Seen,
        Self::Retracted,
        Self::Told,
        Self::Called,
    ];

    /// Name in the record and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Contained => "contained",
            Self::Reorged => "reorganised",
            Self::Released => "released",
            Self::Settled => "settled",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
            Self::Alarm => "alarm",
            Self::Cleared => "cleared",
            Self::Acknowledged => "acknowledged",
            Self::Seen => "seen",
            Self::Retracted => "retracted",
            Self::Told => "told",
            Self::Called => "called",
        }
    }

    /// Whether it asks somebody to look: it is escalated and repeated until it is acknowledged.
    #[must_use]
    pub const fn calls(self) -> bool {
        matches!(
            self,
            Self::Opened | Self::Alarm | Self::Reorged | Self::Seen | Self::Called
        )
    }

    pub(super) fn from_name(name: &str) -> Result<Self, StoreError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(StoreError::Damaged { what: "kind of notice" })
    }
}

/// Something that people are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Number in the record.
    pub id: i64,
    /// What is acknowledged as one: `incident:7`, `alarm:blind`, `watch:whales`. Pagers keep one page per topic.
    pub topic: String,
    /// What happened.
    pub kind: NoticeKind,
    /// How bad it is.
    pub severity: Severity,
    /// The incident that it is about.
    pub incident: Option<i64>,
    /// What it is about: a scope, a rule, an endpoint.
    pub subject: String,
    /// The sentence for people.
    pub text: String,
    /// Block at which it happened.
    pub block_number: Option<u64>,
    /// Whether nothing of the topic is open any more.
    pub ends: bool,
    /// Wall clock, Unix milliseconds.
    pub at_ms: i64,
    /// The same for machines, as JSON, where there is more to say than the other fields do.
    pub facts: Option<String>,
}

/// A notice to be stored.
pub(super) struct NewNotice<'a> {
    pub(super) mark: Option<String>,
    pub(super) topic: String,
    pub(super) kind: NoticeKind,
    pub(super) severity: Severity,
    pub(super) incident: Option<i64>,
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    pub(super) block_number: Option<u64>,
    pub(super) ends: bool,
    /// Milliseconds that the rest of the story is waited for.
    pub(super) delay_ms: i64,
    /// The channels that are told, as `route_text` writes them; those that want the severity when `None`.
    pub(super) channels: Option<String>,
}

/// Topic of an incident.
pub(super) fn incident_topic(id: i64) -> String {
    format!("incident:{id}")
}

/// Topic of all alarms of a kind: a storm of them is one page.
pub(crate) fn alarm_topic(kind: AlarmKind) -> String {
    format!("alarm:{}", kind.name())
}

/// What becomes of a notice whose mark is there already: one that is waiting for the rest of its story becomes due.
const KNOWN: &str = "ON CONFLICT (mark) DO UPDATE SET
    due_ms = CASE WHEN excluded.due_ms < notices.due_ms THEN excluded.due_ms ELSE notices.due_ms END";

/// Stores a notice unless its mark is there already.
pub(super) fn tell(connection: &mut Connection, notice: &NewNotice<'_>) -> Result<(), StoreError> {
    let now = connection.now_ms();
    let block = notice
        .block_number
        .map(|number| int("block number", number))
        .transpose()?;
    let sql = format!(
        "INSERT INTO notices (mark, topic, kind, severity, incident, subject, text, block_number, ends, at_ms, due_ms, channels)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {KNOWN}"
    );
    query(&sql)
        .bind(&notice.mark)
        .bind(&notice.topic)
        .bind(notice.kind.name())
        .bind(notice.severity.name())
        .bind(notice.incident)
        .bind(notice.subject)
        .bind(notice.text)
        .bind(block)
        .bind(notice.ends)
        .bind(now)
        .bind(now.saturating_add(notice.delay_ms))
        .bind(&notice.channels)
        .later(connection);
    if notice.ends || notice.kind.calls() {
        care_anew(connection, &notice.topic);
    }
    Ok(())
}

/// What is over needs nobody's care, and what is new has nobody's yet.
fn care_anew(connection: &mut Connection, topic: &str) {
    query("DELETE FROM acknowledgements WHERE topic = ?")
        .bind(topic)
        .later(connection);
}

/// Tells something about an incident, under a mark of its own.
pub(super) fn tell_incident(
    connection: &mut Connection,
    id: i64,
    kind: NoticeKind,
    text: &str,
    block_number: Option<u64>,
    (mark, delay_ms): (String, i64),
) -> Result<(), StoreError> {
    let now = connection.now_ms();
    let (topic, ends) = (incident_topic(id), kind == NoticeKind::Closed);
    let sql = format!(
        "INSERT INTO notices (mark, topic, kind, severity, incident, subject, text, block_number, ends, at_ms, due_ms, channels)
         SELECT ?, ?, ?, severity, id, scope_name, ?, ?, ?, ?, ?, channels FROM incidents WHERE id = ? {KNOWN}"
    );
    query(&sql)
        .bind(mark)
        .bind(&topic)
        .bind(kind.name())
        .bind(text)
        .bind(block_number.map(|number| int("block number", number)).transpose()?)
        .bind(ends)
        .bind(now)
        .bind(now.saturating_add(delay_ms))
        .bind(id)
        .later(connection);
    if ends || kind.calls() {
        care_anew(connection, &topic);
    }
    Ok(())
}

/// Frees the marks of an incident's containment, so that it is told again when it happens again.
pub(super) fn forget_containment(connection: &mut Connection, id: i64) {
    // By its topic: all notices would have to be looked at for their incident.
    query(
        "UPDATE notices SET mark = mark || ':' || id
         WHERE topic = ? AND incident = ? AND kind <> 'opened' AND kind <> 'acknowledged'",
    )
    .bind(incident_topic(id))
    .bind(id)
    .later(connection);
}

impl Store {
    /// The pages that a pager has of the notice's topic, as far as the notice is about them. The first of a topic is 0; what calls people after
    /// an acknowledgement begins another one, known by the number of the acknowledgement. An end is of all since the end before it, what
    /// only goes on of the newest that was begun.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn pages(&self, notice: &Notice) -> Result<Vec<i64>, StoreError> {
        let goes_on = !(notice.ends || notice.kind.calls() || notice.kind == NoticeKind::Acknowledged);
        let sql = format!(
            "SELECT k.id FROM notices k WHERE k.topic = ?1 AND k.kind = 'acknowledged' AND k.id < ?2
             AND k.id > COALESCE((SELECT MAX(id) FROM notices WHERE topic = ?1 AND ends = 1 AND id < ?2), 0)
             AND (?3 = 0 OR EXISTS (SELECT 1 FROM notices c
                  WHERE c.topic = ?1 AND c.id > k.id AND c.id < ?2 AND c.kind IN ({}))) ORDER BY k.id",
            calling()
        );
        let rows: Vec<(i64,)> = query_as(&sql)
            .bind(&notice.topic)
            .bind(notice.id)
            .bind(goes_on)
            .fetch_all(&self.pool)
            .await?;
        let pages: Vec<i64> = [0].into_iter().chain(rows.into_iter().map(|(id,)| id)).collect();
        let newest = pages.last().copied().unwrap_or_default();
        Ok(if notice.ends { pages } else { vec![newest] })
    }

    /// The newest notices, newest first, at most `most`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn notices(&self, most: u32) -> Result<Vec<Notice>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM notices n ORDER BY n.id DESC LIMIT ?");
        query(&sql)
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(notice)
            .collect()
    }
}

/// Names of the kinds that call people, for a list in SQL.
pub(super) fn calling() -> String {
    let calls = NoticeKind::ALL.into_iter().filter(|kind| kind.calls());
    let names: Vec<String> = calls.map(|kind| format!("'{}'", kind.name())).collect();
    names.join(", ")
}

pub(super) const COLUMNS: &str =
    "n.id, n.topic, n.kind, n.severity, n.incident, n.subject, n.text, n.block_number, n.ends, n.at_ms, n.facts";

pub(super) fn notice(row: &Row) -> Result<Notice, StoreError> {
    let kind: String = row.try_get("kind")?;
    let severity: String = row.try_get("severity")?;
    let block: Option<i64> = row.try_get("block_number")?;
    Ok(Notice {
        id: row.try_get("id")?,
        topic: row.try_get("topic")?,
        kind: NoticeKind::from_name(&kind)?,
        severity: super::dossier::severity_from(&severity)?,
        incident: row.try_get("incident")?,
        subject: row.try_get("subject")?,
        text: row.try_get("text")?,
        block_number: block.map(|number| super::uint("block number", number)).transpose()?,
        ends: row.try_get("ends")?,
        at_ms: row.try_get("at_ms")?,
        facts: row.try_get("facts")?,
    })
}
