//! What a block decides on: stored with the block, or before the rest of it.

use std::collections::BTreeSet;

use super::checkpoint::UNDONE;
use super::codec::{encode_scopes, encode_words, int_text};
use super::db::{Both, Connection, QueryAs, Together, query, query_as};
use super::incidents::{self, Opening};
use super::intents::{self, NewIntent};
use super::linked::{self, End};
use super::notices::tell_incident;
use super::timeline::{self, Entry};
use super::{
    BlockRecord, Intent, IntentKind, Names, NoticeKind, Step, Store, StoreError, breaches, int, past, revert, rulebook,
};
use crate::chain::BlockRef;
use crate::decide::{Act, Decision};
use crate::rules::GuardEventKind;
use crate::turns::Urgency;

impl Store {
    /// Stores what is to be sent on a block before the block itself, as far as nothing else of the block bears on it: it waits for the rest no
    /// longer then, of which there is much where many incidents end. The block is not done by that. Storing it stores them too, once. Nothing
    /// is stored of a block out of its turn, which might not be done for long if the process ends now; and nothing into a record that several
    /// share, where what is sent is stored once more before it is, after the block.
    ///
    /// Returns the actions to be carried out, which outlive the process but not yet a power cut. Should the process end before the block is
    /// done, they wait until it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn write_decisions(&self, record: &BlockRecord<'_>, names: &Names) -> Result<Vec<Intent>, StoreError> {
        if self.is_shared() || !record.is_next {
            return Ok(Vec::new());
        }
        let mut scopes = BTreeSet::new();
        let mut independent: Vec<&Decision> = record
            .decisions
            .iter()
            .filter(|it| is_independent(it, record) && scopes.insert(it.scope))
            .collect();
        match self.try_to_write(record, &independent, names).await? {
            Early::Stored(intents) => Ok(intents),
            Early::Never => Ok(Vec::new()),
            Early::Occupied(scopes) => {
                // What such an incident goes on with depends on what else the block says of it. The others need not wait for that.
                independent.retain(|decision| !scopes.contains(&i64::from(decision.scope)));
                Ok(match self.try_to_write(record, &independent, names).await? {
                    Early::Stored(intents) => intents,
                    Early::Occupied(_) | Early::Never => Vec::new(),
                })
            }
        }
    }

    /// Asks what has to hold and stores the decisions, each on a scope of its own, in one way to the database: should it not hold, all of it is
    /// undone.
    async fn try_to_write(
        &self,
        record: &BlockRecord<'_>,
        decisions: &[&Decision],
        names: &Names,
    ) -> Result<Early, StoreError> {
        if decisions.is_empty() {
            return Ok(Early::Never);
        }
        let mut tx = self.begin_for(Urgency::Breach).await?;
        let now_ms = tx.now_ms();
        let questions = (
            rulebook::current(),
            revert::strangers(record.block)?,
            occupied(),
            linked::last(),
        );
        let new: Vec<_> = decisions
            .iter()
            .map(|it| (intent_of(record, it), Opening::of(record.block, it, names)))
            .collect();
        let mut insertions = Vec::with_capacity(new.len().saturating_mul(2));
        for (intent, opening) in &new {
            insertions.push(intents::insertion(intent, self.chain_id(), now_ms)?);
            insertions.push(incidents::insertion(opening, now_ms)?);
        }
        let ((rulebook, strangers, occupied, last), ids) = Both(questions, insertions).fetch_together(&mut tx).await?;
        if rulebook::version_of(rulebook)? != Some(record.version) || !strangers.is_empty() {
            return Ok(Early::Never);
        }
        let occupied: BTreeSet<i64> = occupied.into_iter().map(|(scope,)| scope).collect();
        if decisions.iter().any(|it| occupied.contains(&i64::from(it.scope))) {
            return Ok(Early::Occupied(occupied));
        }
        let mut last = linked::last_of(last)?;
        let mut intents = Vec::with_capacity(new.len());
        for ((decision, (new, opening)), ids) in decisions.iter().zip(&new).zip(ids.chunks(2)) {
            let [Some((id,)), Some((incident,))] =
                [ids.first(), ids.last()].map(|rows| rows.and_then(|rows| rows.first()))
            else {
                // It was stored before, and its incident is over already. The block sees to the others too.
                return Ok(Early::Never);
            };
            let mut intent = new.stored(*id, now_ms);
            intent.incident = Some(*incident);
            intents::attach(&mut tx, *id, *incident);
            incidents::tell_opened(&mut tx, *incident, opening)?;
            let mut end = End::of_new(self, last, *incident);
            note_decided(&mut tx, &mut end, record, (decision, "detected"), names)?;
            last = end.last();
            intents.push(intent);
        }
        insert_undone(&mut tx, record)?;
        let landing = tx.write(Step::Decision).await?;
        // The block may be long, and a disk that is told of this now has it before.
        tokio::spawn(landing.kept());
        self.news();
        Ok(Early::Stored(intents))
    }

    /// Stores a decision with its block. `None` when it was stored before, or nothing is to be sent.
    pub(super) async fn commit_decision(
        &self,
        connection: &mut Connection,
        record: &BlockRecord<'_>,
        decision: &Decision,
        names: &Names,
    ) -> Result<Option<Intent>, StoreError> {
        let new = intent_of(record, decision);
        let questions = (
            intents::insertion(&new, self.chain_id(), connection.now_ms())?,
            incidents::held(decision.scope),
        );
        let (stored, held) = questions.fetch_together(connection).await?;
        let Some((id,)) = stored.first() else { return Ok(None) };
        let held = held.first().map(|(id,)| *id);
        if decision.act == Act::Shadow {
            breaches::note_recorded(connection, decision.rule, &decision.witness);
            return Ok(None);
        }
        if decision.act == Act::Tell {
            let incident = tell(connection, record, (decision, held), names).await?;
            intents::attach(connection, *id, incident);
            breaches::note_told(connection, decision.rule, &decision.witness, incident);
            return Ok(None);
        }
        let incident = detect(connection, record, (decision, held), names).await?;
        intents::attach(connection, *id, incident);
        let mut intent = new.stored(*id, connection.now_ms());
        intent.incident = Some(incident);
        Ok(Some(intent))
    }
}

