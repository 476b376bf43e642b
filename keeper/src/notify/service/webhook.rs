//! A webhook of the team's own: JSON, signed so that the receiver knows who sent it and when.
//!
//! `Cordon-Signature: t=UNIX_SECONDS,v1=HEX` where HEX is the HMAC-SHA256 of `UNIX_SECONDS.BODY` under the shared secret. The
//! receiver computes it anew, compares in constant time, and refuses a time more than five minutes off: what was recorded
//! once cannot be sent again later. `Cordon-Delivery` is the same for every attempt of a message.

use cordon_client::config::SecretText;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::super::http::Http;
use super::{Message, SendError};
use crate::clock::{now_ms, utc_ms};

pub(super) async fn post(
    http: &Http,
    url: &SecretText,
    secret: &SecretText,
    message: &Message,
) -> Result<(), SendError> {
    let body = json!({
        "id": message.id,
        "key": message.key,
        "pages": message.pages,
        "event": message.event.name(),
        "severity": message.severity.name(),
        "title": message.title,
        "text": message.body,
        "at": utc_ms(message.at_ms),
        "facts": message.facts,
    })
    .to_string();
    let seconds = now_ms() / 1_000;
    let headers = [
        ("cordon-signature", signature(secret, seconds, &body)),
        ("cordon-delivery", message.id.clone()),
    ];
    let answer = http
        .post(url.expose(), &headers, body.into_bytes(), &[url, secret])
        .await?;
    answer.trouble().map_or(Ok(()), Err)
}

/// The value of the signature's header.
fn signature(secret: &SecretText, seconds: i64, body: &str) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{seconds}.{body}").as_bytes());
    let digest = alloy::primitives::hex::encode(mac.finalize().into_bytes());
    format!("t={seconds},v1={digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_any_other_implementation() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature(&SecretText::new("key"), 1_700_000_000, "{\"a\":1}"),
            "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
    }
}
