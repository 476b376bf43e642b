//! What verdicts and levels of a block mean for incidents that are not closed.

use cordon_core::rule::eval::Verdict;

use super::codec::decode_words;
use super::db::{Connection, query, query_as};
use super::incidents::close;
use super::{BlockRecord, IncidentState, Names, StoreError, int};

const BACK_TO_NORMAL: &str = "the scope is back to Normal and nothing the guard did is in force";

/// Lets a block's verdicts and scopes speak: the first bad block moves back when an older block turns out to be bad, a
/// breach that ended before anything was raised closes its incident, and a level that ran out ends its containment.
pub(super) async fn follow_verdicts(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    names: &Names,
) -> Result<(), StoreError> {
    type Row = (i64, String, i64, Option<i64>, Vec<u8>, i64, i64, Option<i64>, i64);
    let rows: Vec<Row> = query_as(
        "SELECT id, state, scope, rule, witness, first_bad_block, opened_block, contained_block, level FROM incidents WHERE state <> 'closed'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let number = int("block number", record.block.number)?;
    for (id, state, scope, rule, witness, first_bad, opened, contained, level) in rows {
        let witness = decode_words(&witness)?;
        let verdict = record
            .verdicts
            .iter()
            .find(|v| Some(i64::from(v.rule)) == rule && v.witness == witness)
            .map(|v| v.reading.verdict);
        if verdict == Some(Verdict::Breached) && number < first_bad {
            query("UPDATE incidents SET first_bad_block = ?, first_bad_time = ? WHERE id = ?")
                .bind(number)
                .bind(int("block timestamp", record.block.timestamp)?)
                .bind(id)
                .execute(&mut *connection)
                .await?;
        }
        if state == IncidentState::Open.name() {
            if verdict == Some(Verdict::Holds) && number > opened && open_intents(connection, id).await? == 0 {
                close(
                    connection,
                    id,
                    record.block,
                    "the breach ended before anything was raised",
                )
                .await?;
            }
        } else if let (Some(scopes), Some(contained)) = (record.scopes, contained)
            && number > contained
        {
            let held = super::intents::level(level)?;
            match scopes.iter().find(|reading| i64::from(reading.scope) == scope) {
                None => close(connection, id, record.block, BACK_TO_NORMAL).await?,
                Some(reading) if reading.level.rank() < held.rank() => {
                    super::events::stepped_down(connection, names, id, reading, record.block).await?;
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

async fn open_intents(connection: &mut Connection, incident: i64) -> Result<i64, StoreError> {
    let (count,): (i64,) = query_as("SELECT COUNT(*) FROM intents WHERE incident = ? AND outcome IS NULL")
        .bind(incident)
        .fetch_one(connection)
        .await?;
    Ok(count)
}
