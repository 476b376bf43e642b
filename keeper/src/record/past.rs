//! What was decided before on the rules that are breached: what a decision on a block depends on besides the block.

use alloy::primitives::B256;

use super::codec::{decode_scopes, decode_words};
use super::db::{Connection, Row, query, query_as};
use super::{IntentKind, Outcome, Store, StoreError, breaches, small, uint};
use crate::decide::{Past, Refused, RulePast, strictest};

impl Store {
    /// What was decided before on these rules of the rulebook `version`: the same numbers are other rules in another.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn past(&self, rules: &[u16], version: B256) -> Result<Past, StoreError> {
        let mut past = Past::default();
        let mut connection = self.pool.acquire().await?;
        for rule in rules {
            let own = rule_past(&mut connection, *rule, version).await?;
            if own != RulePast::default() {
                past.rules.insert(*rule, own);
            }
        }
        breaches::load(&mut connection, &mut past).await?;
        Ok(past)
    }
}

/// Decisions on a rule that are looked at: those before are too long ago to matter.
const NEWEST: i64 = 64;

/// Refusals that lie further apart, in seconds, have nothing to do with each other: several times what is waited between them.
const STREAK: u64 = 2_400;

/// A decision, as [`rule_past`] looks at it.
struct Decided {
    kind: String,
    outcome: Option<String>,
    number: i64,
    time: u64,
    effect_time: Option<i64>,
    witness: Vec<B256>,
    hash: Vec<u8>,
    scope: u8,
}

impl Decided {
    fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            kind: row.try_get("kind")?,
            outcome: row.try_get("outcome")?,
            number: row.try_get("block_number")?,
            time: uint("block timestamp", row.try_get("block_time")?)?,
            effect_time: row.try_get("effect_time")?,
            witness: decode_words(row.try_get("witness")?)?,
            hash: row.try_get("block_hash")?,
            scope: small("scope", row.try_get("scope")?)?,
        })
    }

    fn ended(&self, outcome: Outcome) -> bool {
        self.outcome.as_deref() == Some(outcome.name())
    }
}

/// What was decided before on a rule of a rulebook.
async fn rule_past(connection: &mut Connection, rule: u16, version: B256) -> Result<RulePast, StoreError> {
    let (open,): (i64,) = query_as(
        "SELECT COUNT(*) FROM intents WHERE outcome IS NULL AND rule = ? AND version = ? AND kind IN ('trip', 'contain', 'shadow')",
    )
    .bind(i64::from(rule))
    .bind(version.to_vec())
    .fetch_one(&mut *connection)
    .await?;
    let newest = query(
        "SELECT kind, outcome, block_number, block_time, effect_time, witness, block_hash, scope FROM intents
         WHERE rule = ? AND version = ? AND kind IN ('trip', 'contain', 'shadow') ORDER BY id DESC LIMIT ?",
    )
    .bind(i64::from(rule))
    .bind(version.to_vec())
    .bind(NEWEST)
    .fetch_all(&mut *connection)
    .await?;
    let newest = newest.iter().map(Decided::of).collect::<Result<Vec<_>, _>>()?;
    let mut past = RulePast {
        open: open > 0,
        recorded: breaches::recorded(connection, rule).await?,
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
    for (witness, since) in breaches::since(connection, rule).await? {
        let refused = refused_since(connection, &newest, &witness, since).await?;
        past.refused.extend(refused.map(|refused| (witness, refused)));
    }
    Ok(past)
}

/// What was refused of the newest decisions, newest first, on a breach that stands since this block. `None` when the last was not.
async fn refused_since(
    connection: &mut Connection,
    newest: &[Decided],
    witness: &[B256],
    since: i64,
) -> Result<Option<Refused>, StoreError> {
    let mut own = newest
        .iter()
        .filter(|one| one.witness == witness && one.number >= since)
        .filter(|one| one.kind != IntentKind::Shadow.name() && !one.ended(Outcome::Observed))
        .take_while(|one| one.ended(Outcome::Refused));
    let Some(last) = own.next() else { return Ok(None) };
    let scopes: Option<(Vec<u8>,)> = query_as("SELECT scopes FROM blocks WHERE hash = ?")
        .bind(last.hash.clone())
        .fetch_optional(connection)
        .await?;
    let scopes = scopes.map(|(bytes,)| decode_scopes(&bytes)).transpose()?;
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
