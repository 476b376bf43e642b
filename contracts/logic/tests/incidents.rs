//! The record of incidents, and batches.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{keccak256, B256, U256};
use alloy_sol_types::SolCall;
use common::{book, rules, Abi, Mood, World, ANYONE, GOVERNOR, GUARDIAN, HOUR, KEEPER, START};
use cordon_core::{incident::RING, Level};
use cordon_logic::inspect;

fn record(world: &mut World, number: u64) -> Abi::Incident {
    let data = inspect(world.as_(ANYONE), &Abi::incidentCall { number }.abi_encode()).unwrap();
    Abi::incidentCall::abi_decode_returns_validate(&data).unwrap()
}

/// The hash of these notes.
fn chained(notes: &[B256]) -> B256 {
    let chain = |before: B256, note: &B256| keccak256([before, *note].concat());
    notes.iter().fold(B256::ZERO, chain)
}

/// Settles after everything has expired, so that the scope's incident closes.
fn run_out(world: &mut World, scope: u8) {
    world.pass(5 * HOUR);
    world.as_(ANYONE).settle(scope).unwrap();
    world.done();
}

#[test]
fn a_trip_is_recorded_from_breach_to_close() {
    let mut world = World::new();
    world.guard.host.block = 77;
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    assert_eq!(world.events::<Abi::IncidentContained>()[0].incident, 1);
    let opened = record(&mut world, 1);
    assert_eq!(
        (
            opened.number,
            opened.scope,
            opened.rule,
            opened.blockNumber,
            opened.openedAt
        ),
        (1, 1, rules::PRICE, 77, START)
    );
    assert_eq!((opened.observed, opened.bound), (U256::from(101), U256::from(100)));
    assert!(
        opened.state as u8 == Abi::IncidentState::Contained as u8 && opened.openedBy as u8 == Abi::Opener::Trip as u8
    );

    world.as_(GUARDIAN).contain(1, 3, 600, B256::repeat_byte(7)).unwrap();
    let raised = record(&mut world, 1);
    assert!(raised.peak as u8 == Abi::Level::Halted as u8 && raised.raises == 1);
    assert_eq!(raised.evidence, B256::ZERO, "the finding is the first one's");
    assert_eq!(
        raised.notes,
        chained(&[B256::repeat_byte(7)]),
        "what was found later is not lost"
    );

    world.price.set(Some(100));
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.pass(900);
    world.as_(GUARDIAN).release(1).unwrap();
    assert_eq!(world.events::<Abi::IncidentReleased>()[0].incident, 1);
    let released = record(&mut world, 1);
    assert!(released.state as u8 == Abi::IncidentState::Released as u8);
    assert_eq!((released.releasedAt, released.closedAt), (START + 900, 0));
    world.pass(HOUR);
    world.as_(ANYONE).settle(1).unwrap();
    let closed = record(&mut world, 1);
    assert!(closed.state as u8 == Abi::IncidentState::Closed as u8);
    assert_eq!(closed.closedAt, START + 900 + HOUR);
    assert_eq!(world.guard.incidents(), (1, 1));
}

/// The incident that is open keeps the evidence it was opened with; that of whoever raises or extends it is attached to it.
#[test]
fn evidence_for_an_incident_that_is_open_is_noted() {
    let mut world = World::new();
    let [first, second, third] = [1, 2, 3].map(B256::repeat_byte);
    world.as_(KEEPER).contain(1, 2, 600, first).unwrap();
    assert!(world.events::<Abi::IncidentNoted>().is_empty(), "it is the finding");
    world.as_(GUARDIAN).contain(1, 2, 1200, second).unwrap();
    let noted = &world.events::<Abi::IncidentNoted>()[0];
    assert_eq!((noted.incident, noted.note, noted.by), (1, second, GUARDIAN));
    // What changes nothing adds nothing, and no evidence is no note.
    world.as_(GUARDIAN).contain(1, 2, 1200, third).unwrap();
    world.as_(GUARDIAN).contain(1, 2, 1300, B256::ZERO).unwrap();
    assert!(world.events::<Abi::IncidentNoted>().is_empty());
    // A batch opens one incident, and raises the other.
    let incidents = world.as_(GUARDIAN).contain_many(&[2, 1], 3, 1500, third).unwrap();
    assert_eq!(incidents, [2, 1]);
    let noted: Vec<_> = world
        .events::<Abi::IncidentNoted>()
        .iter()
        .map(|note| note.incident)
        .collect();
    assert_eq!(noted, [1]);
    let (one, two) = (record(&mut world, 1), record(&mut world, 2));
    assert_eq!((one.evidence, one.notes), (first, chained(&[second, third])));
    assert_eq!((two.evidence, two.notes), (third, B256::ZERO));
    // Further notes go on from there.
    world.as_(KEEPER).note_incident(1, first).unwrap();
    assert_eq!(record(&mut world, 1).notes, chained(&[second, third, first]));
}

