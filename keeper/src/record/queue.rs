//! What is due on a channel, and in which order. Asked after every notice, also when a hundred thousand wait: it looks at the first of each
//! place, never at all of them.

use std::collections::BTreeMap;
use std::ops::Range;

use cordon_client::config::Severity;

use super::db::{Connection, Row, query, query_as};
use super::notices::{COLUMNS, notice};
use super::{Due, Store, StoreError};

/// Deliveries that are handed out at once.
const BATCH: usize = 50;
/// Places of one severity, see [`PLACE`].
const OF_SEVERITY: i64 = 6;
/// Further in the future nothing is ever put off by a failure: the clock was set back.
pub(super) const LONGEST_MS: i64 = 2 * 60 * 60 * 1_000;
/// The places of all severities, and of the worst.
const ALL: Range<i64> = 0..4 * OF_SEVERITY;
const URGENT: Range<i64> = 0..OF_SEVERITY;

/// The place of a notice `n` that was not told yet: the worst first; of what is as severe incidents, then the rest, and last what watches
/// have found, which anybody on the chain can cause. Told again it is three further on.
pub(super) const PLACE: &str = "CASE n.severity WHEN 'P1' THEN 0 WHEN 'P2' THEN 6 WHEN 'P3' THEN 12 ELSE 18 END
    + CASE WHEN n.topic LIKE 'incident:%' THEN 0 WHEN n.topic LIKE 'watch:%' THEN 2 ELSE 1 END";

/// What is on its way as `d` through the channel ?1 and due at ?2, and does not wait for something of its topic that waits: an end waits for
/// what it ends, an acknowledgement for what it is of (not for what cannot be told, when there is a page to acknowledge), and whatever follows an end for that.
/// A pager would keep a page open that is over, or
/// close one that is not. (The `+` has what is not due yet looked at, which is little, and not what is older.)
const FREE: &str = "d.channel = ?1 AND d.outcome IS NULL AND d.due_ms <= ?2 AND NOT EXISTS (
        SELECT 1 FROM deliveries e WHERE e.channel = d.channel AND e.topic = d.topic AND e.outcome IS NULL AND e.told = 0 AND e.part = 2
        AND e.notice < d.notice AND e.due_ms > ?2)
    AND (d.part = 0 OR NOT EXISTS (
        SELECT 1 FROM deliveries e WHERE e.channel = d.channel AND e.topic = d.topic AND e.outcome IS NULL AND e.told = 0
        AND +e.notice < d.notice AND e.due_ms > ?2
        AND NOT (d.part = 1 AND e.refusals + e.aside > 0 AND EXISTS (
            SELECT 1 FROM deliveries t WHERE t.channel = d.channel AND t.topic = d.topic AND t.told > 0 AND t.notice < d.notice
            AND t.notice > COALESCE((SELECT MAX(n.id) FROM notices n WHERE n.topic = d.topic AND n.id < d.notice AND n.ends = 1), 0)
            AND t.notice > COALESCE((SELECT MAX(n.id) FROM notices n
                WHERE n.topic = d.topic AND n.id < d.notice AND n.kind = 'acknowledged'), 0)))))";

/// A delivery that is due, as far as its turn goes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    notice: i64,
    topic: String,
    place: i64,
}

impl Waiting {
    fn severity(&self) -> i64 {
        self.place.div_euclid(OF_SEVERITY)
    }

    /// Within its severity.
    fn rest(&self) -> i64 {
        self.place.rem_euclid(OF_SEVERITY)
    }

    fn is_told(&self) -> bool {
        self.rest() >= OF_SEVERITY / 2
    }
}

