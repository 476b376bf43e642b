//! The figures of `docs/benchmarks.md`, measured on a node of ours; `scripts/bench` runs it.
//!
//! Prints Markdown. Gas is read from receipts and events of real transactions. Times are medians of several runs, next to a
//! peer's in the same run, because machines differ and are noisy.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::build::Artifacts;
use cordon_client::deploy::{GuardOptions, deploy_guard};
use cordon_client::guard::ICordonGuard::{self, Action, Level};
use cordon_client::precompiles::ARB_WASM;
use cordon_client::{CompiledConfig, Config};
use cordon_drill::{Options, Silent, Tools};
use cordon_node::{EngineChoice, KeptPrograms, NodeConfig, NodeHandle};
use eyre::{OptionExt, WrapErr, ensure};

sol! {
    #[allow(missing_docs)]
    interface HookProbe {
        event Measured(uint256 enterGas, uint256 exitGas);
        function setGauge(uint256 value) external;
        function probe(address guard, uint24 scopes, uint8 action) external;
    }

    #[allow(missing_docs)]
    interface EntryCost {
        function programInitGas(address program) external view returns (uint64 gas, uint64 gasWhenCached);
    }
}

/// Runs of everything that is timed.
const RUNS: usize = 5;
/// Accounts: governor, guardian, keeper, user.
const GOVERNOR: u32 = 0;
const GUARDIAN: u32 = 1;
const KEEPER: u32 = 2;
const USER: u32 = 3;

/// A node with the probe and a guard that accepts its hooks.
struct Bench {
    node: NodeHandle,
    provider: DynProvider,
    probe: Address,
    guard: Address,
    programs: [Address; 3],
    artifacts: Artifacts,
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_eyre("the project has no root")?
        .to_owned();
    match std::env::args().nth(1).as_deref() {
        Some("stylus") => return stylus(&root).await,
        Some(other) => eyre::bail!("there is no section `{other}`: give `stylus`, or nothing for all"),
        None => {}
    }
    let bench = Bench::new(&root, NodeConfig::default()).await?;
    bench.programs().await?;
    bench.gas().await?;
    bench.node.stop().await?;
    if std::env::args().any(|argument| argument == "gas") {
        return Ok(());
    }
    fork_start(&root).await?;
    stylus(&root).await?;
    keeper(&root).await
}

fn key(index: u32) -> eyre::Result<PrivateKeySigner> {
    let builder = MnemonicBuilder::<English>::default().phrase(cordon_node::DEFAULT_MNEMONIC);
    Ok(builder.index(index)?.build()?)
}

/// Creation code of one of our Solidity contracts, as forge wrote it.
fn creation_code(root: &Path, contract: &str) -> eyre::Result<Bytes> {
    let path = root.join(format!("out/{contract}.sol/{contract}.json"));
    let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("{}: run forge build", path.display()))?;
    let artifact: serde_json::Value = serde_json::from_str(&text)?;
    let code = artifact.pointer("/bytecode/object").and_then(serde_json::Value::as_str);
    Ok(code.ok_or_eyre("the artifact has no code")?.parse()?)
}

impl Bench {
    async fn new(root: &Path, config: NodeConfig) -> eyre::Result<Self> {
        let node = cordon_node::spawn(NodeConfig { silent: true, ..config }).await?;
        let mut wallet = EthereumWallet::from(key(GOVERNOR)?);
        for index in [GUARDIAN, KEEPER, USER] {
            wallet.register_signer(key(index)?);
        }
        let provider = ProviderBuilder::new()
            .wallet(wallet)
            .connect_http(node.http_endpoint().parse()?)
            .erased();
        let creation = TransactionRequest::default()
            .with_from(key(USER)?.address())
            .with_deploy_code(creation_code(root, "HookProbe")?);
        let receipt = provider.send_transaction(creation).await?.get_receipt().await?;
        let probe = receipt.contract_address.ok_or_eyre("the probe was not created")?;
        let config = Config::parse(&configuration(&node, probe)?, Path::new("bench.toml"))?;
        let compiled: CompiledConfig = config.compile()?;
        let artifacts = Artifacts::load(&Artifacts::directory(root))?;
        let from = key(GOVERNOR)?.address();
        let deployed = deploy_guard(&provider, from, &config, &compiled, &artifacts, GuardOptions::default()).await?;
        Ok(Self {
            node,
            provider,
            probe,
            guard: deployed.guard,
            programs: deployed.programs,
            artifacts,
        })
    }

