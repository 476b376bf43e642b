//! A keeper that dies (SIGKILL) before and after every step of its record, each in a scene in which the step comes up by itself: no
//! block is left out, everything decided is carried out, nothing is contained or told twice.
//!
//! The table is complete by construction: the record commits nothing without a [`Step`], every step is in one scene, and a scene fails
//! unless the keeper has died before and after each of its steps.

mod chain;
mod fleet;
mod incident;
mod ladder;
mod people;
mod playbook;
mod tables;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cordon_client::Config;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::record::{Step, Store};
use cordon_testkit::Inbox;

use crate::board::GAUGE;
use crate::process::{Process, config_with_pager, nothing_missing_nothing_twice, pager, pages, watching};
use crate::world::{KEEPER, Rules, World, until};

/// The steps that are killed in each scene.
const SCENES: [(&str, &[Step]); 12] = [
    ("tables", tables::STEPS),
    ("start", incident::START),
    ("incident", incident::INCIDENT),
    ("page", incident::PAGE),
    ("reverted", incident::REVERTED),
    ("settle", chain::SETTLE),
    ("chain", chain::CHAIN),
    ("people", people::STEPS),
    ("playbook", playbook::STEPS),
    ("watches", watches::STEPS),
    ("ladder", ladder::STEPS),
    ("fleet", fleet::STEPS),
];

#[test]
fn every_step_of_the_record_is_killed_in_one_scene() {
    let mut scenes: BTreeMap<Step, Vec<&str>> = BTreeMap::new();
    for (scene, steps) in SCENES {
        for step in steps {
            scenes.entry(*step).or_default().push(scene);
        }
    }
    for step in Step::ALL {
        let held = scenes.get(step).map_or(0, Vec::len);
        assert_eq!(
            held,
            1,
            "{step:?} is killed in {:?}: one scene is wanted",
            scenes.get(step)
        );
    }
}

/// A world with a keeper as a process of its own, that tells a pager and is killed again and again.
struct Stage {
    world: World,
    inbox: Inbox,
    config: PathBuf,
    store: Store,
    variables: Vec<(String, String)>,
    killed: BTreeSet<String>,
}

impl Stage {
    /// With these rules, and more of `cordon.toml`.
    async fn new(rules: &Rules, more: &str) -> Self {
        Self::on(World::new(rules).await, more).await
    }

    async fn on(mut world: World, more: &str) -> Self {
        let inbox = Inbox::start().await.unwrap();
        let config = config_with_pager(&world, "\"cordon.db\"");
        let text = std::fs::read_to_string(&config).unwrap() + more;
        std::fs::write(&config, text).unwrap();
        let variables = pager(&inbox).map(|(name, value)| (name.to_owned(), value)).to_vec();
        for (name, value) in &variables {
            // What the file names is read when it is compiled here too.
            assert!(!value.is_empty(), "{name}");
        }
        world.config = Config::load(&config).unwrap_or_else(|error| panic!("{error}"));
        Self {
            store: world.store().await,
            world,
            inbox,
            config,
            variables,
            killed: BTreeSet::new(),
        }
    }

    fn start(&self, point: Option<&str>) -> Process {
        self.start_as(KEEPER, point)
    }

    fn start_as(&self, keeper: u32, point: Option<&str>) -> Process {
        Process::with(&self.config, keeper, &self.environment(point))
    }

    fn environment<'s>(&'s self, point: Option<&'s str>) -> Vec<(&'s str, &'s str)> {
        let own = self.variables.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(point.map(|point| ("CORDON_KILL_POINT", point))).collect()
    }

    /// Waits until a process has died of its kill point.
    async fn death(&mut self, process: &mut Process, point: &str) {
        let begun = Instant::now();
        loop {
            if let Some(status) = process.ended() {
                assert_eq!(status.signal(), Some(9), "{point}: {status}");
                self.killed.insert(point.to_owned());
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{point} was not reached");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the keeper, and waits until it has died at the point.
    async fn dies(&mut self, point: &str) {
        let mut process = self.start(Some(point));
        self.death(&mut process, point).await;
    }

    /// The same before and after a step that the keeper comes to by itself, as it does again when the step was not committed.
    async fn dies_around(&mut self, step: Step) {
        self.dies(&format!("before-{}", step.name())).await;
        self.dies(&format!("after-{}", step.name())).await;
    }

    /// A breach while a keeper watches that dies at the point.
    async fn breaks_and_dies(&mut self, point: &str) {
        let mut process = self.start(Some(point));
        watching(&self.world, &self.store).await;
        self.world.set(GAUGE, 5_000).await;
        self.death(&mut process, point).await;
    }

    /// Somebody acts on the record, and dies at the point.
    async fn somebody_dies(&mut self, does: &str, point: &str) {
        let mut process = Process::somebody(&self.config, does, &self.environment(Some(point)));
        self.death(&mut process, point).await;
    }

    /// Waits until the guard holds the market's level and all that was decided is ended.
    async fn contained(&self) {
        until("it is contained", || async {
            self.world.level(1).await == ICordonGuard::Level::ReduceOnly
        })
        .await;
        self.nothing_open().await;
    }

    async fn nothing_open(&self) {
        until("everything decided is ended", || async {
            !self.store.intents().await.unwrap().is_empty() && self.store.open_intents().await.unwrap().is_empty()
        })
        .await;
        until("everything is told", || async {
            pages(&self.inbox) > 0 && self.store.undelivered().await.unwrap() == 0
        })
        .await;
        let height = self.world.height().await;
        self.world.reach(height + 2).await;
        watching(&self.world, &self.store).await;
    }

    /// Lets a keeper that nobody disturbs end what was begun: one containment, one page, no block left out.
    async fn ends(&self, steps: &[Step]) {
        self.ends_well().await;
        self.has_died_around(steps);
    }

    async fn ends_well(&self) {
        let _process = self.start(None);
        self.contained().await;
        nothing_missing_nothing_twice(&self.world, &self.store, &self.inbox).await;
        self.nothing_told_as_two();
    }

    /// What was sent again after a kill is the same message under the same key: one page.
    fn nothing_told_as_two(&self) {
        let mut by_id: BTreeMap<String, serde_json::Value> = BTreeMap::new();
        for message in self.inbox.received() {
            let id = message["id"].to_string();
            let first = by_id.entry(id).or_insert_with(|| message.clone());
            for field in ["key", "event", "title"] {
                assert_eq!(first[field], message[field], "repeated as another message");
            }
        }
    }

    fn has_died_around(&self, steps: &[Step]) {
        let wanted: BTreeSet<String> = steps
            .iter()
            .flat_map(|step| ["before", "after"].map(|when| format!("{when}-{}", step.name())))
            .collect();
        assert_eq!(self.killed, wanted);
    }

    /// How often the guard has raised a level.
    async fn raised(&self) -> usize {
        use alloy::providers::Provider;
        use alloy::sol_types::SolEvent;
        let filter = alloy::rpc::types::Filter::new()
            .address(self.world.guard)
            .event_signature(ICordonGuard::LevelRaised::SIGNATURE_HASH)
            .from_block(0);
        self.world.provider.get_logs(&filter).await.unwrap().len()
    }
}
