//! The decoder trusts nothing, and compiled programs compute what the text says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{Address, B256, U256, U512, keccak256};
use common::{World, rule};
use cordon_core::baseline::SPEC_BYTES;
use cordon_core::rule::program::{HEADER, MAX_GAS, MAX_LEN, MAX_READS, MAX_STACK, OPERATOR_GAS, READ_GAS};
use cordon_core::rule::{
    DecodeReason, Inputs, Int, Program, ReadError, Reader, Unknown, Value, Verdict, compile, evaluate, evaluate_value,
};
use proptest::prelude::*;

/// Answers every read with words that depend on the seed, some of them wrong or missing, and counts what is asked of it.
#[derive(Default)]
struct Noise {
    seed: u64,
    reads: usize,
    /// Gas that calls may use.
    gas: u64,
}

impl Noise {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    fn word(&mut self) -> B256 {
        self.reads += 1;
        let hash = keccak256([self.seed.to_be_bytes(), (self.reads as u64).to_be_bytes()].concat());
        match hash[0] % 4 {
            0 => B256::with_last_byte(hash[1] % 2),
            1 => B256::with_last_byte(hash[1]),
            2 => !B256::with_last_byte(hash[1]),
            _ => hash,
        }
    }
}

impl Reader for Noise {
    fn call(&mut self, _: Address, _: &[u8], gas: u64, _: u16) -> Result<B256, ReadError> {
        self.gas += gas;
        let word = self.word();
        if word[31] == 7 {
            Err(ReadError::Reverted)
        } else {
            Ok(word)
        }
    }
    fn balance(&mut self, _: Address) -> Result<U256, ReadError> {
        Ok(self.word().into())
    }
    fn code_hash(&mut self, _: Address) -> Result<B256, ReadError> {
        Ok(self.word())
    }
    fn now(&self) -> u64 {
        self.seed
    }
    fn stored(&mut self, _: &B256) -> Result<B256, ReadError> {
        Ok(self.word())
    }
}

const SOURCES: [&str; 8] = [
    "score(vault.totalAssets(), 10 min, 1, 1e18) <= 4 sigma && near(vault.totalAssets(), anchor(vault.totalAssets(), 1 h, 1, 1e18), 9 %)",
    "drift(vault.totalAssets(), 10 min, 1, 9) <= 8 sigma || vault.totalAssets() < highest(vault.totalAssets(), 1 day, 0, 9)",
    "usdc.balanceOf(vault) + vault.totalBorrows() >= vault.totalAssets()",
    "vault.totalSupply() == 0 || near(vault.convertToAssets(1e18), entry(vault.convertToAssets(1e18)), 50 bps)",
    "data.getPaused(weth) && data.getPaused(usdc)",
    "oracle.getSourceOfAsset(weth) == weth_feed && eth(vault) * 85 % / 3 < 1e18 || codehash(vault) != codehash(usdc)",
    "min(vault.totalAssets(), 5, -abs(weth_ref.latestAnswer())) <= max(1, vault.totalAssets()) && !vault.paused()",
    "usdc(vault.asset()).decimals() == 6 || now > 5 days && entry(vault.asset()) == vault.asset()",
];

/// Operators of a code, by the lengths of their operands in the table of `docs/rules.md`: no code of the crate's own.
fn operators(mut code: &[u8]) -> u64 {
    let mut count = 0;
    while let Some((operator, rest)) = code.split_first() {
        let operands = match operator {
            0x01..=0x20 => usize::from(*operator),
            0x21 => 20,
            0x22 => 32,
            0x25 | 0x26 | 0x46 | 0x48 | 0x49 => 2,
            0x28 | 0x29 => 1,
            0x50 => 9 + usize::from(rest[8]),
            0x57 if rest[16] == 0 => 17,
            0x57 => 17 + SPEC_BYTES,
            _ => 0,
        };
        code = &rest[operands..];
        count += 1;
    }
    count
}