/// Rules and calls have the numbers of the rulebook that was in force then, also when nothing of that is in force any more.
#[test]
fn a_record_names_the_rulebook_by_which_it_is_numbered() {
    let mut world = World::new();
    let first = world.guard.rulebook().1;
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    world.done();
    world.price.set(Some(100));
    let mut shorter = book();
    shorter.rules.remove(0);
    world.adopt(&shorter);
    let second = world.guard.rulebook().1;
    assert_ne!(first, second);
    world.as_(GUARDIAN).contain(2, 2, 600, B256::ZERO).unwrap();
    run_out(&mut world, 1);
    assert!(!world.market.closed.get(), "what the first had closed is open");
    for (number, rulebook) in [(1, first), (2, second)] {
        assert_eq!(record(&mut world, number).rulebook, rulebook);
    }
    // It was looked through for the last time.
    world.as_(GUARDIAN).contain(1, 2, 600, B256::ZERO).unwrap();
    run_out(&mut world, 1);
    assert_eq!(record(&mut world, 1).rulebook, first);
}

#[test]
fn an_incident_is_contained_only_when_every_call_has_had_its_effect() {
    let mut world = World::new();
    world.market.mood.set(Mood::Reverts);
    world.as_(GUARDIAN).contain(1, 2, 600, B256::repeat_byte(7)).unwrap();
    let open = record(&mut world, 1);
    assert!(open.state as u8 == Abi::IncidentState::Open as u8 && open.openedBy as u8 == Abi::Opener::Guardian as u8);
    assert_eq!(open.evidence, B256::repeat_byte(7));
    world.market.mood.set(Mood::Obeys);
    world.as_(ANYONE).retry_containment(1).unwrap();
    assert_eq!(world.events::<Abi::IncidentContained>().len(), 1);
    assert!(record(&mut world, 1).state as u8 == Abi::IncidentState::Contained as u8);
    world.as_(ANYONE).retry_containment(1).unwrap();
    assert!(world.events::<Abi::IncidentContained>().is_empty(), "said once");
    let calm: Abi::NothingToRetry = world.as_refused(ANYONE, |guard| guard.retry_containment(2));
    assert_eq!(calm.scope, 2);
    for scope in [3, 128, 255] {
        let bad: Abi::BadScope = world.as_refused(ANYONE, |guard| guard.retry_containment(scope));
        assert_eq!(bad.scope, scope);
    }
}

/// What was released and is raised anew, out of Grace, is no released incident any more: also when a call fails, which is when people
/// look at the record.
#[test]
fn an_incident_raised_again_is_open_until_every_call_has_its_effect() {
    let mut world = World::new();
    world.as_(GUARDIAN).contain(1, 2, 1800, B256::ZERO).unwrap();
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.pass(900);
    world.as_(GUARDIAN).release(1).unwrap();
    assert!(record(&mut world, 1).state as u8 == Abi::IncidentState::Released as u8);
    world.market.mood.set(Mood::Reverts);
    world.as_(GUARDIAN).contain(1, 2, 600, B256::ZERO).unwrap();
    assert_eq!(world.events::<Abi::LevelRaised>()[0].incident, 1, "the same incident");
    assert_eq!(world.events::<Abi::IncidentReopened>()[0].incident, 1);
    let again = record(&mut world, 1);
    assert!(again.state as u8 == Abi::IncidentState::Open as u8);
    assert_eq!((again.raises, again.releasedAt), (1, START + 900));

    world.market.mood.set(Mood::Obeys);
    world.as_(ANYONE).retry_containment(1).unwrap();
    assert_eq!(world.events::<Abi::IncidentContained>().len(), 1);
    // A stricter level whose call fails: what was contained is not any more.
    world.market.closed.set(false);
    world.market.mood.set(Mood::Pretends);
    world.as_(GUARDIAN).contain(1, 3, 600, B256::ZERO).unwrap();
    assert_eq!(world.events::<Abi::IncidentReopened>().len(), 1);
    assert!(record(&mut world, 1).state as u8 == Abi::IncidentState::Open as u8);
    // Said once, however often it fails.
    world.as_(ANYONE).retry_containment(1).unwrap();
    assert!(world.events::<Abi::IncidentReopened>().is_empty());
}

