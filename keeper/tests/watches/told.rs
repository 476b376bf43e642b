//! What is told of it: once, over restarts and reorgs, and never instead of an alarm.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cordon_keeper::record::{NoticeKind, StoredSighting};
use cordon_testkit::{Fault, FaultyRpc, MessageFault, WsProxy};
use serde_json::json;

use crate::boxes::{self, put_data};
use crate::common::Anvil;
use crate::found::OTHERS;
use crate::{BOX, STORED, USER, Watching};

#[tokio::test]
async fn nothing_is_missed_or_told_twice_over_restarts() {
    let mut watching = Watching::start(STORED).await;
    let mut sent = 0;
    for pause in [0, 5, 11, 23, 47] {
        for _ in 0..3 {
            watching.put(BOX, 1, 150 + sent).await;
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        watching.restart().await;
    }
    let found = watching.sightings("stored").await;
    assert_eq!(found.len(), usize::try_from(sent).unwrap());
    assert_eq!(watching.notices().await.len(), found.len(), "each is told once");
}

#[tokio::test]
async fn what_a_reorg_takes_back_is_told_and_its_replacement_is_seen() {
    let watching = Watching::start(STORED).await;
    for value in [201, 202, 203] {
        watching.put(BOX, 1, value).await;
    }
    assert_eq!(watching.sightings("stored").await.len(), 3);
    // The three blocks are replaced; the second of the new ones has another event.
    let data = put_data(1, 303);
    let replacement = json!({ "from": USER, "to": BOX, "data": data, "gas": "0x30d40" });
    watching.anvil.rpc("anvil_reorg", json!([3, [[replacement, 1]]])).await;
    let found = watching.sightings("stored").await;
    let states: Vec<(&str, bool)> = found.iter().map(|s| (s.state.as_str(), s.canonical)).collect();
    assert_eq!(
        states,
        [
            ("retracted", false),
            ("retracted", false),
            ("retracted", false),
            ("told", true)
        ],
        "{found:#?}"
    );
    assert!(found[3].text.contains("value = 303"));
    let kinds: Vec<NoticeKind> = watching.notices().await.iter().map(|notice| notice.kind).collect();
    use NoticeKind::{Retracted, Seen};
    assert_eq!(kinds, [Seen, Seen, Seen, Retracted, Retracted, Retracted, Seen]);
}

#[tokio::test]
async fn a_fork_deeper_than_the_window_is_taken_back_and_its_replacement_is_seen_whole() {
    let mut watching = Watching::start(STORED).await;
    let snapshot = watching.anvil.rpc("evm_snapshot", json!([])).await;
    watching.put(BOX, 1, 201).await;
    watching.anvil.rpc("anvil_mine", json!(["0x12c"])).await;
    assert_eq!(watching.sightings("stored").await.len(), 1);
    watching.anvil.rpc("evm_revert", json!([snapshot])).await;
    // Long before the newest 256 blocks, and within them.
    watching.put(BOX, 1, 303).await;
    watching.anvil.rpc("anvil_mine", json!(["0x12c"])).await;
    watching.put(BOX, 1, 304).await;
    // However often it is killed while it comes back.
    for pause in [30, 60, 90, 120] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        watching.restart().await;
    }
    let found = watching.sightings("stored").await;
    let mut states: Vec<(&str, bool, &str)> = found
        .iter()
        .map(|s| (s.state.as_str(), s.canonical, &s.text[s.text.len() - 4..]))
        .collect();
    states.sort_unstable();
    let wanted = [
        ("retracted", false, "201)"),
        ("told", true, "303)"),
        ("told", true, "304)"),
    ];
    assert_eq!(states, wanted, "{found:#?}");
    assert_eq!(watching.notices().await.len(), 4, "each is told once");
}

