//! Alarms: what people have to look at. One stays open per kind and subject until its cause is gone.

use cordon_client::config::Severity;

use super::db::{Connection, QueryAs, query, query_as};
use super::notices::{NewNotice, alarm_topic, tell};
use super::{NoticeKind, Step, Store, StoreError, int, uint};
use crate::turns::Urgency;

/// What an alarm is about. docs/keeper.md says what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// Neither the subscription nor polling works: nothing is being watched.
    Blind,
    /// The subscription is down; heads come by polling.
    Polling,
    /// A rule could not be evaluated.
    RuleUnknown,
    /// Blocks are evaluated later than they come.
    Behind,
    /// A decided action could not be carried out yet.
    ActionDelayed,
    /// The guard refused a decided action for good.
    ActionRefused,
    /// A containment call, or the undoing of one, failed.
    ContainmentFailed,
    /// A rule's action would fail if it were needed now.
    NotReady,
    /// The guard's rulebook is not the one of the configuration.
    RulebookChanged,
    /// The heartbeat could not be sent.
    Heartbeat,
    /// The record could not be written.
    Record,
    /// The chain stands still as far as the keeper sees, or the keeper does not keep up.
    Stale,
    /// The endpoints do not have the same blocks.
    Disagreement,
    /// An endpoint answers otherwise than another on the same state.
    WrongAnswer,
    /// A breach is not acted on, because too few agree on it.
    QuorumShort,
    /// The guard's evaluation and the native one differ.
    SecondOpinion,
    /// An endpoint does not answer, or lags behind.
    Endpoint,
    /// The node refuses the logs of blocks: what the guard logged there is not known.
    EventsUnread,
    /// An endpoint leaves logs of a block out.
    LogsIncomplete,
    /// A channel through which people are told does not work.
    NotifyFailed,
    /// The configuration is not the one of the run before.
    ConfigChanged,
    /// A watch could not look at a block.
    WatchUnknown,
    /// What a Safe's owners have signed ahead would not be executed if it were needed now.
    FallbackNotReady,
    /// Neither the keeper nor a fallback has contained an incident.
    NotContained,
    /// What the keeper evaluated is not what the guard says.
    Evaluation,
    /// The guard's streams could not be observed.
    Streams,
    /// A nonce is missing before what an account sends, and nobody fills it.
    NonceMissing,
    /// The dead-man's switch that somebody else runs does not answer.
    HeartbeatUrl,
}

impl AlarmKind {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::Blind,
        Self::Polling,
        Self::RuleUnknown,
        Self::Behind,
        Self::ActionDelayed,
        Self::ActionRefused,
        Self::ContainmentFailed,
        Self::NotReady,
        Self::RulebookChanged,
        Self::Heartbeat,
        Self::Record,
        Self::Stale,
        Self::Disagreement,
        Self::WrongAnswer,
        Self::QuorumShort,
        Self::SecondOpinion,
        Self::Endpoint,
        Self::EventsUnread,
        Self::LogsIncomplete,
        Self::NotifyFailed,
        Self::ConfigChanged,
        Self::WatchUnknown,
        Self::FallbackNotReady,
        Self::NotContained,
        Self::Evaluation,
        Self::Streams,
        Self::NonceMissing,
        Self::HeartbeatUrl,
    ];

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Name in the record and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Polling => "polling",
            Self::RuleUnknown => "rule-unknown",
            Self::Behind => "behind",
            Self::ActionDelayed => "action-delayed",
            Self::ActionRefused => "action-refused",
            Self::ContainmentFailed => "containment-failed",
            Self::NotReady => "not-ready",
            Self::RulebookChanged => "rulebook-changed",
            Self::Heartbeat => "heartbeat",
            Self::Record => "record",
            Self::Stale => "stale",
            Self::Disagreement => "rpc-disagreement",
            Self::WrongAnswer => "rpc-answers",
            Self::QuorumShort => "quorum-short",
            Self::SecondOpinion => "second-opinion",
            Self::Endpoint => "rpc-endpoint",
            Self::EventsUnread => "events-unread",
            Self::LogsIncomplete => "logs-incomplete",
            Self::NotifyFailed => "notify-failed",
            Self::ConfigChanged => "config-changed",
            Self::WatchUnknown => "watch-unknown",
            Self::FallbackNotReady => "fallback-not-ready",
            Self::NotContained => "not-contained",
            Self::Evaluation => "evaluation",
            Self::Streams => "streams",
            Self::NonceMissing => "nonce-missing",
            Self::HeartbeatUrl => "heartbeat-url",
        }
    }

    /// How bad it is that it is raised.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            // What is not seen, not stored or not done protects nothing.
            Self::Blind
            | Self::Stale
            | Self::Disagreement
            | Self::WrongAnswer
            | Self::SecondOpinion
            | Self::QuorumShort
            | Self::Record
            | Self::ActionRefused
            | Self::ContainmentFailed
            | Self::NotContained => Severity::P1,
            Self::RuleUnknown
            | Self::EventsUnread
            | Self::LogsIncomplete
            | Self::WatchUnknown
            | Self::Evaluation
            | Self::Behind
            | Self::ActionDelayed
            | Self::NotReady
            | Self::FallbackNotReady
            | Self::RulebookChanged
            | Self::Streams
            | Self::NonceMissing
            | Self::Heartbeat => Severity::P2,
            Self::NotifyFailed | Self::ConfigChanged | Self::Endpoint | Self::HeartbeatUrl => Severity::P3,
            Self::Polling => Severity::P4,
        }
    }
}