impl Store {
    /// What is due on a channel, the worst first, and of one topic in the order in which it happened. Of what is as severe, what was never
    /// told comes before repetitions; what watches have found, which anybody on the chain can cause, comes last, incidents first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn due(&self, channel: &str) -> Result<Vec<Due>, StoreError> {
        self.due_in(channel, ALL).await
    }

    /// As [`Self::due`], only what is most severe, and what of its topics goes before it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn due_urgent(&self, channel: &str) -> Result<Vec<Due>, StoreError> {
        self.due_in(channel, URGENT).await
    }

    async fn due_in(&self, channel: &str, places: Range<i64>) -> Result<Vec<Due>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let now = self.now_ms();
        if held_until(&mut connection, channel, now).await? > now {
            return Ok(Vec::new());
        }
        let first = first(&mut connection, (channel, now), places, BATCH).await?;
        let before = before(&mut connection, (channel, now), &first).await?;
        whole(&mut connection, channel, &ordered(first, before)).await
    }

    /// Milliseconds until something is due on a channel: 0 when it is overdue, `None` when nothing waits.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn next_due(&self, channel: &str) -> Result<Option<u64>, StoreError> {
        self.next_in(channel, ALL).await
    }

    /// As [`Self::next_due`], of what is most severe.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn next_urgent(&self, channel: &str) -> Result<Option<u64>, StoreError> {
        self.next_in(channel, URGENT).await
    }

    async fn next_in(&self, channel: &str, places: Range<i64>) -> Result<Option<u64>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let now = self.now_ms();
        let is_due = !first(&mut connection, (channel, now), places.clone(), 1)
            .await?
            .is_empty();
        let next = if is_due {
            Some(now)
        } else {
            let of = |place| {
                format!(
                    "SELECT MIN(due_ms) AS due_ms FROM deliveries
                     WHERE channel = ?1 AND outcome IS NULL AND place = {place} AND due_ms > ?2"
                )
            };
            let all: Vec<String> = places.map(of).collect();
            let sql = format!("SELECT MIN(p.due_ms) FROM ({}) p", all.join(" UNION ALL "));
            let (next,): (Option<i64>,) = query_as(&sql)
                .bind(channel)
                .bind(now)
                .fetch_one(&mut connection)
                .await?;
            next
        };
        let held = held_until(&mut connection, channel, now).await?;
        Ok(next.map(|due| u64::try_from(due.max(held).saturating_sub(now)).unwrap_or_default()))
    }
}

/// Until when a channel that has failed is left alone. Long past, or 0, when it has not.
async fn held_until(connection: &mut Connection, channel: &str, now: i64) -> Result<i64, StoreError> {
    let held: Option<(i64,)> = query_as("SELECT until_ms FROM holds WHERE channel = ?")
        .bind(channel)
        .fetch_optional(connection)
        .await?;
    let until = held.map_or(0, |(until,)| until);
    Ok(if until.saturating_sub(now) > LONGEST_MS {
        0
    } else {
        until
    })
}

/// The first of these places, by their place, and in one by the time that they have waited.
async fn first(
    connection: &mut Connection,
    (channel, now): (&str, i64),
    places: Range<i64>,
    most: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let of = |place| {
        format!(
            "SELECT * FROM (SELECT d.notice, d.topic, d.place, d.due_ms FROM deliveries d
             WHERE d.place = {place} AND {FREE} ORDER BY d.due_ms, d.notice LIMIT {most}) p{place}"
        )
    };
    let all: Vec<String> = places.map(of).collect();
    let sql = format!(
        "SELECT notice, topic, place FROM ({}) p ORDER BY place, due_ms, notice LIMIT {most}",
        all.join(" UNION ALL ")
    );
    let rows = query_as(&sql).bind(channel).bind(now).fetch_all(connection).await?;
    Ok(waiting(rows))
}

/// What was not told yet of the topics of these, and happened before them: it waits at another place, and goes first all the same.
async fn before(
    connection: &mut Connection,
    (channel, now): (&str, i64),
    first: &[Waiting],
) -> Result<BTreeMap<String, Vec<Waiting>>, StoreError> {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for waiting in first.iter().filter(|waiting| !waiting.is_told()) {
        let held = newest.entry(&waiting.topic).or_insert(waiting.notice);
        *held = waiting.notice.max(*held);
    }
    if newest.is_empty() {
        return Ok(BTreeMap::new());
    }
    let of = |at: usize| {
        let (topic, newest) = (
            at.saturating_mul(2).saturating_add(3),
            at.saturating_mul(2).saturating_add(4),
        );
        format!(
            "SELECT * FROM (SELECT d.notice, d.topic, d.place FROM deliveries d
             WHERE d.topic = ?{topic} AND d.notice <= ?{newest} AND d.told = 0 AND {FREE} ORDER BY d.notice LIMIT {BATCH}) t{at}"
        )
    };
    let all: Vec<String> = (0..newest.len()).map(of).collect();
    let mut query = query_as(&all.join(" UNION ALL ")).bind(channel).bind(now);
    for (topic, newest) in newest {
        query = query.bind(topic).bind(newest);
    }
    let mut by_topic: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
    for found in waiting(query.fetch_all(connection).await?) {
        by_topic.entry(found.topic.clone()).or_default().push(found);
    }
    Ok(by_topic)
}

