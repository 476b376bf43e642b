//! A connection over which requests come and answers and events go, whatever carries them.
//!
//! Whoever asks and does not read is not read from either: what a connection can make the node hold is bounded.

use std::{
    borrow::Cow,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use jsonrpsee::{
    BatchResponseBuilder, ConnectionId, Extensions, MethodCallback, MethodResponse, MethodSink, Methods,
    core::server::{BoundedSubscriptions, SubscriptionState},
    types::{
        ErrorCode, ErrorObject, Id, InvalidRequest, Params, Request, TwoPointZero,
        error::{reject_too_big_batch_request, reject_too_many_subscriptions},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    handle::{MAX_BATCH, MAX_MESSAGE},
    rpc::HexIds,
    wire::{has_id, invalid_request, subscribes},
};

/// The most requests of one connection that have come and are not answered; further ones wait outside.
const MAX_PENDING: u32 = 1_024;

/// The most of these that are worked on, or whose answers wait to be written.
const MAX_RUNNING: usize = 64;

/// Answers and events of one connection that may wait to be written.
const MAX_UNWRITTEN: usize = 64;

/// The most subscriptions of one connection.
const MAX_SUBSCRIPTIONS: u32 = 1_024;

/// The most bytes of a request or an answer.
pub(crate) const MAX_BYTES: usize = MAX_MESSAGE as usize;

/// Methods that wait for what later requests of the same connection may bring about, and so must not be in their way.
const WAITING: [&str; 2] = ["eth_sendTransactionSync", "eth_sendRawTransactionSync"];

/// The way to the client.
pub(crate) trait Outgoing: Send + 'static {
    /// Writes one message; false when nobody reads any more.
    fn write(&mut self, message: &str) -> impl Future<Output = bool> + Send;
}

/// What all sessions of a node share.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    methods: Methods,
    ids: Arc<HexIds>,
    open: Arc<Semaphore>,
    /// How many there were.
    count: Arc<AtomicUsize>,
}

impl Sessions {
    /// At most `most` at a time.
    pub(crate) fn new(methods: Methods, most: u32) -> Self {
        Self {
            methods,
            ids: Arc::default(),
            open: Arc::new(Semaphore::new(most as usize)),
            count: Arc::default(),
        }
    }

    /// The right to open one more; none when there are too many.
    pub(crate) fn admit(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.open.clone().try_acquire_owned().ok()
    }
}

/// A connection. What runs for it, subscriptions included, ends with the value.
pub(crate) struct Session {
    client: Client,
    pending: Arc<Semaphore>,
    running: JoinSet<()>,
    finish: CancellationToken,
}

impl Session {
    /// Begins to write to `outgoing` what is asked for.
    pub(crate) fn begin(sessions: &Sessions, outgoing: impl Outgoing) -> Self {
        let (unwritten, waiting) = mpsc::channel(MAX_UNWRITTEN);
        let finish = CancellationToken::new();
        // Dropping the set ends the writer, and that all subscriptions.
        let mut running = JoinSet::new();
        running.spawn(write(outgoing, waiting, finish.clone()));
        Self {
            client: Client {
                methods: sessions.methods.clone(),
                ids: sessions.ids.clone(),
                id: ConnectionId(sessions.count.fetch_add(1, Ordering::Relaxed)),
                sink: MethodSink::new_with_limit(unwritten, MAX_MESSAGE),
                subscriptions: BoundedSubscriptions::new(MAX_SUBSCRIPTIONS),
                slots: Arc::new(Semaphore::new(MAX_RUNNING)),
            },
            pending: Arc::new(Semaphore::new(MAX_PENDING as usize)),
            running,
            finish,
        }
    }

    /// Ends when the client does not read any more.
    pub(crate) async fn closed(&self) {
        self.client.sink.closed().await;
    }

    /// Takes a request or a batch; waits while too many are not answered.
    pub(crate) async fn take(&mut self, message: Box<RawValue>) {
        while self.running.try_join_next().is_some() {}
        let Ok(permit) = self.pending.clone().acquire_owned().await else {
            return;
        };
        let client = self.client.clone();
        self.running.spawn(async move {
            client.answer(message).await;
            drop(permit);
        });
    }

    /// Answers something that is no request.
    pub(crate) async fn refuse(&self, code: ErrorCode) {
        let error = MethodResponse::error(Id::Null, ErrorObject::from(code));
        self.client.send(error).await;
    }

    /// Answers what came before, unless nobody reads it, and ends.
    pub(crate) async fn end(mut self) {
        drop(self.pending.acquire_many(MAX_PENDING).await);
        self.finish.cancel();
        while self.running.join_next().await.is_some() {}
    }
}

