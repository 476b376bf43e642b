//! A database that is gone: people hear of it past the record, and whoever asks for the health at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cordon_client::Config;
use cordon_client::config::SecretText;
use cordon_keeper::record::Store;
use cordon_keeper::{Keeper, KeeperError, notify};
use cordon_testkit::{Inbox, Link, Postgres};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::console::{get, health};
use crate::world::{GAUGE_RULE, World, until};

struct Lonely {
    world: World,
    store: Store,
    database: Postgres,
    link: Link,
    inbox: Inbox,
    console: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), KeeperError>>,
}

impl Lonely {
    /// A keeper that has been well, on a database behind a link.
    async fn new() -> Self {
        let world = World::new(&GAUGE_RULE).await;
        let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
        let link = Link::to(&format!("127.0.0.1:{}", database.port())).await.unwrap();
        let url = SecretText::new(database.url_through(link.address().port()));
        let store = Store::connect(&url, world.node.chain_id(), world.guard)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let inbox = Inbox::start().await.unwrap();
        let mut keeper = Keeper::new(world.options(), &world.compiled, store.clone(), World::signers())
            .await
            .unwrap_or_else(|e| panic!("{e}"))
            .with_channels(webhook(&world, &inbox));
        let console = keeper.open_console("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(keeper.run(stop.clone()));
        until("it is well", || async { health(console).await.1.contains("\"well\"") }).await;
        Self {
            world,
            store,
            database,
            link,
            inbox,
            console,
            stop,
            task,
        }
    }

    fn told(&self, event: &str) -> Vec<Value> {
        let about = |message: &Value| message["key"].as_str().is_some_and(|key| key.ends_with("alarm-record"));
        let messages = self.inbox.messages();
        messages
            .into_iter()
            .filter(|message| about(message) && message["event"] == event)
            .collect()
    }

    /// What follows from a loss that has just begun.
    async fn is_told(&self) {
        let begun = Instant::now();
        until("its health says so", || async { health(self.console).await.0 == 503 }).await;
        let ill = begun.elapsed();
        until("people hear of it", || async { !self.told("trigger").is_empty() }).await;
        let told = begun.elapsed();
        assert!(ill < Duration::from_secs(4), "503 after {ill:?}");
        assert!(told < Duration::from_secs(12), "told after {told:?}");
        // However long it lasts, and however many blocks wait: once.
        let height = self.world.height().await;
        self.world.reach(height + 40).await;
        let messages = self.told("trigger");
        assert_eq!(messages.len(), 1, "{messages:#?}");
        assert_eq!(messages[0]["severity"], "P1");
        let text = messages[0]["text"].as_str().unwrap();
        assert!(text.contains("the record") && !text.contains("acknowledge:"), "{text}");
        assert_eq!(health(self.console).await.0, 503);
        self.is_measured().await;
    }

    /// Who measures it learns that the record is gone, from the keeper at work or when it has lost its turn with the database.
    async fn is_measured(&self) {
        let begun = Instant::now();
        let (status, metrics) = get(self.console, "localhost", "/metrics").await;
        let took = begun.elapsed();
        assert_eq!(status, 200, "{metrics}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        for line in ["cordon_keeper_record_up 0\n", "cordon_keeper_healthy 0\n"] {
            assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
        }
        // What only the record knows is left out: none would mean that there is none.
        assert!(!metrics.contains("cordon_keeper_incidents_open"), "{metrics}");
    }

    /// The database is back: it is told, and the keeper goes on.
    async fn ends(self) {
        self.link.repair();
        until("its end is told", || async { !self.told("resolve").is_empty() }).await;
        until("it is well again", || async {
            health(self.console).await.1.contains("\"well\"")
        })
        .await;
        assert_eq!(self.told("resolve").len(), 1);
        assert!(self.skipped_nothing().await > 40);
        let (_, metrics) = get(self.console, "localhost", "/metrics").await;
        assert!(
            metrics.contains("cordon_keeper_record_up 1\n") && metrics.contains("cordon_keeper_incidents_open 0\n"),
            "{metrics}"
        );
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Lonely {
    /// Every block has its verdicts, those too that came while nothing could be stored. Answers how many there are.
    async fn skipped_nothing(&self) -> usize {
        let height = self.world.height().await;
        until("the blocks of now are evaluated", || async {
            self.store
                .window(1)
                .await
                .unwrap()
                .last()
                .is_some_and(|tip| tip.number >= height)
        })
        .await;
        let window = self.store.window(2_000).await.unwrap();
        for pair in window.windows(2) {
            assert_eq!(
                (pair[1].number, pair[1].parent),
                (pair[0].number + 1, pair[0].hash),
                "no block is missing"
            );
        }
        for block in &window {
            assert!(self.store.verdicts(block.hash).await.unwrap().is_some(), "{block:?}");
        }
        window.len()
    }
}

fn webhook(world: &World, inbox: &Inbox) -> Vec<notify::Channel> {
    let directory = world.dir.path();
    std::fs::write(directory.join("hook"), inbox.url()).unwrap();
    std::fs::write(directory.join("hook-secret"), "a secret of sixteen bytes or more").unwrap();
    let channel = "[[notify]]\nid = \"hook\"\nvia = \"webhook\"\nurl = { file = \"hook\" }\nsecret = { file = \"hook-secret\" }\nseverity = \"P1\"\n";
    let text = world.config.source.text().to_owned() + channel;
    let config = Config::parse(&text, directory.join("cordon.toml")).unwrap_or_else(|e| panic!("{e}"));
    notify::channels(&config.notify, directory).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_stopped_is_told_past_the_record() {
    let keeper = Lonely::new().await;
    keeper.link.end();
    keeper.is_told().await;
    keeper.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_told_past_the_record() {
    let keeper = Lonely::new().await;
    keeper.link.cut();
    keeper.is_told().await;
    keeper.ends().await;
}

/// The next block must not be taken for the one that follows on a block of which nothing could be stored, when what is stored could not even be
/// read.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_met_a_record_that_failed_twice_is_not_skipped() {
    let keeper = Lonely::new().await;
    keeper.world.rpc("evm_setIntervalMining", json!([0])).await;
    keeper.skipped_nothing().await;
    let missing = |is_missing: bool| {
        let (from, to) = if is_missing {
            ("blocks", "gone")
        } else {
            ("gone", "blocks")
        };
        keeper
            .database
            .execute(&format!("ALTER TABLE {from} RENAME TO {to}"))
            .unwrap();
    };
    missing(true);
    keeper.world.rpc("anvil_mine", json!([])).await;
    until("it is told", || async { !keeper.told("trigger").is_empty() }).await;
    // The second failure is told to nobody: twenty times as long as it takes to read the record again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    missing(false);
    keeper.world.rpc("anvil_mine", json!([])).await;
    keeper.skipped_nothing().await;
    keeper.stop.cancel();
    keeper.task.await.unwrap().unwrap();
}
