//! What is open, and who takes care of it: who acknowledges it is not called again for it.

use super::db::{Connection, query, query_as};
use super::notices::{NewNotice, alarm_topic, tell};
use super::timeline::{Entry, entry};
use super::{AlarmKind, NoticeKind, Step, Store, StoreError};

/// Why something could not be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgeError {
    /// Nothing of that name is open.
    #[error("nothing open is called `{topic}`; open: {open}")]
    NotOpen {
        /// What was asked for.
        topic: String,
        /// What is open.
        open: String,
    },
    /// Nobody takes care of it.
    #[error("nobody is named who takes care of it: say who, by a name that people know (`--by NAME`)")]
    Nobody,
    /// The record could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for AcknowledgeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Something that is open, and whether somebody takes care of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTopic {
    /// Its name: `incident:7`, `alarm:blind`.
    pub topic: String,
    /// Who has acknowledged it.
    pub acknowledged_by: Option<String>,
}

impl Store {
    /// What is open: incidents, and kinds of alarms.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_topics(&self) -> Result<Vec<OpenTopic>, StoreError> {
        let rows: Vec<(String, Option<String>)> = query_as(
            "SELECT o.topic, a.by FROM (
                 SELECT 'incident:' || id AS topic FROM incidents WHERE state <> 'closed'
                 UNION SELECT 'alarm:' || kind FROM alarms WHERE cleared_ms IS NULL
                 UNION SELECT 'watch:' || watch FROM sightings WHERE state = 'told'
             ) o LEFT JOIN acknowledgements a ON a.topic = o.topic ORDER BY o.topic",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(topic, acknowledged_by)| OpenTopic { topic, acknowledged_by })
            .collect())
    }

    /// Notes that somebody takes care of a topic: it is escalated and repeated no more. `topic` may be the number of an
    /// incident or the kind of an alarm alone. Answers the topic's full name.
    ///
    /// # Errors
    /// [`AcknowledgeError::NotOpen`] with what is open; [`AcknowledgeError::Nobody`] when `by` has nothing to be read in it.
    pub async fn acknowledge(&self, topic: &str, by: &str) -> Result<String, AcknowledgeError> {
        let by: String = by.chars().filter(|c| !c.is_control()).take(80).collect();
        let by = by.trim();
        if !by.chars().any(char::is_alphanumeric) {
            return Err(AcknowledgeError::Nobody);
        }
        let open = self.open_topics().await?;
        let is_meant = |held: &&OpenTopic| {
            held.topic == topic || held.topic.split_once(':').is_some_and(|(_, short)| short == topic)
        };
        let Some(found) = open.iter().find(is_meant) else {
            let list: Vec<&str> = open.iter().map(|held| held.topic.as_str()).collect();
            let open = if list.is_empty() {
                "nothing".to_owned()
            } else {
                list.join(", ")
            };
            return Err(AcknowledgeError::NotOpen {
                topic: topic.to_owned(),
                open,
            });
        };
        let topic = found.topic.clone();
        let mut tx = self.begin().await?;
        let new = query("INSERT INTO acknowledgements (topic, by, at_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(&topic)
            .bind(by)
            .bind(tx.now_ms())
            .execute(&mut *tx)
            .await?;
        if new.rows_affected() > 0 {
            acknowledged(&mut tx, &topic, by).await?;
        }
        super::sightings::seen(&mut tx, &topic);
        // To be looked at is all that this asks for.
        if topic == alarm_topic(AlarmKind::ConfigChanged) {
            super::alarms::clear_all(&mut tx, AlarmKind::ConfigChanged).await?;
        }
        tx.commit(Step::Acknowledge).await?;
        self.news();
        Ok(topic)
    }
}

async fn acknowledged(connection: &mut Connection, topic: &str, by: &str) -> Result<(), StoreError> {
    let text = format!("{by} takes care of it");
    let called: Option<(Option<i64>, String, String, Option<String>)> =
        query_as("SELECT incident, severity, subject, channels FROM notices WHERE topic = ? ORDER BY id DESC LIMIT 1")
            .bind(topic)
            .fetch_optional(&mut *connection)
            .await?;
    let Some((incident, severity, subject, channels)) = called else {
        return Ok(());
    };
    if let Some(incident) = incident {
        entry(connection, incident, &Entry::new("acknowledged", &text)).await?;
    }
    let notice = NewNotice {
        mark: None,
        topic: topic.to_owned(),
        kind: NoticeKind::Acknowledged,
        severity: super::dossier::severity_from(&severity)?,
        incident,
        subject: &subject,
        text: &text,
        block_number: None,
        ends: false,
        delay_ms: 0,
        channels,
    };
    tell(connection, &notice)
}
