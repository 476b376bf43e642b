//! From the record to people: once per event, whatever dies in between, and louder until somebody cares.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256};
use cordon_client::config::{Audience, NotifyChannel, Severity};
use cordon_core::level::Level;
use cordon_core::rule::eval::Verdict;
use cordon_core::rule::value::Int;
use serde_json::Value;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::mock::{Reply, Services, notify};
use super::{Desk, channels};
use crate::alarm::Alarms;
use crate::chain::BlockRef;
use crate::decide::{Act, Decision, Reading, RuleVerdict};
use crate::record::{AlarmKind, BlockRecord, Confirmation, NamedContainment, Names, Outcome, Store};
use crate::rules::Sightings;

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
        let reading = Reading {
            verdict,
            reason: 0,
            observed: Int::from(90),
            bound: Int::from(100),
        };
        let verdicts = [RuleVerdict {
            rule: 0,
            witness: vec![],
            reading,
        }];
        let decision = Decision {
            rule: 0,
            witness: vec![],
            act: Act::Trip,
            scope: 1,
            level: Level::ReduceOnly,
            duration: 3_600,
            severity: Severity::P1,
            reading,
        };
        let decisions = if verdict == Verdict::Breached {
            vec![decision]
        } else {
            vec![]
        };
        let record = BlockRecord {
            block: &block,
            version: B256::ZERO,
            verdicts: &verdicts,
            scopes: Some(&[]),
            decisions: &decisions,
            waiting: &[],
            events: &[],
            stopped: &[],
            sightings: &Sightings::default(),
            witnessed: &[],
            witness_limit: 1,
            head_to_decision: None,
            is_next: true,
        };
        let commit = self.store.commit_block(&record, &names()).await.unwrap();
        commit.intents.into_iter().next()
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

