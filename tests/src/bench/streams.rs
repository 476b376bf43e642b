//! What it costs to observe streams, and to compare with what was stored.

use std::path::Path;

use alloy::providers::ext::AnvilApi;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolCall;
use cordon_client::guard::ICordonGuard::{self, Action};
use cordon_node::NodeConfig;

use super::world::{Bench, USER};

/// Rules over streams, each alone with its action. Of the streams, 0 is the anchor.
const RULES: &str = r#"
[[invariant]]
id = "gauge-anchored"
scope = "market"
rule = "probe.gauge() <= anchor(probe.gauge(), 10 min, 0, 1e6) + 10"
check = ["Deposit"]
in_call = "revert"
[[invariant]]
id = "gauge-usual"
scope = "market"
rule = "score(probe.gauge(), 10 min, 0, 1e6, rate: 12.5 %) <= 6 sigma"
check = ["Settle"]
in_call = "revert"
level = "ReduceOnly"
[[invariant]]
id = "gauge-not-high"
scope = "market"
rule = "probe.gauge() <= highest(probe.gauge(), 1 day, 0, 1e6, spacing: 10 min, rate: 12.5 %) + 10"
check = ["Liquidate"]
in_call = "revert"
"#;
const SPACING: u64 = 600;
/// Observations until both streams are known.
const WARM_UP: usize = 25;

/// Gas of observations, and of rules over streams in hooks.
pub(super) async fn streams(root: &Path) -> eyre::Result<()> {
    let bench = Bench::with(root, NodeConfig::default(), RULES).await?;
    println!("Observations of streams, whole transactions, nothing cached, one read of a contract each:\n");
    println!("| `observe` | first | later |\n| --- | ---: | ---: |");
    for (name, streams) in [("one anchor", vec![0]), ("one stream of statistics", vec![1])] {
        let first = bench.observed(streams.clone()).await?;
        bench.observed(streams.clone()).await?;
        let later = bench.observed(streams).await?;
        println!("| {name} | {} | {} |", first.gas_used, later.gas_used);
    }
    for _ in 0..WARM_UP {
        bench.observed(vec![0, 1]).await?;
    }
    let both = bench.observed(vec![0, 1]).await?;
    println!("| both | | {} |\n", both.gas_used);
    println!("Guarded calls whose rule compares with a stream, as above:\n");
    println!("| operation | gas, gate cached | gas, nothing cached |\n| --- | ---: | ---: |");
    let entry = bench.entry(bench.guard).await?;
    let saved = entry.gas.saturating_sub(entry.gasWhenCached);
    for (name, action) in [
        ("`x <= anchor(x, …) + 10`", Action::Deposit),
        ("`score(x, …) <= 6 sigma`", Action::Settle),
        ("`x <= highest(x, …) + 10`", Action::Liquidate),
    ] {
        let (enter, exit) = bench.hooks(action).await?;
        let cached = enter.saturating_sub(saved);
        println!(
            "| enter + exit, {name} | {} ({cached} + {exit}) | {} ({enter} + {exit}) |",
            cached.saturating_add(exit),
            enter.saturating_add(exit)
        );
    }
    println!();
    bench.node.stop().await?;
    Ok(())
}

impl Bench {
    /// Observes these streams when they are due next.
    async fn observed(&self, streams: Vec<u8>) -> eyre::Result<TransactionReceipt> {
        self.provider.anvil_increase_time(SPACING).await?;
        self.provider.anvil_mine(Some(1), None).await?;
        let call = ICordonGuard::observeCall { streams };
        self.send(USER, self.guard, call.abi_encode()).await
    }
}
