//! The outbox: which notice is on its way through which channel, and how that ended. It outlives the process, so that what
//! was to be told is told, at least once.

use cordon_client::config::Severity;

use super::db::{Connection, Row, query, query_as};
use super::notices::{COLUMNS, calling, notice};
use super::{Notice, Step, Store, StoreError, settings};

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryEnd {
    /// The service took it.
    Sent,
    /// By the time that it was due there was nothing to tell: acknowledged, or over.
    Needless,
    /// The service refused it for good.
    Refused,
    /// The service could not be reached for a day.
    Expired,
}

impl DeliveryEnd {
    /// Name in the record and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Needless => "needless",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

/// A notice that is due on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What is to be told.
    pub notice: Notice,
    /// Attempts since the last answer in which the service could not be reached.
    pub attempts: u32,
    /// How often the service refused it, by itself, since the last success.
    pub refusals: u32,
    /// How often it was told here before.
    pub told: u32,
    /// Somebody takes care of it: of its topic, or of what there was of that then.
    pub acknowledged: bool,
    /// A later notice ended its topic.
    pub over: bool,
    /// The channel was told that this topic is open, so that it has to hear of its end.
    pub topic_told: bool,
    /// The worst that is due of its topic from this one on: it would wait with this one.
    pub worst: Severity,
}

impl Due {
    /// Whether it calls people to what is not over, and so must not be given up. What a watch has found is never over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.notice.kind.calls() && !self.over && !self.notice.topic.starts_with("watch:")
    }
}

/// Whom the notices go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Name of the channel.
    pub channel: String,
    /// Names of the severities that are told there, unless a notice names its channels.
    pub severities: Vec<&'static str>,
    /// Milliseconds between the event and the telling.
    pub after_ms: i64,
    /// Subject of the alarms that it is not told: the one about itself.
    pub deaf_to: String,
}

/// Deliveries that are handed out at once.
const BATCH: i64 = 50;
const FANNED: &str = "fanned";
/// A notice that could not be delivered for so long is history.
const EXPIRY_MS: i64 = 24 * 60 * 60 * 1_000;
/// What is on its way through the channel ?1 and does not wait, at ?2, for something of its topic that waits: an end waits for what it ends,
/// an acknowledgement for what it is of, and whatever follows an end for that. A pager would keep a page open that is over, or close one that is not.
const FREE: &str = "deliveries d JOIN notices n ON n.id = d.notice LEFT JOIN (
        SELECT m.topic, MIN(m.id) AS eldest, MIN(CASE WHEN m.ends = 1 THEN m.id END) AS ended
        FROM deliveries e JOIN notices m ON m.id = e.notice
        WHERE e.channel = ?1 AND e.outcome IS NULL AND e.told = 0 AND e.due_ms > ?2 GROUP BY m.topic
    ) h ON h.topic = n.topic
    WHERE d.channel = ?1 AND d.outcome IS NULL AND n.id <= COALESCE(h.ended, n.id)
        AND (n.id <= COALESCE(h.eldest, n.id) OR (n.ends = 0 AND n.kind <> 'acknowledged'))";

