//! A chain of stock anvil, on which others have deployed what the guard is to protect.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cordon_drill::Tools;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// For anvil to listen, on a machine under load.
const START: Duration = Duration::from_secs(60);

pub(crate) struct Live {
    process: Child,
    pub(crate) endpoint: String,
}

impl Live {
    pub(crate) async fn start(root: &Path) -> Self {
        let anvil = Tools::discover(Some(root), None)
            .expect("run scripts/setup first")
            .anvil;
        let mut process = Command::new(anvil)
            .args(["--port", "0", "--max-persisted-states", "0", "--auto-impersonate"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("anvil ended");
                if let Some(address) = line.strip_prefix("Listening on ") {
                    return format!("http://{}", address.trim());
                }
            }
        };
        let endpoint = timeout(START, listening).await.expect("anvil does not listen");
        // What it says later is nobody's to read, and must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { process, endpoint }
    }

    pub(crate) async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}