    async fn send(&self, from: u32, to: Address, call: Vec<u8>) -> eyre::Result<TransactionReceipt> {
        let tx = TransactionRequest::default()
            .with_from(key(from)?.address())
            .with_to(to)
            .with_input(call);
        let receipt = self.provider.send_transaction(tx).await?.get_receipt().await?;
        ensure!(receipt.status(), "a transaction of the benchmark reverted");
        Ok(receipt)
    }

    /// Sizes and entry costs of the programs.
    async fn programs(&self) -> eyre::Result<()> {
        println!("## Programs\n");
        println!(
            "| program | WASM, bytes | code with prefix, bytes (law: 24,576) | entry uncached, gas | entry cached, gas |"
        );
        println!("| --- | ---: | ---: | ---: | ---: |");
        let accounts = std::iter::once(self.guard).chain(self.programs);
        for (account, program) in accounts.zip(self.artifacts.all()) {
            let name = &program.name;
            let cost = self.entry(account).await?;
            println!(
                "| {name} | {} | {} | {} | {} |",
                program.wasm.len(),
                program.code.len(),
                cost.gas,
                cost.gasWhenCached
            );
        }
        println!();
        Ok(())
    }

    /// Gas of the hooks and of containment.
    async fn gas(&self) -> eyre::Result<()> {
        println!("## Gas\n");
        println!(
            "Hooks as a Solidity caller pays them: the guard's account cold, programs not called before in the block. A cached program \
             costs its second entry in a block at once, so that the gate's two entry prices are what caching saves.\n"
        );
        println!("| operation | gas, gate cached | gas, nothing cached |");
        println!("| --- | ---: | ---: |");
        let entry = self.entry(self.guard).await?;
        let mut one_word = (0, 0);
        for (name, action) in [
            ("enter + exit, no rule hooked to the action", Action::Deposit),
            ("enter + exit, one-word rule with one read", Action::Trade),
            ("enter + exit, one rule of another form with one read", Action::Withdraw),
            ("enter + exit, one rule with an entry() value", Action::Increase),
        ] {
            let (enter, exit) = self.hooks(action).await?;
            let cached = enter.saturating_sub(entry.gas.saturating_sub(entry.gasWhenCached));
            println!(
                "| {name} | {} ({cached} + {exit}) | {} ({enter} + {exit}) |",
                cached.saturating_add(exit),
                enter.saturating_add(exit)
            );
            if action as u8 == Action::Trade as u8 {
                one_word = (cached, exit);
            }
        }
        budget(one_word, entry.gasWhenCached);
        println!("| operation, whole transaction, nothing cached | gas |");
        println!("| --- | ---: |");
        let contain = ICordonGuard::containCall {
            scope: 2,
            level: Level::ReduceOnly,
            duration: 600,
            evidence: B256::ZERO,
        };
        let gas = self.send(GUARDIAN, self.guard, contain.abi_encode()).await?.gas_used;
        println!("| `contain` with one containment call | {gas} |");
        self.send(
            USER,
            self.probe,
            HookProbe::setGaugeCall {
                value: 101u64.try_into()?,
            }
            .abi_encode(),
        )
        .await?;
        let trip = ICordonGuard::tripCall {
            rule: 0,
            witness: vec![],
        }
        .abi_encode();
        let gas = self.send(USER, self.guard, trip.clone()).await?.gas_used;
        println!("| `trip` of a rule with one read, one containment call | {gas} |");
        let gas = self.send(USER, self.guard, trip).await?.gas_used;
        println!("| `trip` once more at the same level (changes nothing) | {gas} |\n");
        Ok(())
    }

    /// What entering a program costs.
    async fn entry(&self, program: Address) -> eyre::Result<EntryCost::programInitGasReturn> {
        let call = EntryCost::programInitGasCall { program }.abi_encode();
        let request = TransactionRequest::default().with_to(ARB_WASM).with_input(call);
        let answer = self.provider.call(request).await?;
        Ok(EntryCost::programInitGasCall::abi_decode_returns(&answer)?)
    }

    async fn hooks(&self, action: Action) -> eyre::Result<(u64, u64)> {
        let call = HookProbe::probeCall {
            guard: self.guard,
            scopes: 1u8.try_into()?,
            action: action as u8,
        };
        let receipt = self.send(USER, self.probe, call.abi_encode()).await?;
        let log = receipt
            .inner
            .logs()
            .iter()
            .find_map(|log| HookProbe::Measured::decode_log(&log.inner).ok());
        let measured = log.ok_or_eyre("the probe measured nothing")?;
        Ok((measured.enterGas.try_into()?, measured.exitGas.try_into()?))
    }
}