/// Whatever was read, and were every operator carried out (jumps go forward, so none is twice), the program has said that it would need as
/// much gas, and less than the most that a program may need.
fn assert_within_bound(program: &Program<'_>, reader: &Noise) {
    let operators = operators(program.code());
    let reads = u64::try_from(reader.reads).unwrap();
    let needed = reader.gas + reads * u64::from(READ_GAS) + operators * u64::from(OPERATOR_GAS);
    let stated = program.gas();
    assert!(
        needed <= u64::from(stated),
        "{needed} gas, {stated} stated: {:x?}",
        program.bytes()
    );
    assert!(stated <= MAX_GAS && program.bytes().len() <= MAX_LEN);
}

/// Evaluates whatever bytes these are and checks what always holds.
fn check_total(bytes: &[u8], seed: u64) {
    let entries = [Value::Int(Int::from(5)), Value::Word(B256::with_last_byte(9))];
    let inputs = Inputs {
        params: &[B256::with_last_byte(1), B256::ZERO],
        entries: &entries,
    };
    let mut reader = Noise::new(seed);
    let evaluation = evaluate(&Program::assume_valid(bytes), &inputs, &mut reader);
    assert_eq!(evaluation.reason == 0, evaluation.verdict != Verdict::Unknown);
    if let Ok(program) = Program::decode(bytes) {
        assert!(program.stack() as usize <= MAX_STACK && program.reads() <= MAX_READS);
        assert!(reader.reads <= usize::from(program.reads()));
        assert_within_bound(&program, &reader);
        let value = evaluate_value(&program, &inputs, &mut Noise::new(seed));
        assert_ne!(value, Err(Unknown::BadProgram), "a decoded program is valid to the end");
        if let Ok(value) = value {
            assert_eq!(Some(value.kind()), program.result());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), seed: u64) {
        check_total(&bytes, seed);
        // The same bytes as code after a header that lets them through as far as possible.
        let mut program = vec![1, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0];
        program.extend(&bytes);
        check_total(&program, seed);
    }

    #[test]
    fn operators_in_any_order_never_panic(
        code in prop::collection::vec(prop_oneof![
            Just(vec![0x01, 0x05]), Just(vec![0x21; 21]), Just(vec![0x23]), Just(vec![0x24]), Just(vec![0x25, 0, 0x60]),
            Just(vec![0x26, 0, 0]), Just(vec![0x27]), Just(vec![0x29, 0]), Just(vec![0x28, 0]), Just(vec![0x48, 0, 2]),
            Just(vec![0x49, 0, 1]), Just(vec![0x46, 0, 9]), Just(vec![0x47]), Just(vec![0x51]), Just(vec![0x52]),
            (0x30u8..=0x38).prop_map(|code| vec![code]), (0x40u8..=0x45).prop_map(|code| vec![code]),
            Just(vec![0x50, 1, 2, 3, 4, 0, 9, 0, 0x60, 1, 0x60]),
        ], 0..40),
        seed: u64,
    ) {
        let mut program = vec![1, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0];
        program.extend(code.concat());
        check_total(&program, seed);
    }

    #[test]
    fn a_changed_byte_is_refused_or_harmless(which in 0..SOURCES.len(), at in any::<prop::sample::Index>(), to: u8, seed: u64) {
        let mut bytes = rule(SOURCES[which]).program;
        let at = at.index(bytes.len());
        bytes[at] = to;
        check_total(&bytes, seed);
    }

    #[test]
    fn a_compiled_rule_keeps_to_the_gas_it_states(which in 0..SOURCES.len(), expr in condition(), seed: u64) {
        check_total(&rule(SOURCES[which]).program, seed);
        if let Ok(compiled) = compile(&expr.text(), &[], &[], &World) {
            check_total(&compiled.program, seed);
        }
    }

    #[test]
    fn every_cut_is_refused(which in 0..SOURCES.len(), at in any::<prop::sample::Index>()) {
        let bytes = rule(SOURCES[which]).program;
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(Program::decode(cut).is_err());
        check_total(cut, 1);
    }

    #[test]
    fn compiled_rules_compute_what_the_text_says(expr in condition(), answers in prop::collection::vec(answer(), 3)) {
        let source = expr.text();
        // Only folding may refuse these: a constant division by zero, a constant of more than 256 bits, too many parts.
        let compiled = match compile(&source, &[], &[], &World) {
            Ok(compiled) => compiled,
            Err(error) => {
                let known = ["division by zero", "needs more than 256 bits", "compiles to more than", "more than 32 reads"];
                prop_assert!(known.iter().any(|known| error.message.contains(known)), "{}: {}", source, error);
                return Ok(());
            }
        };
        let program = Program::decode(&compiled.program).unwrap();
        let evaluation = evaluate(&program, &Inputs::default(), &mut Fixed(&answers));
        let (verdict, reason) = match expr.truth(&answers) {
            Ok(true) => (Verdict::Holds, 0),
            Ok(false) => (Verdict::Breached, 0),
            Err(reason) => (Verdict::Unknown, reason.code()),
        };
        prop_assert_eq!((evaluation.verdict, evaluation.reason), (verdict, reason), "{}", source);
    }

    #[test]
    fn compiling_any_text_never_panics(source in "[a-z0-9_ .,()*/+<=>!&|%\\[\\]-]{0,60}|\\PC{0,30}") {
        let _ = compile(&source, &[], &[], &World);
        let _ = cordon_core::rule::compile_call(&source, &World);
    }
}

