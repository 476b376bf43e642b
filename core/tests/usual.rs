//! Statistics in rules: what the words compile to, what is refused, and that a program and its rulebook judge by the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{Address, B256, U256};
use common::{book, error, rule};
use cordon_core::anchor::key;
use cordon_core::baseline::{Baseline, Spec};
use cordon_core::rule::program::op;
use cordon_core::rule::{
    Class, Compiled, DecodeReason, Inputs, Int, Program, ReadError, Reader, Unknown, Verdict, evaluate,
};
use cordon_core::rulebook::{Problem, Rulebook};
use cordon_core::stream;

const START: u64 = 1_700_000_000;

fn spec_of(compiled: &Compiled) -> Spec {
    match compiled.streams.as_slice() {
        [only] => match only.spec {
            stream::Spec::Baseline(spec) => spec,
            stream::Spec::Anchor(_) => panic!("an anchor"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_text_leaves_out_is_usual() {
    let compiled = rule("score(vault.totalAssets(), 10 min, 1000, 4072) <= 4 sigma");
    assert_eq!((compiled.class, compiled.spot), (Class::State, true));
    let usual = Spec {
        shift: 0,
        low: 1_000,
        high: 4_072,
        floor: 12,
        roof: 96,
        rate: 1_966,
        clip: 4_000,
        slack: 500,
        cap: 8_000,
        spacing: 600,
        window: 86_400,
    };
    assert_eq!((spec_of(&compiled), usual.warm_up()), (usual, 100));
    let told = rule(
        "lowest(vault.totalAssets(), 1 day, 1000, 4072, spacing: 10 min, floor: 12, roof: 96, rate: 3 %, clip: 4 sigma, slack: 0.5 sigma, cap: 8 sigma) > 1",
    );
    assert_eq!(
        told.streams, compiled.streams,
        "the same said in full is the same stream"
    );
    let window = spec_of(&rule("highest(vault.totalAssets(), 1 week, 0, 9) > 1"));
    assert_eq!((window.window, window.spacing), (604_800, 12_600));
    // Bounds with more than 48 bits are scaled, and with them all that is in their unit.
    let large = spec_of(&rule("mean(vault.totalAssets(), 1 h, 1e18, 4e24, floor: 1e20) > 1"));
    assert_eq!(large.shift, 34);
    assert_eq!(u128::from(large.high), 4_000_000_000_000_000_000_000_000_u128 >> 34);
    assert_eq!(u128::from(large.floor), 100_000_000_000_000_000_000_u128 >> 34);
}

#[test]
fn one_value_has_one_stream_for_all_words() {
    let compiled = rule(
        "abs(vault.totalAssets() - mean(vault.totalAssets(), 600, 1, 9000)) <= 3 * deviation(vault.totalAssets(), 10 min, 1, 9e3) \
         && drift(vault.totalAssets(), 10 min, 1, 9000) <= 8 sigma && score(vault.totalAssets(), 10 min, 1, 9000) <= 6 sigma",
    );
    assert_eq!(compiled.streams.len(), 1);
    let program = Program::decode(&compiled.program).unwrap();
    assert!(program.uses_statistics() && program.uses_stored() && !program.uses_context());
    assert_eq!(program.bytes()[0], 5);
    let bytes = spec_of(&compiled).to_bytes();
    let streams: Vec<_> = program.streams().collect();
    assert_eq!(streams.len(), 4);
    assert!(
        streams
            .iter()
            .all(|(id, spec)| *id == compiled.streams[0].id && *spec == Some(&bytes[..]))
    );
    let both = rule(
        "left(usdc) <= anchor(usdc.balanceOf(vault), 1 hour, 0, 1e30) * 5 % || mean(vault.totalAssets(), 60, 1, 9) > 5",
    );
    assert_eq!((both.program[0], both.class, both.streams.len()), (8, Class::Hook, 2));
}

#[test]
fn what_cannot_be_learnt_is_refused_with_the_word() {
    let x = "vault.totalAssets()";
    for (source, message) in [
        ("score(5, 10 min, 1, 9) > X", "`score` of something that reads nothing"),
        (
            "mean(anchor(X, 1 h, 1, 9), 1 h, 1, 9) > 1",
            "cannot observe what the guard has stored",
        ),
        ("mean(entry(X), 1 h, 1, 9) > 1", "cannot store a value at entry"),
        (
            "drift(left(usdc), 1 h, 1, 9) > 1",
            "cannot store the transaction's context",
        ),
        ("entry(lowest(X, 1 h, 1, 9)) > 1", "does not change within a call"),
        (
            "mean(X, 10 min) > 1",
            "`mean` takes a value, a time, the least and the greatest mean",
        ),
        ("mean(X, 59, 1, 9) > 1", "from 1 minute to 18 hours"),
        ("mean(X, 19 h, 1, 9) > 1", "from 1 minute to 18 hours"),
        ("mean(X, X, 1, 9) > 1", "from 1 minute to 18 hours"),
        ("highest(X, 5 weeks, 1, 9) > 1", "to 4 weeks"),
        ("mean(X, 1 h, -1, 9) > 1", "at least 0"),
        ("mean(X, 1 h, 9, 9) > 1", "more than the least"),
        ("mean(X, 1 h, 9, 1e75) > 1", "at most 240 bits"),
        ("mean(X, 1 h, 1, 9, rate: 13 %) > 1", "from 0.1 % to 12.5 %"),
        ("mean(X, 1 h, 1, 9, rate: 5) > 1", "from 0.1 % to 12.5 %"),
        (
            "mean(X, 1 h, 1, 9, rat: 5 %) > 1",
            "takes no `rat:`; did you mean `rate`?",
        ),
        ("mean(X, 1 h, 1, 9, spacing: 1 h) > 1", "takes no `spacing:`"),
        ("mean(X, 1 h, 1, 9, rate: 5 %, rate: 5 %) > 1", "given twice"),
        ("mean(X, 1 h, 1, rate: 5 %, 9) > 1", "come last"),
        ("mean(X, 1 h, 1, 9, floor: 0) > 1", "at least 1"),
        ("mean(X, 1 h, 1, 9, floor: 5, roof: 4) > 1", "at most the `roof:`"),
        ("mean(X, 1 h, 1, 9, clip: 0.5 sigma) > 1", "as in `clip: 4 sigma`"),
        ("mean(X, 1 h, 1, 9, slack: 66 sigma) > 1", "`slack:`"),
        ("mean(X, 1 h, 1, 9, slack: 5 sigma) > 1", "`slack` is out of range"),
        ("near(X, 5, rate: 5 %)", "`rate:` stands only among"),
        ("mean(vault.asset(), 1 h, 1, 9) > 1", "takes numbers"),
        ("mean > 1", "is a function"),
        ("score(X, 10 min, 1, 9) <= 4.00005 sigma", "not a whole number"),
    ] {
        let found = error(&source.replace('X', x));
        assert!(found.contains(message), "{source}: {found}");
    }
}

/// A chain on which everything answers `value`, with a guard that has stored a baseline.
struct Guarded {
    value: u64,
    stored: Baseline,
    asked: Vec<B256>,
    now: u64,
}

impl Reader for Guarded {
    fn call(&mut self, _: Address, _: &[u8], _: u64, _: u16) -> Result<B256, ReadError> {
        Ok(U256::from(self.value).into())
    }
    fn balance(&mut self, _: Address) -> Result<U256, ReadError> {
        Err(ReadError::Unavailable)
    }
    fn code_hash(&mut self, _: Address) -> Result<B256, ReadError> {
        Err(ReadError::Unavailable)
    }
    fn now(&self) -> u64 {
        self.now
    }
    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        self.asked.push(*key);
        let (first, second) = self.stored.pack();
        Ok(if key[31] == 0 { first } else { second }.into())
    }
}

/// 2,000 observed every ten minutes, `count` times after the first.
fn learnt(compiled: &Compiled, count: u64) -> Guarded {
    let spec = spec_of(compiled);
    let observe = |of: Baseline, at: u64| of.observe(&spec, &Int::from(2_000), START + 600 * at).unwrap();
    Guarded {
        value: 2_000,
        stored: (0..=count).fold(Baseline::default(), observe),
        asked: Vec::new(),
        now: START + 600 * count,
    }
}

fn verdict(compiled: &Compiled, guarded: &mut Guarded) -> (Verdict, u64, u64) {
    let program = Program::decode(&compiled.program).unwrap();
    let of = evaluate(&program, &Inputs::default(), guarded);
    assert_eq!(of.verdict == Verdict::Unknown, of.reason == Unknown::NotStored.code());
    (of.verdict, of.observed.magnitude.to(), of.bound.magnitude.to())
}

#[test]
fn an_observation_is_judged_by_what_was_learnt_before() {
    let compiled = rule("score(vault.totalAssets(), 10 min, 1000, 4072) <= 4.5 sigma");
    let mut early = learnt(&compiled, 99);
    assert_eq!(
        verdict(&compiled, &mut early).0,
        Verdict::Unknown,
        "a warm-up comes first"
    );
    let mut guarded = learnt(&compiled, 100);
    assert_eq!(verdict(&compiled, &mut guarded), (Verdict::Holds, 0, 4_500));
    assert_eq!(
        guarded.asked,
        [key(&compiled.streams[0].id, 0)],
        "one word of the guard"
    );
    guarded.value = 2_054;
    assert_eq!(verdict(&compiled, &mut guarded), (Verdict::Holds, 4_500, 4_500));
    guarded.value = 2_055;
    assert_eq!(verdict(&compiled, &mut guarded), (Verdict::Breached, 4_583, 4_500));
    guarded.value = 1_945;
    assert_eq!(verdict(&compiled, &mut guarded), (Verdict::Breached, 4_583, 4_500));
    guarded.now += 600 * 8 + 1;
    assert_eq!(
        verdict(&compiled, &mut guarded).0,
        Verdict::Unknown,
        "what is old is not usual"
    );
}

#[test]
fn a_range_reads_both_words() {
    let compiled =
        rule("vault.totalAssets() >= lowest(vault.totalAssets(), 1 day, 1000, 4072, spacing: 10 min) * 90 %");
    let mut guarded = learnt(&compiled, 100);
    assert_eq!(verdict(&compiled, &mut guarded), (Verdict::Holds, 2_000, 1_800));
    let id = compiled.streams[0].id;
    assert_eq!(guarded.asked, [key(&id, 0), key(&id, 1)]);
    guarded.value = 1_799;
    assert_eq!(verdict(&compiled, &mut guarded).0, Verdict::Breached);
}

#[test]
fn the_decoder_takes_no_other_statistic_specification_or_version() {
    let compiled = rule("mean(vault.totalAssets(), 10 min, 1, 9) >= 5");
    let reason = |bytes: &[u8]| Program::decode(bytes).unwrap_err().reason;
    let mut bytes = compiled.program.clone();
    assert_eq!((bytes[0], bytes[11], bytes[28]), (5, op::STORED, 1));
    for version in [1, 3, 7] {
        bytes[0] = version;
        assert_eq!(reason(&bytes), DecodeReason::BadHeader);
    }
    bytes[0] = 5;
    for (place, byte, wanted) in [
        (28, 7, DecodeReason::BadOperand),
        // It takes a value that is not there.
        (28, 3, DecodeReason::StackUnderflow),
        // A shift of 193 bits.
        (29, 193, DecodeReason::BadOperand),
        // A bound of more than 48 bits cannot be written; one that is crossed can.
        (36 + 5, 0, DecodeReason::BadOperand),
    ] {
        let mut bad = bytes.clone();
        bad[place] = byte;
        assert_eq!(reason(&bad), wanted, "{place}");
    }
    assert_eq!(reason(&bytes[..60]), DecodeReason::Truncated);
}

#[test]
fn a_program_judges_by_the_specification_of_its_stream() {
    let compiled = rule("score(vault.totalAssets(), 10 min, 1000, 4072) <= 4 sigma");
    let book = book(&compiled);
    let code = book.encode().unwrap();
    assert_eq!((code[3], code[10]), (14, 1));
    assert_eq!(Rulebook::decode(&code).unwrap(), book);
    let problem = |book: &Rulebook| book.encode().unwrap_err().problem;
    // A program that tells its own roof, and so would see no deviation, is not adopted.
    let spec = spec_of(&compiled);
    let wide = Spec {
        roof: 3_000,
        floor: 3_000,
        ..spec
    }
    .to_bytes();
    let mut bad = book.clone();
    let program = &mut bad.rules[0].program;
    let at = program
        .windows(wide.len())
        .position(|bytes| bytes == spec.to_bytes())
        .unwrap();
    program[at..at + wide.len()].copy_from_slice(&wide);
    assert!(Program::decode(program).is_ok());
    assert_eq!(problem(&bad), Problem::BadStream);
    // Nor one that reads it as an anchor, or an anchor as statistics.
    let anchored = rule("anchor(vault.totalAssets(), 10 min, 0, 1e30) > 5");
    let mut bad = book.clone();
    let id = &compiled.streams[0].id;
    let mut program = anchored.program.clone();
    program[12..28].copy_from_slice(id.as_slice());
    bad.rules[0].program = program;
    assert_eq!(problem(&bad), Problem::BadStream);
    // The version tells of statistics, and there are some then.
    let mut older = code.clone();
    older[3] = 10;
    assert_eq!(Rulebook::decode(&older).unwrap_err().problem, Problem::BadStream);
    let mut newer = common::book(&anchored).encode().unwrap();
    assert_eq!(newer[3], 10);
    newer[3] = 14;
    assert_eq!(Rulebook::decode(&newer).unwrap_err().problem, Problem::NotARulebook);
}
