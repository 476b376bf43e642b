//! Golden vectors: the encoding is frozen, and so is what it evaluates to. To write them anew after a deliberate change of the encoding: `CORDON_BLESS=1 cargo test`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{Address, B256, U256, hex};
use common::{World, address, rule};
use cordon_core::rule::{
    Class, Compiled, Inputs, Int, Param, Program, ReadError, Reader, Type, Value, compile, compile_call, evaluate,
    evaluate_value,
};
use cordon_core::rulebook::{
    Containment, ContainmentSet, Order, Rule, Rulebook, Scope, ScopeKind, Stream, Undo, set_name,
};
use cordon_core::stream::Spec;
use cordon_core::{Action, ActionSet, Level};
use std::fmt::Write as _;
use std::path::Path;

/// Answers reads in the order in which they are made; `x` is a read that reverts.
struct Script<'a> {
    answers: Vec<&'a str>,
    next: usize,
}

impl Script<'_> {
    fn word(&mut self) -> Result<B256, ReadError> {
        let answer = self.answers.get(self.next).copied().ok_or(ReadError::Unavailable)?;
        self.next += 1;
        if answer == "x" {
            Err(ReadError::Reverted)
        } else {
            Ok(word(answer))
        }
    }
}

impl Reader for Script<'_> {
    fn call(&mut self, _: Address, _: &[u8], _: u64, _: u16) -> Result<B256, ReadError> {
        self.word()
    }
    fn balance(&mut self, _: Address) -> Result<U256, ReadError> {
        self.word().map(Into::into)
    }
    fn code_hash(&mut self, _: Address) -> Result<B256, ReadError> {
        self.word()
    }
    fn now(&self) -> u64 {
        1_700_000_000
    }
    /// The first word of a stream of 10 minutes whose anchor was stored 10 minutes ago; `?` when nothing was stored.
    fn stored(&mut self, _: &B256) -> Result<B256, ReadError> {
        if self.answers.get(self.next) == Some(&"?") {
            self.next += 1;
            return Ok(B256::ZERO);
        }
        if let Some(answer) = self.answers.get(self.next).filter(|answer| answer.contains(['~', '.'])) {
            self.next += 1;
            return Ok(learnt(answer).into());
        }
        let anchor = U256::from_be_bytes(self.word()?.0);
        let rest = [(1_699_999_400_u64, 128), (1_700_000_000, 168), (600, 208), (3, 240)];
        let word = rest
            .into_iter()
            .fold(anchor, |word, (field, at)| word | U256::from(field) << at);
        Ok(word.into())
    }
}

/// A word of a stream of statistics that is warm: `mean~deviation` or `mean~deviation~up`, or the second one, `lowest..highest`.
fn learnt(text: &str) -> U256 {
    let number = |text: &str| text.parse::<U256>().expect("a number");
    if let Some((low, high)) = text.split_once("..") {
        return number(low) | number(high) << 48 | ((U256::ONE << 144) - (U256::ONE << 96)) | number(high) << 192;
    }
    let mut parts = text.split('~').map(number);
    let mut next = || parts.next().unwrap_or_default();
    let (mean, deviation) = (next(), next());
    let times = U256::from(1_700_000_000_u64) | U256::from(4_095_u16) << 40;
    mean << 16 | deviation << 80 | times << 128 | next() << 192
}

/// A decimal number (two's complement when negative), or a contract's name.
fn word(text: &str) -> B256 {
    match text.strip_prefix('-') {
        Some(magnitude) => B256::from(U256::ZERO.wrapping_sub(magnitude.parse().expect("a number"))),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => B256::from(text.parse::<U256>().expect("a number")),
        None => address(text).into_word(),
    }
}

