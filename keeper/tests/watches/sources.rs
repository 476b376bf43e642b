//! Endpoints and subscriptions that are behind or ahead, or announce what is not there: nothing is missed, and nothing is told twice.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cordon_keeper::record::{AlarmKind, NoticeKind};
use cordon_testkit::{Fault, FaultyRpc, RpcProxy, WsProxy};
use serde_json::{Value, json};

use crate::common::Anvil;
use crate::{BOX, STORED, Watching};

/// A place where nobody listens.
const NOBODY: &str = "ws://127.0.0.1:1";

/// One bad moment of the first endpoint, and one is asked that is three blocks behind.
#[tokio::test]
async fn what_was_told_is_not_taken_back_because_an_endpoint_is_behind() {
    const HEAD: &str = "eth_getBlockByNumber";
    const FINE: u8 = 0;
    const BEHIND: u8 = 1;
    const DOWN: u8 = 2;
    let anvil = Anvil::start(&[]).await;
    let first = FaultyRpc::start(&anvil.http()).await.unwrap();
    let state = Arc::new(AtomicU8::new(DOWN));
    let now = Arc::clone(&state);
    let second = RpcProxy::start(&anvil.http(), move |_, _| match now.load(Ordering::SeqCst) {
        FINE => Fault::None,
        BEHIND => Fault::Stale(3),
        _ => Fault::Http(502),
    })
    .await
    .unwrap();
    let rpc = format!("{}\", \"{}", first.url(), second.url());
    let watching = Watching::through(anvil, rpc, NOBODY.to_owned(), STORED).await;
    for value in [201, 202, 203] {
        watching.put(BOX, 1, value).await;
    }
    assert_eq!(watching.sightings("stored").await.len(), 3);
    state.store(BEHIND, Ordering::SeqCst);
    first.fault(HEAD, Fault::Http(502));
    let (asked, begun) = (second.requests(), Instant::now());
    // Polls come five times a second.
    while second.requests() < asked + 20 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.heal();
    state.store(FINE, Ordering::SeqCst);
    watching.put(BOX, 1, 204).await;
    let found = watching.sightings("stored").await;
    assert!(found.iter().all(|sighting| sighting.canonical), "{found:#?}");
    let kinds: Vec<NoticeKind> = watching.notices().await.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::Seen; 4]);
}

