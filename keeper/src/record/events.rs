//! What the guard logged, written into incidents: who raised or lowered what, which calls ran, what that closed.

use cordon_core::action::ActionSet;
use cordon_core::level::Level;

use super::alarms::{self, AlarmKind};
use super::db::{Connection, query, query_as};
use super::incidents;
use super::notices::{forget_containment, tell_incident};
use super::timeline::{self, Entry};
use super::{IncidentState, Names, NoticeKind, StoreError, breaches, int, owner, transactions};
use crate::chain::BlockRef;
use crate::decide::ScopeReading;
use crate::rules::{GuardEvent, GuardEventKind as Kind};

/// Cause of a closure that the guard's level itself makes through its hooks.
const LEVEL: &str = "level";

/// Applies one event of a block and says which incident it changed. Applying it again changes nothing.
pub(super) async fn apply(
    connection: &mut Connection,
    names: &Names,
    block: &BlockRef,
    event: &GuardEvent,
) -> Result<Option<i64>, StoreError> {
    breaches::note_release(connection, block, event)?;
    transactions::seen(connection, event.tx, block)?;
    let Some(id) = owner::of_event(connection, names, block, event).await? else {
        return Ok(None);
    };
    let (kind, text) = describe(event, names);
    let entry = Entry {
        kind,
        text: &text,
        block: Some(block),
        tx: Some(event.tx),
        mark: Some(format!("{}:{}", block.hash, event.log_index)),
    };
    if !timeline::entry(connection, id, &entry).await? {
        return Ok(None);
    }
    match &event.kind {
        Kind::Raised { to, .. } => {
            owner::go_on(connection, id, block).await?;
            incidents::contain(connection, id, *to, Some(block), 0).await?;
            level_closure(connection, names, id, *to, block)?;
        }
        Kind::Lowered { to, .. } => {
            level_closure(connection, names, id, *to, block)?;
            lowered(connection, id, *to, block).await?;
        }
        Kind::Applied { call, .. } => {
            open_closure(connection, id, &names.containment(*call), names.closes(*call), block)?;
        }
        Kind::Undone { call, .. } => {
            incidents::end_closures(connection, id, Some(&names.containment(*call)), block)?;
            alarms::clear(connection, AlarmKind::ContainmentFailed, &names.containment(*call)).await?;
        }
        Kind::Failed { call, .. } | Kind::UndoFailed { call, .. } => {
            alarms::raise(
                connection,
                AlarmKind::ContainmentFailed,
                &names.containment(*call),
                &text,
                Some(block.number),
            )
            .await?;
        }
        Kind::Closed { .. } => incidents::close(connection, id, block, "the guard closed the incident").await?,
        _ => {}
    }
    if let Kind::Applied { call, .. } | Kind::NotNeeded { call, .. } = &event.kind {
        alarms::clear(connection, AlarmKind::ContainmentFailed, &names.containment(*call)).await?;
    }
    Ok(Some(id))
}

async fn lowered(connection: &mut Connection, id: i64, to: Level, block: &BlockRef) -> Result<(), StoreError> {
    set_level(connection, id, to);
    if to.is_raised() {
        return Ok(());
    }
    let queued: Option<(i64,)> =
        query_as("SELECT 1 FROM timeline WHERE incident = ? AND kind = 'release queued' LIMIT 1")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
    let state = if queued.is_some() {
        IncidentState::Released
    } else {
        IncidentState::Settled
    };
    incidents::set_state(connection, id, state);
    let (kind, text) = match state {
        IncidentState::Released => (NoticeKind::Released, "people have released the scope"),
        _ => (
            NoticeKind::Settled,
            "the level has expired and what the guard did is taken back",
        ),
    };
    forget_containment(connection, id);
    let told = (format!("incident:{id}:{}:{}", kind.name(), block.hash), 0);
    tell_incident(connection, id, kind, text, Some(block.number), told)?;
    incidents::end(connection, id, block)
}

/// Notes a level that the scope has reached by expiry, which no event tells of.
pub(super) async fn stepped_down(
    connection: &mut Connection,
    names: &Names,
    id: i64,
    reading: &ScopeReading,
    block: &BlockRef,
) -> Result<(), StoreError> {
    let text = format!(
        "{} is at {} now that the level before has expired",
        names.scope(reading.scope),
        reading.level.name()
    );
    timeline::entry(
        connection,
        id,
        &Entry {
            block: Some(block),
            ..Entry::new("stepped down", &text)
        },
    )
    .await?;
    level_closure(connection, names, id, reading.level, block)?;
    if reading.applied {
        // What the guard did is still in force: the containment is not over.
        set_level(connection, id, reading.level);
        return Ok(());
    }
    lowered(connection, id, reading.level, block).await
}

