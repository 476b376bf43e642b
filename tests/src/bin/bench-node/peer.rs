//! The two nodes as processes, started alike.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use eyre::{OptionExt, WrapErr, ensure};
use tokio::process::{Child, Command};

use crate::client::Client;

/// Longest wait for the first answer of a node.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cordon,
    Anvil,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) cordon: PathBuf,
    pub(crate) anvil: PathBuf,
}

/// A running node; dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    pub(crate) client: Client,
    /// From the start of the process to its first answer.
    pub(crate) start: Duration,
}

impl Programs {
    fn command(&self, kind: Kind) -> Command {
        let program: &Path = match kind {
            Kind::Cordon => &self.cordon,
            Kind::Anvil => &self.anvil,
        };
        let mut command = Command::new(program);
        match kind {
            Kind::Cordon => command.arg("node"),
            // Without it anvil writes its history to the home folder.
            Kind::Anvil => command.args(["--max-persisted-states", "0"]),
        };
        command
    }

    /// Starts a node with 16 accounts on a free port and waits for its first answer.
    pub(crate) async fn start(&self, kind: Kind, args: &[&str]) -> eyre::Result<Node> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port()
            .to_string();
        let begun = Instant::now();
        let child = self
            .command(kind)
            .args(["--port", &port, "--accounts", "16", "--silent"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .wrap_err_with(|| format!("{kind:?} could not be started"))?;
        let client = Client::new(&format!("http://127.0.0.1:{port}"))?;
        while client.call("eth_blockNumber", serde_json::json!([])).await.is_err() {
            ensure!(begun.elapsed() < START_PATIENCE, "{kind:?} does not answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Node {
            child,
            client,
            start: begun.elapsed(),
        })
    }
}

impl Node {
    /// Memory that the process has in RAM, in MiB.
    pub(crate) fn resident_mib(&self) -> eyre::Result<f64> {
        let id = self.child.id().ok_or_eyre("the node has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib
            .ok_or_eyre("the system does not tell the memory of a process")?
            .parse::<f64>()?
            / 1024.0)
    }

    /// Ends the process and waits until it is gone.
    pub(crate) async fn stop(mut self) -> eyre::Result<()> {
        Ok(self.child.kill().await?)
    }
}
