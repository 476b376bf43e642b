//! `enter` of the guard by `eth_call`, on each engine.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::network::TransactionBuilder;
use alloy::primitives::Address;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard::{self, Action};
use cordon_node::{EngineChoice, KeptPrograms, NodeConfig};

use super::world::Bench;
use super::{RUNS, median, ms};

/// Time for which calls are counted, and how many are under way at once.
const COUNTED: Duration = Duration::from_secs(3);
const CALLERS: usize = 8;

/// `enter` of the guard by `eth_call`: how many a second, and how long the first takes after a start with native code on disk.
pub(super) async fn stylus(root: &Path) -> eyre::Result<()> {
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
