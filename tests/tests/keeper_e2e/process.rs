//! A keeper as a process of its own, that can be killed and paused.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use alloy::primitives::hex;
use cordon_client::Config;
use cordon_keeper::notify;
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, Options, Signers};
use tokio_util::sync::CancellationToken;

use crate::world::{HEARTBEAT, KEEPER, World, key, until};

const CONFIG: &str = "CORDON_TEST_KEEPER_CONFIG";

/// Not a test of its own: the process that other tests start and kill.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by other tests as a process of its own"]
async fn child() {
    let Ok(path) = std::env::var(CONFIG) else { return };
    let config = Config::load(path).unwrap();
    let options = Options::from_config(&config).unwrap();
    let section = config.keeper.as_ref().unwrap();
    let directory = config.source.directory();
    let store = Store::at(&section.store, directory, options.chain_id, options.guard)
        .await
        .unwrap();
    let signers = Signers::from_config(&config).unwrap();
    let channels = notify::channels(&config.notify, directory).unwrap();
    let mut keeper = Keeper::new(options, &config.compile().unwrap(), store, signers)
        .await
        .unwrap()
        .with_channels(channels);
    if let Some(address) = section.console {
        keeper.open_console(address).await.unwrap();
    }
    keeper.run(CancellationToken::new()).await.unwrap();
}

/// A child that is killed with this value.
pub(crate) struct Process(Child);

impl Process {
    /// With the configuration of the world and these variables.
    pub(crate) fn start(world: &World, variables: &[(&str, &str)]) -> Self {
        Self::with(world.config.source.path(), KEEPER, variables)
    }

    /// With another configuration, and the key of another keeper.
    pub(crate) fn with(config: &Path, keeper: u32, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "process::child",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CONFIG, config)
            .env("CORDON_KEEPER_KEY", hex::encode(key(keeper).to_bytes()))
            .env("CORDON_HEARTBEAT_KEY", hex::encode(key(HEARTBEAT).to_bytes()))
            .env_remove("CORDON_FAIL_POINT")
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        for (name, value) in variables {
            command.env(name, value);
        }
        Self(command.spawn().unwrap())
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.0.kill().unwrap();
        self.0.wait().unwrap()
    }

    /// Sends a signal by its name: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(status.unwrap().success(), "SIG{name}");
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the child has evaluated a block of now.
pub(crate) async fn watching(world: &World, store: &Store) {
    let height = world.height().await;
    until("the child evaluates blocks", || async {
        store
            .window(1)
            .await
            .unwrap()
            .last()
            .is_some_and(|block| block.number >= height)
    })
    .await;
}
