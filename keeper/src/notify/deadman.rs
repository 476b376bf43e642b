//! The dead-man's switch that somebody else runs: a URL that is asked every minute, and only while the keeper sees the chain
//! and keeps up with it. When it falls silent, the other side alarms.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cordon_client::config::SecretText;

use super::http::Http;
use crate::alarm::Alarms;
use crate::health::Health;
use crate::record::AlarmKind;

const PERIOD: Duration = Duration::from_secs(60);
/// After a failure, or while the keeper is not healthy.
const SOON: Duration = Duration::from_secs(5);
/// Failures in a row after which people hear of it: the other side may never have been armed, and then stays silent for ever.
const PATIENCE: u32 = 5;
/// What the alarm is about.
const SUBJECT: &str = "heartbeat_url";

/// Asks a URL for as long as all is well.
#[derive(Debug, Clone)]
pub struct DeadMan {
    url: SecretText,
    http: Http,
    period: Duration,
    /// When it answered last.
    answered: Arc<Mutex<Option<Instant>>>,
}

impl DeadMan {
    /// A switch at `url`.
    #[must_use]
    pub fn new(url: SecretText) -> Self {
        Self {
            url,
            http: Http::new(),
            period: PERIOD,
            answered: Arc::default(),
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

    /// Time since it answered last; `None` before the first time.
    pub(crate) fn age(&self) -> Option<Duration> {
        let at = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed())
    }

    /// Runs for ever. What is blind must not look alive, so that nothing is asked unless `health` is well.
    pub async fn run(self, alarms: Alarms, health: impl Fn() -> Health) {
        let mut failures: u32 = 0;
        // An earlier run may have raised it.
        let mut alarmed = true;
        loop {
            let wait = match health() {
                Health::Well => match self.http.get(&self.url).await {
                    Ok(()) => {
                        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                        if failures > 0 {
                            tracing::info!(failures, "the dead-man's switch answers again");
                        }
                        failures = 0;
                        if alarmed {
                            // Until it is stored.
                            alarmed = !alarms.try_clear(AlarmKind::HeartbeatUrl, SUBJECT).await;
                        }
                        self.period
                    }
                    Err(reason) => {
                        failures = failures.saturating_add(1);
                        if failures == 1 {
                            tracing::error!(%reason, "the dead-man's switch could not be reached");
                        }
                        // Again and again: the record may have refused it.
                        if failures.is_multiple_of(PATIENCE) {
                            alarmed = true;
                            let text = format!("the dead-man's switch at `heartbeat_url` does not answer: {reason}");
                            alarms.raise(AlarmKind::HeartbeatUrl, SUBJECT, &text, None).await;
                        }
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

    use alloy::primitives::Address;
    use cordon_testkit::Inbox;
    use tokio::sync::broadcast;

    use super::*;
    use crate::record::Store;

    /// Alarms of a record of its own, which is kept as long as the folder.
    async fn alarms() -> (Alarms, Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("cordon.db"), 1, Address::ZERO)
            .await
            .unwrap();
        (Alarms::new(store.clone(), broadcast::channel(8).0), store, dir)
    }

    #[tokio::test]
    async fn people_hear_of_a_switch_that_never_answers_once_and_when_it_does() {
        let inbox = Inbox::start().await.unwrap();
        inbox.fail(u32::MAX);
        let (alarms, store, _dir) = alarms().await;
        let switch = DeadMan::new(SecretText::new(inbox.url())).every(Duration::from_millis(10));
        let task = tokio::spawn(switch.clone().run(alarms, || Health::Well));
        let begun = Instant::now();
        while store.open_alarms().await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody hears of it");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let raised = store.alarms().await.unwrap();
        assert!(
            matches!(raised.as_slice(), [one] if one.kind == "heartbeat-url" && one.text.contains("status 502")),
            "{raised:?}"
        );
        assert_eq!(switch.age(), None);
        inbox.fail(0);
        while !store.open_alarms().await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not over");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(switch.age().is_some());
        task.abort();
    }

    #[tokio::test]
    async fn the_alarm_is_cleared_when_the_record_refuses_that_at_first() {
        let inbox = Inbox::start().await.unwrap();
        let (alarms, store, dir) = alarms().await;
        alarms
            .raise(AlarmKind::HeartbeatUrl, SUBJECT, "of an earlier run", None)
            .await;
        let file = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("cordon.db"));
        let mut other = sqlx::ConnectOptions::connect(&file).await.unwrap();
        let refuse = "CREATE TRIGGER no BEFORE UPDATE ON alarms BEGIN SELECT RAISE(FAIL, 'no'); END";
        sqlx::raw_sql(refuse).execute(&mut other).await.unwrap();
        let switch = DeadMan::new(SecretText::new(inbox.url())).every(Duration::from_millis(50));
        let task = tokio::spawn(switch.run(alarms, || Health::Well));
        let begun = Instant::now();
        while inbox.received().len() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(store.open_alarms().await.unwrap().len(), 1);
        sqlx::raw_sql("DROP TRIGGER no").execute(&mut other).await.unwrap();
        while !store.open_alarms().await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not over");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
    }

    /// A switch that asks every 100 ms, and what it takes for its health.
    async fn switch() -> (Inbox, Arc<Mutex<Health>>, tokio::task::JoinHandle<()>) {
        let inbox = Inbox::start().await.unwrap();
        let health = Arc::new(Mutex::new(Health::Starting));
        let held = Arc::clone(&health);
        let switch = DeadMan::new(SecretText::new(inbox.url())).every(Duration::from_millis(100));
        let (alarms, _, dir) = alarms().await;
        let task = tokio::spawn(async move {
            let _dir = dir;
            switch.run(alarms, move || held.lock().unwrap().clone()).await;
        });
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
        let (alarms, _, _dir) = alarms().await;
        let task = tokio::spawn(DeadMan::new(SecretText::new(inbox.url())).run(alarms, || Health::Well));
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
