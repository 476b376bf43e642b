#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

/// Sizes of the published 187-byte program that copies its arguments to its result.
const WRITE_ARGS: Sizes = Sizes {
    functions: 1,
    type_len: 2,
    wasm_len: 187,
    globals: 4,
    segments_len: 0,
    footprint: 1,
};

#[test]
fn the_published_example_costs_34_and_11() {
    assert_eq!(
        estimate(3, WRITE_ARGS),
        Estimates {
            init: 34,
            cached: 11,
            asm: 514_189
        }
    );
    assert_eq!(
        estimate(1, WRITE_ARGS),
        Estimates {
            init: 45,
            cached: 11,
            asm: 514_189
        }
    );
}

#[test]
fn the_data_fee_of_the_example_is_the_published_one() {
    let (fee, after) = DataPricer::default().charge(514_189, 1_760_000_000);
    assert!((43_000_000_000_000..45_000_000_000_000).contains(&fee), "{fee}");
    assert_eq!((after.demand, after.last_update), (514_189, 1_760_000_000));
}

#[test]
fn demand_raises_the_fee_and_leaks() {
    let now = 1_760_000_000;
    let (first, busy) = DataPricer::default().charge(20_000_000, now);
    let (second, _) = busy.charge(20_000_000, now);
    assert!(second > 2 * first);
    let (later, _) = busy.charge(20_000_000, now + 1_000);
    assert_eq!(later, first);
}

#[test]
fn the_series_follows_the_exponential() {
    for x in [0_u64, 100, 5_000, 10_000, 20_000, 40_000] {
        let exact = (x as f64 / 10_000.0).exp() * 10_000.0;
        assert!(
            (exp_bips(x) as f64 - exact).abs() <= 2.0 + exact / 1_000.0,
            "{x}: {} for {exact}",
            exp_bips(x)
        );
    }
}

#[test]
fn a_program_lives_for_a_year() {
    let params = Params::default();
    let now = EPOCH + 100 * SECONDS_PER_HOUR + 59;
    let mut record = ProgramRecord {
        version: 3,
        activated_at: hours_since_epoch(now),
        ..ProgramRecord::default()
    };
    assert_eq!(record.activated_at, 100);
    assert_eq!(record.age(now), 59);
    let start = now - 59;
    assert_eq!(record.check(&params, start + 365 * 86_400), Ok(()));
    assert_eq!(
        record.check(&params, start + 365 * 86_400 + 1),
        Err(ProgramState::Expired { age: 365 * 86_400 + 1 })
    );
    assert_eq!(record.time_left(&params, start + 365 * 86_400 - 7), 7);
    assert_eq!(record.time_left(&params, start + 366 * 86_400), 0);
    assert_eq!(
        record.keep_alive(&params, start + 31 * 86_400 - 1),
        Err(31 * 86_400 - 1)
    );
    assert_eq!(record.keep_alive(&params, start + 31 * 86_400), Ok(()));
    assert_eq!(record.age(start + 31 * 86_400), 0);
}

#[test]
fn only_the_chains_own_version_runs() {
    let params = Params::default();
    assert_eq!(
        ProgramRecord::default().check(&params, EPOCH),
        Err(ProgramState::NotActivated)
    );
    let old = ProgramRecord {
        version: 2,
        ..ProgramRecord::default()
    };
    assert_eq!(
        old.check(&params, EPOCH),
        Err(ProgramState::NeedsUpgrade {
            version: 2,
            required: 3
        })
    );
}

#[test]
fn a_record_has_the_documented_layout() {
    let record = ProgramRecord {
        version: 3,
        init_cost: 34,
        cached_cost: 11,
        footprint: 1,
        activated_at: 0x01_02_03,
        asm_estimate_kb: 503,
        cached: true,
    };
    let mut word = [0_u8; 32];
    word[..15].copy_from_slice(&[0, 3, 0, 34, 0, 11, 0, 1, 1, 2, 3, 0, 0x01, 0xf7, 1]);
    assert_eq!(record.pack(), U256::from_be_bytes(word));
    assert_eq!(ProgramRecord::unpack(record.pack()), record);
    assert_eq!(record.asm_size(), 503 * 1_024);
}

proptest! {
    #[test]
    fn any_stored_word_can_be_read(word in any::<[u8; 32]>(), now in any::<u64>()) {
        let record = ProgramRecord::unpack(U256::from_be_bytes(word));
        prop_assert_eq!(ProgramRecord::unpack(record.pack()), record);
        let _ = record.check(&Params::default(), now);
    }

    #[test]
    fn the_pricer_never_overflows(
        demand: u32, bytes_per_second: u32, last_update: u64, min_price: u32, inertia: u32, bytes: u32, now: u64
    ) {
        let pricer = DataPricer { demand, bytes_per_second, last_update, min_price, inertia };
        let (_, after) = pricer.charge(bytes, now);
        prop_assert_eq!(after.last_update, now);
    }
}
