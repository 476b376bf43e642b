//! `cordon node` as a process: anvil's flags, and what is left when it is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../common/mod.rs"]
mod common;
mod ended;
mod flags;
mod started;

use std::path::{Path, PathBuf};
use std::process::Command;

use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use common::{Process, listening, node};
use serde_json::{Value, json};

const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const NOBODY: &str = "0x0909090909090909090909090909090909090909";

fn tool(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/npm/node_modules/@foundry-rs");
    let platforms = std::fs::read_dir(&root).expect("run scripts/setup first");
    let binaries = platforms.flatten().map(|entry| entry.path().join("bin").join(name));
    binaries
        .into_iter()
        .find(|path| path.is_file())
        .expect("run scripts/setup first")
}

/// A running node, killed with the value.
struct Running {
    process: Process,
    endpoint: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        Self::of(node(&["--port", "0"]).args(arguments))
    }

    /// The node that a command starts.
    fn of(command: &mut Command) -> Self {
        let (process, address) = listening(command);
        Self {
            process,
            endpoint: format!("http://{address}"),
        }
    }

    fn provider(&self) -> DynProvider {
        ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_http(self.endpoint.parse().unwrap())
            .erased()
    }
}

async fn raw(provider: &DynProvider, method: &'static str, params: Value) -> Value {
    provider.raw_request(method.into(), params).await.unwrap()
}

async fn pay(provider: &DynProvider) {
    let transfer = json!([{ "from": ALICE, "to": NOBODY, "value": "0x1" }]);
    raw(provider, "eth_sendTransaction", transfer).await;
}