/// A number expression over three things read, with an independent meaning.
#[derive(Clone, Debug)]
enum Num {
    Read(usize),
    Literal(u64),
    Binary(char, Box<Num>, Box<Num>),
    Share(Box<Num>, u16),
    Neg(Box<Num>),
    MinMax(bool, Box<Num>, Box<Num>),
}

#[derive(Clone, Debug)]
enum Cond {
    Compare(&'static str, Num, Num),
    Near(Num, Num, u16),
    Both(bool, Box<Cond>, Box<Cond>),
    Not(Box<Cond>),
}

const READS: [&str; 3] = [
    "vault.totalAssets()",
    "weth_ref.latestAnswer()",
    "usdc.balanceOf(vault)",
];

fn number() -> impl Strategy<Value = Num> {
    let leaf = prop_oneof![3 => (0..3usize).prop_map(Num::Read), 1 => prop_oneof![0u64..5, any::<u64>()].prop_map(Num::Literal)];
    leaf.prop_recursive(4, 12, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            4 => (prop::sample::select(vec!['+', '-', '*', '/']), pair.clone())
                .prop_map(|(sign, (x, y))| Num::Binary(sign, Box::new(x), Box::new(y))),
            1 => (inner.clone(), 1u16..20_000).prop_map(|(x, share)| Num::Share(Box::new(x), share)),
            1 => inner.prop_map(|x| Num::Neg(Box::new(x))),
            1 => (any::<bool>(), pair).prop_map(|(min, (x, y))| Num::MinMax(min, Box::new(x), Box::new(y))),
        ]
    })
}

fn condition() -> impl Strategy<Value = Cond> {
    // A read on the left keeps the condition from being a constant, whose folding may skip an error that the text has.
    let left = (0..3usize, number())
        .prop_map(|(read, x)| Num::MinMax(true, Box::new(Num::Read(read)), Box::new(x)))
        .boxed();
    let compare = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let leaf = prop_oneof![
        4 => (compare, left.clone(), number()).prop_map(|(sign, x, y)| Cond::Compare(sign, x, y)),
        1 => (left, number(), 1u16..10_000).prop_map(|(x, y, tolerance)| Cond::Near(x, y, tolerance)),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            3 => (any::<bool>(), inner.clone(), inner.clone()).prop_map(|(and, x, y)| Cond::Both(and, Box::new(x), Box::new(y))),
            1 => inner.prop_map(|x| Cond::Not(Box::new(x))),
        ]
    })
}