/// An alarm as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Name of its [`AlarmKind`].
    pub kind: String,
    /// What it is about: a rule, a scope, an intent.
    pub subject: String,
    /// The sentence for people.
    pub text: String,
    /// Block at which it was raised.
    pub block_number: Option<u64>,
    /// Wall clock, Unix milliseconds.
    pub raised_ms: i64,
    /// When its cause was gone; `None` while it lasts.
    pub cleared_ms: Option<i64>,
}

type AlarmRow = (String, String, String, Option<i64>, i64, Option<i64>);

impl Store {
    /// Stores an alarm. `false` when one of this kind and subject is open already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn raise_alarm(
        &self,
        kind: AlarmKind,
        subject: &str,
        text: &str,
        block_number: Option<u64>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_for(Urgency::Sending).await?;
        let raised = raise(&mut tx, kind, subject, text, block_number).await?;
        tx.commit(Step::Alarm).await?;
        if raised {
            self.news();
        }
        Ok(raised)
    }

    /// Marks an alarm's cause as gone. `false` when none was open.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn clear_alarm(&self, kind: AlarmKind, subject: &str) -> Result<bool, StoreError> {
        // Most clearing finds nothing: it must not cost the write lock.
        let open: Option<(i64,)> =
            query_as("SELECT id FROM alarms WHERE kind = ? AND subject = ? AND cleared_ms IS NULL")
                .bind(kind.name())
                .bind(subject)
                .fetch_optional(&self.pool)
                .await?;
        if open.is_none() {
            return Ok(false);
        }
        let mut tx = self.begin_for(Urgency::Sending).await?;
        let cleared = clear(&mut tx, kind, subject).await?;
        tx.commit(Step::AlarmEnd).await?;
        if cleared {
            self.news();
        }
        Ok(cleared)
    }

    /// Kind and subject of every alarm that is open.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_alarms(&self) -> Result<Vec<(AlarmKind, String)>, StoreError> {
        let rows: Vec<(String, String)> =
            query_as("SELECT kind, subject FROM alarms WHERE cleared_ms IS NULL ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        // Another version may have kinds that this one does not know.
        let known = rows
            .into_iter()
            .filter_map(|(kind, subject)| Some((AlarmKind::from_name(&kind)?, subject)));
        Ok(known.collect())
    }

    /// All alarms, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        let mut alarms = self.newest_alarms(u32::MAX).await?;
        alarms.reverse();
        Ok(alarms)
    }

    /// The newest alarms, newest first, at most `most`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn newest_alarms(&self, most: u32) -> Result<Vec<Alarm>, StoreError> {
        let rows: Vec<AlarmRow> = query_as(
            "SELECT kind, subject, text, block_number, raised_ms, cleared_ms FROM alarms ORDER BY id DESC LIMIT ?",
        )
        .bind(i64::from(most))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(kind, subject, text, block, raised_ms, cleared_ms)| {
                let block_number = block.map(|number| uint("block number", number)).transpose()?;
                Ok(Alarm {
                    kind,
                    subject,
                    text,
                    block_number,
                    raised_ms,
                    cleared_ms,
                })
            })
            .collect()
    }
}

