//! A real anvil for tests.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The anvil of `scripts/setup`, or the one on the path.
fn anvil_binary() -> PathBuf {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/npm/node_modules/@foundry-rs");
    let from_npm = std::fs::read_dir(modules).ok().and_then(|entries| {
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("anvil-"))
            })
            .map(|path| path.join("bin/anvil"))
            .find(|path| path.exists())
    });
    std::env::var_os("ANVIL")
        .map(PathBuf::from)
        .or(from_npm)
        .unwrap_or_else(|| PathBuf::from("anvil"))
}

/// An anvil process on a free port; it dies with this value.
pub struct Anvil {
    child: Child,
    port: u16,
}

impl Anvil {
    pub async fn start(args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut anvil = Self {
            child: spawn(port, args),
            port,
        };
        anvil.ready().await;
        anvil
    }

    async fn ready(&mut self) {
        let begun = Instant::now();
        while self.try_rpc("eth_chainId", json!([])).await.is_none() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("anvil ended with {status}");
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "anvil does not answer");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Ends the process as an operator would, so that it saves its state.
    pub fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port.
    pub async fn restart(&mut self, args: &[&str]) {
        self.child = spawn(self.port, args);
        self.ready().await;
    }

    pub fn chain_id(&self) -> u64 {
        31_337
    }

    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    async fn try_rpc(&self, method: &'static str, params: Value) -> Option<Value> {
        use alloy::providers::{Provider, ProviderBuilder};
        let provider = ProviderBuilder::new().connect_http(self.http().parse().unwrap());
        provider.raw_request(method.into(), params).await.ok()
    }

    /// Sends a transaction from an account of anvil and waits until it is in a block: anvil mines after it has answered.
    pub async fn send(&self, tx: Value) -> Value {
        let hash = self.rpc("eth_sendTransaction", json!([tx])).await;
        let begun = Instant::now();
        while self.rpc("eth_getTransactionReceipt", json!([hash])).await.is_null() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{hash} is not mined");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hash
    }

    pub async fn rpc(&self, method: &'static str, params: Value) -> Value {
        self.try_rpc(method, params)
            .await
            .unwrap_or_else(|| panic!("{method} failed"))
    }
}

fn spawn(port: u16, args: &[&str]) -> Child {
    Command::new(anvil_binary())
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--silent"])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("anvil starts; run scripts/setup or set ANVIL")
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