impl Store {
    /// Puts new notices on their way, each through the channels that want it. Those that waited for a channel which is not
    /// among `channels` any more are dropped. Answers how many were put on their way.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn fan_out(&self, channels: &[Subscription]) -> Result<u64, StoreError> {
        // Asked after every block, and mostly in vain: that must not cost the write lock.
        let (done, newest) = fanned(&mut self.pool.acquire().await?).await?;
        if newest == done {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let (done, newest) = fanned(&mut tx).await?;
        let mut added = 0;
        for channel in channels {
            // The names are ours: no text of anybody else is in this statement.
            // A list may not be empty: no severity has no name.
            let names = channel.severities.iter().chain(&[""]);
            let list: Vec<String> = names.map(|name| format!("'{name}'")).collect();
            let sql = format!(
                "INSERT INTO deliveries (notice, channel, due_ms)
                 SELECT id, ?1, CASE WHEN due < ?7 THEN ?7 ELSE due END FROM (
                    SELECT *, CASE WHEN due_ms > at_ms + ?2 THEN due_ms ELSE at_ms + ?2 END AS due FROM notices
                 ) n
                 WHERE id > ?3 AND id <= ?4 AND NOT (topic = 'alarm:notify-failed' AND subject = ?5)
                    AND CASE WHEN channels IS NULL THEN severity IN ({}) ELSE replace(channels, ?6, '') <> channels END
                 ON CONFLICT DO NOTHING",
                list.join(", ")
            );
            added += query(&sql)
                .bind(&channel.channel)
                .bind(channel.after_ms)
                .bind(done)
                .bind(newest)
                .bind(&channel.deaf_to)
                .bind(format!(" {} ", channel.channel))
                .bind(held_until(&mut tx, &channel.channel).await?)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        settings::set(&mut tx, FANNED, &newest.to_string());
        tx.commit(Step::FanOut).await?;
        Ok(added)
    }

    /// Ends what waits for channels that do not exist any more. Answers how many were dropped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drop_orphans(&self, channels: &[Subscription]) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let rows: Vec<(String,)> = query_as("SELECT DISTINCT channel FROM deliveries WHERE outcome IS NULL")
            .fetch_all(&mut *tx)
            .await?;
        let mut dropped = 0;
        for (channel,) in rows {
            if channels.iter().any(|held| held.channel == channel) {
                continue;
            }
            dropped += query("UPDATE deliveries SET outcome = 'dropped' WHERE channel = ? AND outcome IS NULL")
                .bind(channel)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        tx.commit(Step::Orphans).await?;
        Ok(dropped)
    }

    /// What is due on a channel, the worst first, and of one topic in the order in which it happened. Of what is as severe, what was never
    /// told comes before repetitions; what watches have found, which anybody on the chain can cause, comes last, incidents first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn due(&self, channel: &str) -> Result<Vec<Due>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, d.attempts, d.refusals, d.told, f.worst,
                (EXISTS (SELECT 1 FROM acknowledgements a WHERE a.topic = n.topic) OR EXISTS (SELECT 1 FROM notices k
                    WHERE k.topic = n.topic AND k.id > n.id AND k.kind = 'acknowledged')) AS acknowledged,
                EXISTS (SELECT 1 FROM notices later WHERE later.topic = n.topic AND later.id > n.id AND later.ends = 1) AS is_over,
                EXISTS (SELECT 1 FROM deliveries t JOIN notices o ON o.id = t.notice
                        WHERE t.channel = d.channel AND o.topic = n.topic AND o.id < n.id AND t.told > 0) AS topic_told
             FROM (SELECT * FROM (
                SELECT d.notice, MIN(n.severity) OVER (PARTITION BY n.topic ORDER BY n.id DESC) AS worst,
                    CASE WHEN d.told > 0 THEN 1 ELSE 0 END AS again,
                    CASE WHEN n.topic LIKE 'incident:%' THEN 0 WHEN n.topic LIKE 'watch:%' THEN 2 ELSE 1 END AS cause
                FROM {FREE} AND d.due_ms <= ?2
             ) w ORDER BY worst, again, cause, notice LIMIT ?3) f
             JOIN notices n ON n.id = f.notice JOIN deliveries d ON d.notice = f.notice AND d.channel = ?1
             ORDER BY f.worst, f.again, f.cause, f.notice"
        );
        query(&sql)
            .bind(channel)
            .bind(self.now_ms())
            .bind(BATCH)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(due)
            .collect()
    }

    /// Milliseconds until something is due on a channel: 0 when it is overdue, `None` when nothing waits.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn next_due(&self, channel: &str) -> Result<Option<u64>, StoreError> {
        let (due,): (Option<i64>,) = query_as(&format!("SELECT MIN(d.due_ms) FROM {FREE}"))
            .bind(channel)
            .bind(self.now_ms())
            .fetch_one(&self.pool)
            .await?;
        Ok(due.map(|due| u64::try_from(due.saturating_sub(self.now_ms())).unwrap_or_default()))
    }

    /// Notes that notices arrived through a channel. Those of `again` are told again after that many milliseconds, the others
    /// are done.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn told(&self, channel: &str, told: &[(i64, Option<i64>)]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (notice, again) in told {
            query(
                "UPDATE deliveries SET told = told + 1, attempts = 0, refusals = 0, error = NULL, due_ms = ?3,
                    outcome = CASE WHEN ?4 = 1 THEN NULL ELSE 'sent' END WHERE notice = ?1 AND channel = ?2",
            )
            .bind(notice)
            .bind(channel)
            .bind(tx.now_ms().saturating_add(again.unwrap_or_default()))
            .bind(again.is_some())
            .later(&mut tx);
            if again.is_some() {
                // Of one topic all is told again together: each by itself it would use up what the channel may be told.
                query(
                    "UPDATE deliveries SET due_ms = (
                        SELECT MIN(d.due_ms) FROM notices n JOIN deliveries d ON d.notice = n.id AND d.channel = ?2
                        WHERE n.topic = (SELECT topic FROM notices WHERE id = ?1) AND d.outcome IS NULL AND d.told > 0
                     ) WHERE notice = ?1 AND channel = ?2 AND told = 1",
                )
                .bind(notice)
                .bind(channel)
                .later(&mut tx);
            }
        }
        tx.commit(Step::Told).await
    }

    /// Notes that the service could not be reached, or wants to be left alone. Everything that waits for the channel, or comes meanwhile,
    /// waits until `retry_ms` from now. What has waited for a day is history, unless it calls people to what is not over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn not_told(&self, channel: &str, tried: &[i64], error: &str, retry_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        expire(&mut tx, channel);
        for notice in tried {
            query("UPDATE deliveries SET attempts = attempts + 1 WHERE notice = ? AND channel = ?")
                .bind(notice)
                .bind(channel)
                .later(&mut tx);
        }
        query("UPDATE deliveries SET due_ms = ?1, error = ?2 WHERE channel = ?3 AND outcome IS NULL AND due_ms <= ?1")
            .bind(tx.now_ms().saturating_add(retry_ms))
            .bind(error)
            .bind(channel)
            .later(&mut tx);
        tx.commit(Step::NotTold).await
    }

    /// Notes that the service refused a message of this notice alone, which waits until `retry_ms` from now. The others do not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn refused(&self, channel: &str, notice: i64, retry_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        expire(&mut tx, channel);
        // It was reached: `error` would hold back what comes.
        query(
            "UPDATE deliveries SET refusals = refusals + 1, attempts = 0, error = NULL, due_ms = ?
             WHERE notice = ? AND channel = ?",
        )
        .bind(tx.now_ms().saturating_add(retry_ms))
        .bind(notice)
        .bind(channel)
        .later(&mut tx);
        tx.commit(Step::NotTold).await
    }

    /// Whether something waits that the service of a channel has refused.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn is_refusing(&self, channel: &str) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            query_as("SELECT 1 FROM deliveries WHERE channel = ? AND outcome IS NULL AND refusals > 0 LIMIT 1")
                .bind(channel)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.is_some())
    }

    /// Ends a delivery.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn end_delivery(&self, channel: &str, notice: i64, end: DeliveryEnd) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        query("UPDATE deliveries SET outcome = ? WHERE notice = ? AND channel = ?")
            .bind(end.name())
            .bind(notice)
            .bind(channel)
            .later(&mut tx);
        tx.commit(Step::DeliveryEnd).await
    }

    /// What people have not been told yet: deliveries on their way, over all channels, and notices that nobody has put on their
    /// way, whatever becomes of them then.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn undelivered(&self) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        // In this order: what is put on its way in between is counted twice, not left out.
        let (done, _) = fanned(&mut connection).await?;
        let (waiting,): (i64,) = query_as("SELECT COUNT(*) FROM notices WHERE id > ?")
            .bind(done)
            .fetch_one(&mut connection)
            .await?;
        let (on_their_way,): (i64,) = query_as("SELECT COUNT(*) FROM deliveries WHERE outcome IS NULL")
            .fetch_one(&mut connection)
            .await?;
        super::uint("deliveries", waiting.saturating_add(on_their_way))
    }
}