fn block(number: u64) -> BlockRef {
    let hash = |n: u64| alloy::primitives::keccak256(n.to_be_bytes());
    BlockRef {
        number,
        hash: hash(number),
        parent: hash(number - 1),
        timestamp: 1_000_000 + number,
        base_fee: 0,
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

#[tokio::test]
async fn the_second_line_is_called_only_when_the_first_does_not_acknowledge() {
    let office = Office::new().await;
    let second = |id: &str, after| NotifyChannel {
        after,
        audience: Audience::Management,
        ..notify(id, office.services.slack(office.path()))
    };
    let _desk = office.open(&[second("later", 3)]);
    office.block(10, Verdict::Breached).await;
    assert_eq!(office.store.acknowledge("1", "ada").await.unwrap(), "incident:1");
    office.quiet().await;
    assert!(office.services.requests().is_empty(), "somebody cares");

    let alarms = office.alarms();
    let begun = Instant::now();
    alarms.raise(AlarmKind::Blind, "heads", "no blocks", None).await;
    office.until("escalation", |requests| requests.len() == 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "somebody has time to care");
    alarms.clear(AlarmKind::Blind, "heads").await;
    office
        .until("the end, for whoever was woken", |requests| requests.len() == 2)
        .await;

    let error = office
        .store
        .acknowledge("alarm:blind", "ada")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(error, "nothing open is called `alarm:blind`; open: incident:1");
}

#[tokio::test]
async fn what_nobody_acknowledges_is_told_again_until_somebody_does() {
    let office = Office::new().await;
    let channel = NotifyChannel {
        repeat: Some(1),
        ..notify("hook", office.services.webhook(office.path()))
    };
    let _desk = office.open(&[channel]);
    office.block(10, Verdict::Breached).await;
    office.until("two repetitions", |requests| requests.len() >= 3).await;
    let titles: Vec<String> = office
        .services
        .requests()
        .iter()
        .map(|r| r.json()["title"].to_string())
        .collect();
    assert!(
        !titles[0].contains("Not acknowledged") && titles[2].contains("Not acknowledged"),
        "{titles:?}"
    );
    office.store.acknowledge("incident:1", "ada\u{1b}[31m").await.unwrap();
    office.quiet().await;
    let incident = office.store.incident(1).await.unwrap().unwrap();
    let line = incident
        .timeline
        .iter()
        .find(|entry| entry.kind == "acknowledged")
        .unwrap();
    assert_eq!(line.text, "ada[31m takes care of it");
}

#[tokio::test]
async fn a_storm_is_told_together_within_the_limit() {
    let office = Office::new().await;
    let alarms = office.alarms();
    for rule in 0..40 {
        alarms
            .raise(AlarmKind::RuleUnknown, &format!("rule-{rule}"), "no answer", None)
            .await;
    }
    let chat = NotifyChannel {
        per_minute: 3,
        ..notify("chat", office.services.slack(office.path()))
    };
    let _desk = office.open(&[chat, notify("pager", office.services.pagerduty(office.path()))]);
    office.quiet().await;
    let requests = office.services.requests();
    let chats: Vec<String> = requests
        .iter()
        .filter(|r| r.target == "/slack")
        .map(|r| r.body.clone())
        .collect();
    assert_eq!(chats.len(), 1, "{chats:?}");
    assert!(
        chats[0].contains("40 things happened") && chats[0].contains("and 25 more"),
        "{}",
        chats[0]
    );
    let keys: BTreeSet<String> = requests
        .iter()
        .filter(|r| r.target == "/v2/enqueue")
        .map(|r| r.json()["dedup_key"].to_string())
        .collect();
    assert_eq!(keys.len(), 1, "one page for a kind of alarm");
}

#[tokio::test]
async fn a_channel_is_told_no_more_often_in_a_minute_than_it_wants() {
    let office = Office::new().await;
    let alarms = office.alarms();
    let chat = NotifyChannel {
        per_minute: 2,
        ..notify("chat", office.services.slack(office.path()))
    };
    let _desk = office.open(&[chat]);
    let told = |requests: &[super::mock::Request]| requests.iter().filter(|r| r.target == "/slack").count();
    for count in 1..=3 {
        let rule = format!("rule-{count}");
        alarms.raise(AlarmKind::RuleUnknown, &rule, "no answer", None).await;
        if count < 3 {
            office
                .until("it is told at once", |requests| told(requests) == count)
                .await;
        }
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(told(&office.services.requests()), 2, "the third waits for its time");
    assert_eq!(office.store.undelivered().await.unwrap(), 1, "and is not lost");
}

#[tokio::test]
async fn a_channel_that_does_not_work_is_told_through_the_others() {
    let office = Office::new().await;
    let other = Services::start().await;
    let broken = notify("pager", office.services.pagerduty(office.path()));
    let works = notify("hook", other.webhook(office.path()));
    office.services.then([Reply::With(403, None, "forbidden")]);
    let _desk = office.open(&[broken, works]);
    office.block(10, Verdict::Breached).await;
    let begun = Instant::now();
    let told = || {
        let kinds = other.requests().into_iter().map(|r| r.json()["facts"].clone());
        kinds
            .filter(|facts| facts["topic"].to_string().contains("notify-failed"))
            .map(|facts| facts["kind"].clone())
            .collect::<Vec<_>>()
    };
    while told() != ["alarm", "cleared"] {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    office.quiet().await;
    let pages: Vec<String> = office.services.requests().iter().map(|r| r.body.clone()).collect();
    assert!(
        pages.iter().all(|body| !body.contains("notify-failed")),
        "not about itself: {pages:?}"
    );
    let alarms = office.store.alarms().await.unwrap();
    assert!(
        alarms.iter().all(|alarm| alarm.cleared_ms.is_some()),
        "and it works again: {alarms:?}"
    );
}

#[tokio::test]
async fn what_is_new_has_nobodys_care_yet_and_what_only_asks_to_be_seen_ends_with_that() {
    let office = Office::new().await;
    let alarms = office.alarms();
    alarms
        .raise(AlarmKind::ConfigChanged, "cordon.toml", "it is another one", None)
        .await;
    assert_eq!(
        office.store.acknowledge("config-changed", "ada").await.unwrap(),
        "alarm:config-changed"
    );
    assert!(office.store.open_topics().await.unwrap().is_empty(), "it was seen");
    alarms.raise(AlarmKind::RuleUnknown, "price", "no answer", None).await;
    office.store.acknowledge("rule-unknown", "ada").await.unwrap();
    alarms.raise(AlarmKind::RuleUnknown, "solvent", "no answer", None).await;
    let open = office.store.open_topics().await.unwrap();
    assert_eq!(
        (open.len(), &open[0].acknowledged_by),
        (1, &None),
        "another rule is another matter"
    );
}

#[tokio::test]
async fn a_channel_that_is_added_later_is_not_told_of_what_happened_before_it() {
    let office = Office::new().await;
    let desk = office.open(&[]);
    office.block(10, Verdict::Breached).await;
    office.quiet().await;
    drop(desk);
    let _desk = office.open(&[notify("hook", office.services.webhook(office.path()))]);
    office.quiet().await;
    assert!(office.services.requests().is_empty());
    office
        .alarms()
        .raise(AlarmKind::Blind, "heads", "no blocks", None)
        .await;
    office.until("what happens now", |requests| requests.len() == 1).await;
}

#[tokio::test]
async fn severity_decides_who_is_told_and_a_channel_that_is_gone_holds_nothing_back() {
    let office = Office::new().await;
    let only_worst = NotifyChannel {
        severity: Some(Severity::P1),
        ..notify("chief", office.services.slack(office.path()))
    };
    let gone = notify("gone", office.services.webhook(office.path()));
    office.services.always(Reply::Hang);
    let desk = office.open(&[only_worst.clone(), gone]);
    office.alarms().raise(AlarmKind::Polling, "heads", "P4", None).await;
    office.until("it hangs", |requests| requests.len() == 1).await;
    drop(desk);
    office.services.always(Reply::Properly);
    let _desk = office.open(&[only_worst]);
    office.quiet().await;
    office.alarms().raise(AlarmKind::Blind, "heads", "P1", None).await;
    office.until("the worst", |requests| requests.len() == 2).await;
    let requests = office.services.requests();
    assert_eq!(
        (requests[0].target.as_str(), requests[1].target.as_str()),
        ("/hook?key=h00k-secret", "/slack")
    );
}
