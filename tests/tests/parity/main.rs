//! A rule means the same wherever it is evaluated: random rules over random values, by the native evaluator and by the guard's programs on the
//! node, which runs them interpreted and as native code. Three programs of the guard have the evaluator in them, each built for what it does:
//! that of the views, that of trips, and that of hooks.
//!
//! Each run has other rules and values. It prints its seed first: `CORDON_PARITY_SEED=… cargo test -p cordon-tests --test parity` runs it again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod registers;
mod rules;
mod world;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use alloy::primitives::{Address, B256, U256};
use cordon_client::guard::ICordonGuard::Action;
use cordon_core::anchor::key;
use cordon_core::rule::{Evaluation, Inputs, Int, Program, Value, evaluate, evaluate_value};
use cordon_core::rulebook::{Rule, Stream};
use cordon_core::stream::Stored;
use cordon_node::EngineChoice;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Settings, RngSeed, TestRunner};

use crate::registers::{ALL, Native, Reading, Transaction, VALUES, address, addresses, readings, word};
use crate::rules::{Kind, condition};
use crate::world::{IProbe, Source, Told, World, action, compiled};

/// Names the seed of a run that is to be run again.
const SEED: &str = "CORDON_PARITY_SEED";
/// Seconds between two rounds: the least age of an anchor, the spacing of statistics.
pub(crate) const PERIOD: u64 = 600;
/// Rules of each kind.
const RULES: [(Kind, usize); 3] = [(Kind::State, 32), (Kind::Witness, 16), (Kind::Hook, 20)];
const ROUNDS: usize = 10;
/// Observations before the rounds, enough for the statistics to be warm.
const WARM_UP: usize = 25;
/// Of each verdict, how often it must have come at least: a run that only sees one proves little.
const LEAST: usize = 5;

/// The streams of the rules, updated natively: program, how it is observed, what is stored.
struct Streams(Vec<(Stream, Stored)>);

impl Streams {
    fn new(streams: &[Stream]) -> Self {
        let empty = |stream: &Stream| (stream.clone(), Stored::unpack(&stream.spec, U256::ZERO, U256::ZERO));
        Self(streams.iter().map(empty).collect())
    }

    /// What every stream has stored once the registers held these values at `now`.
    fn observe(&mut self, readings: &[Reading], now: u64) {
        let nothing = HashMap::new();
        for (stream, stored) in &mut self.0 {
            let mut native = Native::new(readings, &nothing, now);
            let program = Program::decode(&stream.program).unwrap();
            let Ok(Value::Int(value)) = evaluate_value(&program, &Inputs::default(), &mut native) else {
                continue;
            };
            if let Ok(next) = stored.observe(&value, now) {
                *stored = next;
            }
        }
    }

    /// The same by storage key.
    fn words(&self) -> HashMap<B256, U256> {
        let words = self.0.iter().flat_map(|(stream, stored)| {
            let (head, rest) = stored.pack();
            [(key(&stream.id(), 0), head), (key(&stream.id(), 1), rest)]
        });
        words.collect()
    }
}

fn told(of: &Evaluation) -> Told {
    let shown = |int: Int| (int.negative, int.magnitude);
    Told {
        verdict: of.verdict as u8,
        reason: of.reason,
        operands: [shown(of.observed), shown(of.bound)],
    }
}

/// A guarded call: what came before in its transaction, the call itself, and what changes within it.
#[derive(Clone, Debug)]
struct Guarded {
    before: Vec<IProbe::Call>,
    last: IProbe::Call,
    pokes: Vec<IProbe::Poke>,
}

fn call(actions: Vec<Action>) -> impl Strategy<Value = IProbe::Call> {
    let asset = (0..VALUES).prop_map(|place| addresses()[place]);
    let fields = (prop::sample::select(actions), asset, word(), any::<bool>());
    fields.prop_map(|(action, asset, amount, open)| IProbe::Call {
        action: action as u8,
        asset,
        amount,
        open,
    })
}

fn guarded(action: Action) -> impl Strategy<Value = Guarded> {
    // No rule is checked for these.
    let others = vec![Action::Deposit, Action::Withdraw, Action::Repay, Action::Decrease];
    let poke = (0..ALL, word(), address(), prop::bool::weighted(0.1)).prop_map(|(place, word, address, silent)| {
        IProbe::Poke {
            register: addresses()[place],
            value: if place < VALUES { word } else { address },
            silent: U256::from(u8::from(silent)),
        }
    });
    let before = prop::collection::vec(call(others), 0..3);
    let pokes = prop::collection::vec(poke, 0..3);
    (before, call(vec![action]), pokes).prop_map(|(before, last, pokes)| Guarded { before, last, pokes })
}