/// Where the gas of a guarded call with the one-word rule goes: prices of the chain, and what is left for the caller's and the
/// gate's own instructions.
fn budget((enter, exit): (u64, u64), entry: u64) {
    println!("\nWhere the gas of the one-word rule goes:\n");
    println!("| line | enter | exit |\n| --- | ---: | ---: |");
    let lines: [(&str, u64, u64); 4] = [
        ("the guard's account, cold, then warm", 2_600, 100),
        ("entry of the gate, cached", entry, entry),
        ("the caller's word, cold, then warm", 2_100, 100),
        ("the rule's own read: a warm account, a cold word", 0, 2_200),
    ];
    let (mut first, mut second) = (enter, exit);
    for (name, of_enter, of_exit) in lines {
        println!("| {name} | {of_enter} | {of_exit} |");
        first = first.saturating_sub(of_enter);
        second = second.saturating_sub(of_exit);
    }
    println!(
        "| encoding in Solidity, host calls and instructions of the gate, the callee's code (the rest) | {first} | {second} |"
    );
    println!("| together | {enter} | {exit} |\n");
    println!(
        "Without the rule's own read: {} gas (target: 9,000).\n",
        enter.saturating_add(exit).saturating_sub(2_200)
    );
}

/// Time for which calls are counted, and how many are under way at once.
const COUNTED: Duration = Duration::from_secs(3);
const CALLERS: usize = 8;

/// `enter` of the guard by `eth_call`: how many a second, and how long the first takes after a start with native code on disk.
async fn stylus(root: &Path) -> eyre::Result<()> {
    println!("## Stylus: `enter` of the guard by `eth_call`, client included\n");
    println!(
        "| engine | calls/s, no rule | calls/s, one rule with one read | first call after a start, ms (median of {RUNS}) |"
    );
    println!("| --- | ---: | ---: | ---: |");
    for (name, engine) in [
        ("wasmi", EngineChoice::Wasmi),
        ("wasmtime", EngineChoice::Wasmtime),
        ("auto", EngineChoice::Auto),
    ] {
        let kept = tempfile::tempdir()?;
        let config = NodeConfig {
            wasm_engine: engine,
            program_cache: KeptPrograms::Directory(kept.path().join("programs")),
            ..NodeConfig::default()
        };
        let bench = Bench::new(root, config.clone()).await?;
        // Long enough for the compiler to have done its work.
        bench.enters(Action::Trade).await?;
        let (without, with) = (bench.enters(Action::Deposit).await?, bench.enters(Action::Trade).await?);
        let mut first = Vec::new();
        for _ in 0..RUNS {
            let fork_url = Some(bench.node.http_endpoint().parse()?);
            let next = cordon_node::spawn(NodeConfig {
                fork_url,
                silent: true,
                ..config.clone()
            })
            .await?;
            let provider = ProviderBuilder::new()
                .connect_http(next.http_endpoint().parse()?)
                .erased();
            // The state that the call reads is there, and the connection; the programs are not.
            for account in std::iter::once(bench.guard).chain([bench.probe]).chain(bench.programs) {
                provider.get_code_at(account).await?;
            }
            let begun = Instant::now();
            provider.call(bench.enter(Action::Trade)).await?;
            first.push(begun.elapsed());
            next.stop().await?;
        }
        println!("| {name} | {without:.0} | {with:.0} | {:.1} |", ms(median(&mut first)));
        bench.node.stop().await?;
    }
    println!();
    Ok(())
}

impl Bench {
    /// A call of `enter` by the guarded contract.
    fn enter(&self, action: Action) -> TransactionRequest {
        let call = ICordonGuard::enterCall {
            scopes: alloy::primitives::aliases::U24::from(1),
            action: action as u8,
            asset: Address::ZERO,
            amount: alloy::primitives::U256::from(1),
            account: Address::ZERO,
        };
        TransactionRequest::default()
            .with_from(self.probe)
            .with_to(self.guard)
            .with_input(call.abi_encode())
    }

