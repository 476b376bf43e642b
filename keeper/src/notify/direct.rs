//! Telling people past the record: while it cannot be written, an alarm cannot wait in its outbox.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cordon_client::config::Severity;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinHandle;

use super::{Channel, Message, Origin, retry_after};
use crate::clock::now_ms;
use crate::record::{AlarmKind, Notice, NoticeKind, alarm_topic};

/// What was told and is not over is told again after this, if it still cannot be stored.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// Alarms that are told past the record and are not over, at most: people need to hear that the record is lost, not of everything that
/// cannot be stored then. Of the most severe there may be so many more.
const MOST: usize = 8;
/// Attempts per channel.
const ATTEMPTS: u32 = 5;

/// Which alarms were told, and when.
type Told = BTreeMap<(&'static str, String), Instant>;

/// Sends alarms straight to the channels, each once. Cheap to clone; clones share what was told.
#[derive(Debug, Clone)]
pub struct Direct {
    channels: Arc<Vec<Channel>>,
    origin: Origin,
    told: Arc<Mutex<Told>>,
}

impl Direct {
    /// Tells through these channels, as this keeper.
    #[must_use]
    pub fn new(channels: Vec<Channel>, origin: Origin) -> Self {
        Self {
            channels: Arc::new(channels),
            origin,
            told: Arc::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells an alarm that is not stored, unless it was told lately. Does not wait for the channels; needs a runtime of tokio.
    pub fn alarm(&self, kind: AlarmKind, subject: &str, text: &str) {
        drop(self.raise(kind, subject, text));
    }

    /// As [`Direct::alarm`], and waits until the channels have taken it or given up, for `patience` at most: for a process that is about to
    /// end. Channels that are told later are not waited for. Whether any channel has taken it.
    pub async fn last_words(&self, kind: AlarmKind, subject: &str, text: &str, patience: Duration) -> bool {
        let mut is_taken = false;
        let mut telling: FuturesUnordered<_> = self.raise(kind, subject, text).into_iter().collect();
        // What one has taken counts also when another is too slow.
        let ended = tokio::time::timeout(patience, async {
            while let Some(told) = telling.next().await {
                is_taken |= told.unwrap_or(false);
            }
        });
        if ended.await.is_err() {
            tracing::error!("not every channel has taken the alarm in time");
        }
        is_taken
    }

    /// Somebody else, such as the process before this one, has told this alarm, and it is not over.
    pub fn was_told(&self, kind: AlarmKind, subject: &str) {
        self.with(|told| told.insert((kind.name(), subject.to_owned()), Instant::now()));
    }

    fn raise(&self, kind: AlarmKind, subject: &str, text: &str) -> Vec<JoinHandle<bool>> {
        if !self.is_wanted(kind) {
            return Vec::new();
        }
        let most = match kind.severity() {
            Severity::P1 => MOST.saturating_mul(2),
            _ => MOST,
        };
        let is_news = self.with(|told| {
            let key = (kind.name(), subject.to_owned());
            // What nobody has said again for so long is over, or stored.
            told.retain(|other, at| *other == key || at.elapsed() < AGAIN.saturating_mul(2));
            let room = told.len() < most || told.contains_key(&key);
            let due = told.get(&key).is_none_or(|at| at.elapsed() >= AGAIN);
            if room && due {
                told.insert(key, Instant::now());
            }
            room && due
        });
        if is_news {
            return self.tell(kind, subject, text, NoticeKind::Alarm);
        }
        Vec::new()
    }

    /// Whether any channel takes alarms of this kind.
    #[must_use]
    pub fn is_wanted(&self, kind: AlarmKind) -> bool {
        self.channels.iter().any(|channel| channel.wants(kind.severity()))
    }

    /// Tells that the cause of an alarm is gone, if it was told past the record.
    pub fn over(&self, kind: AlarmKind, subject: &str) {
        if self
            .with(|told| told.remove(&(kind.name(), subject.to_owned())))
            .is_some()
        {
            let text = format!("the cause of the alarm {} about {subject} is gone", kind.name());
            drop(self.tell(kind, subject, &text, NoticeKind::Cleared));
        }
    }

    fn is_open(&self, kind: AlarmKind, subject: &str) -> bool {
        self.with(|told| told.contains_key(&(kind.name(), subject.to_owned())))
    }

    fn is_any_open(&self, kind: AlarmKind) -> bool {
        self.with(|told| told.keys().any(|(other, _)| *other == kind.name()))
    }

    /// Nobody could be told: the next time it is said is the first.
    fn forget(&self, kind: AlarmKind, subject: &str) {
        self.with(|told| told.remove(&(kind.name(), subject.to_owned())));
    }

    /// Answers the tasks that tell at once: each ends with whether its channel has taken it.
    fn tell(&self, kind: AlarmKind, subject: &str, text: &str, what: NoticeKind) -> Vec<JoinHandle<bool>> {
        let at_ms = now_ms();
        let notice = Notice {
            id: 0,
            topic: alarm_topic(kind),
            kind: what,
            severity: kind.severity(),
            incident: None,
            subject: subject.to_owned(),
            text: text.to_owned(),
            block_number: None,
            // A page stands for all alarms of its kind.
            ends: what == NoticeKind::Cleared && !self.is_any_open(kind),
            at_ms,
            facts: None,
        };
        let wanted: Vec<&Channel> = self
            .channels
            .iter()
            .filter(|channel| channel.wants(kind.severity()))
            .collect();
        let failures = Arc::new(AtomicUsize::new(0));
        let all = wanted.len();
        let mut telling = Vec::with_capacity(all);
        for channel in wanted {
            let message = self.message(&notice, channel);
            let (direct, channel, subject) = (self.clone(), channel.clone(), subject.to_owned());
            let failures = Arc::clone(&failures);
            let is_later = what == NoticeKind::Alarm && !channel.after().is_zero();
            let task = tokio::spawn(async move {
                if is_later {
                    // The second line: called when it is not over by then.
                    tokio::time::sleep(channel.after()).await;
                    if !direct.is_open(kind, &subject) {
                        return false;
                    }
                }
                let is_due = || what == NoticeKind::Cleared || direct.is_open(kind, &subject);
                let failed = !send(&channel, &message, is_due).await;
                if failed && failures.fetch_add(1, Ordering::Relaxed).saturating_add(1) == all {
                    direct.forget(kind, &subject);
                }
                !failed
            });
            if !is_later {
                telling.push(task);
            }
        }
        telling
    }

    fn message(&self, notice: &Notice, channel: &Channel) -> Message {
        let written = channel.write(&self.origin, notice, None, false);
        let lines = written.body.lines().filter(|line| !line.starts_with("acknowledge: "));
        Message {
            // The record counts no number for it.
            id: format!("{}-{}-{}", written.key, notice.kind.name(), notice.at_ms),
            body: lines.map(|line| format!("{line}\n")).collect(),
            ..written
        }
    }
}

/// Tries a few times, as long as it is due: without the record nobody remembers what is left to be told. Whether it was told, or need not be.
async fn send(channel: &Channel, message: &Message, is_due: impl Fn() -> bool) -> bool {
    for attempt in 1..=ATTEMPTS {
        if !is_due() {
            return true;
        }
        match channel.send(message).await {
            Ok(()) => return true,
            Err(error) => {
                tracing::error!(channel = channel.id(), attempt, %error, "people could not be told past the record");
                tokio::time::sleep(retry_after(&error, attempt)).await;
            }
        }
    }
    false
}
