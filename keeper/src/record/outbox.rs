//! The outbox: which notice is on its way through which channel, and how that ended. It outlives the process, so that what
//! was to be told is told, at least once.

use cordon_client::config::Severity;

use super::db::{Connection, query, query_as};
use super::notices::calling;
use super::queue::LONGEST_MS;
use super::queue::PLACE;
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
    /// How often the service refused it, by itself, since the last success.
    pub refusals: u32,
    /// How often it failed by itself while others passed, since then.
    pub aside: u32,
    /// How often it was told here before.
    pub told: u32,
    /// Somebody takes care of it: of its topic, or of what there was of that then.
    pub acknowledged: bool,
    /// A later notice ended its topic.
    pub over: bool,
    /// The channel was told that this topic is open, so that it has to hear of its end.
    pub topic_told: bool,
    /// Whether a later notice of the topic was told through the channel.
    pub overtaken: bool,
    /// The worst that is due of its topic from this one on: it would wait with this one.
    pub worst: Severity,
}

impl Due {
    /// Whether it calls people to what is not over, and what nobody takes care of, and so must not be given up. What a watch has found is never over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.notice.kind.calls() && !self.over && !self.acknowledged && !self.notice.topic.starts_with("watch:")
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

const FANNED: &str = "fanned";
/// A notice that could not be delivered for so long is history.
pub(crate) const EXPIRY_MS: i64 = 24 * 60 * 60 * 1_000;
/// How much of that is ended at once.
const EXPIRED: i64 = 500;

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
                "INSERT INTO deliveries (notice, channel, due_ms, topic, place, part)
                 SELECT id, ?1, CASE WHEN due_ms > at_ms + ?2 THEN due_ms ELSE at_ms + ?2 END, topic, {PLACE},
                    CASE WHEN ends = 1 THEN 2 WHEN kind = 'acknowledged' THEN 1 ELSE 0 END
                 FROM notices n
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

