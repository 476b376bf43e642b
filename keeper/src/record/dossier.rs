//! Incidents read back whole.

use std::time::Duration;

use cordon_client::config::Severity;
use cordon_core::action::ActionSet;

use super::codec::{decode_words, int_from_text};
use super::db::{Row, query, query_as};
use super::{
    Closure, Incident, IncidentState, Store, StoreError, TimelineEntry, intents, small, transactions, uint, word,
};

impl Store {
    /// All incidents with all that is known about them, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn incidents(&self) -> Result<Vec<Incident>, StoreError> {
        let ids: Vec<(i64,)> = query_as("SELECT id FROM incidents ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        let mut incidents = Vec::with_capacity(ids.len());
        for (id,) in ids {
            incidents.extend(self.incident(id).await?);
        }
        Ok(incidents)
    }

    /// The newest incidents, newest first, at most `most`; only those with a number below `before` when it is given.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn newest_incidents(&self, before: Option<i64>, most: u32) -> Result<Vec<Incident>, StoreError> {
        let ids: Vec<(i64,)> = query_as("SELECT id FROM incidents WHERE id < ? ORDER BY id DESC LIMIT ?")
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        let mut incidents = Vec::with_capacity(ids.len());
        for (id,) in ids {
            incidents.extend(self.incident(id).await?);
        }
        Ok(incidents)
    }

    /// One incident; `None` when there is none of that number.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn incident(&self, id: i64) -> Result<Option<Incident>, StoreError> {
        let Some(row) = query("SELECT * FROM incidents WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?
        else {
            return Ok(None);
        };
        let mut incident = self.incident_row(&row)?;
        incident.timeline = query("SELECT * FROM timeline WHERE incident = ? ORDER BY id")
            .bind(id)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(timeline)
            .collect::<Result<_, _>>()?;
        incident.transactions = query(
            "SELECT t.*, i.kind FROM transactions t JOIN intents i ON i.id = t.intent WHERE i.incident = ? ORDER BY t.sent_ms, t.nonce",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(transactions::transaction)
        .collect::<Result<_, _>>()?;
        incident.closures = query("SELECT * FROM closures WHERE incident = ? ORDER BY id")
            .bind(id)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(closure)
            .collect::<Result<_, _>>()?;
        Ok(Some(incident))
    }

    fn incident_row(&self, row: &Row) -> Result<Incident, StoreError> {
        let severity: String = row.try_get("severity")?;
        let state: String = row.try_get("state")?;
        let rule: Option<i64> = row.try_get("rule")?;
        let observed: Option<String> = row.try_get("observed")?;
        let bound: Option<String> = row.try_get("bound")?;
        Ok(Incident {
            id: row.try_get("id")?,
            chain_id: self.chain_id(),
            guard: self.guard(),
            scope: small("scope", row.try_get("scope")?)?,
            scope_name: row.try_get("scope_name")?,
            severity: severity_from(&severity)?,
            state: IncidentState::from_name(&state).ok_or(StoreError::Damaged { what: "incident state" })?,
            chain_incident: number(row, "chain_incident")?,
            rule: rule.map(|rule| small("rule index", rule)).transpose()?,
            rule_name: row.try_get("rule_name")?,
            witness: decode_words(row.try_get("witness")?)?,
            observed: observed.map(|text| int_from_text(&text)).transpose()?,
            bound: bound.map(|text| int_from_text(&text)).transpose()?,
            opened_ms: row.try_get("opened_ms")?,
            opened_block: uint("block number", row.try_get("opened_block")?)?,
            opened_time: uint("block timestamp", row.try_get("opened_time")?)?,
            first_bad_block: uint("block number", row.try_get("first_bad_block")?)?,
            first_bad_time: uint("block timestamp", row.try_get("first_bad_time")?)?,
            level: intents::level(row.try_get("level")?)?,
            contained_block: number(row, "contained_block")?,
            contained_time: number(row, "contained_time")?,
            ended_block: number(row, "ended_block")?,
            ended_time: number(row, "ended_time")?,
            head_to_decision: number(row, "head_to_decision")?.map(Duration::from_micros),
            decision_to_broadcast: number(row, "decision_to_broadcast")?.map(Duration::from_micros),
            broadcast_to_contained: number(row, "broadcast_to_contained")?.map(Duration::from_micros),
            configuration: number(row, "configuration")?,
            timeline: Vec::new(),
            transactions: Vec::new(),
            closures: Vec::new(),
        })
    }
}

fn number(row: &Row, column: &'static str) -> Result<Option<u64>, StoreError> {
    let value: Option<i64> = row.try_get(column)?;
    value.map(|value| uint(column, value)).transpose()
}

pub(super) fn severity_from(name: &str) -> Result<Severity, StoreError> {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.name() == name)
        .ok_or(StoreError::Damaged { what: "severity" })
}

fn timeline(row: &Row) -> Result<TimelineEntry, StoreError> {
    let tx: Option<Vec<u8>> = row.try_get("tx")?;
    Ok(TimelineEntry {
        at_ms: row.try_get("at_ms")?,
        block_number: number(row, "block_number")?,
        block_time: number(row, "block_time")?,
        kind: row.try_get("kind")?,
        text: row.try_get("text")?,
        tx: tx.map(|hash| word("transaction hash", &hash)).transpose()?,
    })
}

fn closure(row: &Row) -> Result<Closure, StoreError> {
    let bits: u16 = small("action set", row.try_get("actions")?)?;
    Ok(Closure {
        cause: row.try_get("cause")?,
        actions: ActionSet::from_bits(bits).ok_or(StoreError::Damaged { what: "action set" })?,
        from_block: uint("block number", row.try_get("from_block")?)?,
        from_time: uint("block timestamp", row.try_get("from_time")?)?,
        to_block: number(row, "to_block")?,
        to_time: number(row, "to_time")?,
    })
}