pub(super) async fn raise(
    connection: &mut Connection,
    kind: AlarmKind,
    subject: &str,
    text: &str,
    block_number: Option<u64>,
) -> Result<bool, StoreError> {
    let done = query(
        "INSERT INTO alarms (kind, subject, text, block_number, raised_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(kind.name())
    .bind(subject)
    .bind(text)
    .bind(block_number.map(|number| int("block number", number)).transpose()?)
    .bind(connection.now_ms())
    .execute(&mut *connection)
    .await?;
    let raised = done.rows_affected() > 0;
    if raised {
        let notice = NewNotice {
            mark: None,
            topic: alarm_topic(kind),
            kind: NoticeKind::Alarm,
            severity: kind.severity(),
            incident: None,
            subject,
            text,
            block_number,
            ends: false,
            delay_ms: 0,
            channels: None,
        };
        tell(connection, &notice)?;
    }
    Ok(raised)
}

/// The alarms that are open, by kind and subject: what a block goes by, asked together with the rest of that.
#[derive(Debug, Default)]
pub(super) struct OpenAlarms(Vec<(String, String)>);

impl OpenAlarms {
    pub(super) fn query() -> QueryAs<(String, String)> {
        query_as("SELECT kind, subject FROM alarms WHERE cleared_ms IS NULL ORDER BY id")
    }

    pub(super) fn of(rows: Vec<(String, String)>) -> Self {
        Self(rows)
    }

    /// Subjects of those of a kind.
    pub(super) fn subjects(&self, kind: AlarmKind) -> impl Iterator<Item = &str> {
        let open = self.0.iter().filter(move |(held, _)| held == kind.name());
        open.map(|(_, subject)| subject.as_str())
    }
}

/// Clears all alarms of a kind.
pub(super) async fn clear_all(connection: &mut Connection, kind: AlarmKind) -> Result<(), StoreError> {
    let open: Vec<(String,)> = query_as("SELECT subject FROM alarms WHERE kind = ? AND cleared_ms IS NULL")
        .bind(kind.name())
        .fetch_all(&mut *connection)
        .await?;
    for (subject,) in open {
        clear(connection, kind, &subject).await?;
    }
    Ok(())
}

pub(super) async fn clear(connection: &mut Connection, kind: AlarmKind, subject: &str) -> Result<bool, StoreError> {
    let done = query("UPDATE alarms SET cleared_ms = ? WHERE kind = ? AND subject = ? AND cleared_ms IS NULL")
        .bind(connection.now_ms())
        .bind(kind.name())
        .bind(subject)
        .execute(&mut *connection)
        .await?;
    let cleared = done.rows_affected() > 0;
    if cleared {
        let (left,): (i64,) = query_as("SELECT COUNT(*) FROM alarms WHERE kind = ? AND cleared_ms IS NULL")
            .bind(kind.name())
            .fetch_one(&mut *connection)
            .await?;
        let text = format!("the cause of the alarm {} about {subject} is gone", kind.name());
        let notice = NewNotice {
            mark: None,
            topic: alarm_topic(kind),
            kind: NoticeKind::Cleared,
            severity: kind.severity(),
            incident: None,
            subject,
            text: &text,
            block_number: None,
            ends: left == 0,
            delay_ms: 0,
            channels: None,
        };
        tell(connection, &notice)?;
    }
    Ok(cleared)
}
