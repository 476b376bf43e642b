//! Events as they happen, as server-sent events. The record, not the stream, is the truth: who is slow is told how much was
//! missed, and reads it there.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;

use super::{Shown, json};

pub(super) async fn events(State(shown): State<Arc<Shown>>) -> Response {
    let Ok(permit) = Arc::clone(&shown.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many event streams\n").into_response();
    };
    let state = (shown.events.subscribe(), permit);
    let stream = futures::stream::unfold(state, |(mut events, permit)| async move {
        let event = match events.recv().await {
            Ok(event) => {
                let (name, data) = json::event(&event);
                Event::default().event(name).data(data.to_string())
            }
            Err(RecvError::Lagged(missed)) => Event::default().event("missed").data(missed.to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok::<_, Infallible>(event), (events, permit)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::time::Duration;

    use alloy::primitives::Address;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::broadcast;
    use tokio_util::sync::CancellationToken;

    use super::super::{Shown, serve};
    use crate::chain::{HeadSettings, Heads, Rpc};
    use crate::event::KeeperEvent;
    use crate::health::Progress;
    use crate::record::{Names, Store};
    use crate::respond::Readiness;
    use crate::rules::{Reader, Watched};

    /// Events that are held for a reader.
    const HELD: usize = 16;
    /// Much more than the connection holds, with texts of this length.
    const SENT: u64 = 1_000;
    const LENGTH: usize = 64 * 1024;

    /// A console that tells of these events, and where.
    async fn console(store: Store, events: broadcast::Sender<KeeperEvent>) -> std::net::SocketAddr {
        // Nobody is there: the stream asks no endpoint.
        let rpc = Rpc::new(&["http://127.0.0.1:1"], 1, Duration::from_secs(1)).unwrap();
        let heads = Heads::start(rpc.clone(), None, HeadSettings::default(), CancellationToken::new());
        let progress = Progress::new(Duration::from_secs(60));
        let reader = Reader::new(rpc, Address::ZERO, Watched::default());
        let read = (heads, progress, Readiness::default(), reader);
        let shown = Shown::new((store, Names::default()), Address::ZERO, read, events, false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, shown.into()));
        at
    }

    fn sighted(block: u64) -> KeeperEvent {
        KeeperEvent::Sighted {
            watch: "whales".to_owned(),
            block,
            text: "x".repeat(LENGTH),
            head_to_stored: Duration::ZERO,
        }
    }

    async fn line(stream: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_line(&mut line));
        assert!(read.await.unwrap().unwrap() > 0, "the stream ended");
        line
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_is_slow_is_told_how_much_it_has_missed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("cordon.db"), 1, Address::ZERO)
            .await
            .unwrap();
        let events = broadcast::channel(HELD).0;
        let at = console(store, events.clone()).await;
        let mut stream = BufReader::new(TcpStream::connect(at).await.unwrap());
        let request = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        stream.write_all(request).await.unwrap();
        while line(&mut stream).await != "\r\n" {}
        // One that is not slow misses nothing.
        for block in 1..=3 {
            events.send(sighted(block)).unwrap();
            while line(&mut stream).await != "event: sighted\n" {}
            assert!(line(&mut stream).await.contains(&format!("\"block\":{block},")));
        }
        for block in 1..=SENT {
            events.send(sighted(block)).unwrap();
            // The console may send what the connection takes.
            tokio::task::yield_now().await;
        }
        let (mut told, mut missed, mut newest) = (0_u64, 0_u64, String::new());
        let reading = async {
            while told + missed < SENT {
                match line(&mut stream).await.as_str() {
                    "event: sighted\n" => {
                        told += 1;
                        newest = line(&mut stream).await;
                    }
                    "event: missed\n" => {
                        let data = line(&mut stream).await;
                        missed += data.trim().strip_prefix("data: ").unwrap().parse::<u64>().unwrap();
                    }
                    _ => {}
                }
            }
        };
        // A stream that has nothing more to tell is kept alive for ever.
        let all = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(all.is_ok(), "{told} told and {missed} missed of {SENT}");
        assert_eq!(told + missed, SENT);
        assert!(
            missed > SENT / 2,
            "{missed} missed: a reader that does not read is slow"
        );
        assert!(
            newest.contains(&format!("\"block\":{SENT},")),
            "it goes on with the newest"
        );
    }
}