/// Rules with cases: what the reads answer in order, then after `|` the witness.
const RULES: &[(&str, &[&str])] = &[
    (
        "usdc.balanceOf(vault) + vault.totalBorrows() >= vault.totalAssets()",
        &[
            "60 40 100",
            "60 39 100",
            "60 x 100",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935 1 5",
        ],
    ),
    (
        "near(oracle.getAssetPrice(weth), weth_ref.latestAnswer(), 15 %)",
        &["3000 2760", "300000 3000", "2550 3000", "2549 3000", "5 -5", "0 0"],
    ),
    (
        "oracle.getSourceOfAsset(weth) == weth_feed",
        &["weth_feed", "usdc", "x"],
    ),
    (
        "!data.getReserveConfigurationData(usdc).borrowingEnabled",
        &["0", "1", "2"],
    ),
    ("data.getPaused(weth) && data.getPaused(usdc)", &["1 1", "0", "1 0"]),
    (
        "vault.totalSupply() == 0 || near(vault.convertToAssets(1e18), entry(vault.convertToAssets(1e18)), 50 bps)",
        &["0", "5 1000000", "5 1005026"],
    ),
    (
        "account: debt < 1000e8 || collateral * 95 % >= debt",
        &[
            "99999999999 | usdc",
            "100000000000 105263157895 | usdc",
            "100000000000 105263157894 | usdc",
            "5",
            "5 | -1",
        ],
    ),
    (
        "vault.totalAssets() * vault.totalSupply() / vault.totalBorrows() <= 7",
        &[
            "14 2 4",
            "4 2 1",
            "1 1 0",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935 115792089237316195423570985008687907853269984665640564039457584007913129639935 1",
        ],
    ),
    (
        "-weth_ref.latestAnswer() / 2 >= -4 && now - 1 hour > 1699990000 && eth(vault) != 3",
        &["9 4", "9 3", "10"],
    ),
    (
        "min(vault.totalAssets(), 10, vault.totalSupply()) < max(abs(weth_ref.latestAnswer()), 3)",
        &["5 4 -5", "9 8 3"],
    ),
    (
        "codehash(oracle) == 0x000000000000000000000001c5d2460186f7233c927e7db2dcc703c0e500b653 || usdc(vault.asset()).decimals() != 6",
        &["0 weth 6", "0 weth 18", "0 -1 18"],
    ),
    (
        "near(vault.totalAssets(), anchor(vault.totalAssets(), 10 min, 500e18, 5000e18, step: 5 %), 2 %)",
        &["1000 1020", "1000 1021", "1000 ?", "x 1000"],
    ),
    (
        "score(vault.totalAssets(), 10 min, 500, 5000) <= 4.5 sigma",
        &[
            "1090 1000~20",
            "1091 1000~20",
            "909 1000~20",
            "1017 1000~4",
            "1091 1000~99999",
            "1000 ?",
            "x 1000~20",
        ],
    ),
    (
        "drift(vault.totalAssets(), 10 min, 500, 5000, floor: 20, slack: 0.5 sigma, rate: 1 %) <= 8 sigma || depth > 1",
        &[
            "1000 1000~20~8000",
            "1020 1000~20~7500",
            "1021 1000~20~7500 1",
            "5000 1000~20~4500",
            "5000 1000~20~4501 2",
        ],
    ),
    (
        "near(vault.totalAssets(), mean(vault.totalAssets(), 1 h, 1e18, 4000e18), 10 %) || abs(vault.totalAssets() - anchor(vault.totalAssets(), 1 h, -1, 4000e18)) <= deviation(vault.totalAssets(), 1 h, 1e18, 4000e18) * 3",
        &[
            "2000000000000000000000 119209289550781~1",
            "2000000000000000000000 36000000000000~1 1999000000000000000000 36000000000000~1",
        ],
    ),
    (
        "vault.totalAssets() >= lowest(vault.totalAssets(), 1 day, 500, 5000) * 90 % && vault.totalAssets() <= highest(vault.totalAssets(), 1 day, 500, 5000) * 2",
        &[
            "810 1000~20 900..1100 1000~20 900..1100",
            "809 1000~20 900..1100",
            "2201 1000~20 900..1100 1000~20 900..1100",
            "1000 ?",
        ],
    ),
];

fn compiled(source: &str) -> Compiled {
    let Some(witnessed) = source.strip_prefix("account: ") else {
        return rule(source);
    };
    let params = [Param {
        name: "account".into(),
        ty: Type::Address,
    }];
    let lets = [
        ("debt", "pool.debtOf(account)"),
        ("collateral", "pool.collateralOf(account)"),
    ];
    compile(
        witnessed,
        &params,
        &lets.map(|(name, part)| (name.into(), part.into())),
        &World,
    )
    .expect("compiles")
}

fn signed(value: Int) -> String {
    format!("{}{}", if value.negative { "-" } else { "" }, value.magnitude)
}

