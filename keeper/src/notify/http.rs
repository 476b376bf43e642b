//! One HTTP request to a service: bounded in time and size, and silent about where it went.

use std::time::Duration;

use cordon_client::config::SecretText;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::SendError;

const CONNECT: Duration = Duration::from_secs(5);
/// For the whole exchange: a connection that is half open costs no more.
const WHOLE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const LONGEST: usize = 64 * 1024;
/// Characters of an answer that are repeated to people.
const QUOTED: usize = 200;
/// How long a busy service is left alone when it does not say, and at most.
const BUSY: Duration = Duration::from_secs(30);
const BUSIEST: Duration = Duration::from_secs(3_600);

/// A client that follows no redirect: a webhook that moved must be configured anew, and its secret stays where it belongs.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Option<reqwest::Client>,
}

/// What a service answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    retry_after: Option<Duration>,
}

impl Http {
    pub(super) fn new() -> Self {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("cordon-keeper/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { client: client.ok() }
    }

    /// Posts `body` to `url`. `secrets` are struck out of whatever comes back.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        secrets: &[&SecretText],
    ) -> Result<Answer, SendError> {
        self.exchange(url, headers, body, secrets)
            .await
            .map_err(|reason| SendError::Failed(redact(&reason, secrets)))
    }

    async fn exchange(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        secrets: &[&SecretText],
    ) -> Result<Answer, String> {
        let client = self.client.as_ref().ok_or("no HTTP client could be set up")?;
        let mut request = client.post(url).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut response = request.send().await.map_err(describe)?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            let room = LONGEST.saturating_sub(bytes.len());
            bytes.extend(chunk.iter().take(room));
            if chunk.len() > room {
                break;
            }
        }
        Ok(Answer {
            status,
            body: redact(&String::from_utf8_lossy(&bytes), secrets),
            retry_after,
        })
    }

    /// Asks for a URL; any answer that is a success will do.
    pub(super) async fn get(&self, url: &SecretText) -> Result<(), String> {
        let client = self.client.as_ref().ok_or("no HTTP client could be set up")?;
        let answer = client.get(url.expose()).send().await.map_err(describe);
        match answer {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("it answered with status {}", response.status().as_u16())),
            Err(reason) => Err(redact(&reason, &[url])),
        }
    }
}

impl Answer {
    /// What an answer means whose status says that something is wrong; `None` for a success.
    pub(super) fn trouble(&self) -> Option<SendError> {
        let why = format!("status {}{}", self.status, self.quoted());
        match self.status {
            200..=299 => None,
            429 => Some(SendError::Busy {
                wait: self.retry_after.unwrap_or(BUSY).min(BUSIEST),
                why,
            }),
            503 if self.retry_after.is_some() => Some(SendError::Busy {
                wait: self.retry_after.unwrap_or(BUSY).min(BUSIEST),
                why,
            }),
            // Neither a redirect nor an odd status says that the message is wrong.
            408 | 425 | 500..=599 => Some(SendError::Failed(why)),
            300..=399 => Some(SendError::Refused(format!("{why}; redirects are not followed"))),
            _ => Some(SendError::Refused(why)),
        }
    }

    /// As [`Answer::trouble`], with the time to wait that the body names.
    pub(super) fn busy_for(&self, seconds: Option<f64>) -> Option<SendError> {
        match (self.trouble(), seconds) {
            (Some(SendError::Busy { why, .. }), Some(seconds)) if seconds.is_finite() && seconds >= 0.0 => {
                Some(SendError::Busy {
                    wait: Duration::from_secs_f64(seconds.min(BUSIEST.as_secs_f64())),
                    why,
                })
            }
            (trouble, _) => trouble,
        }
    }

    /// A success that is not how this service answers: a captive portal, a proxy, a wrong URL.
    pub(super) fn strange(&self, wanted: &str) -> SendError {
        SendError::Failed(format!(
            "the answer (status {}{}) is not {wanted}: does the URL belong to the service?",
            self.status,
            self.quoted()
        ))
    }

    fn quoted(&self) -> String {
        let text: String = self
            .body
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(QUOTED)
            .collect();
        let text = text.trim();
        if text.is_empty() {
            String::new()
        } else {
            format!(": {text}")
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(BUSIEST.as_secs_f64())))
}

/// What went wrong, without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return format!("no answer within {} s", WHOLE.as_secs());
    }
    // The sources say what the client's own words leave out: refused, reset, no such host.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The text without secrets, wherever they came from.
pub(super) fn redact(text: &str, secrets: &[&SecretText]) -> String {
    secrets
        .iter()
        .map(|secret| secret.expose())
        .filter(|secret| secret.len() >= 4)
        .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<u64>) -> Answer {
        Answer {
            status,
            body: "no\nway".into(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_status_says_whether_to_wait_to_retry_or_to_give_up() {
        assert_eq!(answer(204, None).trouble(), None);
        let busy = |wait| SendError::Busy {
            wait: Duration::from_secs(wait),
            why: "status 429: no way".into(),
        };
        assert_eq!(answer(429, Some(7)).trouble(), Some(busy(7)));
        assert_eq!(answer(429, None).trouble(), Some(busy(30)));
        assert_eq!(answer(429, Some(1_000_000)).trouble(), Some(busy(3_600)));
        assert_eq!(answer(429, None).busy_for(Some(2.0)), Some(busy(2)));
        assert_eq!(answer(429, Some(9)).busy_for(Some(f64::NAN)), Some(busy(9)));
        for status in [408, 500, 502, 503, 504] {
            assert!(
                matches!(answer(status, None).trouble(), Some(SendError::Failed(_))),
                "{status}"
            );
        }
        for status in [301, 400, 401, 403, 404, 410, 413, 422] {
            assert!(
                matches!(answer(status, None).trouble(), Some(SendError::Refused(_))),
                "{status}"
            );
        }
    }

    #[test]
    fn secrets_are_struck_out() {
        let token = SecretText::new("123:abc");
        assert_eq!(
            redact("POST /bot123:abc/sendMessage", &[&token]),
            "POST /bot***/sendMessage"
        );
        assert_eq!(redact("nothing", &[&SecretText::new("")]), "nothing");
    }
}