fn due(row: &Row) -> Result<Due, StoreError> {
    let worst: String = row.try_get("worst")?;
    Ok(Due {
        notice: notice(row)?,
        attempts: super::small("attempts", row.try_get("attempts")?)?,
        refusals: super::small("refusals", row.try_get("refusals")?)?,
        told: super::small("deliveries", row.try_get("told")?)?,
        acknowledged: row.try_get("acknowledged")?,
        over: row.try_get("is_over")?,
        topic_told: row.try_get("topic_told")?,
        worst: super::dossier::severity_from(&worst)?,
    })
}

/// Ends what could not be told through a channel for a day, but for what [`Due::is_open`].
fn expire(connection: &mut Connection, channel: &str) {
    let sql = format!(
        "UPDATE deliveries SET outcome = 'expired' WHERE channel = ?1 AND outcome IS NULL AND told = 0 AND EXISTS (
            SELECT 1 FROM notices n WHERE n.id = deliveries.notice AND n.at_ms < ?2
            AND (n.kind NOT IN ({}) OR n.topic LIKE 'watch:%'
                OR EXISTS (SELECT 1 FROM notices later WHERE later.topic = n.topic AND later.id > n.id AND later.ends = 1)))",
        calling()
    );
    let before = connection.now_ms().saturating_sub(EXPIRY_MS);
    query(&sql).bind(channel).bind(before).later(connection);
}

/// Until when a channel that has failed is left alone: what waits for it has its error. Long past, or 0, when it has not.
async fn held_until(connection: &mut Connection, channel: &str) -> Result<i64, StoreError> {
    let (until,): (i64,) = query_as(
        "SELECT COALESCE(MAX(due_ms), 0) FROM deliveries WHERE channel = ? AND outcome IS NULL AND error IS NOT NULL",
    )
    .bind(channel)
    .fetch_one(connection)
    .await?;
    Ok(until)
}

/// The newest notice that was put on its way, and the newest of all.
async fn fanned(connection: &mut Connection) -> Result<(i64, i64), StoreError> {
    let (held, newest): (Option<String>, i64) =
        query_as("SELECT (SELECT value FROM settings WHERE name = ?), (SELECT COALESCE(MAX(id), 0) FROM notices)")
            .bind(FANNED)
            .fetch_one(connection)
            .await?;
    Ok((held.and_then(|value| value.parse().ok()).unwrap_or_default(), newest))
}
