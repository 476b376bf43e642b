//! Whose a record is, looked up without changing anything: neither tables are made nor is the record claimed for a guard.

use std::path::Path;

use alloy::primitives::Address;
use cordon_client::config::StorePlace;

use super::db::{Pool, query_as};
use super::{Store, StoreError, uint};

impl Store {
    /// Makes sure that a keeper of this guard could open the record: that the database answers, and that the record is nobody else's, and
    /// not of a newer version. Nothing is written: what does not exist yet stays so.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for another guard's; [`StoreError::Migrate`] for one of a newer version; those of [`Store::at`].
    pub async fn peek(place: &StorePlace, directory: &Path, chain_id: u64, guard: Address) -> Result<(), StoreError> {
        let pool = match place {
            StorePlace::File(path) if !path.exists() => return Ok(()),
            StorePlace::File(path) => Pool::look_into_sqlite(path).await?,
            StorePlace::Postgres(url) => Pool::look_into_postgres(&url.read(directory)?).await?,
        };
        let seen = seen(&pool).await;
        pool.close().await;
        let Some((held_chain, held)) = seen? else { return Ok(()) };
        if held != guard || held_chain != chain_id {
            return Err(StoreError::Foreign {
                held_chain,
                held,
                wanted_chain: chain_id,
                wanted: guard,
            });
        }
        Ok(())
    }
}

/// Chain and guard of the record; `None` when it was not claimed.
async fn seen(pool: &Pool) -> Result<Option<(u64, Address)>, StoreError> {
    if !pool.has_table("_sqlx_migrations").await? {
        return Ok(None);
    }
    let (newest,): (i64,) = query_as("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(pool)
        .await?;
    if newest > pool.newest_migration() {
        return Err(StoreError::Migrate(sqlx::migrate::MigrateError::VersionMissing(newest)));
    }
    if !pool.has_table("identity").await? {
        return Ok(None);
    }
    let row: Option<(i64, Vec<u8>)> = query_as("SELECT chain_id, guard FROM identity WHERE id = 1")
        .fetch_optional(pool)
        .await?;
    row.map(|(chain, guard)| {
        let guard = Address::try_from(guard.as_slice()).map_err(|_| StoreError::Damaged { what: "guard address" })?;
        Ok((uint("chain id", chain)?, guard))
    })
    .transpose()
}