#[test]
fn notes_are_chained_and_a_verdict_moves_no_level() {
    let mut world = World::new();
    world.as_(GUARDIAN).contain(2, 2, 600, B256::ZERO).unwrap();
    let (first, second) = (B256::repeat_byte(1), B256::repeat_byte(2));
    world.as_refused::<Abi::MissingRole, _>(ANYONE, |guard| guard.note_incident(1, first));
    world.as_refused::<Abi::UnknownIncident, _>(KEEPER, |guard| guard.note_incident(2, first));
    world.as_refused::<Abi::UnknownIncident, _>(KEEPER, |guard| guard.note_incident(1 << 40, first));
    world.as_(KEEPER).note_incident(1, first).unwrap();
    world.as_(GOVERNOR).note_incident(1, second).unwrap();
    let chain = |before: B256, note: B256| keccak256([before, note].concat());
    assert_eq!(record(&mut world, 1).notes, chain(chain(B256::ZERO, first), second));

    world.as_refused::<Abi::IncidentNotOver, _>(GUARDIAN, |guard| guard.judge_incident(1, true));
    run_out(&mut world, 2);
    world.as_refused::<Abi::MissingRole, _>(KEEPER, |guard| guard.judge_incident(1, true));
    let before = world.guard.scope_status(2).unwrap();
    world.as_(GUARDIAN).judge_incident(1, true).unwrap();
    assert!(world.events::<Abi::IncidentJudged>()[0].falsePositive);
    assert!(record(&mut world, 1).state as u8 == Abi::IncidentState::FalsePositive as u8);
    assert_eq!(world.guard.scope_status(2).unwrap(), before);
    world.as_(GOVERNOR).judge_incident(1, false).unwrap();
    assert!(record(&mut world, 1).state as u8 == Abi::IncidentState::Closed as u8);
}

/// A thief who opens incident after incident pushes records of old ones out of the ring, and no more: one that is open keeps its place, by
/// the numbers that would fall on it being passed over.
#[test]
fn the_ring_forgets_what_is_over_and_keeps_what_is_open() {
    let mut world = World::new();
    world
        .as_(GOVERNOR)
        .contain(1, 2, 20 * 24 * 3600, B256::repeat_byte(1))
        .unwrap();
    for _ in 0..RING {
        world.as_(GOVERNOR).contain(2, 1, 1, B256::repeat_byte(2)).unwrap();
        run_out(&mut world, 2);
    }
    let latest = RING + 2;
    assert_eq!(world.guard.incidents(), (latest, 3));
    let open = record(&mut world, 1);
    assert!(open.scope == 1 && open.evidence == B256::repeat_byte(1) && open.closedAt == 0);
    for gone in [2, RING + 1] {
        let refused = inspect(
            world.as_(ANYONE),
            &Abi::incidentCall { number: gone.into() }.abi_encode(),
        );
        world.refused::<Abi::UnknownIncident, _>(refused);
    }
    assert_eq!(record(&mut world, latest.into()).scope, 2);
    world.as_(GUARDIAN).queue_release(1).unwrap();
    world.pass(900);
    world.as_(GUARDIAN).release(1).unwrap();
    assert_eq!(record(&mut world, 1).releasedAt, world.guard.host.now);
}

