//! The methods over WebSocket, on the port of HTTP.

use alloy::transports::http::reqwest::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jsonrpsee::{
    server::{HttpBody, HttpRequest, HttpResponse, http::response},
    types::ErrorCode,
};
use serde_json::value::RawValue;
use soketto::{
    Incoming,
    connection::{Error, Sender},
    handshake::http::Server,
};
use tokio::io::{BufReader, BufWriter};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::session::{MAX_BYTES, Outgoing, Session, Sessions};

/// The connection below a WebSocket: a message is written as a whole.
type Stream = Compat<BufReader<BufWriter<TokioIo<Upgraded>>>>;

/// Answers a request for a WebSocket, and serves it from then on.
pub(crate) fn upgrade(sessions: &Sessions, request: HttpRequest) -> HttpResponse {
    let Some(permit) = sessions.admit() else {
        return response::too_many_requests();
    };
    let mut handshake = Server::new();
    let accepted = match handshake.receive_request(&request) {
        Ok(accepted) => accepted,
        Err(error) => {
            let mut refused = HttpResponse::new(HttpBody::from(format!("no WebSocket: {error}\n")));
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            return refused;
        }
    };
    let sessions = sessions.clone();
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let stream = BufReader::new(BufWriter::new(TokioIo::new(upgraded)));
                serve(&sessions, handshake, stream.compat()).await;
            }
            Err(error) => tracing::debug!(%error, "a connection could not become a WebSocket"),
        }
        drop(permit);
    });
    accepted.map(|()| HttpBody::empty())
}

async fn serve(sessions: &Sessions, handshake: Server, stream: Stream) {
    let mut connection = handshake.into_builder(stream);
    connection.set_max_message_size(MAX_BYTES);
    let (sender, mut receiver) = connection.finish();
    let mut session = Session::begin(sessions, Frames(sender));
    let mut message = Vec::new();
    loop {
        message.clear();
        let received = tokio::select! {
            received = receiver.receive(&mut message) => received,
            () = session.closed() => return,
        };
        match received {
            Ok(Incoming::Data(_)) => match serde_json::from_slice::<Box<RawValue>>(&message) {
                Ok(request) => session.take(request).await,
                Err(_) => session.refuse(ErrorCode::ParseError).await,
            },
            Ok(Incoming::Pong(_)) => {}
            Err(Error::MessageTooLarge { .. }) => session.refuse(ErrorCode::OversizedRequest).await,
            // Who has closed the connection reads nothing any more.
            Ok(Incoming::Closed(_)) | Err(_) => return,
        }
    }
}

/// Each message a frame.
struct Frames(Sender<Stream>);

impl Outgoing for Frames {
    async fn write(&mut self, message: &str) -> bool {
        self.0.send_text(message).await.is_ok() && self.0.flush().await.is_ok()
    }
}
