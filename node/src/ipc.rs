//! The same methods over a Unix socket: JSON values one after the other in both directions, as anvil's and geth's IPC.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jsonrpsee::{
    BatchResponseBuilder, ConnectionId, Extensions, MethodCallback, MethodResponse, MethodSink, Methods,
    core::server::{BoundedSubscriptions, SubscriptionState},
    types::{ErrorCode, ErrorObject, Id, InvalidRequest, Params, Request},
};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    handle::{MAX_BATCH, MAX_MESSAGE},
    rpc::HexIds,
    wire::{has_id, invalid_request, subscribes},
};

/// The most requests of one connection that are worked on at a time; further ones wait in the socket.
const MAX_PENDING: u32 = 256;

/// Answers and events of one connection that may wait to be written.
const MAX_UNWRITTEN: usize = 256;

/// The most subscriptions of one connection, as over a WebSocket.
const MAX_SUBSCRIPTIONS: u32 = 1_024;

/// The most bytes of a request or an answer.
const MAX_BYTES: usize = MAX_MESSAGE as usize;

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
        let ids = Arc::new(HexIds::default());
        let mut connections = JoinSet::new();
        let mut next = 0usize;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        next = next.wrapping_add(1);
                        connections.spawn(serve(stream, methods.clone(), ids.clone(), ConnectionId(next)));
                    }
                    Err(error) => tracing::warn!(%error, "a connection over IPC failed"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves a connection until it ends or something comes that is no JSON. What runs for it, subscriptions included, ends with it.
async fn serve(stream: UnixStream, methods: Methods, ids: Arc<HexIds>, id: ConnectionId) {
    let (mut reader, writer) = stream.into_split();
    let (unwritten, outgoing) = mpsc::channel(MAX_UNWRITTEN);
    // Dropping the set ends the writer, and that all subscriptions.
    let mut running = JoinSet::new();
    let finish = CancellationToken::new();
    running.spawn(write(writer, outgoing, finish.clone()));
    let connection = Connection {
        methods,
        ids,
        id,
        sink: MethodSink::new_with_limit(unwritten, MAX_MESSAGE),
        subscriptions: BoundedSubscriptions::new(MAX_SUBSCRIPTIONS),
    };
    let pending = Arc::new(Semaphore::new(MAX_PENDING as usize));
    let mut received = Vec::new();
    loop {
        tokio::select! {
            read = reader.read_buf(&mut received) => if !read.is_ok_and(|bytes| bytes > 0) {
                break;
            },
            // The other end does not read any more.
            () = connection.sink.closed() => return,
        }
        let (messages, rest) = split(&received);
        for message in messages {
            let Ok(permit) = pending.clone().acquire_owned().await else {
                return;
            };
            let connection = connection.clone();
            running.spawn(async move {
                connection.answer(message).await;
                drop(permit);
            });
        }
        let error = match rest {
            None => ErrorObject::from(ErrorCode::ParseError),
            Some(bytes) if bytes > MAX_BYTES => ErrorObject::from(ErrorCode::OversizedRequest),
            Some(bytes) => {
                received.drain(..received.len().saturating_sub(bytes));
                while running.try_join_next().is_some() {}
                continue;
            }
        };
        // Where the next message begins cannot be known: the connection ends, as geth's.
        connection.send(MethodResponse::error(Id::Null, error)).await;
        break;
    }
    // What was asked before is still answered, unless nobody reads it.
    drop(pending.acquire_many(MAX_PENDING).await);
    finish.cancel();
    while running.join_next().await.is_some() {}
}

/// Writes what comes, one value a line, until nobody reads any more or `finish` says that what waits now is the last.
async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Box<RawValue>>, finish: CancellationToken) {
    loop {
        let next = tokio::select! {
            next = outgoing.recv() => next,
            () = finish.cancelled(), if !outgoing.is_closed() => {
                outgoing.close();
                continue;
            }
        };
        let Some(value) = next else { return };
        let written = writer.write_all(value.get().as_bytes()).await;
        if written.is_err() || writer.write_all(b"\n").await.is_err() {
            return;
        }
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

/// What answers the messages of a connection.
#[derive(Clone)]
struct Connection {
    methods: Methods,
    ids: Arc<HexIds>,
    id: ConnectionId,
    sink: MethodSink,
    subscriptions: BoundedSubscriptions,
}

impl Connection {
    async fn send(&self, response: MethodResponse) {
        let (json, sent, _) = response.into_parts();
        let delivered = self.sink.send(json).await.is_ok();
        if let Some(sent) = sent {
            sent.notify(delivered);
        }
    }

    /// Answers a request or a batch.
    async fn answer(&self, message: Box<RawValue>) {
        if !message.get().starts_with('[') {
            // Whoever subscribes has the answer already.
            if let Some(response) = self
                .single(message.get())
                .await
                .filter(|response| !response.is_subscription())
            {
                self.send(response).await;
            }
            return;
        }
        let batch: Vec<&RawValue> = serde_json::from_str(message.get()).unwrap_or_default();
        if batch.is_empty() || batch.len() > MAX_BATCH as usize {
            let message = format!("a batch has 1 to {MAX_BATCH} requests");
            let code = ErrorCode::InvalidRequest.code();
            self.send(MethodResponse::error(
                Id::Null,
                ErrorObject::owned(code, message, None::<()>),
            ))
            .await;
            return;
        }
        let mut answers = BatchResponseBuilder::new_with_limit(MAX_BYTES);
        for message in batch {
            let Some(response) = self.single(message.get()).await else {
                continue;
            };
            if let Err(too_long) = answers.append(response) {
                self.send(too_long).await;
                return;
            }
        }
        if !answers.is_empty() {
            self.send(MethodResponse::from_batch(answers.finish())).await;
        }
    }

    /// The answer to one request; none to a notification.
    async fn single(&self, message: &str) -> Option<MethodResponse> {
        if let Ok(request) = serde_json::from_str::<Request<'_>>(message) {
            return Some(self.call(request).await);
        }
        let named = serde_json::from_str::<Named<'_>>(message)
            .ok()
            .filter(|_| !has_id(message));
        let Some(notification) = named else {
            return Some(match serde_json::from_str::<InvalidRequest<'_>>(message) {
                Ok(known) => MethodResponse::error(known.id, ErrorObject::from(ErrorCode::InvalidRequest)),
                Err(_) => invalid_request(),
            });
        };
        if !subscribes(&notification.method) {
            let Named { method, params, .. } = notification;
            self.call(Request::owned(
                method.into_owned(),
                params.map(ToOwned::to_owned),
                Id::Null,
            ))
            .await;
        }
        None
    }

    async fn call(&self, request: Request<'_>) -> MethodResponse {
        let params = Params::new(request.params.as_ref().map(|params| params.get())).into_owned();
        let id = request.id.into_owned();
        match self.methods.method(&request.method) {
            None => MethodResponse::error(id, ErrorObject::from(ErrorCode::MethodNotFound)),
            Some(MethodCallback::Sync(callback)) => callback(id, params, MAX_BYTES, Extensions::new()),
            Some(MethodCallback::Async(callback)) => callback(id, params, self.id, MAX_BYTES, Extensions::new()).await,
            Some(MethodCallback::Unsubscription(callback)) => {
                callback(id, params, self.id, MAX_BYTES, Extensions::new())
            }
            Some(MethodCallback::Subscription(callback)) => {
                let Some(subscription_permit) = self.subscriptions.acquire() else {
                    let error = jsonrpsee::types::error::reject_too_many_subscriptions(MAX_SUBSCRIPTIONS);
                    return MethodResponse::error(id, error);
                };
                let state = SubscriptionState {
                    conn_id: self.id,
                    id_provider: &*self.ids,
                    subscription_permit,
                };
                callback(id, params, self.sink.clone(), state, Extensions::new()).await
            }
        }
    }
}

/// What has a method: a notification, where it has no id.
#[derive(serde::Deserialize)]
struct Named<'a> {
    #[serde(rename = "jsonrpc")]
    _version: jsonrpsee::types::TwoPointZero,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
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
