//! Endpoints and subscriptions that are behind or ahead, or announce what is not there: nothing is missed, and nothing is told twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use cordon_keeper::record::NoticeKind;
use cordon_testkit::{Fault, FaultyRpc, RpcProxy};

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
