//! A TCP connection that can be cut: a proxy in front of a server, for partitions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy on a free port of this machine. It ends with this value.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    cut: Arc<watch::Sender<bool>>,
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
        let cut = Arc::new(watch::Sender::new(false));
        let (state, upstream) = (Arc::clone(&cut), upstream.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, upstream.clone(), state.subscribe()));
            }
        });
        Ok(Self { address, cut, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the network: nothing arrives any more and nobody is told, on connections that exist and on new ones.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Repairs it. Connections of before stay dead.
    pub fn repair(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, upstream: String, mut cut: watch::Receiver<bool>) {
    let mut server = None;
    if !*cut.borrow_and_update() {
        server = TcpStream::connect(&upstream).await.ok();
    }
    if let Some(server) = &mut server {
        tokio::select! {
            _ = copy_bidirectional(&mut stream, server) => return,
            _ = cut.changed() => {}
        }
    }
    // Neither side hears of it: the sockets stay open, as they do when a cable is pulled.
    while *cut.borrow_and_update() && cut.changed().await.is_ok() {}
}
