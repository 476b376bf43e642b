//! A rule means the same wherever it is evaluated: random rules over random values, by the native evaluator and by the guard's program
//! on the node, which runs it interpreted and as native code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, U256, address, hex, keccak256};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use cordon_client::Config;
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard;
use cordon_core::anchor::key;
use cordon_core::rule::{Inputs, Int, Program, ReadError, Reader, Value, evaluate, evaluate_value};
use cordon_core::rulebook::Stream;
use cordon_core::stream::Stored;
use cordon_node::{EngineChoice, NodeConfig, NodeHandle};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Settings, RngSeed, TestRunner};

const GOVERNOR: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");

/// EVM code that answers slot 0, or reverts when slot 1 is set.
const REGISTER: [u8; 23] = hex!("60015415600b57600080fd5b60005460005260206000f3");

const REGISTERS: usize = 4;
/// Seconds between two rounds: the least age of an anchor, the spacing of statistics.
const PERIOD: u64 = 600;
const RULES: usize = 60;
const ROUNDS: usize = 12;
/// Greatest mean of the statistics: samples are numbers without their last 24 bits.
const BOUND: &str = "4722366482869645213695";
/// Observations before the rounds, enough for the statistics to be warm.
const WARM_UP: usize = 25;

const STATISTICS: [&str; 6] = ["mean", "deviation", "score", "drift", "lowest", "highest"];

/// A statistic of a register, as text: one stream a register. Warm after 24 observations.
fn statistic(register: usize, name: &str) -> String {
    let (time, other) = match name {
        "lowest" | "highest" => ("1 h", format!("spacing: {PERIOD}")),
        _ => ("600", "window: 1 h".to_owned()),
    };
    format!("{name}(r{register}.value(), {time}, 1, {BOUND}, rate: 12.5 %, {other})")
}

/// A number of the language, as text.
fn number() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (0..REGISTERS).prop_map(|register| format!("r{register}.value()")),
        2 => (0..REGISTERS).prop_map(|register| format!("r{register}.signed()")),
        2 => prop_oneof![Just(0_u64), Just(1), any::<u64>()].prop_map(|constant| constant.to_string()),
        1 => Just(format!("{}", U256::MAX)),
        1 => (0..REGISTERS).prop_map(|register| format!("eth(r{register})")),
        2 => (0..REGISTERS).prop_map(|register| format!("anchor(r{register}.value(), {PERIOD}, 0, {})", U256::ONE << 255)),
        3 => (0..REGISTERS, 0..STATISTICS.len()).prop_map(|(register, what)| statistic(register, STATISTICS[what])),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), prop::sample::select(vec!["+", "-", "*", "/"]))
                .prop_map(|((a, b), sign)| format!("({a} {sign} {b})")),
            (pair.clone(), inner.clone()).prop_map(|((a, b), c)| format!("({a} * {b} / {c})")),
            pair.clone().prop_map(|(a, b)| format!("min({a}, {b})")),
            pair.prop_map(|(a, b)| format!("max({a}, {b})")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("(-{a})")),
            (inner, 1_u16..10_000).prop_map(|(a, share)| format!("({a} * {share} bps)")),
        ]
    })
}

/// A condition of the language, as text.
fn condition() -> impl Strategy<Value = String> {
    let signs = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let leaf = prop_oneof![
        4 => (number(), signs, number()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        1 => (number(), number(), 1_u16..9_999).prop_map(|(a, b, share)| format!("near({a}, {b}, {share} bps)")),
        1 => (0..REGISTERS).prop_map(|register| format!("r{register}.flag()")),
        1 => (0..REGISTERS, 0..REGISTERS).prop_map(|(a, b)| format!("codehash(r{a}) == codehash(r{b})")),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

/// What a register holds: near the ends of the ranges as often as anywhere.
fn value() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        Just(U256::ONE),
        Just(U256::MAX),
        Just(U256::ONE << 255),
        any::<u64>().prop_map(U256::from),
        any::<[u64; 4]>().prop_map(U256::from_limbs),
    ]
}

/// The registers as the native evaluator sees them: what each answers (`None`: it reverts), and its balance.
struct Native<'a> {
    registers: HashMap<Address, (Option<U256>, U256)>,
    /// What a guard should have stored.
    stored: &'a HashMap<B256, U256>,
    now: u64,
}

impl<'a> Native<'a> {
    fn new(readings: &[(Option<U256>, U256)], stored: &'a HashMap<B256, U256>, now: u64) -> Self {
        Self {
            registers: registers().into_iter().zip(readings.iter().copied()).collect(),
            stored,
            now,
        }
    }
}

/// The streams of the rules, updated natively: program, how it is observed, what is stored.
struct Streams(Vec<(Stream, Stored)>);