fn intent_of<'a>(record: &BlockRecord<'a>, decision: &'a Decision) -> NewIntent<'a> {
    NewIntent {
        kind: match decision.act {
            Act::Trip => IntentKind::Trip,
            Act::Contain => IntentKind::Contain,
            Act::Shadow | Act::Tell => IntentKind::Shadow,
        },
        rule: Some(decision.rule),
        scope: decision.scope,
        level: decision.level,
        duration: decision.duration,
        witness: &decision.witness,
        observed: decision.reading.observed,
        bound: decision.reading.bound,
        block: record.block,
        version: record.version,
        incident: None,
    }
}

/// The incident that a decision belongs to: the one that is `held` of its scope, or a new one.
async fn detect(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    (decision, held): (&Decision, Option<i64>),
    names: &Names,
) -> Result<i64, StoreError> {
    let (id, kind) = match held {
        Some(id) => {
            found_cause(connection, id, (decision, &names.rule(decision.rule)), record.block)?;
            if past::was_refused(connection, id, decision.rule).await? {
                // It is tried again and again, and was told once.
                note_latency(connection, id, record);
                return Ok(id);
            }
            (id, "breached again")
        }
        None => {
            let opening = Opening::of(record.block, decision, names);
            (incidents::open(connection, &opening).await?, "detected")
        }
    };
    let mut end = linked::end(connection, id, None).await?;
    note_decided(connection, &mut end, record, (decision, kind), names)?;
    Ok(id)
}

/// Writes into an incident what was found, as a line of this kind, and what was decided.
fn note_decided(
    connection: &mut Connection,
    end: &mut End,
    record: &BlockRecord<'_>,
    (decision, kind): (&Decision, &str),
    names: &Names,
) -> Result<(), StoreError> {
    note_latency(connection, end.incident(), record);
    let breach = incidents::breach_text(decision, &names.rule(decision.rule), record.block.number);
    let decided = format!(
        "decided to raise {} to {}",
        names.scope(decision.scope),
        decision.level.name()
    );
    for line in [Entry::new(kind, &breach), Entry::new("decided", &decided)] {
        let line = Entry {
            block: Some(record.block),
            ..line
        };
        timeline::append(connection, end, &line)?;
    }
    Ok(())
}

