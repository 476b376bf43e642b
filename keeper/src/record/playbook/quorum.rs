//! Who agrees before a playbook contains the whole protocol by itself: the same quorum as for rules, of the breach that its incident is
//! about. What a person has approved needs none.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::{Open, PlayPlan};
use crate::chain::BlockRef;
use crate::decide::playbook::{StepStatus, WAITS};
use crate::decide::quorum::PROTOCOL;
use crate::decide::{Past, Support};
use crate::record::alarms::{self, AlarmKind};
use crate::record::codec::decode_words;
use crate::record::db::{Connection, query_as};
use crate::record::{OpenIncident, StoreError, breaches, incidents, small};

/// What alarms about playbooks that wait are about: this, the playbook's name, [`AT`] and the incident's number. No rule has such a name.
const SUBJECT: &str = "playbook ";
const AT: &str = " at incident ";

/// Whether an alarm `quorum-short` is about a playbook.
pub(crate) fn is_of_playbook(subject: &str) -> bool {
    subject.starts_with(SUBJECT)
}

/// A step that is to contain the whole protocol, and what others are asked before it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedStep {
    /// Number of the run.
    pub run: i64,
    /// What the step is stored under.
    pub step: String,
    /// Rule and witness of the breach that others have to see too. `None` when the incident is about none, or it stands no more: then
    /// nobody agrees.
    pub breach: Option<(u16, Vec<B256>)>,
    /// The newest block that is done.
    pub block: BlockRef,
}

/// What others say of steps that were asked about, by run and step. How many rules are breached is the record's to say.
pub type Answers = BTreeMap<(i64, String), Support>;

/// What becomes of a step that needs a quorum.
pub(super) enum Agreed {
    /// Enough agree.
    Yes,
    /// Others have to be asked first.
    Ask(AskedStep),
    /// Too few agree.
    Short(String),
}

/// Whether a step may contain the whole protocol, by what others have answered.
pub(super) async fn judge(
    connection: &mut Connection,
    (plan, run, key): (&PlayPlan, &Open, &str),
    block: &BlockRef,
    answers: &Answers,
) -> Result<Agreed, StoreError> {
    let known = (run.id, key.to_owned());
    let Some(support) = answers.get(&known) else {
        return Ok(Agreed::Ask(AskedStep {
            run: run.id,
            step: known.1,
            breach: breach(connection, run.incident).await?,
            block: *block,
        }));
    };
    let support = Support {
        rules: rules(connection, plan, run.incident, block).await?,
        ..*support
    };
    Ok(match plan.quorum.holds_back(&support) {
        None => Agreed::Yes,
        Some(why) => Agreed::Short(why),
    })
}

/// Tells people that a step waits, and for whom.
pub(super) async fn alarm(
    connection: &mut Connection,
    (run, key): (&Open, &str),
    block: &BlockRef,
    why: &str,
) -> Result<(), StoreError> {
    let name = &run.playbook.id;
    let text = format!(
        "playbook {name} does not contain the whole protocol yet (step {key} of incident {}): {why}",
        run.incident
    );
    let subject = format!("{SUBJECT}{name}{AT}{}", run.incident);
    alarms::raise(connection, AlarmKind::QuorumShort, &subject, &text, Some(block.number)).await?;
    Ok(())
}

/// Clears the alarms of playbooks of which no step waits any more at their incident.
pub(super) async fn clear(connection: &mut Connection) -> Result<(), StoreError> {
    let over: Vec<(String,)> = query_as(
        "SELECT a.subject FROM alarms a WHERE a.kind = ? AND a.cleared_ms IS NULL AND a.subject LIKE ? || '%'
         AND a.subject NOT IN (SELECT ? || r.playbook || ? || CAST(r.incident AS TEXT) FROM playbook_steps s JOIN playbook_runs r ON r.id = s.run
            WHERE r.state = 'running' AND s.status = ? AND s.value = ?)",
    )
    .bind(AlarmKind::QuorumShort.name())
    .bind(SUBJECT)
    .bind(SUBJECT)
    .bind(AT)
    .bind(StepStatus::Running.name())
    .bind(WAITS)
    .fetch_all(&mut *connection)
    .await?;
    for (subject,) in over {
        alarms::clear(connection, AlarmKind::QuorumShort, &subject).await?;
    }
    Ok(())
}

/// The breach that an incident is about, if it stands: with the witness that opened it, or with another.
async fn breach(connection: &mut Connection, incident: i64) -> Result<Option<(u16, Vec<B256>)>, StoreError> {
    let Some(held) = watched(connection, incident).await? else {
        return Ok(None);
    };
    let Some(rule) = held.rule else { return Ok(None) };
    let mut standing = breaches::since(connection, rule).await?;
    let own = standing.iter().position(|(words, _)| *words == held.witness);
    let at = own.unwrap_or_default();
    Ok((at < standing.len()).then(|| (rule, standing.swap_remove(at).0)))
}

/// The incident, if it is not closed.
async fn watched(connection: &mut Connection, incident: i64) -> Result<Option<OpenIncident>, StoreError> {
    let watched = incidents::watched_of(incidents::watched().fetch_all(connection).await?)?;
    Ok(watched.into_iter().find(|held| held.id == incident))
}

/// Rules of the whole protocol, and of the incident's scope, that raise a level, whose breaches stand and that nobody has judged. The rule that the
/// incident is about counts too where it only tells: the playbook is its answer.
async fn rules(
    connection: &mut Connection,
    plan: &PlayPlan,
    incident: i64,
    block: &BlockRef,
) -> Result<u32, StoreError> {
    let (scope,): (i64,) = query_as("SELECT scope FROM incidents WHERE id = ?")
        .bind(incident)
        .fetch_one(&mut *connection)
        .await?;
    let scopes = [PROTOCOL, small("scope", scope)?];
    let own = watched(connection, incident).await?.and_then(|held| held.rule);
    let mut past = Past::default();
    breaches::load(connection, &mut past).await?;
    let standing: Vec<(i64, Vec<u8>)> = breaches::standing().fetch_all(connection).await?;
    let mut found = BTreeSet::new();
    for (rule, words) in standing {
        let rule: u16 = small("rule index", rule)?;
        let Some(policy) = plan.policies.iter().find(|policy| policy.index == rule) else {
            continue;
        };
        let is_silent = match own == Some(rule) {
            true => policy.is_shadow_at(block.timestamp),
            false => policy.is_silent_at(block.timestamp),
        };
        let counts = scopes.contains(&policy.scope) && !is_silent;
        if counts && !past.is_judged(policy.scope, rule, &decode_words(&words)?) {
            found.insert(rule);
        }
    }
    Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
}
