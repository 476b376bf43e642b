//! The words that a guard keeps of incidents and budgets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use alloy_primitives::{B256, U256};
use cordon_core::Level;
use cordon_core::bounds::{Actor, Bucket};
use cordon_core::incident::{Finding, Head, Incident, RING, Reading, State};
use cordon_core::ledger::Ledger;
use cordon_core::rule::Int;
use proptest::prelude::*;

const TIME: u64 = 1 << 40;

fn finding() -> impl Strategy<Value = Finding> {
    let number = || (any::<bool>(), any::<[u64; 4]>(), 0usize..256).prop_map(reading);
    let actor = prop::sample::select(vec![Actor::Keeper, Actor::Guardian, Actor::Governor]);
    prop_oneof![
        (any::<u16>(), number(), number()).prop_map(|(rule, observed, bound)| Finding::Breach {
            rule,
            observed,
            bound
        }),
        (actor, any::<[u8; 32]>()).prop_map(|(actor, evidence)| Finding::Authority {
            actor,
            evidence: B256::new(evidence)
        }),
    ]
}

fn reading((negative, limbs, shift): (bool, [u64; 4], usize)) -> Reading {
    Reading::new(&Int::new(negative, U256::from_limbs(limbs) >> shift))
}

fn incident() -> impl Strategy<Value = Incident> {
    let states = prop::sample::select(vec![
        State::Open,
        State::Contained,
        State::Released,
        State::Closed,
        State::FalsePositive,
    ]);
    let levels = prop::sample::select(Level::ALL.to_vec());
    let times = (0..TIME, 0..TIME, 0..TIME);
    let rest = (any::<u8>(), any::<bool>(), any::<u32>(), 0u8..128, 0u32..1 << 24);
    (any::<u32>(), states, levels, times, rest, finding()).prop_map(
        |(number, state, peak, (opened_at, released_at, closed_at), (raises, noted, block, scope, epoch), finding)| {
            Incident {
                number,
                scope,
                state,
                peak,
                raises,
                noted,
                opened_at,
                released_at,
                closed_at,
                block,
                epoch,
                finding,
            }
        },
    )
}

proptest! {
    #[test]
    fn an_incident_survives_packing(incident in incident()) {
        let (first, second) = incident.pack();
        prop_assert_ne!(first, U256::ZERO);
        prop_assert_eq!(Incident::unpack(first, second), Some(incident));
    }

    #[test]
    fn any_words_unpack_to_an_incident_or_nothing(first in any::<[u64; 4]>(), second in any::<[u8; 32]>()) {
        let word = U256::from_limbs(first);
        if let Some(incident) = Incident::unpack(word, B256::new(second)) {
            prop_assert!(u32::from(Incident::slot(incident.number)) < RING);
        }
    }

    /// What is cut off is less than one part in 2^118 of the number.
    #[test]
    fn a_reading_keeps_the_number_to_its_precision(negative in any::<bool>(), limbs in any::<[u64; 4]>(), shift in 0usize..256) {
        let magnitude = U256::from_limbs(limbs) >> shift;
        let number = Int::new(negative, magnitude);
        let kept = Reading::new(&number).number();
        prop_assert_eq!(kept.negative, number.negative);
        prop_assert!(kept.magnitude <= magnitude);
        prop_assert!((magnitude - kept.magnitude) <= magnitude >> (Reading::PRECISION - 1));
        if magnitude.bit_len() <= Reading::PRECISION {
            prop_assert_eq!(kept, number);
        }
    }

    /// One word for both budgets gives each what a word of its own would.
    #[test]
    fn budgets_in_one_ledger_do_not_disturb_each_other(
        charges in prop::collection::vec((any::<bool>(), 0u64..20_000, 0u64..9_000), 0..40),
        heartbeat in 0..TIME, incidents in any::<u32>(), raised in any::<u8>(), in_force in any::<u16>(),
    ) {
        let mut now = 1_700_000_000;
        let mut ledger = Ledger::default();
        (ledger.heartbeat, ledger.incidents, ledger.raised, ledger.in_force) = (heartbeat, incidents, raised, in_force);
        let mut alone = [Bucket::default(); 2];
        for (guardian, pause, seconds) in charges {
            now += pause;
            let actor = if guardian { Actor::Guardian } else { Actor::Keeper };
            let spec = actor.bound().bucket.unwrap();
            let own = alone[usize::from(guardian)].charge(&spec, now, seconds);
            let shared = ledger.bucket(actor).charge(&spec, now, seconds);
            prop_assert_eq!(own.is_ok(), shared.is_ok());
            if let (Ok(own), Ok(shared)) = (own, shared) {
                prop_assert_eq!(own, shared);
                alone[usize::from(guardian)] = own;
                ledger = Ledger::unpack(ledger.with_bucket(actor, shared).pack());
            }
            for (actor, own) in [Actor::Keeper, Actor::Guardian].into_iter().zip(&alone) {
                let spec = actor.bound().bucket.unwrap();
                prop_assert_eq!(ledger.bucket(actor).available(&spec, now), own.available(&spec, now));
            }
        }
        prop_assert_ne!(ledger.pack(), U256::ZERO);
        prop_assert_eq!(
            (ledger.heartbeat, ledger.incidents, ledger.raised, ledger.in_force),
            (heartbeat, incidents, raised, in_force)
        );
    }
}