fn set_level(connection: &mut Connection, id: i64, level: Level) {
    query("UPDATE incidents SET level = ? WHERE id = ?")
        .bind(i64::from(level as u8))
        .bind(id)
        .later(connection);
}

/// Ends what the level before closed and begins what this one closes. Without hooks a level closes nothing by itself.
fn level_closure(
    connection: &mut Connection,
    names: &Names,
    id: i64,
    level: Level,
    block: &BlockRef,
) -> Result<(), StoreError> {
    incidents::end_closures(connection, id, Some(LEVEL), block)?;
    if names.hooked {
        open_closure(connection, id, LEVEL, names.matrix.closes(level), block)?;
    }
    Ok(())
}

fn open_closure(
    connection: &mut Connection,
    id: i64,
    cause: &str,
    actions: ActionSet,
    block: &BlockRef,
) -> Result<(), StoreError> {
    if actions == ActionSet::EMPTY {
        return Ok(());
    }
    query(
        "INSERT INTO closures (incident, cause, actions, from_block, from_hash, from_time) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(cause)
    .bind(i64::from(actions.bits()))
    .bind(int("block number", block.number)?)
    .bind(block.hash.to_vec())
    .bind(int("block timestamp", block.timestamp)?)
    .later(connection);
    Ok(())
}

/// Kind and sentence of an event for the timeline.
fn describe(event: &GuardEvent, names: &Names) -> (&'static str, String) {
    use crate::clock::utc;
    match &event.kind {
        Kind::Raised {
            scope,
            from,
            to,
            expires_at,
            by,
            ..
        } => (
            "level raised",
            format!(
                "{} went from {} to {} until {}, by {by}",
                names.scope(*scope),
                from.name(),
                to.name(),
                utc(*expires_at)
            ),
        ),
        Kind::Lowered {
            scope, from, to, by, ..
        } => (
            "level lowered",
            format!(
                "{} went from {} to {}, by {by}",
                names.scope(*scope),
                from.name(),
                to.name()
            ),
        ),
        Kind::Extended {
            scope,
            level,
            expires_at,
            by,
            ..
        } => (
            "level extended",
            format!(
                "{} stays {} until {}, by {by}",
                names.scope(*scope),
                level.name(),
                utc(*expires_at)
            ),
        ),
        Kind::Tripped {
            rule, observed, bound, ..
        } => (
            "rule tripped",
            format!(
                "the guard found {} breached: observed {observed}, bound {bound}",
                names.rule(*rule)
            ),
        ),
        Kind::Opened { incident, scope } => (
            "incident opened",
            format!("the guard opened incident {incident} on {}", names.scope(*scope)),
        ),
        Kind::Closed { incident, .. } => ("incident closed", format!("the guard closed incident {incident}")),
        Kind::Applied { call, .. } => (
            "containment applied",
            format!("{} took effect", names.containment(*call)),
        ),
        Kind::NotNeeded { call, .. } => (
            "containment not needed",
            format!("{} was so already", names.containment(*call)),
        ),
        Kind::Failed { call, reason, .. } => (
            "containment failed",
            format!("{} failed with {reason}", names.containment(*call)),
        ),
        Kind::Undone { call, .. } => (
            "containment undone",
            format!("{} was taken back", names.containment(*call)),
        ),
        Kind::UndoFailed { call, reason, .. } => (
            "undo failed",
            format!("{} could not be taken back: {reason}", names.containment(*call)),
        ),
        Kind::ReleaseQueued { scope, at, by } => (
            "release queued",
            format!(
                "{by} queued the release of {}; it may be executed from {}",
                names.scope(*scope),
                utc(*at)
            ),
        ),
        Kind::ReleaseCancelled { scope, by } => (
            "release cancelled",
            format!("the release of {} was cancelled by {by}", names.scope(*scope)),
        ),
        Kind::ShadowBreach { rule, caller } => (
            "shadow breach",
            format!("{} was breached in a call by {caller} and let pass", names.rule(*rule)),
        ),
        Kind::RulebookAdopted { code_hash } => (
            "rulebook adopted",
            format!("the guard adopted the rulebook {code_hash}"),
        ),
    }
}