#[tokio::test]
async fn silence_is_kept_in_cooldown_shadow_and_maintenance_and_recorded() {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let day = |seconds: u64| {
        let out = std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{seconds}"), "+%FT%TZ"])
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let event = "on = \"event\"\nevent = \"event Stored(uint256 indexed key, uint256 value)\"\nat = \"box\"\n";
    let watches = format!(
        "[[watch]]\nid = \"cooling\"\n{event}cooldown = \"1 hour\"\n[[watch]]\nid = \"shadow\"\n{event}shadow = true\n\
         [[watch]]\nid = \"repair\"\n{event}\n[[maintenance]]\nfrom = \"{}\"\nto = \"{}\"\nwatches = [\"repair\"]\nreason = \"upgrade\"\n",
        day(now - 86_400),
        day(now + 86_400)
    );
    let watching = Watching::start(&watches).await;
    for value in [1, 2, 3] {
        watching.put(BOX, 1, value).await;
    }
    let states =
        |found: Vec<StoredSighting>| -> Vec<String> { found.into_iter().map(|sighting| sighting.state).collect() };
    assert_eq!(states(watching.sightings("cooling").await), ["told", "quiet", "quiet"]);
    assert_eq!(states(watching.sightings("shadow").await), ["quiet", "quiet", "quiet"]);
    assert_eq!(states(watching.sightings("repair").await), ["quiet", "quiet", "quiet"]);
    assert_eq!(watching.notices().await.len(), 1);
    // Acknowledged, it is nobody's open matter any more.
    assert_eq!(
        watching.store.acknowledge("cooling", "ada").await.unwrap(),
        "watch:cooling"
    );
    assert!(
        watching
            .store
            .open_topics()
            .await
            .unwrap()
            .iter()
            .all(|topic| topic.topic != "watch:cooling")
    );
}

#[tokio::test]
async fn what_waits_for_finality_is_told_then_and_never_when_its_block_is_gone() {
    let watches = format!(
        "{}finality = \"finalized\"\n",
        STORED.split("\n\n").next().unwrap().to_owned() + "\n"
    );
    let watching = Watching::start(&watches).await;
    watching.put(BOX, 1, 111).await;
    watching.caught_up().await;
    watching.anvil.rpc("anvil_reorg", json!([1, []])).await;
    watching.put(BOX, 1, 222).await;
    let found = watching.sightings("stored").await;
    let states: Vec<(&str, bool)> = found.iter().map(|s| (s.state.as_str(), s.canonical)).collect();
    assert_eq!(states, [("waiting", false), ("waiting", true)], "{found:#?}");
    assert!(watching.notices().await.is_empty());
    // With one slot an epoch, anvil calls final what is two blocks deep.
    watching.anvil.rpc("anvil_mine", json!(["0x4"])).await;
    let begun = Instant::now();
    while watching.notices().await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let notices = watching.notices().await;
    assert_eq!(notices.len(), 1);
    assert!(notices[0].text.contains("value = 222"));
}

#[tokio::test]
async fn a_transaction_that_waits_in_the_mempool_is_told_once() {
    let watches = r#"
[[watch]]
id = "waiting"
on = "pending"
to = "box"
function = "function put(uint256 key, uint256 value) payable"
when = "value > 10"
"#;
    let watching = Watching::start(watches).await;
    watching.anvil.rpc("evm_setAutomine", json!([false])).await;
    boxes::submit(&watching.anvil, USER, BOX, 0, &put_data(1, 5)).await;
    // What comes before the keeper looks into the mempool is not seen, so that it takes more than one now and then.
    let (begun, mut sent) = (Instant::now(), BTreeSet::new());
    while watching.store.sightings(Some("waiting"), 10).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never seen");
        let hash = boxes::submit(&watching.anvil, USER, BOX, 0, &put_data(1, 50)).await;
        sent.insert(format!("tx:{hash}"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    watching.anvil.rpc("anvil_mine", json!(["0x2"])).await;
    let found = watching.sightings("waiting").await;
    let keys: BTreeSet<String> = found.iter().map(|sighting| sighting.key.clone()).collect();
    assert_eq!(found.len(), keys.len(), "each is told once: {found:#?}");
    assert!(!keys.is_empty() && keys.is_subset(&sent), "{found:#?}");
    for sighting in &found {
        assert!(
            sighting.text.ends_with("which waits to be included"),
            "{}",
            sighting.text
        );
    }
}

const WAITING: &str = r#"
[[watch]]
id = "waiting"
on = "pending"
to = "box"
"#;
/// What the alarm is about.
const MEMPOOL: &str = "pending transactions";

impl Watching {
    /// Sends transactions that wait until one of them is seen.
    async fn until_waiting_is_seen(&self) {
        let before = self.store.sightings(Some("waiting"), 1_000).await.unwrap().len();
        let begun = Instant::now();
        while self.store.sightings(Some("waiting"), 1_000).await.unwrap().len() == before {
            assert!(begun.elapsed() < Duration::from_secs(30), "never seen");
            boxes::submit(&self.anvil, USER, BOX, 0, &put_data(1, 50)).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

#[tokio::test]
async fn a_mempool_over_a_dead_connection_is_an_alarm_and_followed_again() {
    let anvil = Anvil::start(&[]).await;
    let silent = Arc::new(AtomicBool::new(false));
    let plan = {
        let silent = Arc::clone(&silent);
        move || match silent.load(Ordering::SeqCst) {
            true => MessageFault::Silence,
            false => MessageFault::None,
        }
    };
    let ws = WsProxy::start(&anvil.ws(), plan).await.unwrap();
    let (http, ws_url) = (anvil.http(), ws.url());
    let watching = Watching::through(anvil, http, ws_url, WAITING).await;
    watching.anvil.rpc("evm_setAutomine", json!([false])).await;
    watching.until_waiting_is_seen().await;
    silent.store(true, Ordering::SeqCst);
    let why = watching.until_blind(MEMPOOL, true).await.unwrap();
    assert!(
        why.contains("the mempool is not seen") && why.contains("nobody answers"),
        "{why}"
    );
    silent.store(false, Ordering::SeqCst);
    watching.until_blind(MEMPOOL, false).await;
    watching.until_waiting_is_seen().await;
}

#[tokio::test]
async fn a_watch_that_cannot_look_is_an_alarm_and_not_silence() {
    let anvil = Anvil::start(&[]).await;
    let proxy = FaultyRpc::start(&anvil.http()).await.unwrap();
    let url = proxy.url();
    let watching = Watching::on(anvil, url, OTHERS).await;
    proxy.fault(
        "eth_getBlockReceipts",
        Fault::Error(-32_601, "the method does not exist"),
    );
    watching.put(BOX, 1, 700).await;
    watching.caught_up().await;
    let subjects: Vec<String> = watching.blind().await.into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(subjects, ["failed-puts", "payments", "puts"]);
    proxy.heal();
    watching.put(BOX, 1, 701).await;
    watching.caught_up().await;
    assert!(watching.blind().await.is_empty());
    assert_eq!(
        watching.sightings("puts").await.len(),
        1,
        "what came while it was blind is what the alarm is about"
    );
}
