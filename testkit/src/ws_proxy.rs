//! A proxy in front of a WebSocket endpoint that loses, delays and reorders what the server says, or falls silent.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFault {
    /// It arrives.
    None,
    /// It arrives late, and so does everything behind it.
    Slow(Duration),
    /// It is lost.
    Lost,
    /// The next message overtakes it.
    Overtaken,
    /// The connection ends.
    Cut,
    /// A message that is no JSON comes before it.
    Garbage,
    /// Nothing arrives any more, and nobody is told: a half-open connection.
    Silence,
}

/// In front of an endpoint. It ends with this value.
#[derive(Debug)]
pub struct WsProxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for WsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WsProxy {
    /// A proxy in front of `upstream` (`ws://host:port`). Each message of the server meets the fault that `plan` has for it.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn start(
        upstream: &str,
        plan: impl Fn() -> MessageFault + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let upstream = upstream.to_owned();
        Self::moving(move || upstream.clone(), plan).await
    }

    /// One that puts another text in the place of a message of the server, wherever `change` has one: well-formed, and a lie.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn changing(
        upstream: &str,
        change: impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let upstream = upstream.to_owned();
        Self::listen(move || upstream.clone(), || MessageFault::None, change).await
    }

    /// The same in front of whatever `upstream` says when a connection comes: an endpoint that becomes another one.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn moving(
        upstream: impl Fn() -> String + Send + Sync + 'static,
        plan: impl Fn() -> MessageFault + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        Self::listen(upstream, plan, |_| None).await
    }

    async fn listen(
        upstream: impl Fn() -> String + Send + Sync + 'static,
        plan: impl Fn() -> MessageFault + Clone + Send + Sync + 'static,
        change: impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = upstream();
                let place = upstream.trim_start_matches("ws://").trim_end_matches('/').to_owned();
                tokio::spawn(serve(stream, place, plan.clone(), change.clone()));
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

async fn serve(
    client: TcpStream,
    upstream: String,
    plan: impl Fn() -> MessageFault,
    change: impl Fn(&str) -> Option<String>,
) -> Option<()> {
    let server = TcpStream::connect(&upstream).await.ok()?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = tell(from_server, to_client, plan, change) => {}
    }
    Some(())
}

/// Carries what the server says: the head of its answer, then frame by frame.
async fn tell(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    plan: impl Fn() -> MessageFault,
    change: impl Fn(&str) -> Option<String>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    to.write_all(&head).await.ok()?;
    let mut overtaken: Option<Vec<u8>> = None;
    loop {
        let frame = frame(&mut from).await?;
        let changed = text_in(&frame).and_then(&change);
        let frame = changed.map_or(Some(frame), |text| frame_with(&text))?;
        match plan() {
            MessageFault::None => {}
            MessageFault::Slow(time) => tokio::time::sleep(time).await,
            MessageFault::Lost => continue,
            MessageFault::Overtaken if overtaken.is_none() => {
                overtaken = Some(frame);
                continue;
            }
            MessageFault::Overtaken => {}
            MessageFault::Garbage => to.write_all(GARBAGE).await.ok()?,
            MessageFault::Cut => return None,
            MessageFault::Silence => std::future::pending().await,
        }
        to.write_all(&frame).await.ok()?;
        if let Some(late) = overtaken.take() {
            to.write_all(&late).await.ok()?;
        }
    }
}

/// A text frame (RFC 6455, section 5.2) whose text is cut off.
const GARBAGE: &[u8] = b"\x81\x0b{\"jsonrpc\":";

/// First byte of a frame that is a whole text.
const TEXT: u8 = 0x81;

/// The text of a frame, when it is one.
fn text_in(frame: &[u8]) -> Option<&str> {
    let [TEXT, length, rest @ ..] = frame else { return None };
    let skipped = match length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    std::str::from_utf8(rest.get(skipped..)?).ok()
}

/// The frame with this text.
fn frame_with(text: &str) -> Option<Vec<u8>> {
    let length = u16::try_from(text.len()).ok()?;
    let mut frame = vec![TEXT];
    match u8::try_from(length).ok().filter(|short| *short < 126) {
        Some(short) => frame.push(short),
        None => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    Some(frame)
}

/// One frame as it is on the wire (RFC 6455, section 5.2); a server masks none.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 2];
    from.read_exact(&mut bytes).await.ok()?;
    let length = match bytes.get(1)? & 0x7f {
        126 => {
            let long = from.read_u16().await.ok()?;
            bytes.extend(long.to_be_bytes());
            u64::from(long)
        }
        127 => {
            let long = from.read_u64().await.ok()?;
            bytes.extend(long.to_be_bytes());
            long
        }
        short => u64::from(short),
    };
    let begin = bytes.len();
    bytes.resize(begin.checked_add(usize::try_from(length).ok()?)?, 0);
    from.read_exact(bytes.get_mut(begin..)?).await.ok()?;
    Some(bytes)
}
