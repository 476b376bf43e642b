//! How connections are taken: so many at a time, none of which may idle, or leave unread what it has asked for. Each is a file that the
//! keeper has open, and without files it reaches no endpoint.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

/// What holds of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// So many are open at once; further ones wait in the system's queue.
    pub(super) connections: usize,
    /// One that has not sent a request whole by then, be it its first or its next, is closed.
    pub(super) idle: Duration,
    /// One that takes nothing of its answer for so long is closed.
    pub(super) unread: Duration,
    /// One that is so old is closed when what it has asked for is answered, however busy it is: others wait for its place. Streams, which are
    /// counted apart, are never answered whole.
    pub(super) life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            // Prometheus asks every 15 s or less often, and connects anew then.
            idle: Duration::from_secs(10),
            unread: Duration::from_secs(30),
            life: Duration::from_secs(60),
        }
    }
}

/// Serves for ever. Connections end with it: one that outlived it would show what a keeper that has ended knew.
pub(super) async fn listen(listener: TcpListener, app: Router, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::debug!(%error, "the console cannot take a connection");
                // Without files it cannot either in the next instant; a client that has gone is a moment's loss.
                sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let app = TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.idle)
                .serve_connection(TokioIo::new(Read::all_of(socket, limits.unread)), app);
            let mut connection = pin!(connection);
            let served = match timeout(limits.life, connection.as_mut()).await {
                Ok(served) => served,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::trace!(%error, "a connection to the console has ended");
            }
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A connection whose other end has to read.
struct Read<S> {
    socket: S,
    within: Duration,
    /// Runs while there is something that the other end does not take.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Read<S> {
    fn all_of(socket: S, within: Duration) -> Self {
        Self {
            socket,
            within,
            waiting: None,
        }
    }

    /// What has become of an attempt to write.
    fn heed<T>(&mut self, context: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.waiting = None;
            return tried;
        }
        let within = self.within;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(within)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Read<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Read<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let tried = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.heed(context, tried)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let tried = Pin::new(&mut this.socket).poll_write_vectored(context, parts);
        this.heed(context, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::net::SocketAddr;
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Much more than what the systems on the way hold for a reader.
    const LONG: usize = 64 * 1024 * 1024;

    async fn start(limits: Limits) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let app = Router::new()
            .route("/health", get(|| async { "well" }))
            .route("/long", get(|| async { "x".repeat(LONG) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        (at, tokio::spawn(listen(listener, app, limits)))
    }

    fn limits(connections: usize) -> Limits {
        let of = Duration::from_millis;
        Limits {
            connections,
            idle: of(500),
            unread: of(500),
            life: of(60_000),
        }
    }

    async fn ask(at: SocketAddr, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    /// All that comes until the console closes the connection.
    async fn until_closed(socket: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer));
        // One that is reset is closed too.
        let _ = reading.await.expect("the connection is kept");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn connections_that_idle_are_closed_and_keep_no_other_out_for_long() {
        let (at, _console) = start(limits(4)).await;
        // One says nothing, one half of a request, one asks and then idles, one never reads.
        let mut silent = TcpStream::connect(at).await.unwrap();
        let mut half = TcpStream::connect(at).await.unwrap();
        half.write_all(b"GET /health HTTP/1.1\r\nHost: lo").await.unwrap();
        let mut idle = ask(at, "/health").await;
        let _deaf = ask(at, "/long").await;
        let begun = Instant::now();
        let mut last = ask(at, "/health").await;
        assert!(until_closed(&mut last).await.ends_with("well"));
        assert!(begun.elapsed() >= Duration::from_millis(300), "no place was waited for");
        assert!(until_closed(&mut idle).await.ends_with("well"));
        until_closed(&mut silent).await;
        until_closed(&mut half).await;
        // None is left: as many as ever are served at once.
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(ask(at, "/health").await);
        }
        for socket in &mut all {
            assert!(until_closed(socket).await.ends_with("well"));
        }
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut_off_and_who_reads_slowly_is_not() {
        let (at, _console) = start(limits(1)).await;
        let deaf = ask(at, "/long").await;
        // There is one place only.
        let mut next = ask(at, "/health").await;
        assert!(until_closed(&mut next).await.ends_with("well"));
        drop(deaf);
        let mut slow = ask(at, "/long").await;
        let (mut read, mut part) = (0, vec![0; LONG / 16]);
        while read < LONG {
            sleep(Duration::from_millis(100)).await;
            let got = slow.read(&mut part).await.unwrap();
            assert!(got > 0, "cut off after {read}");
            read += got;
        }
    }

    #[tokio::test]
    async fn who_asks_over_and_over_gives_its_place_to_others() {
        let life = Duration::from_millis(1_500);
        let (at, _console) = start(Limits { life, ..limits(2) }).await;
        let busy = |mut socket: TcpStream| async move {
            let mut some = [0; 1024];
            while socket.read(&mut some).await.is_ok_and(|got| got > 0) {
                sleep(Duration::from_millis(100)).await;
                let _ = socket
                    .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .await;
            }
        };
        for _ in 0..2 {
            tokio::spawn(busy(ask(at, "/health").await));
        }
        sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        let mut next = ask(at, "/health").await;
        let mut some = [0; 8];
        timeout(Duration::from_secs(20), next.read_exact(&mut some))
            .await
            .expect("a place")
            .unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(800), "no place was waited for");
        // What was asked for before is answered whole.
        let mut slow = ask(at, "/long").await;
        let (mut read, mut part) = (0, vec![0; LONG / 32]);
        while read < LONG {
            sleep(Duration::from_millis(100)).await;
            let got = slow.read(&mut part).await.unwrap();
            assert!(got > 0, "cut off after {read}");
            read += got;
        }
    }

    #[tokio::test]
    async fn connections_end_with_the_console() {
        let (at, console) = start(limits(4)).await;
        let mut idle = ask(at, "/health").await;
        let mut some = [0; 8];
        idle.read_exact(&mut some).await.unwrap();
        console.abort();
        until_closed(&mut idle).await;
    }
}
