//! The tables of the record, made one after the other by a keeper that dies between them.

use cordon_client::config::SecretText;
use cordon_keeper::record::{Step, Store};
use cordon_testkit::Postgres;

use super::Stage;
use crate::board::GAUGE;
use crate::world::GAUGE_RULE;

pub(super) const STEPS: &[Step] = &[Step::Migration];

const DATABASE: &str = "CORDON_TEST_DATABASE";

impl Stage {
    /// Goes on with a record that nobody has made yet.
    fn begin_anew(&mut self, place: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains("\"cordon.db\""));
        std::fs::write(&self.config, text.replace("\"cordon.db\"", place)).unwrap();
    }

    /// Dies before and after each of the first changes, and is interrupted by the next: some are made by then, and others are not.
    async fn dies_between_tables(&mut self) {
        for _ in 0..3 {
            self.dies_around(Step::Migration).await;
        }
        self.dies("before-migration").await;
        // Nobody else opens the record before all are made.
        self.dies("before-claim").await;
        self.killed.remove("before-claim");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_between_two_changes_of_its_tables_makes_the_others_at_the_next_start() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    stage.begin_anew("\"fresh.db\"");
    stage.dies_between_tables().await;
    let path = stage.world.dir.path().join("fresh.db");
    stage.store = Store::open(path, stage.world.node.chain_id(), stage.world.guard)
        .await
        .unwrap();
    stage.world.set(GAUGE, 5_000).await;
    stage.ends(STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_dies_between_two_changes_of_its_tables_on_postgresql_makes_the_others_at_the_next_start() {
    let mut stage = Stage::new(&GAUGE_RULE, "").await;
    let database = Postgres::start().unwrap_or_else(|e| panic!("{e}"));
    stage.begin_anew(&format!("{{ postgres = {{ env = \"{DATABASE}\" }} }}"));
    stage.variables.push((DATABASE.to_owned(), database.url()));
    stage.dies_between_tables().await;
    let url = SecretText::new(database.url());
    stage.store = Store::connect(&url, stage.world.node.chain_id(), stage.world.guard)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    stage.world.set(GAUGE, 5_000).await;
    stage.ends(STEPS).await;
}
