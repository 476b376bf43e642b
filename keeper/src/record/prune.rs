//! What is forgotten: what is over, and was so for long. Incidents with their timelines are kept for good.

use super::db::query;
use super::{Step, Store, StoreError};

/// Rows of each kind that are forgotten in one transaction: it must not hold up what is decided.
const AT_ONCE: i64 = 2_000;

/// What is forgotten, in this order: before when, and how many. The newest of a table stays where its number is what others go by, and
/// must not be given a second time.
const OLD: [&str; 5] = [
    "DELETE FROM notices WHERE id IN (
        SELECT id FROM notices n WHERE at_ms < ?1 AND id < (SELECT MAX(id) FROM notices)
        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notice = n.id AND d.outcome IS NULL) ORDER BY id LIMIT ?2)",
    "DELETE FROM sightings WHERE id IN (
        SELECT id FROM sightings WHERE at_ms < ?1 AND id < (SELECT MAX(id) FROM sightings)
        AND (state <> 'waiting' OR canonical = 0) ORDER BY at_ms LIMIT ?2)",
    "DELETE FROM alarms WHERE id IN (SELECT id FROM alarms WHERE cleared_ms < ?1 ORDER BY id LIMIT ?2)",
    "DELETE FROM playbook_steps WHERE run IN (
        SELECT r.id FROM playbook_runs r JOIN incidents i ON i.id = r.incident
        WHERE r.state <> 'running' AND r.ended_ms < ?1 AND i.state = 'closed' ORDER BY r.id LIMIT ?2)",
    "DELETE FROM playbook_runs WHERE id IN (
        SELECT r.id FROM playbook_runs r JOIN incidents i ON i.id = r.incident
        WHERE r.state <> 'running' AND r.ended_ms < ?1 AND i.state = 'closed'
        AND NOT EXISTS (SELECT 1 FROM playbook_steps s WHERE s.run = r.id) ORDER BY r.id LIMIT ?2)",
];

impl Store {
    /// Forgets part of what is older than `age_ms` milliseconds: notices that are on no way any more, sightings that wait for nothing,
    /// cleared alarms, and playbooks that have ended with their incident closed. Answers whether there may be more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn prune(&self, age_ms: i64) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let before = tx.now_ms().saturating_sub(age_ms);
        let mut is_more = false;
        for sql in OLD {
            let done = query(sql).bind(before).bind(AT_ONCE).execute(&mut *tx).await?;
            is_more |= i64::try_from(done.rows_affected()).is_ok_and(|rows| rows >= AT_ONCE);
        }
        tx.commit(Step::PruneNotices).await?;
        Ok(is_more)
    }
}
