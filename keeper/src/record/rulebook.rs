//! The rulebook that the record goes by. Rules are known by number, and the same number is another rule in another rulebook: what was known
//! of the rules of one says nothing of those of the next.

use alloy::primitives::B256;

use super::db::{Connection, query, query_as};
use super::{Step, Store, StoreError, word};

impl Store {
    /// Goes over to the rulebook `version`: breaches that stand are forgotten when they are those of another one, so that what is breached
    /// now is decided and told anew. To be called before anything is read for its first block; doing it again changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn adopt(&self, version: B256) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        adopt(&mut tx, version).await?;
        tx.commit(Step::Config).await
    }
}

/// See [`Store::adopt`].
pub(super) async fn adopt(connection: &mut Connection, version: B256) -> Result<(), StoreError> {
    let held = current(connection).await?;
    if held == Some(version) {
        return Ok(());
    }
    if held.is_some() {
        // Witnesses stay: an account that events named long ago must not go out of sight, and one that a rule was never meant for breaches
        // nothing that is not a breach.
        query("DELETE FROM breaches").execute(&mut *connection).await?;
    }
    query("INSERT INTO rulebook (id, version) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version")
        .bind(version.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

/// The rulebook that the record goes by; `None` before the first block.
async fn current(connection: &mut Connection) -> Result<Option<B256>, StoreError> {
    let row: Option<(Vec<u8>,)> = query_as("SELECT version FROM rulebook WHERE id = 1")
        .fetch_optional(connection)
        .await?;
    row.map(|(version,)| word("rulebook", &version)).transpose()
}