fn answer() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        any::<u64>().prop_map(U256::from),
        any::<u128>().prop_map(U256::from),
        any::<[u64; 4]>().prop_map(U256::from_limbs),
        Just(U256::MAX),
        Just(U256::from(1) << 255),
    ]
}

/// Reads by selector: the n-th of [`READS`] gives the n-th answer.
struct Fixed<'a>(&'a [U256]);

impl Reader for Fixed<'_> {
    fn call(&mut self, _: Address, calldata: &[u8], _: u64, _: u16) -> Result<B256, ReadError> {
        let names = ["totalAssets()", "latestAnswer()", "balanceOf(address)"];
        let index = names
            .iter()
            .position(|name| common::selector(name) == calldata[..4])
            .expect("one of the reads");
        Ok(B256::from(self.0[index]))
    }
    fn balance(&mut self, _: Address) -> Result<U256, ReadError> {
        Err(ReadError::Unavailable)
    }
    fn code_hash(&mut self, _: Address) -> Result<B256, ReadError> {
        Err(ReadError::Unavailable)
    }
    fn now(&self) -> u64 {
        0
    }
}

/// A sign and 512 bits: the reference's number.
type Big = (bool, U512);

fn fit(value: Big) -> Result<Big, Unknown> {
    if value.1 > U512::from(U256::MAX) {
        Err(Unknown::Overflow)
    } else {
        Ok((value.0 && !value.1.is_zero(), value.1))
    }
}

fn sum(x: Big, y: Big) -> Big {
    match (x.0 == y.0, x.1 >= y.1) {
        (true, _) => (x.0, x.1 + y.1),
        (false, true) => (x.0, x.1 - y.1),
        (false, false) => (y.0, y.1 - x.1),
    }
}

fn less(x: Big, y: Big) -> bool {
    let (x, y) = ((x.0 && !x.1.is_zero(), x.1), (y.0 && !y.1.is_zero(), y.1));
    match (x.0, y.0) {
        (false, false) => x.1 < y.1,
        (true, true) => x.1 > y.1,
        (negative, _) => negative,
    }
}

impl Num {
    fn text(&self) -> String {
        match self {
            Num::Read(index) => READS[*index].into(),
            Num::Literal(value) => value.to_string(),
            Num::Binary(sign, x, y) => format!("({} {sign} {})", x.text(), y.text()),
            Num::Share(x, share) => format!("({} * {share} bps)", x.text()),
            Num::Neg(x) => format!("(-{})", x.text()),
            Num::MinMax(min, x, y) => format!("{}({}, {})", if *min { "min" } else { "max" }, x.text(), y.text()),
        }
    }

    fn value(&self, answers: &[U256]) -> Result<Big, Unknown> {
        Ok(match self {
            Num::Read(1) => {
                let negative = answers[1].bit(255);
                let magnitude = if negative {
                    U256::ZERO.wrapping_sub(answers[1])
                } else {
                    answers[1]
                };
                (negative, U512::from(magnitude))
            }
            Num::Read(index) => (false, U512::from(answers[*index])),
            Num::Literal(value) => (false, U512::from(*value)),
            Num::Binary('/', x, y) => {
                // `a * b / c` is full width.
                let numerator = match &**x {
                    Num::Binary('*', a, b) => {
                        let (a, b) = (a.value(answers)?, b.value(answers)?);
                        (a.0 != b.0, a.1 * b.1)
                    }
                    other => other.value(answers)?,
                };
                divide(numerator, y.value(answers)?)?
            }
            Num::Binary(sign, x, y) => {
                let (x, y) = (x.value(answers)?, y.value(answers)?);
                fit(match sign {
                    '+' => sum(x, y),
                    '-' => sum(x, (!y.0, y.1)),
                    _ => (x.0 != y.0, x.1 * y.1),
                })?
            }
            Num::Share(x, share) => {
                let x = x.value(answers)?;
                divide((x.0, x.1 * U512::from(*share)), (false, U512::from(10_000)))?
            }
            Num::Neg(x) => {
                let x = x.value(answers)?;
                (!x.0, x.1)
            }
            Num::MinMax(min, x, y) => {
                let (x, y) = (x.value(answers)?, y.value(answers)?);
                if less(x, y) == *min { x } else { y }
            }
        })
    }
}

