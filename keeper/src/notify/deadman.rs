//! The dead-man's switch that somebody else runs: a URL that is asked every minute, and only while the keeper sees the chain
//! and keeps up with it. When it falls silent, the other side alarms.

use std::time::Duration;

use cordon_client::config::SecretText;

use super::http::Http;
use crate::health::Health;

const PERIOD: Duration = Duration::from_secs(60);
/// After a failure, or while the keeper is not healthy.
const SOON: Duration = Duration::from_secs(5);

/// Asks a URL for as long as all is well.
#[derive(Debug, Clone)]
pub struct DeadMan {
    url: SecretText,
    http: Http,
    period: Duration,
}

impl DeadMan {
    /// A switch at `url`.
    #[must_use]
    pub fn new(url: SecretText) -> Self {
        Self {
            url,
            http: Http::new(),
            period: PERIOD,
        }
    }

    /// What is wrong with the URL, as far as it can be seen without asking for it. Nothing of it is repeated: it is a secret.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        match self.url.expose().trim().parse::<reqwest::Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => None,
            Ok(_) => Some("it is no http:// or https:// URL".to_owned()),
            Err(error) => Some(format!("it is no URL: {error}")),
        }
    }

    /// The same with another period.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Runs for ever. What is blind must not look alive, so that nothing is asked unless `health` is well.
    pub async fn run(self, health: impl Fn() -> Health) {
        loop {
            let wait = match health() {
                Health::Well => match self.http.get(&self.url).await {
                    Ok(()) => self.period,
                    Err(reason) => {
                        tracing::error!(%reason, "the dead-man's switch could not be reached");
                        SOON.min(self.period)
                    }
                },
                Health::Starting | Health::Idle(_) | Health::Ill(_) => SOON.min(self.period),
            };
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use cordon_testkit::Inbox;

    use super::*;

    /// A switch that asks every 100 ms, and what it takes for its health.
    async fn switch() -> (Inbox, Arc<Mutex<Health>>, tokio::task::JoinHandle<()>) {
        let inbox = Inbox::start().await.unwrap();
        let health = Arc::new(Mutex::new(Health::Starting));
        let held = Arc::clone(&health);
        let switch = DeadMan::new(SecretText::new(inbox.url())).every(Duration::from_millis(100));
        let task = tokio::spawn(switch.run(move || held.lock().unwrap().clone()));
        (inbox, health, task)
    }

    async fn asked(inbox: &Inbox) -> usize {
        let before = inbox.received().len();
        tokio::time::sleep(Duration::from_millis(600)).await;
        inbox.received().len() - before
    }

    #[tokio::test]
    async fn the_switch_is_asked_while_all_is_well_and_at_no_other_time() {
        let (inbox, health, task) = switch().await;
        assert_eq!(asked(&inbox).await, 0, "it has only begun");
        for why in ["no head source works", "the endpoints do not agree"] {
            *health.lock().unwrap() = Health::Well;
            assert!(asked(&inbox).await >= 2);
            *health.lock().unwrap() = Health::Ill(why.to_owned());
            // One may be on its way.
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(asked(&inbox).await, 0, "{why}");
        }
        task.abort();
    }

    #[tokio::test]
    async fn a_failure_is_made_good_after_five_seconds_and_not_after_a_minute() {
        let inbox = Inbox::start().await.unwrap();
        inbox.fail(1);
        let begun = Instant::now();
        let task = tokio::spawn(DeadMan::new(SecretText::new(inbox.url())).run(|| Health::Well));
        while inbox.received().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "never made good");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(begun.elapsed() >= SOON, "after {:?}", begun.elapsed());
        assert_eq!(inbox.received().len(), 1);
        task.abort();
    }

    #[tokio::test]
    async fn nothing_of_the_url_is_repeated() {
        let refused = "http://127.0.0.1:1/ping/s3cret";
        let error = Http::new().get(&SecretText::new(refused.to_owned())).await.unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
        let of = |url: &str| DeadMan::new(SecretText::new(url.to_owned())).mistake();
        assert_eq!(of(refused), None);
        for wrong in ["s3cret", "ftp://host/s3cret", "https://"] {
            let why = of(wrong).unwrap();
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
