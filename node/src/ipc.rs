//! The same methods over a Unix socket: JSON values one after the other in both directions, as anvil's and geth's IPC.

use std::{
    io,
    path::{Path, PathBuf},
};

use jsonrpsee::types::ErrorCode;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    task::JoinSet,
};

use crate::session::{MAX_BYTES, Outgoing, Session, Sessions};

/// Bytes up to which an unfinished message is looked at with each piece of it.
const CHECKED_AS_IT_COMES: usize = 64 << 10;

/// A socket that is listened on; its file goes with the value.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The folder may be gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Listens on `path`. A socket that a node left there when it was killed is replaced; one that answers is not.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }
        .map(|listener| Self {
            listener,
            path: path.to_path_buf(),
        })
    }

    /// Serves connections until it is dropped.
    pub(crate) async fn serve(self, sessions: Sessions) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match (accepted, sessions.admit()) {
                    (Ok((stream, _)), Some(permit)) => {
                        let sessions = sessions.clone();
                        connections.spawn(async move {
                            serve(stream, &sessions).await;
                            drop(permit);
                        });
                    }
                    (Ok(_), None) => tracing::warn!("a connection over IPC is refused: there are too many"),
                    (Err(error), _) => tracing::warn!(%error, "a connection over IPC failed"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves a connection until it ends or something comes that is no JSON: where the next message begins cannot be known then, and the
/// connection ends, as geth's.
async fn serve(stream: UnixStream, sessions: &Sessions) {
    let (mut reader, writer) = stream.into_split();
    let mut session = Session::begin(sessions, Lines(writer));
    let mut received = Received::default();
    let refusal = 'reading: loop {
        tokio::select! {
            read = reader.read_buf(&mut received.bytes) => if !read.is_ok_and(|bytes| bytes > 0) {
                break None;
            },
            () = session.closed() => return,
        }
        loop {
            match received.next() {
                Ok(Some(message)) => session.take(message).await,
                Ok(None) => break,
                Err(NoJson) => break 'reading Some(ErrorCode::ParseError),
            }
        }
        if received.bytes.len() > MAX_BYTES {
            break Some(ErrorCode::OversizedRequest);
        }
    };
    if let Some(code) = refusal {
        session.refuse(code).await;
    }
    session.end().await;
}

/// Each message a line.
struct Lines(OwnedWriteHalf);

impl Outgoing for Lines {
    async fn write(&mut self, message: &str) -> bool {
        self.0.write_all(message.as_bytes()).await.is_ok() && self.0.write_all(b"\n").await.is_ok()
    }
}

/// What came is no JSON, or neither a request nor a batch.
#[derive(Debug)]
struct NoJson;

/// What came and is not taken yet. Each byte is looked at once to find where a message ends.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    /// Bytes that were looked at, and where they left off.
    seen: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Bytes of an unfinished message that could be the start of one.
    checked: usize,
}

impl Received {
    /// Takes the next whole message; `None` when the rest of it is still to come.
    fn next(&mut self) -> Result<Option<Box<RawValue>>, NoJson> {
        let Some(end) = self.end()? else {
            self.check_unfinished()?;
            return Ok(None);
        };
        let message = self.bytes.get(..end).unwrap_or_default();
        let message = serde_json::from_slice(message).map_err(|_| NoJson)?;
        self.bytes.drain(..end);
        (self.seen, self.checked) = (0, 0);
        Ok(Some(message))
    }

    /// Where the first object or list ends, if it does.
    fn end(&mut self) -> Result<Option<usize>, NoJson> {
        for byte in self.bytes.get(self.seen..).unwrap_or_default() {
            self.seen = self.seen.saturating_add(1);
            match (byte, self.in_text) {
                (_, true) if self.escaped => self.escaped = false,
                (b'\\', true) => self.escaped = true,
                (b'"', true) => self.in_text = false,
                (_, true) => {}
                (b'"', false) if self.depth > 0 => self.in_text = true,
                (b'{' | b'[', false) => self.depth = self.depth.saturating_add(1),
                (b'}' | b']', false) => {
                    self.depth = self.depth.checked_sub(1).ok_or(NoJson)?;
                    if self.depth == 0 {
                        return Ok(Some(self.seen));
                    }
                }
                (_, false) if self.depth > 0 || byte.is_ascii_whitespace() => {}
                _ => return Err(NoJson),
            }
        }
        Ok(None)
    }

    /// Finds out early that an unfinished message will never be one: as it comes while it is short, and each time that it has doubled.
    fn check_unfinished(&mut self) -> Result<(), NoJson> {
        let length = self.bytes.len();
        if length > CHECKED_AS_IT_COMES && length < self.checked.saturating_mul(2) {
            return Ok(());
        }
        self.checked = length;
        match serde_json::from_slice::<&RawValue>(&self.bytes) {
            Err(error) if !error.is_eof() => Err(NoJson),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What is taken of bytes that come in pieces of `size`; the error where there is one.
    fn taken(bytes: &[u8], size: usize) -> Vec<Result<String, ()>> {
        let mut received = Received::default();
        let mut taken = Vec::new();
        for piece in bytes.chunks(size) {
            received.bytes.extend_from_slice(piece);
            loop {
                match received.next() {
                    Ok(Some(message)) => taken.push(Ok(message.get().to_owned())),
                    Ok(None) => break,
                    Err(NoJson) => {
                        taken.push(Err(()));
                        return taken;
                    }
                }
            }
        }
        taken
    }

    #[test]
    fn messages_are_told_apart_wherever_they_are_cut() {
        let bytes = br#" {"a":"}\"]{"}[2,[{}]]
            {"b": "\\"} {"c""#;
        for size in 1..bytes.len() {
            let expected = [r#"{"a":"}\"]{"}"#, "[2,[{}]]", r#"{"b": "\\"}"#];
            assert_eq!(taken(bytes, size), expected.map(|text| Ok(text.to_owned())), "{size}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_as_soon_as_that_is_clear() {
        for garbage in [
            "GET / HTTP/1.1",
            "{}GET",
            "1",
            "}",
            "{\"a\" 1",
            "{\n{",
            "[1,,",
            "{\"a\":\"\n",
            "nonsense",
        ] {
            assert_eq!(taken(garbage.as_bytes(), 3).pop(), Some(Err(())), "{garbage}");
        }
    }

    #[test]
    fn a_long_message_in_small_pieces_is_read_in_linear_time() {
        let long = format!(r#"{{"a":"{}"}}"#, "}".repeat(4 << 20));
        let begun = std::time::Instant::now();
        assert_eq!(taken(long.as_bytes(), 512), [Ok(long.clone())]);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }
}
