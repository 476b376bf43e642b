//! Single values of the record, by name.

use super::alarms::{self, AlarmKind};
use super::db::{Connection, query, query_as};
use super::{Step, Store, StoreError};

/// Name of the digest of the configuration that runs.
const CONFIG: &str = "config";
/// What the alarm about the configuration is about.
const FILE: &str = "cordon.toml";

impl Store {
    /// Notes the digest of the configuration that runs now. When it is not that of the run before, the alarm about it is raised in
    /// the same transaction, so that no crash hides the change; it stays until somebody acknowledges it. Answers the alarm's text.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn note_config(&self, digest: &str) -> Result<Option<String>, StoreError> {
        let mut tx = self.begin().await?;
        let before = get(&mut tx, CONFIG).await?;
        if before.as_deref() == Some(digest) {
            return Ok(None);
        }
        set(&mut tx, CONFIG, digest);
        let text = before.map(|before| {
            format!(
                "cordon.toml is not the one of the run before (digest {digest}, before {before}): whoever did not expect that should look who changed it"
            )
        });
        if let Some(text) = &text {
            // A change that nobody has looked at yet gives way to the newer one.
            alarms::clear(&mut tx, AlarmKind::ConfigChanged, FILE).await?;
            alarms::raise(&mut tx, AlarmKind::ConfigChanged, FILE, text, None).await?;
        }
        tx.commit(Step::Config).await?;
        self.news();
        Ok(text)
    }
}

async fn get(connection: &mut Connection, name: &str) -> Result<Option<String>, StoreError> {
    let held: Option<(String,)> = query_as("SELECT value FROM settings WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(held.map(|(value,)| value))
}

/// Sets a value.
pub(super) fn set(connection: &mut Connection, name: &str, value: &str) {
    query("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .later(connection);
}