    /// Notes that notices arrived through a channel. Those of `again` are told again after that many milliseconds, the others
    /// are done.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn told(&self, channel: &str, told: &[(i64, Option<i64>)]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        for (notice, again) in told {
            query(
                "UPDATE deliveries SET place = CASE WHEN told = 0 THEN place + 3 ELSE place END, told = told + 1, attempts = 0,
                    refusals = 0, aside = 0, error = NULL, due_ms = ?3, outcome = CASE WHEN ?4 = 1 THEN NULL ELSE 'sent' END
                 WHERE notice = ?1 AND channel = ?2",
            )
            .bind(notice)
            .bind(channel)
            .bind(now.saturating_add(again.unwrap_or_default()))
            .bind(again.is_some())
            .later(&mut tx);
        }
        // Of one topic all is told again together: each by itself it would use up what the channel may be told. With what is overdue, or asks
        // for nobody any more, it would be told at once.
        for (notice, _) in told.iter().filter(|(_, again)| again.is_some()) {
            query(
                "UPDATE deliveries SET due_ms = COALESCE((
                    SELECT MIN(d.due_ms) FROM deliveries d
                    WHERE d.channel = ?2 AND d.topic = deliveries.topic AND d.outcome IS NULL AND d.told > 0 AND d.due_ms > ?3
                        AND d.notice > COALESCE((SELECT MAX(n.id) FROM notices n WHERE n.topic = deliveries.topic AND n.ends = 1), 0)
                        AND d.notice > COALESCE((SELECT MAX(n.id) FROM notices n
                            WHERE n.topic = deliveries.topic AND n.kind = 'acknowledged'), 0)
                 ), due_ms) WHERE notice = ?1 AND channel = ?2 AND told = 1",
            )
            .bind(notice)
            .bind(channel)
            .bind(now)
            .later(&mut tx);
        }
        reached(&mut tx, channel);
        tx.commit(Step::Told).await
    }

    /// Notes that the service could not be reached, or wants to be left alone. Everything that waits for the channel, or comes meanwhile,
    /// waits until `retry_ms` from now. What has waited for a day is history, unless it calls people to what is not over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn not_told(&self, channel: &str, tried: &[i64], error: &str, retry_ms: i64) -> Result<(), StoreError> {
        let expired = self.expired(channel).await?;
        let mut tx = self.begin().await?;
        expire(&mut tx, channel, &expired);
        for notice in tried {
            query("UPDATE deliveries SET attempts = attempts + 1, error = ? WHERE notice = ? AND channel = ?")
                .bind(error)
                .bind(notice)
                .bind(channel)
                .later(&mut tx);
        }
        query(
            "INSERT INTO holds (channel, until_ms, failures) VALUES (?1, ?2, 1) ON CONFLICT (channel) DO UPDATE SET
                until_ms = CASE WHEN holds.until_ms < excluded.until_ms OR holds.until_ms > ?3 THEN excluded.until_ms ELSE holds.until_ms END,
                failures = holds.failures + 1",
        )
        .bind(channel)
        .bind(tx.now_ms().saturating_add(retry_ms))
        // The clock was set back.
        .bind(tx.now_ms().saturating_add(LONGEST_MS))
        .later(&mut tx);
        tx.commit(Step::NotTold).await
    }

    /// How often a channel has failed since it was reached last.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn failures(&self, channel: &str) -> Result<u32, StoreError> {
        let row: Option<(i64,)> = query_as("SELECT failures FROM holds WHERE channel = ?")
            .bind(channel)
            .fetch_optional(&self.pool)
            .await?;
        row.map_or(Ok(0), |(failures,)| super::small("failures", failures))
    }

    /// Notes that the service refused a message of this notice alone, which waits until `retry_ms` from now. The others do not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn refused(&self, channel: &str, notice: i64, retry_ms: i64) -> Result<(), StoreError> {
        let expired = self.expired(channel).await?;
        let mut tx = self.begin().await?;
        query(
            "UPDATE deliveries SET refusals = refusals + 1, attempts = 0, error = NULL, due_ms = ?
             WHERE notice = ? AND channel = ?",
        )
        .bind(tx.now_ms().saturating_add(retry_ms))
        .bind(notice)
        .bind(channel)
        .later(&mut tx);
        expire(&mut tx, channel, &expired);
        reached(&mut tx, channel);
        tx.commit(Step::NotTold).await
    }

    /// Notes that a message of this notice alone has failed again, while others arrive: it waits until `retry_ms` from now. The others do not.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_aside(&self, channel: &str, notice: i64, retry_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        query("UPDATE deliveries SET aside = aside + 1, due_ms = ? WHERE notice = ? AND channel = ?")
            .bind(tx.now_ms().saturating_add(retry_ms))
            .bind(notice)
            .bind(channel)
            .later(&mut tx);
        tx.commit(Step::NotTold).await
    }

    /// What could not be told through a channel for a day, but for what [`Due::is_open`], the oldest of it. Looked for before anything is
    /// written: what is decided does not wait for it.
    async fn expired(&self, channel: &str) -> Result<Vec<(i64,)>, StoreError> {
        let sql = format!(
            "SELECT d.notice FROM deliveries d JOIN notices n ON n.id = d.notice
             WHERE d.channel = ?1 AND d.outcome IS NULL AND d.told = 0 AND d.due_ms < ?2 AND n.at_ms < ?2
                AND (n.kind NOT IN ({}) OR n.topic LIKE 'watch:%'
                OR EXISTS (SELECT 1 FROM acknowledgements a WHERE a.topic = n.topic)
                OR EXISTS (SELECT 1 FROM notices k WHERE k.topic = n.topic AND k.id > n.id AND k.kind = 'acknowledged')
                OR EXISTS (SELECT 1 FROM notices later WHERE later.topic = n.topic AND later.id > n.id AND later.ends = 1))
             ORDER BY d.due_ms LIMIT {EXPIRED}",
            calling()
        );
        query_as(&sql)
            .bind(channel)
            .bind(self.now_ms().saturating_sub(EXPIRY_MS))
            .fetch_all(&self.pool)
            .await
    }

    /// Whether something waits that the service of a channel has refused, or that was set aside.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn is_refusing(&self, channel: &str) -> Result<bool, StoreError> {
        let row: Option<(i64,)> =
            query_as("SELECT 1 FROM deliveries WHERE channel = ? AND outcome IS NULL AND refusals + aside > 0 LIMIT 1")
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

fn expire(connection: &mut Connection, channel: &str, expired: &[(i64,)]) {
    for (notice,) in expired {
        query("UPDATE deliveries SET outcome = 'expired' WHERE notice = ? AND channel = ?")
            .bind(notice)
            .bind(channel)
            .later(connection);
    }
}

fn reached(connection: &mut Connection, channel: &str) {
    query("UPDATE holds SET failures = 0, until_ms = 0 WHERE channel = ?")
        .bind(channel)
        .later(connection);
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
