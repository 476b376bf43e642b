//! What was decided before on the rules that are breached: what a decision on a block depends on besides the block.

use alloy::primitives::B256;

use super::codec::{decode_scopes, decode_words};
use super::db::{Connection, FromRow, QueryAs, Row, Together, query_as};
use super::{IntentKind, Outcome, Store, StoreError, breaches, small, uint};
use crate::decide::{Past, Refused, RulePast, strictest};

impl Store {
    /// What was decided before on these rules of the rulebook `version`: the same numbers are other rules in another. With it what stands of
    /// their breaches, and what people have released.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn past(&self, rules: &[u16], version: B256) -> Result<Past, StoreError> {
        past(&mut self.pool.acquire().await?, rules, version).await
    }
}

/// See [`Store::past`]. A decision waits for this: all is asked for in two statements, because a server takes one at a time.
async fn past(connection: &mut Connection, rules: &[u16], version: B256) -> Result<Past, StoreError> {
    let mut past = Past::default();
    for part in rules.chunks(TOGETHER) {
        let questions = (decided(part, version), standing(part, version));
        let (decided, standing) = questions.fetch_together(connection).await?;
        let (released, standing): (Vec<_>, Vec<_>) = standing.into_iter().partition(|row| row.rule == RELEASE);
        let (over, standing): (Vec<_>, Vec<_>) = standing.into_iter().partition(|row| row.more == OVER);
        for row in released {
            let block = uint("block number", row.since)?;
            past.released.insert(small("scope", row.more)?, block);
        }
        for rule in part {
            let of_rule = |other: i64| other == i64::from(*rule);
            let decided: Vec<&Decided> = decided.iter().filter(|one| of_rule(one.rule)).collect();
            let standing: Vec<&Standing> = standing.iter().filter(|one| of_rule(one.rule)).collect();
            let mut own = rule_past(&decided, &standing)?;
            for one in over.iter().filter(|one| of_rule(one.rule)) {
                let at = uint("block number", one.since)?;
                own.over.insert(decode_words(&one.words)?, at);
            }
            if own != RulePast::default() {
                past.rules.insert(*rule, own);
            }
            for one in standing {
                let since = uint("block number", one.since)?;
                past.standing.insert((*rule, decode_words(&one.words)?), since);
            }
        }
    }
    if past.released.is_empty() {
        // Nobody has judged anything.
        past.standing.clear();
    }
    Ok(past)
}

/// Rules that are asked about in one statement at most.
const TOGETHER: usize = 16;

/// Decisions on a rule that are looked at: those before are too long ago to matter.
const NEWEST: u8 = 64;

/// Refusals that lie further apart, in seconds, have nothing to do with each other: several times what is waited between them.
const STREAK: u64 = 2_400;

/// A decision, as [`rule_past`] looks at it.
struct Decided {
    rule: i64,
    kind: String,
    outcome: Option<String>,
    number: i64,
    time: u64,
    effect_time: Option<i64>,
    witness: Vec<B256>,
    scope: u8,
    /// Of one that was refused: the scopes of its block that were not `Normal`, if the record still has it.
    scopes: Option<Vec<u8>>,
}

impl FromRow for Decided {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            rule: row.try_get("rule")?,
            kind: row.try_get("kind")?,
            outcome: row.try_get("outcome")?,
            number: row.try_get("block_number")?,
            time: uint("block timestamp", row.try_get("block_time")?)?,
            effect_time: row.try_get("effect_time")?,
            witness: decode_words(row.try_get("witness")?)?,
            scope: small("scope", row.try_get("scope")?)?,
            scopes: row.try_get("scopes")?,
        })
    }
}

impl Decided {
    fn ended(&self, outcome: Outcome) -> bool {
        self.outcome.as_deref() == Some(outcome.name())
    }
}

