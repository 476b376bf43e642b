//! What is forgotten: what is over, and was so for long. Incidents with their timelines are kept for good.

use super::db::query;
use super::{Step, Store, StoreError};

/// Rows that are forgotten in one transaction, of one kind: it must not hold up what is decided.
const AT_ONCE: i64 = 500;

/// What is forgotten, in this order: before when, and how many. The newest of a table stays where its number is what others go by, and
/// must not be given a second time.
const OLD: [&str; 7] = [
    // What is acknowledged of what is not over is kept: the keys of pages go by it, and so by the end before it.
    "DELETE FROM notices WHERE id IN (
        SELECT id FROM notices n WHERE at_ms < ?1 AND id < (SELECT MAX(id) FROM notices)
        AND NOT (n.kind = 'acknowledged' AND NOT EXISTS (SELECT 1 FROM notices l WHERE l.topic = n.topic AND l.id > n.id
            AND (l.ends = 1 OR (l.kind = 'acknowledged' AND l.topic LIKE 'watch:%'))))
        AND NOT (n.ends = 1 AND EXISTS (SELECT 1 FROM notices k
            WHERE k.topic = n.topic AND k.id < n.id AND k.kind = 'acknowledged'))
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
    // What was only recorded, or ended without a transaction: of incidents that are closed, or refused over and over. The newest of a rule
    // stays: its cooldown goes by it.
    "DELETE FROM intents WHERE id IN (
        SELECT i.id FROM intents i LEFT JOIN incidents n ON n.id = i.incident
        WHERE i.outcome IS NOT NULL AND i.decided_ms < ?1 AND (n.id IS NULL OR n.state = 'closed' OR i.outcome = 'refused')
        AND i.id < (SELECT MAX(id) FROM intents) AND i.id < (SELECT MAX(m.id) FROM intents m WHERE m.rule = i.rule)
        AND NOT EXISTS (SELECT 1 FROM transactions t WHERE t.intent = i.id)
        AND NOT EXISTS (SELECT 1 FROM playbook_steps s WHERE s.intent = i.id)
        AND NOT EXISTS (SELECT 1 FROM ladders l WHERE l.intent = i.id) ORDER BY i.id LIMIT ?2)",
    // They count for half a minute, and every process of a keeper has a name of its own.
    "DELETE FROM votes WHERE (keeper, version, rule, words) IN (
        SELECT keeper, version, rule, words FROM votes WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
];

impl Store {
    /// Forgets part of what is older than `age_ms` milliseconds: notices that are on no way any more, sightings that wait for nothing,
    /// cleared alarms, playbooks that have ended with their incident closed, votes, and what was decided and sent nothing. Answers whether there may
    /// be more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn prune(&self, age_ms: i64) -> Result<bool, StoreError> {
        let mut is_more = false;
        for sql in OLD {
            // Each by itself: what is decided comes in between.
            let mut tx = self.begin().await?;
            let before = tx.now_ms().saturating_sub(age_ms);
            let done = query(sql).bind(before).bind(AT_ONCE).execute(&mut *tx).await?;
            is_more |= i64::try_from(done.rows_affected()).is_ok_and(|rows| rows >= AT_ONCE);
            tx.commit(Step::PruneNotices).await?;
        }
        Ok(is_more)
    }
}