fn waiting(rows: Vec<(i64, String, i64)>) -> Vec<Waiting> {
    rows.into_iter()
        .map(|(notice, topic, place)| Waiting { notice, topic, place })
        .collect()
}

/// Which go now, in their order, each with the worst of its topic from it on: that would wait with it.
fn ordered(first: Vec<Waiting>, before: BTreeMap<String, Vec<Waiting>>) -> Vec<(i64, i64)> {
    // By its number, with whether it goes: not when there is so much before it that not all of that does.
    let mut all: BTreeMap<i64, (Waiting, bool)> = BTreeMap::new();
    for waiting in first {
        let older = before.get(&waiting.topic).map(Vec::as_slice).unwrap_or_default();
        let goes =
            waiting.is_told() || older.len() < BATCH || older.last().is_some_and(|last| waiting.notice <= last.notice);
        all.insert(waiting.notice, (waiting, goes));
    }
    for waiting in before.into_values().flatten() {
        all.insert(waiting.notice, (waiting, true));
    }
    let mut worst: BTreeMap<&str, i64> = BTreeMap::new();
    let mut turns = Vec::with_capacity(all.len());
    for (notice, (waiting, goes)) in all.iter().rev() {
        let worst = worst.entry(&waiting.topic).or_insert(waiting.severity());
        *worst = waiting.severity().min(*worst);
        if *goes {
            turns.push((*worst, waiting.rest(), *notice));
        }
    }
    turns.sort_unstable();
    turns.truncate(BATCH);
    turns.into_iter().map(|(worst, _, notice)| (notice, worst)).collect()
}

/// All that is known of them.
async fn whole(connection: &mut Connection, channel: &str, turns: &[(i64, i64)]) -> Result<Vec<Due>, StoreError> {
    if turns.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; turns.len()].join(", ");
    let sql = format!(
        "SELECT {COLUMNS}, d.refusals, d.aside, d.told,
            (EXISTS (SELECT 1 FROM acknowledgements a WHERE a.topic = n.topic) OR EXISTS (SELECT 1 FROM notices k
                WHERE k.topic = n.topic AND k.id > n.id AND k.kind = 'acknowledged')) AS acknowledged,
            EXISTS (SELECT 1 FROM notices later WHERE later.topic = n.topic AND later.id > n.id AND later.ends = 1) AS is_over,
            EXISTS (SELECT 1 FROM deliveries t WHERE t.channel = d.channel AND t.topic = d.topic AND t.told > 0
                AND t.notice < d.notice) AS topic_told,
            EXISTS (SELECT 1 FROM deliveries t WHERE t.channel = d.channel AND t.topic = d.topic AND t.told > 0
                AND t.notice > d.notice) AS overtaken
         FROM deliveries d JOIN notices n ON n.id = d.notice
         WHERE d.channel = ? AND d.outcome IS NULL AND d.notice IN ({marks})"
    );
    let mut query = query(&sql).bind(channel);
    for (notice, _) in turns {
        query = query.bind(*notice);
    }
    let rows = query.fetch_all(connection).await?;
    let mut found: BTreeMap<i64, Row> = BTreeMap::new();
    for row in rows {
        found.insert(row.try_get("id")?, row);
    }
    let in_order = turns
        .iter()
        .filter_map(|(notice, worst)| found.get(notice).map(|row| due(row, *worst)));
    in_order.collect()
}

fn due(row: &Row, worst: i64) -> Result<Due, StoreError> {
    Ok(Due {
        notice: notice(row)?,
        refusals: super::small("refusals", row.try_get("refusals")?)?,
        aside: super::small("failures", row.try_get("aside")?)?,
        told: super::small("deliveries", row.try_get("told")?)?,
        acknowledged: row.try_get("acknowledged")?,
        over: row.try_get("is_over")?,
        topic_told: row.try_get("topic_told")?,
        overtaken: row.try_get("overtaken")?,
        worst: match worst {
            0 => Severity::P1,
            1 => Severity::P2,
            2 => Severity::P3,
            _ => Severity::P4,
        },
    })
}