fn note_latency(connection: &mut Connection, incident: i64, record: &BlockRecord<'_>) {
    let Some(latency) = record.head_to_decision else { return };
    query("UPDATE incidents SET head_to_decision = COALESCE(head_to_decision, ?) WHERE id = ?")
        .bind(incidents::micros(latency))
        .bind(incident)
        .later(connection);
}

/// What was found raised before it was known why (the newest block is looked at first, or the record was lost) began with the first breach that
/// the blocks before it turn out to hold.
fn found_cause(
    connection: &mut Connection,
    incident: i64,
    (decision, name): (&Decision, &str),
    block: &BlockRef,
) -> Result<(), StoreError> {
    let number = int("block number", block.number)?;
    query(
        "UPDATE incidents SET rule = ?, rule_name = ?, witness = ?, observed = ?, bound = ?, first_bad_block = ?, first_bad_time = ?
         WHERE id = ? AND rule IS NULL AND opened_block > ?",
    )
    .bind(i64::from(decision.rule))
    .bind(name)
    .bind(encode_words(&decision.witness))
    .bind(int_text(decision.reading.observed))
    .bind(int_text(decision.reading.bound))
    .bind(number)
    .bind(int("block timestamp", block.timestamp)?)
    .bind(incident)
    .bind(number)
    .later(connection);
    Ok(())
}

/// The incident of a breach that nothing is sent for: the one that is `held` of its scope, where people are called once more, or a new one.
async fn tell(
    connection: &mut Connection,
    record: &BlockRecord<'_>,
    (decision, held): (&Decision, Option<i64>),
    names: &Names,
) -> Result<i64, StoreError> {
    let (block, name) = (record.block, names.rule(decision.rule));
    let breach = incidents::breach_text(decision, &name, block.number);
    let id = match held {
        Some(id) => {
            let mark = format!("incident:{id}:breached:{}:{}", decision.rule, block.hash);
            let told = (mark, 0);
            tell_incident(connection, id, NoticeKind::Called, &breach, Some(block.number), told)?;
            id
        }
        None => incidents::open(connection, &Opening::of(block, decision, names)).await?,
    };
    let text = format!("{breach}; it raises no level: people have to act");
    let line = Entry {
        block: Some(block),
        ..Entry::new(if held.is_some() { "breached" } else { "detected" }, &text)
    };
    timeline::entry(connection, id, &line).await?;
    Ok(id)
}

/// Whether a decision is one that sends something, and nothing that the guard logged in the block concerns its scope.
fn is_independent(decision: &Decision, record: &BlockRecord<'_>) -> bool {
    let concerns = |kind: &GuardEventKind| matches!(kind, GuardEventKind::RulebookAdopted { .. });
    decision.act.is_sent()
        && !record
            .events
            .iter()
            .any(|event| event.scope() == Some(decision.scope) || concerns(&event.kind))
}

/// What became of decisions that were to be stored before their block.
enum Early {
    /// They are stored.
    Stored(Vec<Intent>),
    /// Nothing is: some of these scopes have an incident already.
    Occupied(BTreeSet<i64>),
    /// Nothing is, and what stands in the way will not go.
    Never,
}

/// Scopes that have an incident that is not closed. To be asked before one is opened.
fn occupied() -> QueryAs<(i64,)> {
    query_as("SELECT scope FROM incidents WHERE state <> 'closed'")
}

/// Notes a block that is not done as one that is not canonical, which storing it makes it: should it vanish before, what was decided on it has
/// lost its ground.
fn insert_undone(connection: &mut Connection, record: &BlockRecord<'_>) -> Result<(), StoreError> {
    let block = record.block;
    query(
        "INSERT INTO blocks (hash, number, parent, timestamp, canonical, version, verdicts, scopes) VALUES (?, ?, ?, ?, 0, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(block.hash.to_vec())
    .bind(int("block number", block.number)?)
    .bind(block.parent.to_vec())
    .bind(int("block timestamp", block.timestamp)?)
    .bind(record.version.to_vec())
    .bind(UNDONE.to_vec())
    .bind(encode_scopes(&[]))
    .later(connection);
    Ok(())
}
