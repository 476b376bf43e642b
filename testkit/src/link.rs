//! A TCP connection that can be cut: a proxy in front of a server, for partitions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Cut,
    Ended,
}

/// A proxy on a free port of this machine. It ends with this value.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

impl Link {
    /// A proxy in front of the server at `upstream` (`host:port`).
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn to(upstream: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(watch::Sender::new(State::Open));
        let (shared, upstream) = (Arc::clone(&state), upstream.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, upstream.clone(), shared.subscribe()));
            }
        });
        Ok(Self { address, state, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the network: nothing arrives any more and nobody is told, on connections that exist and on new ones.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Ends the server, as far as this side can tell: connections are closed, and so is every new one.
    pub fn end(&self) {
        self.state.send_replace(State::Ended);
    }

    /// Repairs it. Connections of before stay dead.
    pub fn repair(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, upstream: String, mut state: watch::Receiver<State>) {
    let mut server = None;
    if *state.borrow_and_update() == State::Open {
        server = TcpStream::connect(&upstream).await.ok();
    }
    if let Some(server) = &mut server {
        tokio::select! {
            _ = copy_bidirectional(&mut stream, server) => return,
            _ = state.changed() => {}
        }
    }
    // Neither side hears of it: the sockets stay open, as they do when a cable is pulled.
    while *state.borrow_and_update() == State::Cut && state.changed().await.is_ok() {}
}