fn case(compiled: &Compiled, case: &str) -> String {
    let (answers, witness) = case.split_once('|').unwrap_or((case, ""));
    let params: Vec<B256> = witness.split_whitespace().map(word).collect();
    let mut reader = Script {
        answers: answers.split_whitespace().collect(),
        next: 0,
    };
    // Values at entry are a million, so that one script serves a rule.
    let entries: Vec<Value> = compiled
        .entries
        .iter()
        .map(|_| Value::Int(Int::from(1_000_000)))
        .collect();
    let program = Program::decode(&compiled.program).expect("valid");
    let result = evaluate(
        &program,
        &Inputs {
            params: &params,
            entries: &entries,
        },
        &mut reader,
    );
    format!(
        "{:?} reason={} observed={} bound={}",
        result.verdict,
        result.reason,
        signed(result.observed),
        signed(result.bound)
    )
}

fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("CORDON_BLESS").is_some() {
        std::fs::write(&path, text).expect("writes the golden file");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    for (number, (wanted, found)) in (1..).zip(golden.lines().zip(text.lines())) {
        assert_eq!(
            found, wanted,
            "{file}, line {number}: the encoding or its meaning has changed"
        );
    }
    assert_eq!(golden.lines().count(), text.lines().count(), "{file}");
}

#[test]
fn rules_have_these_bytes_and_verdicts() {
    let mut text = String::from(
        "# rule: source. program, entry: hex. case: answers to the reads in order (x reverts), `|`, witness words -> evaluation.\n\
         # Contracts have the addresses 0x…c0de01 (vault), 02 usdc, 03 oracle, 04 weth, 05 weth_feed, 06 weth_ref, 07 pool, 08 data, 09 configurator.\n\
         # Values at entry are 1000000, the time is 1700000000, anchors were stored 600 s before (`?`: none was).\n\
         # A stream of statistics is warm and answers mean~deviation (and ~up), or with its second word lowest..highest.\n",
    );
    for (source, cases) in RULES {
        let compiled = compiled(source);
        writeln!(
            text,
            "\nrule {source}\nclass {:?}\nprogram {}",
            compiled.class,
            hex::encode(&compiled.program)
        )
        .unwrap();
        for entry in &compiled.entries {
            writeln!(text, "entry {}", hex::encode(entry)).unwrap();
        }
        for stream in &compiled.streams {
            let (id, program) = (stream.id, hex::encode(&stream.program));
            let spec = match stream.spec {
                Spec::Anchor(spec) => format!("period={} step={}", spec.period, spec.step),
                Spec::Baseline(spec) => format!("learnt={}", hex::encode(spec.to_bytes())),
            };
            writeln!(text, "stream {id} {spec} {program}").unwrap();
        }
        for answers in *cases {
            writeln!(text, "case {answers} -> {}", case(&compiled, answers)).unwrap();
        }
    }
    check("rules.txt", &text);
}

fn book() -> Rulebook {
    let price = compiled(RULES[1].0);
    let solvent = compiled(RULES[6].0);
    let share = compiled(RULES[5].0);
    let base = Rule {
        scope: 1,
        class: Class::State,
        robust: true,
        shadow: false,
        level: Level::ReduceOnly,
        duration: 3600,
        check: ActionSet::EMPTY,
        params: 0,
        program: price.program,
        entries: Vec::new(),
    };
    let hook = Rule {
        scope: 0,
        class: Class::Hook,
        robust: false,
        shadow: true,
        level: Level::Normal,
        duration: 0,
        check: [Action::Deposit, Action::Withdraw].into_iter().collect(),
        program: share.program,
        entries: share.entries,
        ..base.clone()
    };
    let witnessed = Rule {
        scope: 0,
        params: 1,
        program: solvent.program,
        ..base.clone()
    };
    let call = |source: &str| compile_call(source, &World).expect("compiles").calldata;
    let restore = Containment {
        scope: 1,
        level: Level::ReduceOnly,
        target: address("oracle"),
        calldata: call("oracle.setAssetSources([weth], [weth_feed])"),
        gas: 500_000,
        closes: ActionSet::EMPTY,
        max_duration: 0,
        done: rule(RULES[2].0).program,
        undo: Vec::new(),
    };
    let pause = Containment {
        scope: 0,
        level: Level::Halted,
        target: address("configurator"),
        calldata: call("configurator.setPoolPause(true)"),
        closes: [
            Action::Deposit,
            Action::Withdraw,
            Action::Increase,
            Action::Decrease,
            Action::Repay,
            Action::Liquidate,
        ]
        .into_iter()
        .collect(),
        max_duration: 900,
        done: rule(RULES[4].0).program,
        undo: vec![Undo {
            target: address("configurator"),
            calldata: call("configurator.setPoolPause(false)"),
            undone: rule("!data.getPaused(weth)").program,
        }],
        ..restore.clone()
    };
    Rulebook {
        scopes: vec![
            Scope::new(ScopeKind::Protocol, "protocol"),
            Scope::new(ScopeKind::Market, "weth"),
            Scope::new(ScopeKind::Asset, "usdc"),
        ],
        callers: vec![address("vault")],
        rules: vec![base, witnessed, hook],
        containments: vec![restore, pause],
        streams: Vec::new(),
        sets: Vec::new(),
    }
}