/// What becomes of the heads that a subscription announces: these fields are others.
type Lie = Arc<Mutex<Vec<(&'static str, String)>>>;

async fn lying(anvil: &Anvil) -> (WsProxy, Lie) {
    let lie = Lie::default();
    let told = Arc::clone(&lie);
    let change = move |text: &str| {
        let mut message: Value = serde_json::from_str(text).ok()?;
        let head = message.pointer_mut("/params/result")?.as_object_mut()?;
        for (field, text) in told.lock().unwrap().iter() {
            head.insert((*field).to_owned(), json!(text));
        }
        Some(message.to_string())
    };
    let proxy = WsProxy::changing(&anvil.ws(), change).await.unwrap();
    (proxy, lie)
}

/// A hash that no block has.
fn nobodys() -> String {
    format!("0x{}", "5a".repeat(32))
}

impl Watching {
    async fn until_polling(&self, wanted: bool) {
        let begun = Instant::now();
        loop {
            let alarms = self.store.alarms().await.unwrap();
            let open = |alarm: &&cordon_keeper::record::Alarm| {
                alarm.kind == AlarmKind::Polling.name() && alarm.cleared_ms.is_none()
            };
            let open = alarms.iter().find(open);
            if open.is_some() == wanted {
                assert!(open.is_none_or(|alarm| alarm.text.contains("do not have")), "{open:?}");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{alarms:#?}");
            // There is something to announce.
            self.anvil.rpc("anvil_mine", json!(["0x1"])).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_height_that_a_subscription_makes_up_stops_nothing() {
    let anvil = Anvil::start(&[]).await;
    let (ws, lie) = lying(&anvil).await;
    let http = anvil.http();
    let watching = Watching::through(anvil, http, ws.url(), STORED).await;
    let mut values = 200..;
    for number in [u64::MAX, 1 << 62, 10_000_000, 0] {
        let (number, mut seen) = (format!("{number:#x}"), watching.sightings("stored").await.len());
        // From nowhere, and on top of the newest block.
        for fields in [
            vec![
                ("number", number.clone()),
                ("hash", nobodys()),
                ("parentHash", nobodys()),
            ],
            vec![("number", number.clone()), ("hash", nobodys())],
            vec![("number", number)],
        ] {
            *lie.lock().unwrap() = fields;
            watching.put(BOX, 1, values.next().unwrap()).await;
            seen += 1;
            assert_eq!(watching.sightings("stored").await.len(), seen);
        }
    }
    assert!(
        watching
            .notices()
            .await
            .iter()
            .all(|notice| notice.kind == NoticeKind::Seen)
    );
}

/// A header that lies in the filter or in the root would hide the logs of its block, and one with the name of a block that is done would have
/// that taken back: a head is believed to be what its hash names.
#[tokio::test]
async fn a_subscription_that_lies_about_a_block_that_is_there_changes_nothing() {
    let anvil = Anvil::start(&[]).await;
    let (ws, lie) = lying(&anvil).await;
    let http = anvil.http();
    let watching = Watching::through(anvil, http, ws.url(), STORED).await;
    let none = format!("0x{}", "00".repeat(256));
    let mut values = 201..;
    watching.put(BOX, 1, values.next().unwrap()).await;
    let mut seen = watching.sightings("stored").await.len();
    for fields in [
        vec![("logsBloom", none.clone())],
        vec![("receiptsRoot", nobodys())],
        vec![("logsBloom", none), ("receiptsRoot", nobodys())],
        // The block before, as the next one.
        vec![("hash", watching.head().await.1.to_string())],
    ] {
        *lie.lock().unwrap() = fields.clone();
        watching.put(BOX, 1, values.next().unwrap()).await;
        seen += 1;
        assert_eq!(watching.sightings("stored").await.len(), seen, "{fields:?}");
    }
    lie.lock().unwrap().clear();
    watching.put(BOX, 1, values.next().unwrap()).await;
    let found = watching.sightings("stored").await;
    assert!(
        found.len() == seen + 1 && found.iter().all(|sighting| sighting.canonical),
        "{found:#?}"
    );
    let alarms = watching.store.alarms().await.unwrap();
    let doubted = |alarm: &&cordon_keeper::record::Alarm| alarm.kind == AlarmKind::LogsIncomplete.name();
    assert_eq!(alarms.iter().find(doubted), None);
    let kinds = watching.notices().await;
    assert!(kinds.iter().all(|notice| notice.kind == NoticeKind::Seen), "{kinds:#?}");
}

#[tokio::test]
async fn a_subscription_that_announces_what_is_not_there_is_left_for_polling_until_it_is() {
    let anvil = Anvil::start(&[]).await;
    let (ws, lie) = lying(&anvil).await;
    let http = anvil.http();
    let watching = Watching::through(anvil, http, ws.url(), STORED).await;
    // On top of the newest block each time.
    *lie.lock().unwrap() = vec![("hash", nobodys())];
    watching.put(BOX, 1, 201).await;
    let begun = Instant::now();
    assert_eq!(watching.sightings("stored").await.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    watching.until_polling(true).await;
    watching.put(BOX, 1, 202).await;
    assert_eq!(watching.sightings("stored").await.len(), 2);
    lie.lock().unwrap().clear();
    watching.until_polling(false).await;
}

#[tokio::test]
async fn a_latest_block_that_cannot_be_has_another_endpoint_asked() {
    let anvil = Anvil::start(&[]).await;
    let block = anvil.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
    let made_up = Arc::new(Mutex::new(None));
    let told: Arc<Mutex<Option<Value>>> = Arc::clone(&made_up);
    let liar = RpcProxy::start(&anvil.http(), move |_, body| match told.lock().unwrap().as_ref() {
        Some(block) if body.contains("\"latest\"") => Fault::Answer(block.clone()),
        _ => Fault::None,
    })
    .await
    .unwrap();
    let rpc = format!("{}\", \"{}", liar.url(), anvil.http());
    let watching = Watching::through(anvil, rpc, NOBODY.to_owned(), STORED).await;
    let mut block = block;
    block["number"] = json!("0xffffffffffffffff");
    block["hash"] = json!(nobodys());
    *made_up.lock().unwrap() = Some(block);
    watching.put(BOX, 1, 201).await;
    assert_eq!(watching.sightings("stored").await.len(), 1);
}

/// Providers announce a block by one machine before another one has it.
#[tokio::test]
async fn a_subscription_that_is_ahead_of_the_endpoints_holds_no_other_block_up() {
    let anvil = Anvil::start(&[]).await;
    let behind = Arc::new(AtomicU8::new(0));
    let now = Arc::clone(&behind);
    let http = RpcProxy::start(&anvil.http(), move |_, _| match now.load(Ordering::SeqCst) {
        0 => Fault::None,
        behind => Fault::Stale(behind.into()),
    })
    .await
    .unwrap();
    let ws = anvil.ws();
    let watching = Watching::through(anvil, http.url(), ws, STORED).await;
    for blocks in [1, 2] {
        behind.store(blocks, Ordering::SeqCst);
        watching.put(BOX, 1, 200 + u64::from(blocks)).await;
        // More than are evaluated one by one, and more than are walked at once. Meanwhile the chain goes on.
        watching.anvil.rpc("anvil_mine", json!(["0x12c"])).await;
        let begun = Instant::now();
        loop {
            watching.anvil.rpc("anvil_mine", json!(["0x1"])).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            let ((newest, _), done) = (watching.head().await, watching.store.window(1).await.unwrap()[0]);
            if done.number + 4 >= newest {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {newest}", done.number);
        }
        behind.store(0, Ordering::SeqCst);
        assert_eq!(watching.sightings("stored").await.len(), usize::from(blocks));
    }
}
