//! The keeper's latencies.

use std::path::Path;

use cordon_drill::{Options, Silent};

/// The keeper's latencies, as the Aave drill measures them.
pub(super) async fn keeper(root: &Path) -> eyre::Result<()> {
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
    println!();
    Ok(())
}
