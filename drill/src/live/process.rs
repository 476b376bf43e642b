//! The live chain's process: stock anvil, which must not outlive the drill however that ends.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines},
    process::{Child, Command},
};

use crate::{chain::MNEMONIC, error::DrillError};

/// Watches over anvil from a shell whose input is the drill's pipe: when the drill ends, even by SIGKILL, the pipe closes,
/// and the shell kills anvil and reaps it. It kills outright: what a shell starts in the background ignores SIGINT until it
/// has a handler of its own, and this anvil keeps nothing on disk. The shell closes its own output so that only anvil holds
/// ours open.
const WATCHDOG: &str =
    r#""$@" </dev/null & chain=$!; exec >&- 2>&-; trap : INT TERM HUP; read -r _; kill -KILL $chain; wait $chain"#;

/// How long anvil may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long anvil may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A running anvil.
#[derive(Debug)]
pub(crate) struct AnvilProcess {
    watchdog: Child,
    endpoint: String,
}

impl AnvilProcess {
    /// Starts anvil on a free port of the loopback interface.
    pub(crate) async fn start(program: &Path, chain_id: u64, accounts: u32) -> Result<Self, DrillError> {
        let fail = |reason: String| DrillError::Process {
            program: program.to_path_buf(),
            reason,
        };
        let mut watchdog = Command::new("sh")
            .arg("-c")
            .arg(WATCHDOG)
            .arg("cordon-live-chain")
            .arg(program)
            .args(["--host", "127.0.0.1", "--port", "0", "--mnemonic", MNEMONIC])
            .args(["--chain-id", &chain_id.to_string(), "--accounts", &accounts.to_string()])
            .args(["--max-persisted-states", "0", "--hardfork", "prague"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| fail(error.to_string()))?;
        match tokio::time::timeout(START_PATIENCE, listening(&mut watchdog)).await {
            Ok(Some(address)) => {
                if let Some(stderr) = watchdog.stderr.take() {
                    drain(BufReader::new(stderr).lines());
                }
                Ok(Self {
                    watchdog,
                    endpoint: format!("http://{address}"),
                })
            }
            Ok(None) => Err(fail(complaint(&mut watchdog).await)),
            Err(_) => Err(fail(format!("it did not listen within {} s", START_PATIENCE.as_secs()))),
        }
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Stops anvil and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        drop(self.watchdog.stdin.take());
        if tokio::time::timeout(STOP_PATIENCE, self.watchdog.wait()).await.is_err() {
            // Nothing to be done about a failure here: the process is gone or the system refuses.
            let _ = self.watchdog.kill().await;
        }
    }
}

/// Keeps reading what anvil writes, so that it never blocks on a full pipe.
fn drain<R: AsyncBufRead + Unpin + Send + 'static>(mut lines: Lines<R>) {
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}

/// Reads anvil's output up to the line that names its address.
async fn listening(child: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix("Listening on ") {
            let address = address.trim().to_owned();
            drain(lines);
            return Some(address);
        }
    }
    None
}

/// What a failed anvil wrote to its error output.
async fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            text.push(line);
        }
    }
    if text.is_empty() {
        "it ended without a word".to_owned()
    } else {
        text.join("; ")
    }
}