impl Streams {
    /// What every stream has stored once the registers held these values at `now`.
    fn observe(&mut self, readings: &[(Option<U256>, U256)], now: u64) {
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

impl Reader for Native<'_> {
    fn call(&mut self, target: Address, _: &[u8], _: u64, word: u16) -> Result<B256, ReadError> {
        match (self.registers[&target].0, word) {
            (Some(value), 0) => Ok(B256::from(value)),
            (Some(_), _) => Err(ReadError::Short),
            (None, _) => Err(ReadError::Reverted),
        }
    }

    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        Ok(self.registers[&account].1)
    }

    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        assert!(self.registers.contains_key(&account));
        Ok(keccak256(REGISTER))
    }

    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        Ok(self.stored[key].into())
    }

    fn now(&self) -> u64 {
        self.now
    }
}

fn registers() -> Vec<Address> {
    (0xa0_u8..).take(REGISTERS).map(Address::with_last_byte).collect()
}

/// A guard with the rules, on a node with this engine.
struct World {
    node: NodeHandle,
    provider: DynProvider,
    guard: Address,
    registers: Vec<Address>,
    programs: Vec<Vec<u8>>,
    streams: Vec<Stream>,
}

impl World {
    async fn new(engine: EngineChoice, sources: &[String]) -> Self {
        let node = cordon_node::spawn(NodeConfig {
            silent: true,
            auto_impersonate: true,
            wasm_engine: engine,
            ..NodeConfig::default()
        })
        .await
        .unwrap();
        let provider = ProviderBuilder::new()
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        let registers = registers();
        for register in &registers {
            provider.anvil_set_code(*register, REGISTER.into()).await.unwrap();
        }
        let config = Config::parse(
            &configuration(&node.http_endpoint(), &registers, sources),
            PathBuf::from("parity.toml"),
        )
        .unwrap();
        let compiled = config.compile().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let artifacts = Artifacts::load(&Artifacts::directory(root)).expect("run scripts/build-contracts first");
        let options = GuardOptions::default();
        let deployed = deploy_guard(&provider, GOVERNOR, &config, &compiled, &artifacts, options)
            .await
            .unwrap();
        Self {
            node,
            provider,
            guard: deployed.guard,
            registers,
            programs: compiled.rulebook.rules.into_iter().map(|rule| rule.program).collect(),
            streams: compiled.rulebook.streams,
        }
    }

    async fn set(&self, readings: &[(Option<U256>, U256)]) {
        for (register, (value, balance)) in self.registers.iter().zip(readings) {
            let slots = [
                (U256::ZERO, value.unwrap_or_default()),
                (U256::ONE, U256::from(u8::from(value.is_none()))),
            ];
            for (slot, word) in slots {
                self.provider
                    .anvil_set_storage_at(*register, slot, word.into())
                    .await
                    .unwrap();
            }
            self.provider.anvil_set_balance(*register, *balance).await.unwrap();
        }
    }

    async fn time(&self) -> u64 {
        let head = self.provider.get_block(BlockId::latest()).await.unwrap().unwrap();
        head.header.timestamp
    }

    /// Has the guard observe all its streams at this time; what it has stored then.
    async fn observe(&self, now: u64) -> HashMap<B256, U256> {
        self.provider.anvil_set_next_block_timestamp(now).await.unwrap();
        let streams = (0..self.streams.len()).map(|index| u8::try_from(index).unwrap());
        let guard = ICordonGuard::new(self.guard, &self.provider);
        let sent = guard
            .observe(streams.collect())
            .from(GUARDIAN)
            .gas(20_000_000)
            .send()
            .await
            .unwrap();
        // Reverted when no register can be read.
        sent.get_receipt().await.unwrap();
        assert_eq!(self.time().await, now);
        let mut stored = HashMap::new();
        for stream in &self.streams {
            for part in 0..2 {
                let key = key(&stream.id(), part);
                let word = self.provider.get_storage_at(self.guard, key.into()).await.unwrap();
                stored.insert(key, word);
            }
        }
        stored
    }

    /// Every rule, as the guard evaluates it.
    async fn evaluate(&self) -> Vec<ICordonGuard::Evaluation> {
        let rules: Vec<u16> = (0..self.programs.len())
            .map(|index| u16::try_from(index).unwrap())
            .collect();
        let witnesses = vec![vec![]; rules.len()];
        let guard = ICordonGuard::new(self.guard, &self.provider);
        guard
            .evaluateMany(rules, witnesses)
            .gas(1_000_000_000)
            .call()
            .await
            .unwrap()
    }
}