fn divide(x: Big, y: Big) -> Result<Big, Unknown> {
    if y.1.is_zero() {
        return Err(Unknown::DivisionByZero);
    }
    fit((x.0 != y.0, x.1 / y.1))
}

impl Cond {
    fn text(&self) -> String {
        match self {
            Cond::Compare(sign, x, y) => format!("{} {sign} {}", x.text(), y.text()),
            Cond::Near(x, y, tolerance) => format!("near({}, {}, {tolerance} bps)", x.text(), y.text()),
            Cond::Both(and, x, y) => format!("({}) {} ({})", x.text(), if *and { "&&" } else { "||" }, y.text()),
            Cond::Not(x) => format!("!({})", x.text()),
        }
    }

    fn truth(&self, answers: &[U256]) -> Result<bool, Unknown> {
        Ok(match self {
            Cond::Compare(sign, x, y) => {
                let (x, y) = (x.value(answers)?, y.value(answers)?);
                match *sign {
                    "<" => less(x, y),
                    "<=" => !less(y, x),
                    ">" => less(y, x),
                    ">=" => !less(x, y),
                    "==" => !less(x, y) && !less(y, x),
                    _ => less(x, y) || less(y, x),
                }
            }
            Cond::Near(x, y, tolerance) => {
                let (x, y) = (x.value(answers)?, y.value(answers)?);
                sum(x, (!y.0, y.1)).1 * U512::from(10_000) <= x.1.max(y.1) * U512::from(*tolerance)
            }
            Cond::Both(and, x, y) => {
                if x.truth(answers)? == *and {
                    y.truth(answers)?
                } else {
                    !and
                }
            }
            Cond::Not(x) => !x.truth(answers)?,
        })
    }
}

fn reason(bytes: &[u8]) -> DecodeReason {
    Program::decode(bytes).unwrap_err().reason
}

