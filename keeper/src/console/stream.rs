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