proptest! {
    /// A record that is edited in place is the one that is taken apart, changed and put together again.
    #[test]
    fn a_head_moves_as_its_record_does(record in incident(), to in 1u8..=5, now in 0..TIME) {
        let (word, second) = record.pack();
        let state = State::from_u8(to).unwrap();
        let head = Head::of(word, record.number).unwrap();
        prop_assert_eq!(head.word(), word);
        let fresh = Incident {
            state: State::Open,
            raises: 0,
            noted: false,
            released_at: 0,
            closed_at: 0,
            ..record
        };
        let opening = record.finding.opening(record.epoch);
        let opened = Head::opened(record.number, record.scope, record.peak, &opening, record.opened_at, record.block);
        prop_assert_eq!((opened.word(), opening.word), fresh.pack());
        prop_assert_eq!(head.is(state), record.state == state);
        let mut moved = Incident { state, ..record };
        match state {
            State::Released => moved.released_at = now,
            State::Closed => moved.closed_at = now,
            _ => {}
        }
        prop_assert_eq!(Incident::unpack(head.moved(state, now).word(), second), Some(moved));
        prop_assert_eq!(head.is_noted(), record.noted);
        let noted = Incident { noted: true, ..record };
        prop_assert_eq!(Incident::unpack(head.noted().word(), second), Some(noted));
    }
}

#[test]
fn an_incident_keeps_its_peak_and_the_ring_goes_round() {
    let opened = Incident {
        number: 1,
        scope: 127,
        state: State::Open,
        peak: Level::ReduceOnly,
        raises: 254,
        noted: false,
        opened_at: 5,
        released_at: 0,
        closed_at: 0,
        block: 9,
        epoch: 3,
        finding: Finding::Authority {
            actor: Actor::Guardian,
            evidence: B256::repeat_byte(9),
        },
    };
    let (word, evidence) = opened.pack();
    assert_eq!(Head::of(word, 2), None, "another incident's");
    assert_eq!(Head::of(U256::from(1), 0), None, "a word that was only prepared");
    let head = Head::of(word, 1).unwrap();
    let raised = head.raised(Level::Halted).raised(Level::Throttled);
    let raised = Incident::unpack(raised.word(), evidence).unwrap();
    assert_eq!((raised.peak, raised.raises), (Level::Halted, 255));
    assert_eq!(
        Incident {
            peak: opened.peak,
            raises: opened.raises,
            ..raised
        },
        opened,
        "nothing else"
    );
    assert_eq!(Incident::unpack(U256::ZERO, B256::ZERO), None);
    assert_eq!([1, RING, RING + 1].map(Incident::slot), [0, 63, 0]);
}