/// Writes what comes until nobody reads any more or `finish` says that what waits now is the last.
async fn write(mut outgoing: impl Outgoing, mut waiting: mpsc::Receiver<Box<RawValue>>, finish: CancellationToken) {
    loop {
        let next = tokio::select! {
            next = waiting.recv() => next,
            () = finish.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        let Some(message) = next else { return };
        if !outgoing.write(message.get()).await {
            return;
        }
    }
}

/// Hands on the events of a subscription, but for its answer, which a batch has, until either side ends.
async fn forward(mut events: mpsc::Receiver<Box<RawValue>>, to: MethodSink, answered: CancellationToken) {
    if events.recv().await.is_none() {
        return;
    }
    answered.cancelled().await;
    loop {
        let next = tokio::select! {
            next = events.recv() => next,
            () = to.closed() => return,
        };
        let Some(event) = next else { return };
        if to.send(event).await.is_err() {
            return;
        }
    }
}

/// Who is answered.
#[derive(Clone)]
struct Client {
    methods: Methods,
    ids: Arc<HexIds>,
    /// Only its own client ends a subscription.
    id: ConnectionId,
    sink: MethodSink,
    subscriptions: BoundedSubscriptions,
    slots: Arc<Semaphore>,
}

impl Client {
    async fn send(&self, response: MethodResponse) {
        let (json, sent, _) = response.into_parts();
        let delivered = self.sink.send(json).await.is_ok();
        if let Some(sent) = sent {
            sent.notify(delivered);
        }
    }

    /// Answers a request or a batch.
    async fn answer(&self, message: Box<RawValue>) {
        if message.get().starts_with('[') {
            let _slot = self.slots.acquire().await;
            let answered = CancellationToken::new();
            if let Some(response) = self.batch(message.get(), &answered).await {
                self.send(response).await;
            }
            answered.cancel();
            return;
        }
        let request = serde_json::from_str::<Request<'_>>(message.get());
        let waits = request
            .as_ref()
            .is_ok_and(|request| WAITING.contains(&request.method_name()));
        let _slot = if waits { None } else { self.slots.acquire().await.ok() };
        let response = match request {
            Ok(request) => Some(self.call(request, self.sink.clone()).await),
            Err(_) => self.without_id(message.get()).await,
        };
        // Whoever subscribes has the answer already.
        if let Some(response) = response.filter(|response| !response.is_subscription()) {
            self.send(response).await;
        }
    }

    /// The answer to a batch. The events of what it subscribes to come once that is `answered`.
    async fn batch(&self, message: &str, answered: &CancellationToken) -> Option<MethodResponse> {
        let batch: Vec<&RawValue> = serde_json::from_str(message).unwrap_or_default();
        if batch.is_empty() {
            return Some(invalid_request());
        }
        if batch.len() > MAX_BATCH as usize {
            let error = reject_too_big_batch_request(MAX_BATCH as usize);
            return Some(MethodResponse::error(Id::Null, error));
        }
        let mut answers = BatchResponseBuilder::new_with_limit(MAX_BYTES);
        for message in batch {
            let Some(response) = self.single(message.get(), answered).await else {
                continue;
            };
            if let Err(too_long) = answers.append(response) {
                return Some(too_long);
            }
        }
        (!answers.is_empty()).then(|| MethodResponse::from_batch(answers.finish()))
    }

    /// The answer to one request of a batch; none to a notification.
    async fn single(&self, message: &str, answered: &CancellationToken) -> Option<MethodResponse> {
        match serde_json::from_str::<Request<'_>>(message) {
            Ok(request) if subscribes(&request.method) => {
                let (unsent, events) = mpsc::channel(MAX_UNWRITTEN);
                tokio::spawn(forward(events, self.sink.clone(), answered.clone()));
                let sink = MethodSink::new_with_limit(unsent, MAX_MESSAGE);
                Some(self.call(request, sink).await)
            }
            Ok(request) => Some(self.call(request, self.sink.clone()).await),
            Err(_) => self.without_id(message).await,
        }
    }

    /// Carries out a notification; the answer to what is none.
    async fn without_id(&self, message: &str) -> Option<MethodResponse> {
        let notification = serde_json::from_str::<Named<'_>>(message)
            .ok()
            .filter(|_| !has_id(message));
        let Some(Named { method, params, .. }) = notification else {
            return Some(match serde_json::from_str::<InvalidRequest<'_>>(message) {
                Ok(known) => MethodResponse::error(known.id, ErrorObject::from(ErrorCode::InvalidRequest)),
                Err(_) => invalid_request(),
            });
        };
        // What it would subscribe to could not be told apart from other events.
        if !subscribes(&method) {
            let params = params.map(ToOwned::to_owned);
            let request = Request::owned(method.into_owned(), params, Id::Null);
            self.call(request, self.sink.clone()).await;
        }
        None
    }

    /// Carries out a request. What it subscribes to goes to `sink`, the answer first.
    async fn call(&self, request: Request<'_>, sink: MethodSink) -> MethodResponse {
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
                    return MethodResponse::error(id, reject_too_many_subscriptions(MAX_SUBSCRIPTIONS));
                };
                let state = SubscriptionState {
                    conn_id: self.id,
                    id_provider: &*self.ids,
                    subscription_permit,
                };
                callback(id, params, sink, state, Extensions::new()).await
            }
        }
    }
}

/// What has a method: a notification, where it has no id.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(rename = "jsonrpc")]
    _version: TwoPointZero,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}
