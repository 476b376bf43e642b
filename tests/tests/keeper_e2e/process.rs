//! A keeper as a process of its own, that can be killed and paused.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use alloy::consensus::Transaction as _;
use alloy::primitives::{U256, hex};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Transaction};
use alloy::sol_types::{SolCall, SolEvent};
use cordon_client::Config;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::notify;
use cordon_keeper::record::{IncidentState, Outcome, Store};
use cordon_keeper::{Approvers, Keeper, Options, Signers};
use cordon_testkit::Inbox;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::board::STOPPED;
use crate::world::{HEARTBEAT, KEEPER, World, key, until};

const CONFIG: &str = "CORDON_TEST_KEEPER_CONFIG";
/// What the process `somebody` does.
const DOES: &str = "CORDON_TEST_DOES";
/// Blocks between two times that the child forgets what is old.
pub(crate) const PRUNE: &str = "CORDON_TEST_PRUNE_EVERY";

/// Not a test of its own: the process that other tests start and kill.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by other tests as a process of its own"]
async fn child() {
    let Ok(path) = std::env::var(CONFIG) else { return };
    let config = Config::load(path).unwrap();
    let mut options = Options::from_config(&config).unwrap();
    if let Ok(blocks) = std::env::var(PRUNE) {
        options.prune_every = blocks.parse().unwrap();
    }
    let section = config.keeper.as_ref().unwrap();
    let directory = config.source.directory();
    let store = Store::at(&section.store, directory, options.chain_id, options.guard)
        .await
        .unwrap();
    let signers = Signers::from_config(&config).await.unwrap();
    let channels = notify::channels(&config.notify, directory).unwrap();
    let mut keeper = Keeper::new(options, &config.compile().unwrap(), store, signers)
        .await
        .unwrap()
        .with_channels(channels)
        .with_config(&config)
        .with_approvers(Approvers::new(&config.people, directory).unwrap());
    if let Some(address) = section.console {
        keeper.open_console(address).await.unwrap();
    }
    let stop = CancellationToken::new();
    let told = stop.clone();
    // Before the keeper does anything that a test could wait for.
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::spawn(async move {
        terminate.recv().await;
        told.cancel();
    });
    keeper.run(stop).await.unwrap();
}

/// Not a test of its own either: somebody at a command line beside the keeper, who can be killed as well.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by other tests as a process of its own"]
async fn somebody() {
    let (Ok(path), Ok(does)) = (std::env::var(CONFIG), std::env::var(DOES)) else {
        return;
    };
    let config = Config::load(path).unwrap();
    let options = Options::from_config(&config).unwrap();
    let place = &config.keeper.as_ref().unwrap().store;
    let store = Store::at(place, config.source.directory(), options.chain_id, options.guard)
        .await
        .unwrap();
    match does.as_str() {
        "acknowledge" => drop(store.acknowledge("incident:1", "ada").await.unwrap()),
        "note" => store.note(1, "call", "the war room is open").await.unwrap(),
        other => panic!("nobody does {other}"),
    }
}

/// The world's configuration with a pager, and the record where `store` (TOML) says.
pub(crate) fn config_with_pager(world: &World, store: &str) -> PathBuf {
    let text = std::fs::read_to_string(world.config.source.path()).unwrap();
    let pager = r#"
[[notify]]
id       = "pager"
via      = "webhook"
url      = { env = "CORDON_TEST_PAGER" }
secret   = { env = "CORDON_TEST_PAGER_SECRET" }
severity = "P1"
"#;
    let path = world.dir.path().join("with-pager.toml");
    std::fs::write(&path, text.replace("\"cordon.db\"", store) + pager).unwrap();
    path
}