#[test]
fn each_fault_has_its_reason() {
    let good = rule("vault.totalAssets() >= 5").program;
    assert!(Program::decode(&good).is_ok());
    let with = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    assert_eq!(reason(&[0; HEADER + 2037]), DecodeReason::BadVersion);
    assert_eq!(reason(&[0; HEADER + 2038]), DecodeReason::TooLong);
    assert_eq!(reason(&good[..5]), DecodeReason::Truncated);
    for at in 1..HEADER {
        assert!(matches!(reason(&with(at, 9)), DecodeReason::BadHeader), "{at}");
    }
    assert_eq!(reason(&with(HEADER, 0)), DecodeReason::BadOperator);
    let last = good.len() - 1;
    assert_eq!(reason(&with(last, 0x47)), DecodeReason::WrongKind);
    assert_eq!(reason(&good[..last]), DecodeReason::StackOverflow);
    let code = |code: &[u8]| [&[1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0][..], code].concat();
    assert_eq!(reason(&code(&[])), DecodeReason::StackUnderflow);
    assert_eq!(reason(&code(&[0x02, 0, 5])), DecodeReason::BadOperand, "5 in two bytes");
    assert_eq!(reason(&code(&[0x25, 1, 0])), DecodeReason::BadIndex);
    assert_eq!(reason(&code(&[0x25, 0, 2])), DecodeReason::BadType);
    assert_eq!(
        reason(&code(&[0x28, 0])),
        DecodeReason::BadIndex,
        "a local that was not set"
    );
    assert_eq!(reason(&code(&[0x23, 0x48, 0, 9, 0x23])), DecodeReason::BadBlock);
    assert_eq!(reason(&code(&[0x23, 0x48, 0, 1, 0x27])), DecodeReason::WrongKind);
    // A local set in a block that may have been skipped.
    assert_eq!(
        reason(&code(&[0x23, 0x48, 0, 3, 0x23, 0x29, 0, 0x28, 0])),
        DecodeReason::BadIndex
    );
    // One more value than the stack holds, though one is left in the end. BadHeader: the code itself is right.
    let combined = |values: usize| code(&[vec![0x23; values], vec![0x44; values - 1]].concat());
    assert_eq!(reason(&combined(33)), DecodeReason::StackOverflow);
    assert_eq!(reason(&combined(32)), DecodeReason::BadHeader);
    let read = [
        0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x51, 0x01, 0, 0x44,
    ];
    let mut many = read.to_vec();
    for _ in 0..32 {
        many.extend([0x48, 0, 25]);
        many.extend(read);
    }
    assert_eq!(reason(&code(&many)), DecodeReason::TooManyReads);
    let costly = [
        &[
            0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 1, 2, 3, 4,
        ][..],
        &[0xff, 0xff, 0, 0, 0],
    ]
    .concat();
    assert_eq!(reason(&code(&costly)), DecodeReason::TooMuchGas);
    // Bounds that are met to the last one.
    let call = |gas: u8, args: usize| {
        let account = [&[0x21][..], &[1; 20]].concat();
        let operator = [
            &[0x50, 1, 2, 3, 4, 0, gas, 0, 0, u8::try_from(args).unwrap()][..],
            &vec![0x60; args],
        ]
        .concat();
        code(&[account, [0x01, 1].repeat(args), operator].concat())
    };
    for (gas, args) in [(1, 9), (0, 8)] {
        assert_eq!(
            reason(&call(gas, args)),
            DecodeReason::BadOperand,
            "{gas} gas, {args} arguments"
        );
    }
    assert_eq!(reason(&call(1, 8)), DecodeReason::BadHeader, "the code is right");
    let near = |tolerance: u16| code(&[&[0x01, 1, 0x01, 1, 0x46][..], &tolerance.to_be_bytes()].concat());
    assert_eq!(reason(&near(10_001)), DecodeReason::BadOperand);
    assert_eq!(reason(&near(10_000)), DecodeReason::BadHeader);
}

/// What a block does must not show when it is skipped.
#[test]
fn a_block_touches_nothing_around_it_and_ends_between_operators() {
    let code = |code: &[u8]| reason(&[&[1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0][..], code].concat());
    // It takes a value of before, and leaves as many as it found.
    assert_eq!(
        code(&[0x23, 0x23, 0x48, 0, 3, 0x23, 0x44, 0x23, 0x44]),
        DecodeReason::StackUnderflow
    );
    // Its end lies within an operator's operands.
    assert_eq!(code(&[0x23, 0x48, 0, 1, 0x26, 0, 0]), DecodeReason::BadBlock);
    assert_eq!(
        code(&[0x23, 0x48, 0, 3, 0x26, 0, 0]),
        DecodeReason::BadHeader,
        "all of it: the code is right"
    );
    let nested = |depth: u8| {
        (1..=depth).fold(vec![0x23], |inner, _| {
            let length = u16::try_from(inner.len()).unwrap().to_be_bytes();
            [&[0x23, 0x48][..], &length, &inner].concat()
        })
    };
    assert_eq!(code(&nested(16)), DecodeReason::BadHeader);
    assert_eq!(
        code(&nested(17)),
        DecodeReason::BadBlock,
        "one more than can be open at once"
    );
}
