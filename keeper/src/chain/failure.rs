//! What a failed request says: whether the endpoint is busy and for how long, and a text for people.

use std::time::Duration;

use alloy::transports::TransportError;

/// Whether an error of JSON-RPC says that the endpoint takes no more requests now, in the words of several providers.
pub(super) fn is_busy(code: i64, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |part: &str| message.contains(part);
    if says("query returned") || says("response size") {
        // What is too large stays too large: waiting would hold the block for ever.
        return false;
    }
    if code == 3 || says("revert") {
        // A contract's own words, whatever they sound like: the one that reverts with "rate limit exceeded" is not the endpoint.
        return false;
    }
    matches!(code, 429 | -32_005 | -32_097)
        || says("too many requests")
        || says("rate limit")
        || says("compute units")
        || says("throughput")
        || says("request limit")
}

/// How long the endpoint asks to be left alone: by HTTP, or in the way of Infura.
pub(super) fn wait_named_in(error: &TransportError) -> Option<Duration> {
    let TransportError::ErrorResp(payload) = error else {
        return error.as_transport_err()?.retry_after();
    };
    let data: serde_json::Value = payload.try_data_as()?.ok()?;
    let seconds = data.get("rate")?.get("backoff_seconds")?.as_f64()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Whether the endpoint says that it takes no more requests now, or names a time to come again.
pub(super) fn is_limit(error: &TransportError) -> bool {
    match error {
        TransportError::ErrorResp(payload) => is_busy(payload.code, &payload.message),
        other => other.as_transport_err().is_some_and(|kind| {
            kind.retry_after().is_some() || kind.as_http_error().is_some_and(|error| error.status == 429)
        }),
    }
}

/// A transport error without the URL, which may hold a key.
pub(super) fn describe(error: &TransportError) -> String {
    match error {
        TransportError::ErrorResp(payload) => format!("{} (code {})", payload.message, payload.code),
        TransportError::DeserError { err, .. } => format!("the answer is not what JSON-RPC promises ({err})"),
        TransportError::Transport(kind) => {
            let text = kind.to_string();
            match (text.find(" for url ("), text.find("error sending request")) {
                (Some(at), _) => text.chars().take(at).collect(),
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_busy_endpoint_is_told_from_a_refusal() {
        for (code, message) in [
            (-32_005, "limit exceeded"),
            (429, "Your app has exceeded its compute units per second capacity"),
            (-32_000, "Too Many Requests"),
            (-32_000, "project ID request rate limit exceeded"),
            (-32_000, "request limit reached"),
            (-32_097, "the endpoint is full"),
        ] {
            assert!(is_busy(code, message), "{message}");
        }
        for (code, message) in [
            (3, "execution reverted"),
            (3, "execution reverted: rate limit exceeded"),
            (3, "too many requests in the queue of this vault"),
            (
                -32_000,
                "VM Exception while processing transaction: reverted with reason string 'throughput'",
            ),
            (-32_000, "header not found"),
            (-32_602, "invalid params"),
            (-32_005, "query returned more than 10000 results"),
            (-32_005, "response size exceeds the limit of 150 MB"),
            (-32_000, "nonce too low"),
        ] {
            assert!(!is_busy(code, message), "{message}");
        }
    }

    #[test]
    fn an_endpoint_that_names_a_time_is_left_alone_until_then() {
        let refusal = |data: Option<&str>| {
            let data = data.map_or_else(String::new, |data| format!(r#", "data": {data}"#));
            let text = format!(r#"{{ "code": -32005, "message": "daily request count exceeded"{data} }}"#);
            TransportError::ErrorResp(serde_json::from_str(&text).unwrap())
        };
        let named = |data| wait_named_in(&refusal(data));
        let infura = r#"{ "rate": { "allowed_rps": 1, "backoff_seconds": 2.5, "current_rps": 1.4 } }"#;
        assert_eq!(named(Some(infura)), Some(Duration::from_millis(2_500)));
        for data in [
            None,
            Some("{}"),
            Some(r#"{ "rate": { "backoff_seconds": -1 } }"#),
            Some(r#""later""#),
        ] {
            assert_eq!(named(data), None, "{data:?}");
        }
    }
}