/// The same with a stream, and a rule that reads it.
fn anchored() -> Rulebook {
    let mut book = book();
    let steady = compiled(RULES[11].0);
    book.streams.extend(steady.streams.iter().map(|stream| Stream {
        scope: 1,
        spec: stream.spec,
        program: stream.program.clone(),
    }));
    book.rules[0].program = steady.program;
    book
}

/// The same with statistics too.
fn usual() -> Rulebook {
    let mut book = anchored();
    let score = compiled(RULES[12].0);
    book.streams.extend(score.streams.iter().map(|stream| Stream {
        scope: 0,
        spec: stream.spec,
        program: stream.program.clone(),
    }));
    book.rules[2].class = Class::State;
    book.rules[2].program = score.program;
    book.rules[2].entries = Vec::new();
    book
}

/// The same with two containment sets.
fn with_sets(mut book: Rulebook) -> Rulebook {
    let order = |scope, level, duration| Order { scope, level, duration };
    let set = |name, hash, orders| ContainmentSet {
        name: set_name(name).unwrap(),
        reviewed: B256::repeat_byte(hash),
        orders,
    };
    book.sets = vec![
        set(
            "oracle-failure",
            0xa1,
            vec![order(1, Level::ReduceOnly, 3600), order(2, Level::Throttled, 1800)],
        ),
        set("halt", 0xa2, vec![order(0, Level::Halted, 900)]),
    ];
    book
}

#[test]
fn a_rulebook_has_these_bytes() {
    has_these_bytes("rulebook.hex", &book());
    has_these_bytes("rulebook-streams.hex", &anchored());
    has_these_bytes("rulebook-statistics.hex", &usual());
    has_these_bytes("rulebook-sets.hex", &with_sets(book()));
    has_these_bytes("rulebook-streams-sets.hex", &with_sets(anchored()));
}

fn has_these_bytes(file: &str, book: &Rulebook) {
    let code = book.encode().expect("a good book");
    let mut text = format!(
        "# {} bytes: the code of the account, STOP byte included; what it says is in tests/golden.rs\n",
        code.len()
    );
    for line in hex::encode(&code).as_bytes().chunks(120) {
        writeln!(text, "{}", std::str::from_utf8(line).unwrap()).unwrap();
    }
    check(file, &text);
    let golden = text.lines().skip(1).collect::<String>();
    assert_eq!(Rulebook::decode(&hex::decode(golden).unwrap()).unwrap(), *book);
}

#[test]
fn entry_programs_give_values() {
    let compiled = compiled(RULES[5].0);
    let program = Program::decode(&compiled.entries[0]).unwrap();
    let mut reader = Script {
        answers: vec!["77"],
        next: 0,
    };
    assert_eq!(
        evaluate_value(&program, &Inputs::default(), &mut reader),
        Ok(Value::Int(Int::from(77)))
    );
    for value in [
        Value::Int(Int::new(true, U256::MAX)),
        Value::Int(Int::from(0)),
        Value::Bool(true),
        Value::Word(B256::repeat_byte(3)),
    ] {
        let (tag, word) = value.to_parts();
        assert_eq!(Value::from_parts(tag, word), Some(value));
    }
    assert_eq!(Value::from_parts(4, B256::ZERO), None);
}
