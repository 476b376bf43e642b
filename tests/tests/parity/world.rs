//! A guard with random rules, on a node with one of the engines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use alloy::eips::BlockId;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy::providers::ext::AnvilApi;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::{SolCall, SolError, SolEvent};
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard;
use cordon_client::{CompiledConfig, Config};
use cordon_core::anchor::key;
use cordon_core::rulebook::{Rule, Stream};
use cordon_node::{EngineChoice, NodeConfig, NodeHandle};

use crate::registers::{CODE, FUNCTIONS, Reading, addresses};
use crate::rules::{Kind, PARAMS};

sol! {
    #[derive(Debug)]
    interface IProbe {
        struct Call { uint8 action; address asset; uint256 amount; bool open; }
        struct Poke { address register; uint256 value; uint256 silent; }
        function run(address guard, uint24 scopes, Call[] calldata before, Call calldata last, Poke[] calldata pokes) external;
    }
}

const GOVERNOR: Address = address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266");
const GUARDIAN: Address = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
/// Who asks, and creates the probe.
const ANYONE: Address = address!("90f79bf6eb2c4f870365e785982e1f101e93b906");
/// More than any evaluation takes.
const GAS: u64 = 100_000_000;
/// Hook rules are spread over these: an action's rules have a bound of gas together.
pub(crate) const HOOKED: [ICordonGuard::Action; 2] = [ICordonGuard::Action::Increase, ICordonGuard::Action::Trade];

/// A rule as it was made.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// What an evaluation comes to, wherever it is done: verdict, reason, and the operands of the comparison that decided, each with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) verdict: u8,
    pub(crate) reason: u8,
    pub(crate) operands: [(bool, U256); 2],
}

impl Told {
    pub(crate) const HOLDS: u8 = 0;
    pub(crate) const BREACHED: u8 = 1;
    pub(crate) const UNKNOWN: u8 = 2;

    /// As a call tells that changes something: it says of a rule that holds, or is unknown, no more than that.
    pub(crate) fn without_operands(self) -> Self {
        if self.verdict == Self::BREACHED {
            return self;
        }
        Self {
            operands: [(false, U256::ZERO); 2],
            ..self
        }
    }

    fn plain(verdict: u8, reason: u8) -> Self {
        let operands = [(false, U256::ZERO); 2];
        Self {
            verdict,
            reason,
            operands,
        }
    }

    fn breached(observed: (bool, U256), bound: (bool, U256)) -> Self {
        Self {
            verdict: Self::BREACHED,
            reason: 0,
            operands: [observed, bound],
        }
    }
}

pub(crate) struct World {
    pub(crate) node: NodeHandle,
    provider: DynProvider,
    guard: Address,
    probe: Address,
    pub(crate) rules: Vec<Rule>,
    pub(crate) streams: Vec<Stream>,
}

/// The configuration with these rules. Each hook rule has a scope of its own, so that a call is checked for it alone.
pub(crate) fn compiled(endpoint: &str, probe: Address, sources: &[Source]) -> Option<(Config, CompiledConfig)> {
    let hooks: Vec<_> = (0..sources.len())
        .filter(|place| sources[*place].kind == Kind::Hook)
        .collect();
    let mut text = format!("[chain]\nid = 31337\nrpc = [\"{endpoint}\"]\n[guard]\nscopes = [\"protocol\"");
    for place in &hooks {
        write!(text, ", \"s{place}\"").unwrap();
    }
    write!(
        text,
        "]\ncallers = [\"probe\"]\ngovernor = \"{GOVERNOR}\"\nguardians = [\"{GUARDIAN}\"]\n[contracts]\nprobe = {{ address = \"{probe}\" }}\n"
    )
    .unwrap();
    for (place, register) in addresses().iter().enumerate() {
        writeln!(text, "r{place} = {{ address = \"{register}\", abi = {FUNCTIONS:?} }}").unwrap();
    }
    for (place, Source { text: rule, kind }) in sources.iter().enumerate() {
        write!(text, "[[invariant]]\nid = \"rule-{place}\"\nrule = \"{rule}\"\n").unwrap();
        let rest = match kind {
            // Robust ones raise the level at once, the others are only observed.
            Kind::State if place % 2 == 0 => "scope = \"protocol\"\nlevel = \"ReduceOnly\"\nrobust = true".to_owned(),
            Kind::State => "scope = \"protocol\"\nlevel = \"ReduceOnly\"".to_owned(),
            Kind::Witness => format!("scope = \"protocol\"\nlevel = \"ReduceOnly\"\nparam = {PARAMS}"),
            Kind::Hook => format!(
                "scope = \"s{place}\"\ncheck = [\"{:?}\"]\nin_call = \"revert\"",
                action(place)
            ),
        };
        writeln!(text, "{rest}").unwrap();
    }
    let config = Config::parse(&text, PathBuf::from("parity.toml")).ok()?;
    let compiled = config.compile().ok()?;
    Some((config, compiled))
}