/// What a process with a pager needs in its environment.
pub(crate) fn pager(inbox: &Inbox) -> [(&'static str, String); 2] {
    [
        ("CORDON_TEST_PAGER", inbox.url()),
        (
            "CORDON_TEST_PAGER_SECRET",
            "a secret of sixteen bytes or more".to_owned(),
        ),
    ]
}

/// Pages about incidents that people got, as a service sees them that knows repetitions.
pub(crate) fn pages(inbox: &Inbox) -> usize {
    let calls = |message: &&serde_json::Value| {
        message["event"] == "trigger" && message["key"].as_str().is_some_and(|key| key.contains("incident"))
    };
    inbox.messages().iter().filter(calls).count()
}

/// What must hold in the end, whoever was killed when: one containment, one incident, one page, no block left out, nothing left
/// to do.
pub(crate) async fn nothing_missing_nothing_twice(world: &World, store: &Store, inbox: &Inbox) {
    assert_eq!(world.get(STOPPED).await, U256::from(1));
    // A second containment at the same level is another event: it lasts longer.
    let raises = [
        ICordonGuard::LevelRaised::SIGNATURE_HASH,
        ICordonGuard::LevelExtended::SIGNATURE_HASH,
    ];
    let filter = Filter::new()
        .address(world.guard)
        .event_signature(raises.to_vec())
        .from_block(0);
    let raised = world.provider.get_logs(&filter).await.unwrap();
    assert_eq!(raised.len(), 1, "raised once: {raised:#?}");
    let sent = containments(world).await;
    assert!(sent.len() <= 1, "sent once at most, by whichever key: {sent:#?}");
    let incidents = store.incidents().await.unwrap();
    assert_eq!(incidents.len(), 1, "one incident: {incidents:#?}");
    assert_eq!(incidents[0].state, IncidentState::Contained);
    assert_eq!(pages(inbox), 1, "one page: {:#?}", inbox.messages());
    let intents = store.intents().await.unwrap();
    let done = intents.iter().filter(|i| i.outcome == Some(Outcome::Done)).count();
    assert!(done <= 1 && intents.iter().all(|i| i.outcome.is_some()), "{intents:#?}");
    // Each block of the record is the parent of the next.
    let window = store.window(10_000).await.unwrap();
    for pair in window.windows(2) {
        assert_eq!(
            (pair[1].number, pair[1].parent),
            (pair[0].number + 1, pair[0].hash),
            "no gap"
        );
    }
}

/// Transactions that were included and raise a level of the guard, or tried to.
async fn containments(world: &World) -> Vec<Transaction> {
    let raises = [ICordonGuard::tripCall::SELECTOR, ICordonGuard::containCall::SELECTOR];
    let mut found = Vec::new();
    for number in 0..=world.height().await {
        let block = world.provider.get_block(number.into()).full().await.unwrap().unwrap();
        found.extend(block.transactions.into_transactions().filter(|tx| {
            let selector = tx.input().get(..4);
            tx.to() == Some(world.guard) && raises.iter().any(|raise| selector == Some(raise.as_slice()))
        }));
    }
    found
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
        Self::run("process::child", config, keeper, variables)
    }

    /// Somebody who acts on the record beside the keeper.
    pub(crate) fn somebody(config: &Path, does: &str, variables: &[(&str, &str)]) -> Self {
        let variables = [variables, &[(DOES, does)]].concat();
        Self::run("process::somebody", config, KEEPER, &variables)
    }

    fn run(test: &str, config: &Path, keeper: u32, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env(CONFIG, config)
            .env("CORDON_KEEPER_KEY", hex::encode(key(keeper).to_bytes()))
            .env("CORDON_HEARTBEAT_KEY", hex::encode(key(HEARTBEAT).to_bytes()))
            .env_remove("CORDON_FAIL_POINT")
            .env_remove("CORDON_KILL_POINT")
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

/// Waits until the child has evaluated a block that was not there before: older ones may have been evaluated by one that is dead.
pub(crate) async fn watching(world: &World, store: &Store) {
    let height = world.height().await;
    if !world.ticks {
        world.rpc("evm_mine", json!([])).await;
    }
    until("the child evaluates blocks", || async {
        store
            .window(1)
            .await
            .unwrap()
            .last()
            .is_some_and(|block| block.number > height)
    })
    .await;
}