/// The newest decisions on each of the rules, and all that are open, newest first.
fn decided(rules: &[u16], version: B256) -> QueryAs<Decided> {
    const COLUMNS: &str = "id, rule, kind, outcome, block_number, block_time, effect_time, witness, scope,
        CASE WHEN outcome = 'refused' THEN (SELECT b.scopes FROM blocks b WHERE b.hash = intents.block_hash AND length(b.verdicts) > 0) END AS scopes";
    const WHICH: &str = "version = ? AND kind IN ('trip', 'contain', 'shadow')";
    let mut sql = format!("SELECT {COLUMNS} FROM intents WHERE outcome IS NULL AND {WHICH}");
    for (at, _) in rules.iter().enumerate() {
        sql.push_str(&format!(
            " UNION SELECT * FROM (SELECT {COLUMNS} FROM intents WHERE {WHICH} AND rule = ? ORDER BY id DESC LIMIT ?) AS r{at}"
        ));
    }
    sql.push_str(" ORDER BY id DESC");
    let all_open = query_as(&sql).bind(version.to_vec());
    rules.iter().fold(all_open, |query, rule| {
        query
            .bind(version.to_vec())
            .bind(i64::from(*rule))
            .bind(i64::from(NEWEST))
    })
}

/// In place of a rule: what people have released.
const RELEASE: i64 = -1;

/// Instead of whether a breach that stands was recorded: it was found to be over, at a block that comes after the checkpoint.
const OVER: i64 = 2;

/// A breach that stands, or is [`OVER`]; or, as [`RELEASE`], a scope that people have released.
struct Standing {
    rule: i64,
    words: Vec<u8>,
    /// The block that it was first seen in, or found to be over at; that of the release.
    since: i64,
    /// Whether it was recorded, or told in an incident that is not closed; the scope of the release.
    more: i64,
}

impl FromRow for Standing {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            rule: row.try_get("rule")?,
            words: row.try_get("words")?,
            since: row.try_get("since")?,
            more: row.try_get("more")?,
        })
    }
}

/// The breaches of these rules that stand, and what was released; those too, by the rulebook `version`, that were found to be over at a block
/// that is still to be caught up with. When the incident is closed in which one was told, and it stands, that
/// is to be told.
fn standing(rules: &[u16], version: B256) -> QueryAs<Standing> {
    let marks = vec!["?"; rules.len()].join(", ");
    let sql = format!(
        "SELECT b.rule, b.words, b.since, CASE WHEN b.recorded = 1 OR n.state <> 'closed' THEN 1 ELSE 0 END AS more
         FROM breaches b LEFT JOIN incidents n ON n.id = b.incident WHERE b.rule IN ({marks})
         UNION ALL SELECT i.rule, i.witness, MAX(i.effect_block), {OVER} FROM intents i
         WHERE i.effect_block > (SELECT tip.number FROM checkpoint c JOIN blocks tip ON tip.hash = c.hash)
            AND i.outcome = ? AND i.kind IN ('trip', 'contain') AND i.version = ? AND i.rule IN ({marks})
         GROUP BY i.rule, i.witness
         UNION ALL SELECT {RELEASE}, j.hash, j.block, j.scope FROM judgements j WHERE {}",
        breaches::RELEASED
    );
    let bind_all = |query| {
        rules
            .iter()
            .fold(query, |query: QueryAs<Standing>, rule| query.bind(i64::from(*rule)))
    };
    let query = bind_all(query_as(&sql));
    bind_all(query.bind(Outcome::HoldsAgain.name()).bind(version.to_vec()))
}