    /// Calls of `enter` per second.
    async fn enters(&self, action: Action) -> eyre::Result<f64> {
        let begun = Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (endpoint, request) = (self.node.http_endpoint(), self.enter(action));
            tokio::spawn(async move {
                let provider = ProviderBuilder::new().connect_http(endpoint.parse()?).erased();
                let mut done = 0_u32;
                while begun.elapsed() < COUNTED {
                    provider.call(request.clone()).await?;
                    done = done.saturating_add(1);
                }
                eyre::Ok(done)
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut done = 0.0;
        for caller in callers {
            done += f64::from(caller.await??);
        }
        Ok(done / begun.elapsed().as_secs_f64())
    }
}

/// One scope for rules and hooks, another for containment by hand.
fn configuration(node: &NodeHandle, probe: Address) -> eyre::Result<String> {
    let [governor, guardian, keeper] = [key(GOVERNOR)?, key(GUARDIAN)?, key(KEEPER)?].map(|key| key.address());
    Ok(format!(
        r#"
[chain]
id  = {}
rpc = ["{}"]
[guard]
scopes    = ["protocol", "market", "other"]
callers   = ["probe"]
governor  = "{governor}"
guardians = ["{guardian}"]
keepers   = ["{keeper}"]
[contracts]
probe = {{ address = "{probe}", abi = ["function gauge() view returns (uint256)", "function stopped() view returns (bool)", "function setStopped(bool value)"] }}
[[invariant]]
id = "gauge-low"
scope = "market"
rule = "probe.gauge() <= 100"
check = ["Trade"]
in_call = "revert"
robust = true
level = "ReduceOnly"
[[invariant]]
id = "gauge-sum-low"
scope = "market"
rule = "probe.gauge() + 1 <= 101"
check = ["Withdraw"]
in_call = "revert"
[[invariant]]
id = "gauge-steady"
scope = "market"
rule = "probe.gauge() <= entry(probe.gauge())"
check = ["Increase"]
in_call = "revert"
[[containment]]
id = "stop"
scope = "market"
level = "ReduceOnly"
call = "probe.setStopped(true)"
done = "probe.stopped()"
undo = [{{ call = "probe.setStopped(false)", undone = "!probe.stopped()" }}]
[[containment]]
id = "stop-other"
scope = "other"
level = "ReduceOnly"
call = "probe.setStopped(true)"
done = "probe.stopped()"
undo = [{{ call = "probe.setStopped(false)", undone = "!probe.stopped()" }}]
"#,
        node.chain_id(),
        node.http_endpoint(),
    ))
}

/// From start to the first answer of a fork: ours and stock anvil's, of the same upstream.
async fn fork_start(root: &Path) -> eyre::Result<()> {
    let anvil = Tools::discover(Some(root), None)?.anvil;
    let upstream = cordon_node::spawn(NodeConfig {
        silent: true,
        ..NodeConfig::default()
    })
    .await?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        let fork_url = Some(upstream.http_endpoint().parse()?);
        let fork = cordon_node::spawn(NodeConfig {
            fork_url,
            silent: true,
            ..NodeConfig::default()
        })
        .await?;
        answers(&fork.http_endpoint(), begun).await?;
        ours.push(begun.elapsed());
        fork.stop().await?;

        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port()
            .to_string();
        let begun = Instant::now();
        let mut process = tokio::process::Command::new(&anvil)
            .args(["--fork-url", &upstream.http_endpoint(), "--port", &port])
            .args(["--no-storage-caching", "--max-persisted-states", "0", "--silent"])
            .kill_on_drop(true)
            .spawn()?;
        answers(&format!("http://127.0.0.1:{port}"), begun).await?;
        peer.push(begun.elapsed());
        process.kill().await?;
    }
    upstream.stop().await?;
    let (ours, peer) = (median(&mut ours), median(&mut peer));
    println!("## Node: start on a fork to the first answer (median of {RUNS})\n");
    println!("| node | ms | ratio |\n| --- | ---: | ---: |");
    println!(
        "| cordon node, in process | {:.1} | {:.2} |",
        ms(ours),
        ms(ours) / ms(peer)
    );
    println!("| anvil | {:.1} | 1 |\n", ms(peer));
    Ok(())
}

async fn answers(endpoint: &str, begun: Instant) -> eyre::Result<()> {
    let provider = ProviderBuilder::new().connect_http(endpoint.parse()?);
    while provider.get_block_number().await.is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(20), "{endpoint} does not answer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The keeper's latencies, as the Aave drill measures them.
async fn keeper(root: &Path) -> eyre::Result<()> {
    let out = tempfile::tempdir()?;
    let options = Options {
        out: Some(out.path().to_owned()),
        root: Some(root.to_owned()),
        anvil: None,
    };
    let outcome = cordon_drill::run("aave-oracle", &options, &Silent).await?;
    println!("## Keeper: the Aave drill at 250 ms blocks, milliseconds\n");
    println!("| k | order | head to decision | decision to broadcast | broadcast to contained |");
    println!("| ---: | --- | ---: | ---: | ---: |");
    let shown = |time: Option<f64>| time.map_or_else(|| "none".to_owned(), |time| format!("{time:.1}"));
    for run in &outcome.runs {
        let times = [
            run.latency_ms.head_to_decision,
            run.latency_ms.decision_to_broadcast,
            run.latency_ms.broadcast_to_contained,
        ];
        let [decided, sent, contained] = times.map(shown);
        println!(
            "| {} | {} | {decided} | {sent} | {contained} |",
            run.attacker_delay_blocks,
            run.order.name()
        );
    }
    Ok(())
}
