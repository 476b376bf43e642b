//! The same methods over a Unix socket: JSON values one after the other in both directions, as anvil's and geth's IPC.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jsonrpsee::Methods;
use serde_json::{Value, value::RawValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

/// The most bytes of one request.
const MAX_REQUEST: usize = 64 << 20;

/// The most requests of a batch.
const MAX_BATCH: usize = 10_000;

/// The most requests of one connection that are worked on at a time; further ones wait in the socket.
const MAX_PENDING: usize = 1_024;

/// Events that a subscription may be behind.
const SUBSCRIPTION_BACKLOG: usize = 1_024;

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
    pub(crate) async fn serve(self, methods: Methods) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(serve(stream, methods.clone()))),
                    Err(error) => tracing::warn!(%error, "a connection over IPC failed"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(stream: UnixStream, methods: Methods) {
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let pending = Arc::new(Semaphore::new(MAX_PENDING));
    let mut running = JoinSet::new();
    let mut received = Vec::new();
    loop {
        match reader.read_buf(&mut received).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let (requests, rest) = split(&received);
        let broken = rest.is_none() || received.len() > MAX_REQUEST;
        for request in requests {
            let Ok(permit) = pending.clone().acquire_owned().await else {
                return;
            };
            let (methods, writer) = (methods.clone(), writer.clone());
            running.spawn(async move {
                answer(&methods, &writer, request).await;
                drop(permit);
            });
        }
        if broken {
            let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#;
            write(&writer, error).await;
            return;
        }
        let used = received.len().saturating_sub(rest.unwrap_or_default());
        received.drain(..used);
        while running.try_join_next().is_some() {}
    }
}

/// The whole JSON values at the start of `bytes`, and how many bytes are left of an unfinished one; `None` when what follows
/// is no JSON.
fn split(bytes: &[u8]) -> (Vec<Box<RawValue>>, Option<usize>) {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Box<RawValue>>();
    let mut whole = Vec::new();
    let mut end = 0usize;
    loop {
        match values.next() {
            Some(Ok(value)) => {
                whole.push(value);
                end = values.byte_offset();
            }
            Some(Err(error)) if !error.is_eof() => return (whole, None),
            Some(Err(_)) | None => return (whole, Some(bytes.len().saturating_sub(end))),
        }
    }
}

async fn answer(methods: &Methods, writer: &Arc<Mutex<OwnedWriteHalf>>, request: Box<RawValue>) {
    if !request.get().starts_with('[') {
        if let Some(answer) = single(methods, writer, request.get()).await {
            write(writer, answer.get()).await;
        }
        return;
    }
    let batch: Vec<Box<RawValue>> = serde_json::from_str(request.get()).unwrap_or_default();
    if batch.is_empty() || batch.len() > MAX_BATCH {
        let error =
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"a batch has 1 to 10,000 requests"}}"#;
        write(writer, error).await;
        return;
    }
    let mut answers = Vec::with_capacity(batch.len());
    for request in batch {
        answers.extend(single(methods, writer, request.get()).await);
    }
    let texts: Vec<&str> = answers.iter().map(|answer| answer.get()).collect();
    write(writer, &format!("[{}]", texts.join(","))).await;
}

/// The answer to one request; none to a notification. What it subscribes to is written as it comes.
async fn single(methods: &Methods, writer: &Arc<Mutex<OwnedWriteHalf>>, request: &str) -> Option<Box<RawValue>> {
    let parsed: Value = serde_json::from_str(request).ok()?;
    let invalid = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request"}}"#;
    let Ok((answer, mut events)) = methods.raw_json_request(request, SUBSCRIPTION_BACKLOG).await else {
        return RawValue::from_string(invalid.to_owned()).ok();
    };
    if parsed.get("method").and_then(Value::as_str) == Some("eth_subscribe") {
        let writer = writer.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if !write(&writer, event.get()).await {
                    return;
                }
            }
        });
    }
    parsed.get("id").is_some().then_some(answer)
}

/// Writes one value; false when nobody reads any more.
async fn write(writer: &Mutex<OwnedWriteHalf>, text: &str) -> bool {
    let mut writer = writer.lock().await;
    let written = writer.write_all(text.as_bytes()).await;
    written.is_ok() && writer.write_all(b"\n").await.is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn texts(bytes: &[u8]) -> (Vec<String>, Option<usize>) {
        let (whole, rest) = split(bytes);
        (whole.iter().map(|value| value.get().to_owned()).collect(), rest)
    }

    #[test]
    fn values_are_told_apart_wherever_they_are_cut() {
        assert_eq!(
            texts(br#"{"a":1}[2] {"b""#),
            (vec![r#"{"a":1}"#.into(), "[2]".into()], Some(5))
        );
        assert_eq!(texts(b""), (vec![], Some(0)));
        assert_eq!(texts(br#"{"a":"}"#), (vec![], Some(7)));
    }

    #[test]
    fn what_is_no_json_is_told() {
        assert_eq!(texts(b"{}GET / HTTP/1.1").1, None);
    }
}