/// What was decided before on a rule of a rulebook: by the decisions on it, newest first, and its breaches that stand.
fn rule_past(decided: &[&Decided], standing: &[&Standing]) -> Result<RulePast, StoreError> {
    let newest = decided
        .get(..decided.len().min(usize::from(NEWEST)))
        .unwrap_or_default();
    let recorded = standing.iter().filter(|one| one.more == 1);
    let mut past = RulePast {
        open: decided.iter().any(|one| one.outcome.is_none()),
        recorded: recorded.map(|one| decode_words(&one.words)).collect::<Result<_, _>>()?,
        ..RulePast::default()
    };
    // A decision that found its reason gone must not delay the next, nor one that the guard refused a breach that is new.
    past.decided_at = newest
        .iter()
        .filter(|one| !one.ended(Outcome::HoldsAgain) && !one.ended(Outcome::Refused))
        .map(|one| one.time)
        .max();
    let trip = newest.iter().find(|one| one.kind == IntentKind::Trip.name());
    if let Some(trip) = trip.filter(|trip| trip.ended(Outcome::Observed))
        && let Some(time) = trip.effect_time
    {
        past.observed_at = Some(uint("block timestamp", time)?);
        past.observed_witness.clone_from(&trip.witness);
    }
    for one in standing {
        let witness = decode_words(&one.words)?;
        let refused = refused_since(newest, &witness, one.since)?;
        past.refused.extend(refused.map(|refused| (witness, refused)));
    }
    Ok(past)
}

/// What was refused of the newest decisions, newest first, on a breach that stands since this block. `None` when the last was not.
fn refused_since(newest: &[&Decided], witness: &[B256], since: i64) -> Result<Option<Refused>, StoreError> {
    let mut own = newest
        .iter()
        .filter(|one| one.witness == witness && one.number >= since)
        .filter(|one| one.kind != IntentKind::Shadow.name() && !one.ended(Outcome::Observed))
        .take_while(|one| one.ended(Outcome::Refused));
    let Some(last) = own.next() else { return Ok(None) };
    let scopes = last.scopes.as_deref().map(decode_scopes).transpose()?;
    let mut refused = Refused {
        times: 1,
        at: last.time,
        level: scopes.map(|scopes| strictest(&scopes, last.scope)),
    };
    let mut later = last.time;
    for one in own {
        if later.saturating_sub(one.time) > STREAK {
            break;
        }
        later = one.time;
        refused.times = refused.times.saturating_add(1);
    }
    Ok(Some(refused))
}

/// Whether what was decided last on the rule's breaches that stand was refused for good in this incident: then the same is no news.
pub(super) async fn was_refused(connection: &mut Connection, incident: i64, rule: u16) -> Result<bool, StoreError> {
    let last: Option<(String,)> = query_as(
        "SELECT outcome FROM intents WHERE rule = ? AND incident = ? AND kind IN ('trip', 'contain') AND outcome IS NOT NULL
         AND outcome <> ? AND EXISTS (SELECT 1 FROM breaches b
            WHERE b.rule = intents.rule AND b.words = intents.witness AND b.since <= intents.block_number)
         ORDER BY id DESC LIMIT 1",
    )
    .bind(i64::from(rule))
    .bind(incident)
    .bind(Outcome::Observed.name())
    .fetch_optional(connection)
    .await?;
    Ok(last.is_some_and(|(outcome,)| outcome == Outcome::Refused.name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn is_asked_for_at_once(store: Store) {
        for (rules, most) in [(1_u16, 2), (16, 2), (17, 4)] {
            let rules: Vec<u16> = (0..rules).collect();
            let mut connection = store.pool.acquire().await.unwrap();
            past(&mut connection, &rules, B256::ZERO).await.unwrap();
            assert_eq!(connection.statements(), most, "{} rules", rules.len());
        }
    }

    #[tokio::test]
    async fn the_past_of_a_decision_takes_two_statements() {
        let dir = tempfile::tempdir().unwrap();
        let guard = alloy::primitives::Address::repeat_byte(0x11);
        is_asked_for_at_once(Store::open(dir.path().join("cordon.db"), 1, guard).await.unwrap()).await;
        let server = cordon_testkit::Postgres::start().unwrap();
        let url = cordon_client::config::SecretText::new(server.url());
        is_asked_for_at_once(Store::connect(&url, 1, guard).await.unwrap()).await;
    }
}
