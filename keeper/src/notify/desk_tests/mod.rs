//! From the record to people: once per event, whatever dies in between, and louder until somebody cares.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use cordon_client::config::{Audience, Finality, NotifyChannel, Severity};
use cordon_core::rule::eval::Verdict;
use serde_json::Value;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::mock::{Reply, Services, notify};
use super::{Desk, channels};
use crate::alarm::Alarms;
use crate::decide::{Reading, RuleVerdict};
use crate::record::samples::{block, empty, trip};
use crate::record::{AlarmKind, BlockRecord, Confirmation, NamedContainment, Names, Outcome, Store};
use crate::rules::{Sighting, Sightings};

mod crowds;
mod lines;
mod pages;
mod refusals;

const GUARD: Address = Address::repeat_byte(0x11);

struct Office {
    store: Store,
    services: Services,
    dir: tempfile::TempDir,
}

/// A desk at work; it dies with this value, as by a kill.
struct AtWork(tokio::task::JoinHandle<()>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Office {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("cordon.db"), 42_161, GUARD).await.unwrap();
        Self {
            store,
            services: Services::start().await,
            dir,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn alarms(&self) -> Alarms {
        Alarms::new(self.store.clone(), broadcast::channel(64).0)
    }

    fn open(&self, configured: &[NotifyChannel]) -> AtWork {
        AtWork(tokio::spawn(self.desk(configured).run(CancellationToken::new())))
    }

    fn desk(&self, configured: &[NotifyChannel]) -> Desk {
        let channels = channels(configured, self.path()).unwrap();
        Desk::new(channels, self.store.clone(), self.alarms())
    }

    /// A block at which a rule is breached, or not.
    async fn block(&self, number: u64, verdict: Verdict) -> Option<crate::record::Intent> {
        let block = block(number);
        let decisions = [trip()];
        let reading = Reading {
            verdict,
            ..decisions[0].reading
        };
        let verdicts = [RuleVerdict {
            rule: 0,
            witness: vec![],
            reading,
        }];
        let sightings = Sightings::default();
        let record = BlockRecord {
            verdicts: &verdicts,
            scopes: Some(&[]),
            decisions: if verdict == Verdict::Breached { &decisions } else { &[] },
            ..empty(&block, &sightings)
        };
        let commit = self.store.commit_block(&record, &names()).await.unwrap();
        commit.intents.into_iter().next()
    }

    /// A block in which the watch `whales` sees these.
    async fn sees(&self, number: u64, severity: Severity, keys: &[&str]) {
        let block = block(number);
        let found = keys.iter().map(|key| sighting(severity, key)).collect();
        let sightings = Sightings {
            found,
            unwatched: Vec::new(),
        };
        self.store
            .commit_block(&empty(&block, &sightings), &names())
            .await
            .unwrap();
    }

    /// Changes the record behind its back.
    async fn tamper(&self, sql: &'static str) {
        let file = SqliteConnectOptions::new().filename(self.path().join("cordon.db"));
        let mut other = file.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
    }

    /// How each delivery through a channel ended, by the text of its notice; what is on its way has not.
    async fn ends(&self, channel: &str) -> BTreeMap<String, Option<String>> {
        let file = SqliteConnectOptions::new().filename(self.path().join("cordon.db"));
        let mut other = file.connect().await.unwrap();
        let sql = "SELECT n.text, d.outcome FROM deliveries d JOIN notices n ON n.id = d.notice WHERE d.channel = ?";
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as(sql).bind(channel).fetch_all(&mut other).await.unwrap();
        rows.into_iter().collect()
    }

    /// As many rules that cannot be evaluated: an alarm of severity P2 for each.
    async fn unknown(&self, rules: usize) {
        for rule in 0..rules {
            let rule = format!("rule-{rule}");
            self.alarms()
                .raise(AlarmKind::RuleUnknown, &rule, "no answer", None)
                .await;
        }
    }

    async fn until(&self, what: &str, check: impl Fn(&[super::mock::Request]) -> bool) {
        let begun = Instant::now();
        while !check(&self.services.requests()) {
            let seen: Vec<String> = self
                .services
                .requests()
                .iter()
                .map(|r| format!("{} {}", r.target, r.body))
                .collect();
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until everything is told, and nothing new has come for a while.
    async fn quiet(&self) {
        let (begun, mut busy) = (Instant::now(), Instant::now());
        while busy.elapsed() < Duration::from_millis(700) {
            if self.store.undelivered().await.unwrap() > 0 {
                busy = Instant::now();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(40),
                "{} on their way",
                self.store.undelivered().await.unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kinds(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.services
            .requests()
            .iter()
            .map(|r| text(&r.json()["facts"]["kind"]))
            .collect()
    }
}

fn sighting(severity: Severity, key: &str) -> Sighting {
    Sighting {
        watch: "whales".into(),
        key: key.to_owned(),
        severity,
        finality: Finality::Latest,
        cooldown: 0,
        standing: false,
        silent: false,
        tx: None,
        text: format!("saw {key}"),
        facts: Value::Null,
        channels: vec![],
    }
}

fn names() -> Names {
    Names {
        channels: vec![],
        scopes: vec!["protocol".into(), "weth".into()],
        rules: vec!["price".into()],
        containments: Vec::<NamedContainment>::new(),
        hooked: true,
        ..Names::default()
    }
}

/// A reload: one desk ends, and the next begins on the same record.
#[tokio::test]
async fn what_is_on_its_way_when_the_work_ends_is_told_to_its_end_and_not_again() {
    let office = Office::new().await;
    let hook = notify("hook", office.services.webhook(office.path()));
    let stop = CancellationToken::new();
    let desk = tokio::spawn(office.desk(std::slice::from_ref(&hook)).run(stop.clone()));
    office.services.then([Reply::Late(Duration::from_millis(700))]);
    office.alarms().raise(AlarmKind::Polling, "heads", "P4", None).await;
    office.until("the alarm", |requests| requests.len() == 1).await;
    let begun = Instant::now();
    stop.cancel();
    desk.await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "the answer was waited for"
    );
    let _next = office.open(std::slice::from_ref(&hook));
    office.alarms().raise(AlarmKind::Polling, "other", "P4", None).await;
    office.until("the next", |requests| requests.len() >= 2).await;
    office.quiet().await;
    assert_eq!(office.services.requests().len(), 2, "each once");
}

/// A service that never answers does not hold up a reload for ever.
#[tokio::test]
async fn a_channel_that_hangs_does_not_keep_the_work_from_ending() {
    let office = Office::new().await;
    let hook = notify("hook", office.services.webhook(office.path()));
    let stop = CancellationToken::new();
    let desk = tokio::spawn(office.desk(std::slice::from_ref(&hook)).run(stop.clone()));
    office.services.then([Reply::Hang]);
    office.alarms().raise(AlarmKind::Polling, "heads", "P4", None).await;
    office.until("the alarm", |requests| requests.len() == 1).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_millis(3_500), desk)
        .await
        .expect("less than a lease of a fleet lasts")
        .unwrap();
}

/// Nor does a record that somebody else keeps locked, or a database that does not answer.
#[tokio::test]
async fn a_record_that_does_not_answer_does_not_keep_the_work_from_ending() {
    let office = Office::new().await;
    let hook = notify("hook", office.services.webhook(office.path()));
    let stop = CancellationToken::new();
    let desk = tokio::spawn(office.desk(std::slice::from_ref(&hook)).run(stop.clone()));
    office.alarms().raise(AlarmKind::Polling, "heads", "P4", None).await;
    office.until("the alarm", |requests| requests.len() == 1).await;
    office.quiet().await;
    let file = SqliteConnectOptions::new().filename(office.path().join("cordon.db"));
    let mut other = file.connect().await.unwrap();
    let more = "BEGIN IMMEDIATE;
        INSERT INTO notices (mark, topic, kind, severity, subject, text, block_number, ends, at_ms, due_ms)
        SELECT 'more', topic, kind, severity, subject, text, block_number, ends, at_ms, due_ms FROM notices LIMIT 1;
        COMMIT;
        BEGIN IMMEDIATE";
    sqlx::raw_sql(more).execute(&mut other).await.unwrap();
    // By now the desk has looked for what is new, and waits for the lock, five seconds of which it would get.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_millis(2_500), desk)
        .await
        .expect("the lock is not waited for")
        .unwrap();
    drop(other);
}

#[tokio::test]
async fn an_incident_is_told_from_opening_to_close_in_order_and_once() {
    let office = Office::new().await;
    let hook = notify("hook", office.services.webhook(office.path()));
    let desk = office.desk(std::slice::from_ref(&hook));
    // Woken, not polled: who only looked would find it long after the test has given up.
    let _desk = AtWork(tokio::spawn(
        desk.looking_every(Duration::from_secs(600))
            .run(CancellationToken::new()),
    ));
    // By then its first look is over.
    office.alarms().raise(AlarmKind::Polling, "heads", "P4", None).await;
    office.until("an alarm", |requests| requests.len() == 1).await;
    let intent = office.block(10, Verdict::Breached).await.unwrap();
    office.until("the opening", |requests| requests.len() == 2).await;
    let end = Confirmation {
        outcome: Outcome::Done,
        detail: "weth is ReduceOnly".into(),
        included: None,
        judged_at: None,
        decision_to_broadcast: None,
        broadcast_to_contained: None,
    };
    office.store.finish(&intent, &end).await.unwrap();
    office.until("containment", |requests| requests.len() == 3).await;
    office.quiet().await;
    assert_eq!(office.kinds(), ["alarm", "opened", "contained"]);
    let told = office.services.requests()[2].json();
    assert_eq!(told["facts"]["incident"]["state"], "contained");
    // The same block again, as after a restart, tells nothing.
    office.block(10, Verdict::Breached).await;
    office.quiet().await;
    assert_eq!(office.services.requests().len(), 3);
}

#[tokio::test]
async fn what_was_to_be_told_outlives_any_number_of_kills_and_makes_one_page() {
    let office = Office::new().await;
    let configured = [
        notify("pager", office.services.pagerduty(office.path())),
        notify("hook", office.services.webhook(office.path())),
    ];
    office
        .services
        .then((0..2).flat_map(|_| [Reply::Close, Reply::With(500, None, "")]));
    office.block(10, Verdict::Breached).await;
    // Killed at many instants, while the services fail, too.
    for pause in [0, 1, 3, 7, 15, 30, 60, 120, 250, 500] {
        let desk = office.open(&configured);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        drop(desk);
    }
    let _desk = office.open(&configured);
    office.quiet().await;
    let requests = office.services.requests();
    let keys: BTreeSet<String> = requests
        .iter()
        .filter(|r| r.target == "/v2/enqueue" && !r.body.contains("notify-failed"))
        .map(|r| r.json()["dedup_key"].to_string())
        .collect();
    assert_eq!(keys.len(), 1, "one page");
    let ids: BTreeSet<String> = requests
        .iter()
        .filter(|r| !r.body.contains("notify-failed"))
        .filter_map(|r| r.header("cordon-delivery").map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 1, "one message, recognisable however often it was sent");
}

#[tokio::test]
async fn nothing_overtakes_what_came_before_it() {
    for failed_before_the_end in [false, true] {
        let office = Office::new().await;
        let _desk = office.open(&[notify("pager", office.services.pagerduty(office.path()))]);
        office.services.then([Reply::With(503, None, ""), Reply::Close]);
        let alarms = office.alarms();
        alarms.raise(AlarmKind::Blind, "heads", "no blocks", None).await;
        if failed_before_the_end {
            office.until("the first attempt", |requests| !requests.is_empty()).await;
        }
        alarms.clear(AlarmKind::Blind, "heads").await;
        office.until("the end", |requests| requests.len() >= 4).await;
        office.quiet().await;
        let actions: Vec<Value> = office
            .services
            .requests()
            .iter()
            .map(|r| r.json()["event_action"].clone())
            .collect();
        // A page that is resolved before it is opened would stay open for ever.
        assert_eq!(actions, ["trigger", "trigger", "trigger", "resolve"]);
    }
}