/// The action whose hooks check the hook rule at this place.
pub(crate) fn action(place: usize) -> ICordonGuard::Action {
    HOOKED[place % HOOKED.len()]
}

impl World {
    pub(crate) async fn new(engine: EngineChoice, sources: &[Source]) -> Self {
        let node = cordon_node::spawn(NodeConfig {
            silent: true,
            auto_impersonate: true,
            wasm_engine: engine,
            ..NodeConfig::default()
        });
        let node = node.await.unwrap();
        let provider = ProviderBuilder::new()
            .connect_http(node.http_endpoint().parse().unwrap())
            .erased();
        for register in addresses() {
            provider.anvil_set_code(register, CODE.into()).await.unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let artifact = std::fs::read_to_string(root.join("out/RuleProbe.sol/RuleProbe.json")).expect("run forge build");
        let artifact: serde_json::Value = serde_json::from_str(&artifact).unwrap();
        let code: Bytes = artifact["bytecode"]["object"].as_str().unwrap().parse().unwrap();
        let creation = TransactionRequest::default().with_from(ANYONE).with_deploy_code(code);
        let sent = provider.send_transaction(creation).await.unwrap();
        let probe = sent.get_receipt().await.unwrap().contract_address.unwrap();
        let (config, compiled) = compiled(&node.http_endpoint(), probe, sources).unwrap();
        let artifacts = Artifacts::load(&Artifacts::directory(root)).expect("run scripts/build-contracts first");
        let options = GuardOptions::default();
        let deployed = deploy_guard(&provider, GOVERNOR, &config, &compiled, &artifacts, options)
            .await
            .unwrap();
        Self {
            node,
            provider,
            guard: deployed.guard,
            probe,
            rules: compiled.rulebook.rules,
            streams: compiled.rulebook.streams,
        }
    }

    pub(crate) async fn set(&self, readings: &[Reading]) {
        for (register, (value, balance)) in addresses().into_iter().zip(readings) {
            let slots = [
                (U256::ZERO, value.unwrap_or_default()),
                (U256::ONE, U256::from(u8::from(value.is_none()))),
            ];
            for (slot, word) in slots {
                let set = self.provider.anvil_set_storage_at(register, slot, word.into());
                set.await.unwrap();
            }
            self.provider.anvil_set_balance(register, *balance).await.unwrap();
        }
    }

    pub(crate) async fn time(&self) -> u64 {
        let head = self.provider.get_block(BlockId::latest()).await.unwrap().unwrap();
        head.header.timestamp
    }

    /// Has the guard observe all its streams at this time; what it has stored then.
    pub(crate) async fn observe(&self, now: u64) -> HashMap<B256, U256> {
        self.provider.anvil_set_next_block_timestamp(now).await.unwrap();
        let streams = (0..self.streams.len()).map(|index| u8::try_from(index).unwrap());
        let guard = ICordonGuard::new(self.guard, &self.provider);
        let observe = guard.observe(streams.collect()).from(GUARDIAN).gas(20_000_000);
        // Reverted when no register can be read.
        observe.send().await.unwrap().get_receipt().await.unwrap();
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

    /// Every rule as the views evaluate it.
    pub(crate) async fn evaluate(&self, rules: &[u16], witnesses: &[Vec<B256>]) -> Vec<Told> {
        let guard = ICordonGuard::new(self.guard, &self.provider);
        let told = guard
            .evaluateMany(rules.to_vec(), witnesses.to_vec())
            .gas(1_000_000_000);
        let told = told.call().await.unwrap();
        let one = |of: &ICordonGuard::Evaluation| Told {
            verdict: of.verdict as u8,
            reason: of.reason,
            operands: [(of.observedNegative, of.observed), (of.boundNegative, of.bound)],
        };
        told.iter().map(one).collect()
    }

    /// A rule as `trip` evaluates it, which changes nothing here.
    pub(crate) async fn trip(&self, rule: u16, witness: Vec<B256>) -> Told {
        let trip = ICordonGuard::tripCall { rule, witness };
        let (refusal, events) = self.traced(self.guard, trip.abi_encode()).await;
        let Some(data) = refusal else {
            let observed = events.iter().find_map(|(topics, data)| {
                let event = ICordonGuard::RuleObserved::decode_raw_log(topics.iter().copied(), data).ok()?;
                Some(Told::breached(
                    (event.observedNegative, event.observed),
                    (event.boundNegative, event.bound),
                ))
            });
            let tripped = events.iter().find_map(|(topics, data)| {
                let event = ICordonGuard::RuleTripped::decode_raw_log(topics.iter().copied(), data).ok()?;
                Some(Told::breached(
                    (event.observedNegative, event.observed),
                    (event.boundNegative, event.bound),
                ))
            });
            return observed.or(tripped).expect("a trip without its event");
        };
        if ICordonGuard::RuleHolds::abi_decode(&data).is_ok() {
            return Told::plain(Told::HOLDS, 0);
        }
        let unknown = ICordonGuard::RuleUnknown::abi_decode(&data);
        Told::plain(
            Told::UNKNOWN,
            unknown.unwrap_or_else(|_| panic!("another refusal: {data}")).reason,
        )
    }

    /// A hook rule as `exit` evaluates it in this guarded call.
    pub(crate) async fn hooked(
        &self,
        scope: u8,
        before: &[IProbe::Call],
        last: IProbe::Call,
        pokes: &[IProbe::Poke],
    ) -> Told {
        let run = IProbe::runCall {
            guard: self.guard,
            scopes: scope.try_into().unwrap(),
            before: before.to_vec(),
            last,
            pokes: pokes.to_vec(),
        };
        let (refusal, _) = self.traced(self.probe, run.abi_encode()).await;
        let Some(data) = refusal else {
            return Told::plain(Told::HOLDS, 0);
        };
        if let Ok(of) = ICordonGuard::RuleBreached::abi_decode(&data) {
            return Told::breached((of.observedNegative, of.observed), (of.boundNegative, of.bound));
        }
        let unknown = ICordonGuard::RuleUnknown::abi_decode(&data);
        Told::plain(
            Told::UNKNOWN,
            unknown.unwrap_or_else(|_| panic!("another refusal: {data}")).reason,
        )
    }

    /// What a call reverts with, and the events of the guard's programs in it.
    async fn traced(&self, to: Address, input: Vec<u8>) -> (Option<Bytes>, Vec<(Vec<B256>, Bytes)>) {
        let request = TransactionRequest::default()
            .with_from(ANYONE)
            .with_to(to)
            .with_gas_limit(GAS)
            .with_input(input);
        let options = serde_json::json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } });
        let asked = (request, "latest", options);
        let frame: serde_json::Value = self
            .provider
            .raw_request("debug_traceCall".into(), asked)
            .await
            .unwrap();
        if frame.get("error").is_some() {
            let data = frame["output"]
                .as_str()
                .unwrap_or_else(|| panic!("reverted without data: {frame}"));
            return (Some(data.parse().unwrap()), vec![]);
        }
        let mut events = Vec::new();
        gather(&frame, &mut events);
        (None, events)
    }
}

/// The events of a frame and of those within it.
fn gather(frame: &serde_json::Value, events: &mut Vec<(Vec<B256>, Bytes)>) {
    for log in frame["logs"].as_array().into_iter().flatten() {
        let topics = serde_json::from_value(log["topics"].clone()).unwrap();
        events.push((topics, log["data"].as_str().unwrap().parse().unwrap()));
    }
    for inner in frame["calls"].as_array().into_iter().flatten() {
        gather(inner, events);
    }
}