fn configuration(endpoint: &str, registers: &[Address], sources: &[String]) -> String {
    let mut text = format!(
        "[chain]\nid = 31337\nrpc = [\"{}\"]\n[guard]\nscopes = [\"protocol\"]\ncallers = [\"r0\"]\ngovernor = \"{GOVERNOR}\"\n\
         guardians = [\"{GUARDIAN}\"]\n[contracts]\n",
        endpoint
    );
    for (place, register) in registers.iter().enumerate() {
        writeln!(
            text,
            "r{place} = {{ address = \"{register}\", abi = [\"function value() view returns (uint256)\", \
             \"function signed() view returns (int256)\", \"function flag() view returns (bool)\"] }}"
        )
        .unwrap();
    }
    for (place, source) in sources.iter().enumerate() {
        writeln!(
            text,
            "[[invariant]]\nid = \"rule-{place}\"\nscope = \"protocol\"\nrule = \"{source}\"\nlevel = \"ReduceOnly\""
        )
        .unwrap();
    }
    text
}

fn of(int: Int) -> (bool, U256) {
    (int.negative, int.magnitude)
}

#[tokio::test(flavor = "multi_thread")]
async fn native_interpreted_and_compiled_evaluation_agree() {
    let settings = Settings {
        rng_seed: RngSeed::Fixed(0x0c0d_0e0f),
        ..Settings::default()
    };
    let mut runner = TestRunner::new(settings);
    let symbols = |source: &str| {
        let text = configuration("http://127.0.0.1:1", &registers(), &[source.to_owned()]);
        Config::parse(&text, PathBuf::from("one.toml")).is_ok_and(|config| config.compile().is_ok())
    };
    let mut sources = Vec::new();
    while sources.len() < RULES {
        let source = condition().new_tree(&mut runner).unwrap().current();
        // Constants that overflow, rules that are always true: the compiler refuses those.
        if symbols(&source) {
            sources.push(source);
        }
    }
    let interpreted = World::new(EngineChoice::Wasmi, &sources).await;
    let compiled = World::new(EngineChoice::Wasmtime, &sources).await;
    assert_eq!(interpreted.programs, compiled.programs);
    assert_eq!(
        interpreted.streams.len(),
        2 * REGISTERS,
        "an anchor and statistics of each register"
    );
    let mut streams = Streams(
        interpreted
            .streams
            .iter()
            .map(|stream| (stream.clone(), Stored::unpack(&stream.spec, U256::ZERO, U256::ZERO)))
            .collect(),
    );
    let mut now = interpreted.time().await.max(compiled.time().await) + PERIOD;
    let mut known = [0; 2];
    // A past to begin with: random values would hardly ever agree twice.
    let first = [U256::ZERO, U256::ONE, U256::from(1_000), U256::ONE << 255].map(|value| (Some(value), U256::ZERO));
    for _ in 0..WARM_UP {
        now += PERIOD;
        streams.observe(&first, now);
        for world in [&interpreted, &compiled] {
            world.set(&first).await;
            assert_eq!(world.observe(now).await, streams.words());
        }
    }
    let reading = (prop::option::weighted(0.9, value()), value().prop_map(|wei| wei >> 1));
    let readings = prop::collection::vec(reading, REGISTERS);
    let mut verdicts = [0_usize; 3];
    for round in 0..ROUNDS {
        let values = readings.new_tree(&mut runner).unwrap().current();
        for world in [&interpreted, &compiled] {
            world.set(&values).await;
        }
        now += PERIOD;
        streams.observe(&values, now);
        let stored = streams.words();
        for world in [&interpreted, &compiled] {
            assert_eq!(
                world.observe(now).await,
                stored,
                "round {round}: stored by the guard and natively"
            );
        }
        for (_, stored) in streams.0.iter().filter(|(_, stored)| stored.is_known(now)) {
            known[usize::from(matches!(stored, Stored::Baseline(..)))] += 1;
        }
        let (first, second) = (interpreted.evaluate().await, compiled.evaluate().await);
        for (index, source) in sources.iter().enumerate() {
            let shown = |of: &ICordonGuard::Evaluation| {
                (
                    of.verdict as u8,
                    of.reason,
                    (of.observedNegative, of.observed),
                    (of.boundNegative, of.bound),
                )
            };
            let (one, two) = (shown(&first[index]), shown(&second[index]));
            assert_eq!(
                one, two,
                "round {round}, {source}: interpreted and compiled, {values:?}"
            );
            let mut native = Native::new(&values, &stored, now);
            let program = Program::decode(&interpreted.programs[index]).unwrap();
            let own = evaluate(&program, &Inputs::default(), &mut native);
            let own = (own.verdict as u8, own.reason, of(own.observed), of(own.bound));
            assert_eq!(own, one, "round {round}, {source}: native and interpreted, {values:?}");
            verdicts[usize::from(own.0)] += 1;
        }
    }
    assert!(verdicts.iter().all(|count| *count > 30), "one-sided: {verdicts:?}");
    let few = known.iter().any(|count| *count <= REGISTERS * ROUNDS / 4);
    assert!(!few, "few anchors or statistics were known: {known:?}");
    interpreted.node.stop().await.unwrap();
    compiled.node.stop().await.unwrap();
}
