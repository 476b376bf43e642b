//! Raising alarms: stored, logged and announced in one step.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::event::KeeperEvent;
use crate::notify::Direct;
use crate::record::{AlarmKind, Store, StoreError};
use crate::text::one_line;

/// Where alarms go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarms {
    store: Store,
    events: broadcast::Sender<KeeperEvent>,
    /// How people are told what cannot be stored; nothing in a keeper without channels.
    direct: Arc<OnceLock<Direct>>,
}

/// How long the record may take to store an alarm. One that is stored after all is told twice, which is better than late.
const PATIENCE: Duration = Duration::from_secs(1);

impl Alarms {
    pub(crate) fn new(store: Store, events: broadcast::Sender<KeeperEvent>) -> Self {
        Self {
            store,
            events,
            direct: Arc::default(),
        }
    }

    /// Tells people this way what cannot be stored; the first one given counts.
    pub(crate) fn tell_by(&self, direct: Direct) {
        let _ = self.direct.set(direct);
    }

    /// Raises an alarm unless one of its kind and subject is open. One that cannot be stored is logged, and told past the record.
    pub async fn raise(&self, kind: AlarmKind, subject: &str, text: &str, block: Option<u64>) {
        let stored = self.store.raise_alarm(kind, subject, text, block);
        match tokio::time::timeout(PATIENCE, stored).await {
            Ok(Ok(true)) => self.announce(kind, subject, text),
            Ok(Ok(false)) => {}
            Ok(Err(StoreError::Fenced { .. })) => {
                tracing::warn!(
                    kind = kind.name(),
                    subject,
                    text,
                    "not stored: it is another keeper's turn"
                );
            }
            Ok(Err(error)) => {
                tracing::error!(kind = kind.name(), subject, %error, "an alarm could not be stored");
                self.cry(kind, subject, text);
            }
            Err(_) => {
                tracing::error!(kind = kind.name(), subject, "an alarm could not be stored in time");
                self.cry(kind, subject, text);
            }
        }
    }

    /// Raises an alarm past the record, which cannot be written.
    pub(crate) fn cry(&self, kind: AlarmKind, subject: &str, text: &str) {
        self.announce(kind, subject, text);
        if let Some(direct) = self.direct.get() {
            let text =
                format!("{text}. Told past the record, which cannot be written: it cannot be acknowledged there");
            direct.alarm(kind, subject, &text);
        }
    }

    /// Logs and announces an alarm that is stored already.
    pub fn announce(&self, kind: AlarmKind, subject: &str, text: &str) {
        tracing::error!(kind = kind.name(), subject, "ALARM: {}", one_line(text));
        let event = KeeperEvent::Alarm {
            kind,
            subject: subject.to_owned(),
            text: text.to_owned(),
        };
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }

    /// Clears an alarm whose cause is gone.
    pub async fn clear(&self, kind: AlarmKind, subject: &str) {
        self.try_clear(kind, subject).await;
    }

    /// Clears an alarm whose cause is gone. Answers whether the record has that: who says it only once has to say it again otherwise.
    pub(crate) async fn try_clear(&self, kind: AlarmKind, subject: &str) -> bool {
        let cleared = self.store.clear_alarm(kind, subject).await;
        if let (Ok(_) | Err(StoreError::Fenced { .. }), Some(direct)) = (&cleared, self.direct.get()) {
            direct.over(kind, subject);
        }
        match &cleared {
            Ok(true) => self.announce_cleared(kind, subject),
            Ok(false) => {}
            Err(error) => tracing::error!(kind = kind.name(), subject, %error, "an alarm could not be cleared"),
        }
        cleared.is_ok()
    }

    /// Logs and announces that an alarm was cleared.
    pub fn announce_cleared(&self, kind: AlarmKind, subject: &str) {
        tracing::info!(kind = kind.name(), subject, "alarm cleared");
        let _ = self.events.send(KeeperEvent::AlarmCleared {
            kind,
            subject: subject.to_owned(),
        });
    }
}