impl Guarded {
    /// What the guard should know of the transaction when the last call ends.
    fn transaction(&self) -> Transaction {
        let mut known = Transaction::default();
        let is = |call: &IProbe::Call, action: Action| call.action == action as u8;
        for call in self.before.iter().chain([&self.last]) {
            let comes_in = is(call, Action::Deposit) || is(call, Action::Repay);
            let goes_out = is(call, Action::Withdraw) || is(call, Action::Increase);
            for (flows, happens) in [(&mut known.entered, comes_in), (&mut known.left, goes_out)] {
                if happens {
                    let sum: &mut U256 = flows.entry(call.asset).or_default();
                    *sum = sum.saturating_add(call.amount);
                }
            }
        }
        let any = |action| self.before.iter().any(|call| is(call, action));
        known.round_trip = any(Action::Deposit) && any(Action::Withdraw);
        known.depth = 1 + self.before.iter().filter(|call| call.open).count() as u64;
        known
    }

    /// What the registers answer when it ends.
    fn after(&self, readings: &[Reading]) -> Vec<Reading> {
        let mut after = readings.to_vec();
        for poke in &self.pokes {
            let place = addresses()
                .iter()
                .position(|register| *register == poke.register)
                .unwrap();
            after[place].0 = poke.silent.is_zero().then_some(poke.value);
        }
        after
    }

    /// A hook rule over this call, natively.
    fn evaluate(&self, rule: &Rule, readings: &[Reading], stored: &HashMap<B256, U256>, now: u64) -> Told {
        let mut entries = Vec::new();
        for entry in &rule.entries {
            let program = Program::decode(entry).unwrap();
            match evaluate_value(&program, &Inputs::default(), &mut Native::new(readings, stored, now)) {
                Ok(value) => entries.push(value),
                Err(reason) => return told(&Evaluation::unknown(reason)),
            }
        }
        let inputs = Inputs {
            entries: &entries,
            ..Inputs::default()
        };
        let (after, transaction) = (self.after(readings), self.transaction());
        let mut native = Native::new(&after, stored, now).within(&transaction);
        told(&evaluate(
            &Program::decode(&rule.program).unwrap(),
            &inputs,
            &mut native,
        ))
    }
}

/// Rules that the compiler takes, and a rulebook holds together.
fn sources(runner: &mut TestRunner) -> Vec<Source> {
    let fits = |sources: &[Source]| compiled("http://127.0.0.1:1", Address::repeat_byte(9), sources).is_some();
    let mut sources = Vec::new();
    for (kind, count) in RULES {
        let rules = condition(kind);
        let wanted = sources.len() + count;
        let mut tried = 0;
        while sources.len() < wanted {
            tried += 1;
            assert!(tried < 40 * count, "hardly any rule of the kind {kind:?} compiles");
            let text = rules.new_tree(runner).unwrap().current();
            let source = Source { text, kind };
            // Constants that overflow, rules that are always true: the compiler refuses those. A hook rule must not be one of state.
            if fits(std::slice::from_ref(&source)) {
                sources.push(source);
            }
        }
    }
    // The gas of all hook rules of an action is bounded, and the size of a rulebook.
    while !fits(&sources) {
        sources.pop();
    }
    sources
}

struct Runs {
    worlds: [World; 2],
    sources: Vec<Source>,
    runner: TestRunner,
    streams: Streams,
    now: u64,
    /// How often each program told each verdict.
    verdicts: [[usize; 3]; 3],
}