/// Words that an incident changes are there before the first one: it writes none for the first time.
#[test]
fn an_incident_writes_no_word_for_the_first_time() {
    let mut world = World::new();
    let before = world.guard.host.storage.clone();
    world.price.set(Some(101));
    world.as_(ANYONE).trip(rules::PRICE, vec![]).unwrap();
    world.as_(GUARDIAN).contain(2, 3, 600, B256::repeat_byte(7)).unwrap();
    world.done();
    for (key, word) in &world.guard.host.storage {
        if before.get(key) != Some(word) {
            let old = before.get(key).copied().unwrap_or_default();
            assert_ne!(old, B256::ZERO, "{key} was never written");
            assert_ne!(*word, B256::ZERO, "{key} is given up");
        }
    }
}

/// Whoever mends one breach in front of the transaction does not stop the others.
#[test]
fn a_batch_of_trips_passes_over_what_holds() {
    let mut world = World::new();
    world.price.set(Some(101));
    let batch = [rules::PRICE, rules::PLAIN, rules::ACCOUNT, rules::PRICE];
    let witnesses = [vec![], vec![], vec![ANYONE.into_word()], vec![]];
    assert_eq!(world.as_(ANYONE).trip_many(&batch, &witnesses).unwrap(), [1, 2, 3, 1]);
    assert_eq!(world.events::<Abi::LevelRaised>().len(), 3);
    assert_eq!(world.events::<Abi::ContainmentApplied>().len(), 2, "each once");

    let mut world = World::new();
    world.as_refused::<Abi::RuleHolds, _>(ANYONE, |guard| guard.trip_many(&batch, &witnesses));
    world.as_refused::<Abi::WrongWitness, _>(ANYONE, |guard| guard.trip_many(&[rules::ACCOUNT], &[vec![]]));
    world.as_refused::<Abi::EmptyBatch, _>(ANYONE, |guard| guard.trip_many(&[], &[]));
    world.price.set(Some(101));
    // A spot rule is observed only; again at once it is too soon, and the robust one passes all the same.
    assert_eq!(world.as_(ANYONE).trip_many(&[rules::SPOT], &[vec![]]).unwrap(), [0]);
    let both = [rules::SPOT, rules::PRICE];
    let passed = world.as_(ANYONE).trip_many(&both, &[vec![], vec![]]).unwrap();
    assert_eq!(passed, [0, 1]);
    world.done();
    assert_eq!(world.level(1), Level::ReduceOnly);
}

#[test]
fn a_batch_of_containments_is_within_one_budget_or_nothing() {
    let mut world = World::new();
    // Two hours a day: three scopes at 50 minutes each are too much.
    let many = |scopes: &'static [u8], seconds: u32| {
        move |guard: &mut cordon_logic::Guard<cordon_host::mock::MockHost>| {
            guard.contain_many(scopes, 2, seconds, B256::ZERO)
        }
    };
    world.as_refused::<Abi::BudgetSpent, _>(KEEPER, many(&[0, 1, 2], 3000));
    assert_eq!(world.level(1), Level::Normal, "none was raised");
    world.as_refused::<Abi::BadScope, _>(KEEPER, many(&[1, 3], 60));
    world.as_refused::<Abi::MissingRole, _>(ANYONE, many(&[1], 60));
    world.as_refused::<Abi::EmptyBatch, _>(KEEPER, many(&[], 60));
    assert_eq!(many(&[1, 2, 1], 3000)(world.as_(KEEPER)).unwrap(), [1, 2, 1]);
    assert_eq!(world.events::<Abi::ContainmentApplied>().len(), 1);
    world.done();
    world.as_refused::<Abi::BudgetSpent, _>(KEEPER, many(&[0], 3000));
    // A scope that is stricter already is passed over.
    world.as_(GUARDIAN).contain(2, 3, 3600, B256::ZERO).unwrap();
    assert_eq!(many(&[2, 0], 8000)(world.as_(GUARDIAN)).unwrap(), [0, 3]);
    world.done();
    world.as_refused::<Abi::NotTighter, _>(GUARDIAN, many(&[2], 24 * 3600));
}
