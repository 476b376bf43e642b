//! The rulebook that the record goes by. Rules are known by number, and the same number is another rule in another rulebook: what was known
//! of the rules of one says nothing of those of the next.

use alloy::primitives::B256;

use super::db::{Connection, QueryAs, query, query_as};
use super::{Step, Store, StoreError, word};

impl Store {
    /// Goes over to the rulebook `version`: breaches that stand are forgotten when they are those of another one, so that what is breached
    /// now is decided and told anew. To be called before anything is read for its first block; doing it again changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn adopt(&self, version: B256) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let held = version_of(current().fetch_all(&mut *tx).await?)?;
        adopt(&mut tx, held, version);
        tx.commit(Step::Config).await
    }
}

/// See [`Store::adopt`]; `held` is the rulebook that the record goes by. Answers whether it goes by another one from now on.
pub(super) fn adopt(connection: &mut Connection, held: Option<B256>, version: B256) -> bool {
    if held == Some(version) {
        return false;
    }
    if held.is_some() {
        // Witnesses stay: an account that events named long ago must not go out of sight, and one that a rule was never meant for breaches
        // nothing that is not a breach.
        query("DELETE FROM breaches").later(connection);
    }
    query("INSERT INTO rulebook (id, version) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version")
        .bind(version.to_vec())
        .later(connection);
    true
}

/// The rulebook that the record goes by; nothing before the first block.
pub(super) fn current() -> QueryAs<(Vec<u8>,)> {
    query_as("SELECT version FROM rulebook WHERE id = 1")
}

pub(super) fn version_of(rows: Vec<(Vec<u8>,)>) -> Result<Option<B256>, StoreError> {
    let version = rows.into_iter().next();
    version.map(|(version,)| word("rulebook", &version)).transpose()
}
