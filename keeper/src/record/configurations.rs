//! The configurations that were decided by, by number: which one was in force when, as long as there is a record.

use super::alarms::{self, AlarmKind};
use super::db::{Connection, query, query_as};
use super::timeline::{self, Entry};
use super::{Step, Store, StoreError, int, uint};

/// What the alarm about the configuration is about.
const FILE: &str = "cordon.toml";

/// A configuration that was taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Its number in this record, from 1 on. What is taken up again after another one has a new number.
    pub number: u64,
    /// Digest of what it decides by.
    pub digest: String,
    /// When it was taken up first, Unix milliseconds; 0 when that is not known.
    pub at_ms: i64,
}

type Row = (i64, String, i64);

fn read((number, digest, at_ms): Row) -> Result<Configuration, StoreError> {
    let number = uint("number of a configuration", number)?;
    Ok(Configuration { number, digest, at_ms })
}

async fn newest(connection: &mut Connection) -> Result<Option<Configuration>, StoreError> {
    let row: Option<Row> = query_as("SELECT number, digest, at_ms FROM configurations ORDER BY number DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.map(read).transpose()
}

impl Store {
    /// Notes the digest of the configuration that runs now. When it is not that of the run before, it gets the next number, incidents that
    /// are open say so, and the alarm about it is raised, all in one transaction, so that no crash hides the change; the alarm stays until
    /// somebody acknowledges it. Answers the alarm's text.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn note_config(&self, digest: &str) -> Result<Option<String>, StoreError> {
        let mut tx = self.begin().await?;
        let before = newest(&mut tx).await?;
        if before.as_ref().is_some_and(|before| before.digest == digest) {
            return Ok(None);
        }
        let number = before.as_ref().map_or(1, |before| before.number.saturating_add(1));
        let now_ms = tx.now_ms();
        query("INSERT INTO configurations (number, digest, at_ms) VALUES (?, ?, ?)")
            .bind(int("number of a configuration", number)?)
            .bind(digest)
            .bind(now_ms)
            .later(&mut tx);
        let text = before.map(|before| {
            format!(
                "cordon.toml is not the one of the run before (now configuration {number}, digest {digest}; before {}, digest {}): whoever did not expect that should look who changed it",
                before.number, before.digest
            )
        });
        if let Some(text) = &text {
            tell_open(&mut tx, number, digest).await?;
            // A change that nobody has looked at yet gives way to the newer one.
            alarms::clear(&mut tx, AlarmKind::ConfigChanged, FILE).await?;
            alarms::raise(&mut tx, AlarmKind::ConfigChanged, FILE, text, None).await?;
        }
        tx.commit(Step::Config).await?;
        self.news();
        Ok(text)
    }

    /// The newest configurations, newest first, at most `most`: the first is in force.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn configurations(&self, most: u32) -> Result<Vec<Configuration>, StoreError> {
        let rows: Vec<Row> = query_as("SELECT number, digest, at_ms FROM configurations ORDER BY number DESC LIMIT ?")
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(read).collect()
    }
}

/// Lets the incidents that are open say that what follows was decided by another configuration.
async fn tell_open(connection: &mut Connection, number: u64, digest: &str) -> Result<(), StoreError> {
    let open: Vec<(i64,)> = query_as("SELECT id FROM incidents WHERE state <> 'closed' ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    let text = format!("configuration {number} is in force from now on (digest {digest})");
    for (id,) in open {
        timeline::entry(connection, id, &Entry::new("configuration", &text)).await?;
    }
    Ok(())
}
