//! A keeper that is killed (SIGKILL) at random instants of an incident: nothing decided is lost, nothing is done or told twice.
//! `scripts/test kills` kills more often than a run of all tests does.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use cordon_client::config::SecretText;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::Store;
use cordon_testkit::{Dice, Inbox, Postgres};
use serde_json::json;

use crate::board::GAUGE;
use crate::ladder::{OWNERS, safe, safe_nonce, signed_file};
use crate::process::{Process, config_with_pager, nothing_missing_nothing_twice, pager, pages, watching};
use crate::world::{GAUGE_RULE, KEEPER, World, key, until};

/// Kills of one incident.
const PER_INCIDENT: usize = 10;

/// Kills that are survived in each scene: a few where every change is tested, as many as `CORDON_KILLS` says on demand.
fn kills() -> usize {
    std::env::var("CORDON_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

const DATABASE: &str = "CORDON_TEST_DATABASE";

/// A world with a keeper as a process of its own, that tells a pager.
struct Scene {
    world: World,
    inbox: Inbox,
    config: PathBuf,
    store: Store,
    database: Option<Postgres>,
}

impl Scene {
    /// With its record in a file.
    async fn on_file(world: World) -> Self {
        let config = config_with_pager(&world, "\"cordon.db\"");
        Self {
            store: world.store().await,
            inbox: Inbox::start().await.unwrap(),
            config,
            world,
            database: None,
        }
    }

    /// With its record on PostgreSQL.
    async fn on_postgres(world: World) -> Self {
        let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
        let config = config_with_pager(&world, &format!("{{ postgres = {{ env = \"{DATABASE}\" }} }}"));
        let url = SecretText::new(database.url());
        Self {
            store: Store::connect(&url, world.node.chain_id(), world.guard)
                .await
                .unwrap_or_else(|e| panic!("{e}")),
            inbox: Inbox::start().await.unwrap(),
            config,
            world,
            database: Some(database),
        }
    }

    fn start(&self) -> Process {
        let url = self.database.as_ref().map(Postgres::url).unwrap_or_default();
        let [address, secret] = pager(&self.inbox);
        let variables = [
            (address.0, address.1.as_str()),
            (secret.0, secret.1.as_str()),
            (DATABASE, url.as_str()),
        ];
        Process::with(&self.config, KEEPER, &variables)
    }

    /// A breach, and a keeper that is killed again and again, each time at most `longest` ms after the time before.
    async fn breaks_and_is_killed(&self, dice: &mut Dice, longest: u64) {
        let mut process = self.start();
        watching(&self.world, &self.store).await;
        self.world.set(GAUGE, 5_000).await;
        let mut pauses = Vec::new();
        for _ in 0..PER_INCIDENT {
            let pause = dice.between(0, longest);
            pauses.push(pause);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            process.kill();
            process = self.start();
        }
        println!("killed after {pauses:?} ms");
    }

    async fn contained(&self) {
        until("it is contained", || async {
            self.world.level(1).await == ICordonGuard::Level::ReduceOnly
        })
        .await;
    }

    /// What holds when a keeper that nobody disturbs has ended what was begun.
    async fn ends(&self) {
        self.contained().await;
        until("everything decided is ended", || async {
            !self.store.intents().await.unwrap().is_empty() && self.store.open_intents().await.unwrap().is_empty()
        })
        .await;
        until("people are told", || async { pages(&self.inbox) == 1 }).await;
        let height = self.world.height().await;
        watching(&self.world, &self.store).await;
        self.world.reach(height + 2).await;
        nothing_missing_nothing_twice(&self.world, &self.store, &self.inbox).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_killed_at_random_instants_contains_and_tells_once() {
    let mut dice = Dice::from_environment("instants of the kills");
    for _ in 0..kills().div_ceil(PER_INCIDENT) {
        let scene = Scene::on_file(World::new(&GAUGE_RULE).await).await;
        scene.breaks_and_is_killed(&mut dice, 900).await;
        let _process = scene.start();
        scene.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_killed_at_random_instants_on_postgresql_contains_and_tells_once() {
    let mut dice = Dice::from_environment("instants of the kills");
    for _ in 0..kills().div_ceil(PER_INCIDENT) {
        let scene = Scene::on_postgres(World::new(&GAUGE_RULE).await).await;
        // Whoever comes next waits until the turn of the one that was killed is over, which takes up to 4 s.
        scene.breaks_and_is_killed(&mut dice, 6_000).await;
        let _process = scene.start();
        scene.ends().await;
    }
}

const LOG: &str = r#"
[[playbook]]
id = "log"
severity = "P1"
rules = ["gauge-low"]
step = [
  { do = "wait", until = "level >= ReduceOnly", within = "10 minutes" },
  { do = "note", text = "The market holds." },
  { do = "wait", for = "1 second" },
  { do = "note", text = "It held for a while." },
]
"#;

/// A keeper that cannot pay, beside a Safe whose owners have signed the containment of the market, and with a playbook.
async fn with_a_ladder() -> (Scene, Address) {
    let world = World::new(&GAUGE_RULE).await;
    let safe = safe(&world).await;
    let path = world.dir.path().join("cordon.toml");
    let fallback = format!(
        "[[fallback]]\nid = \"council\"\nscopes = [\"market\"]\nsafe = \"{safe}\"\ndeadline = \"5 seconds\"\nsigned = \"signed.json\"\n"
    );
    let text = std::fs::read_to_string(&path).unwrap() + &fallback + LOG;
    std::fs::write(&path, text).unwrap();
    std::fs::write(
        world.dir.path().join("signed.json"),
        signed_file(&world, safe, 0, &OWNERS),
    )
    .unwrap();
    let scene = Scene::on_file(world).await;
    pay(&scene, "0x1").await;
    (scene, safe)
}

async fn pay(scene: &Scene, balance: &str) {
    let account = key(KEEPER).address();
    scene.world.rpc("anvil_setBalance", json!([account, balance])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_killed_at_random_instants_of_a_ladder_and_a_playbook_does_each_step_once() {
    let mut dice = Dice::from_environment("instants of the kills");
    for _ in 0..kills().div_ceil(PER_INCIDENT) {
        let (scene, safe) = with_a_ladder().await;
        scene.breaks_and_is_killed(&mut dice, 2_000).await;
        let _process = scene.start();
        scene.contained().await;
        pay(&scene, "0xde0b6b3a7640000").await;
        until("the playbook is done", || async {
            let runs = scene.store.playbook_runs(1).await.unwrap();
            runs.iter().any(|run| run.state == "done")
        })
        .await;
        until("the fallback is over", || async {
            let incident = scene.store.incident(1).await.unwrap().unwrap();
            let mut lines = incident.timeline.iter();
            lines.any(|line| line.text.contains("no more is needed"))
        })
        .await;
        scene.ends().await;
        assert_eq!(
            safe_nonce(&scene.world, safe).await,
            U256::ONE,
            "the Safe has acted once"
        );
        assert_eq!(scene.world.nonce(KEEPER).await, 0, "the keeper never could");
        let incident = scene.store.incident(1).await.unwrap().unwrap();
        for part in [
            "begun: the keeper's",
            "signed transaction: running",
            "no more is needed",
            "The market holds.",
            "It held for a while.",
        ] {
            let lines = incident.timeline.iter().filter(|line| line.text.contains(part)).count();
            assert_eq!(lines, 1, "{part}: {:#?}", incident.timeline);
        }
    }
}
