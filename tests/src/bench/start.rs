//! How long a fork takes to answer.

use std::path::Path;
use std::time::{Duration, Instant};

use alloy::providers::{Provider, ProviderBuilder};
use cordon_drill::Tools;
use cordon_node::NodeConfig;
use eyre::ensure;

use super::{RUNS, median, ms};

/// From start to the first answer of a fork: ours and stock anvil's, of the same upstream.
pub(super) async fn fork_start(root: &Path) -> eyre::Result<()> {
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