impl Runs {
    fn next<S: Strategy>(&mut self, strategy: &S) -> S::Value {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    /// Moves on to a time at which the registers hold these values, and observes it; what is stored then.
    async fn observe(&mut self, readings: &[Reading]) -> HashMap<B256, U256> {
        self.now += PERIOD;
        self.streams.observe(readings, self.now);
        let stored = self.streams.words();
        for world in &self.worlds {
            world.set(readings).await;
            assert_eq!(
                world.observe(self.now).await,
                stored,
                "stored by the guard and natively"
            );
        }
        stored
    }

    /// All rules over other values.
    async fn round(&mut self) {
        let values = self.next(&readings());
        let stored = self.observe(&values).await;
        self.views_and_trips(&values, &stored).await;
        self.hooks(&values, &stored).await;
    }

    async fn views_and_trips(&mut self, values: &[Reading], stored: &HashMap<B256, U256>) {
        let word = |word: U256| B256::from(word);
        let witness = (word_of_any(), word_of_any(), address(), word_of_any())
            .prop_map(move |(n, s, a, t)| vec![word(n), word(s), word(a), word(t)]);
        let (mut numbers, mut witnesses, mut natives) = (vec![], vec![], vec![]);
        for place in 0..self.sources.len() {
            if self.sources[place].kind == Kind::Hook {
                continue;
            }
            let given = match self.sources[place].kind {
                Kind::Witness => self.next(&witness),
                _ => vec![],
            };
            let program = Program::decode(&self.worlds[0].rules[place].program).unwrap();
            let inputs = Inputs {
                params: &given,
                ..Inputs::default()
            };
            let mut native = Native::new(values, stored, self.now);
            natives.push(told(&evaluate(&program, &inputs, &mut native)));
            numbers.push(u16::try_from(place).unwrap());
            witnesses.push(given);
        }
        for world in &self.worlds {
            let views = world.evaluate(&numbers, &witnesses).await;
            for (at, number) in numbers.iter().enumerate() {
                let (own, given) = (natives[at], &witnesses[at]);
                let rule = &self.sources[usize::from(*number)].text;
                assert_eq!(views[at], own, "views, {rule}, {given:?}, {values:?}");
                let trip = world.trip(*number, given.clone()).await;
                assert_eq!(trip, own.without_operands(), "trip, {rule}, {given:?}, {values:?}");
                self.verdicts[0][usize::from(own.verdict)] += 1;
                self.verdicts[1][usize::from(own.verdict)] += 1;
            }
        }
    }

    async fn hooks(&mut self, values: &[Reading], stored: &HashMap<B256, U256>) {
        let mut scope = 0;
        for place in 0..self.sources.len() {
            if self.sources[place].kind != Kind::Hook {
                continue;
            }
            scope += 1;
            let guarded = self.next(&guarded(action(place)));
            let own = guarded.evaluate(&self.worlds[0].rules[place], values, stored, self.now);
            for world in &self.worlds {
                let Guarded { before, last, pokes } = guarded.clone();
                let hooked = world.hooked(scope, &before, last, &pokes).await;
                let rule = &self.sources[place].text;
                assert_eq!(hooked, own.without_operands(), "hooks, {rule}, {guarded:?}, {values:?}");
                self.verdicts[2][usize::from(own.verdict)] += 1;
            }
        }
    }
}

/// A witness word of whatever type.
fn word_of_any() -> impl Strategy<Value = U256> {
    prop_oneof![2 => word(), 1 => Just(U256::ZERO), 1 => Just(U256::ONE)]
}

#[tokio::test(flavor = "multi_thread")]
async fn native_interpreted_and_compiled_evaluation_agree() {
    let seed = std::env::var(SEED).map(|seed| seed.parse().expect("a seed is a number"));
    let seed = seed.unwrap_or_else(|_| RandomState::new().build_hasher().finish());
    println!("{SEED}={seed}");
    let mut runner = TestRunner::new(Settings {
        rng_seed: RngSeed::Fixed(seed),
        ..Settings::default()
    });
    let sources = sources(&mut runner);
    let hooks = sources.iter().filter(|source| source.kind == Kind::Hook).count();
    println!("{} rules, {hooks} of them of hooks", sources.len());
    assert!(hooks >= 6, "a rulebook held {hooks} hook rules");
    let (first, second) = tokio::join!(
        World::new(EngineChoice::Wasmi, &sources),
        World::new(EngineChoice::Wasmtime, &sources)
    );
    assert_eq!(first.rules, second.rules);
    let mut runs = Runs {
        streams: Streams::new(&first.streams),
        now: first.time().await.max(second.time().await),
        worlds: [first, second],
        sources,
        runner,
        verdicts: [[0; 3]; 3],
    };
    // A past to begin with: random values would hardly ever agree twice.
    let past = [0, 1, 1_000, 1_u64 << 60, 0xa0].map(|value| (Some(U256::from(value)), U256::ZERO));
    for _ in 0..WARM_UP {
        runs.observe(&past).await;
    }
    let is_known = |runs: &Runs| {
        runs.streams
            .0
            .iter()
            .any(|(_, stored)| stored.is_known(runs.now + PERIOD))
    };
    assert!(
        runs.streams.0.is_empty() || is_known(&runs),
        "no stream was known after a long past"
    );
    for _ in 0..ROUNDS {
        runs.round().await;
    }
    println!("verdicts of views, trips, hooks: {:?}", runs.verdicts);
    for verdicts in runs.verdicts {
        assert!(
            verdicts.iter().all(|count| *count >= LEAST),
            "one-sided: {:?}",
            runs.verdicts
        );
    }
    for world in runs.worlds {
        world.node.stop().await.unwrap();
    }
}
