//! Turns of a fleet: several keepers share a record, one of them works. The others may take over when its lease has run out.
//!
//! Time is the database's: no keeper's clock decides who works. The holder stops by its own monotonic clock before its lease
//! has run out, so that it acts no more by the time that another may; and the token, which is compared in the transaction of
//! every write, stops one that was paused and does not know.

use std::time::{Duration, Instant};

use super::db::{Lease, LeaseHolder, query, query_as};
use super::{Step, Store, StoreError};

/// Unix milliseconds by the clock of PostgreSQL.
pub(super) const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT";

impl Store {
    /// Whether keepers on several machines may use the record at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.pool.is_shared()
    }

    /// From now on this store and its clones write only while they hold the lease.
    pub fn require_lease(&self) {
        self.lease.require();
    }

    /// Whether nobody else can have the turn now. Ask before anything that is done outside the record.
    #[must_use]
    pub fn may_act(&self) -> bool {
        self.lease.may_act()
    }

    /// Takes the turn for `term` if nobody has it. `None` when somebody does.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn campaign(&self, holder: &str, term: Duration) -> Result<Option<Lease>, StoreError> {
        // Most looks find somebody: they must not wait for the row that every write locks.
        if self.lease_holder().await?.is_some() {
            return Ok(None);
        }
        let asked = Instant::now();
        let sql = format!(
            "UPDATE leases SET token = token + 1, holder = ?, expires_ms = {NOW} + ? WHERE name = 'keeper' AND expires_ms <= {NOW}
             RETURNING token"
        );
        let taken: Option<(i64,)> = query_as(&sql)
            .bind(holder)
            .bind(millis(term))
            .fetch_optional(self.pool.alone(Step::Campaign))
            .await?;
        Ok(taken.map(|(token,)| {
            self.lease.hold(token, asked + usable(term));
            Lease { token }
        }))
    }

    /// Keeps the turn for another `term`. `false` when it was lost.
    ///
    /// # Errors
    /// See [`StoreError`]; the turn may still be ours, until it runs out.
    pub async fn renew_lease(&self, term: Duration) -> Result<bool, StoreError> {
        let Some(token) = self.lease.token() else {
            return Ok(false);
        };
        let asked = Instant::now();
        let sql =
            format!("UPDATE leases SET expires_ms = {NOW} + ? WHERE name = 'keeper' AND token = ? RETURNING {NOW}");
        let renewed: Option<(i64,)> = query_as(&sql)
            .bind(millis(term))
            .bind(token)
            .fetch_optional(self.pool.alone(Step::Renew))
            .await?;
        match renewed {
            Some((now,)) => {
                self.lease.hold(token, asked + usable(term));
                self.lease.note_clock(now);
                Ok(true)
            }
            None => {
                self.lease.lose();
                Ok(false)
            }
        }
    }

    /// Gives the turn back, so that another keeper need not wait for its end.
    ///
    /// # Errors
    /// See [`StoreError`]; the turn then ends by itself.
    pub async fn resign(&self) -> Result<(), StoreError> {
        if let Some(token) = self.lease.lose() {
            query("UPDATE leases SET expires_ms = 0 WHERE name = 'keeper' AND token = ?")
                .bind(token)
                .execute(self.pool.alone(Step::Resign))
                .await?;
        }
        Ok(())
    }

    /// Who has the turn; `None` when nobody has, or the record is one keeper's own.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lease_holder(&self) -> Result<Option<LeaseHolder>, StoreError> {
        if !self.is_shared() {
            return Ok(None);
        }
        let sql = format!("SELECT holder, token, expires_ms - {NOW} FROM leases WHERE name = 'keeper'");
        let (holder, token, left): (String, i64, i64) = query_as(&sql).fetch_one(&self.pool).await?;
        Ok(u64::try_from(left)
            .ok()
            .filter(|left| *left > 0)
            .map(|left| LeaseHolder {
                holder,
                token,
                left: Duration::from_millis(left),
            }))
    }

    /// What time it is for the record, in Unix milliseconds: by the database's clock when it is shared.
    pub(crate) fn now_ms(&self) -> i64 {
        self.lease.now_ms().unwrap_or_else(crate::clock::now_ms)
    }
}

/// The part of a term that its holder uses: clocks do not run equally fast.
fn usable(term: Duration) -> Duration {
    term - term / 8
}

fn millis(term: Duration) -> i64 {
    i64::try_from(term.as_millis()).unwrap_or(i64::MAX)
}
