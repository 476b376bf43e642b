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
