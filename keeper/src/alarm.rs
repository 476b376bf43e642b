//! Raising alarms: stored, logged and announced in one step.

use tokio::sync::broadcast;

use crate::event::KeeperEvent;
use crate::record::{AlarmKind, Store, StoreError};
use crate::text::one_line;

/// Where alarms go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarms {
    store: Store,
    events: broadcast::Sender<KeeperEvent>,
}

impl Alarms {
    pub(crate) fn new(store: Store, events: broadcast::Sender<KeeperEvent>) -> Self {
        Self { store, events }
    }

    /// Raises an alarm unless one of its kind and subject is open. It is logged even when it cannot be stored.
    pub async fn raise(&self, kind: AlarmKind, subject: &str, text: &str, block: Option<u64>) {
        match self.store.raise_alarm(kind, subject, text, block).await {
            Ok(true) => self.announce(kind, subject, text),
            Ok(false) => {}
            Err(StoreError::Fenced { .. }) => {
                tracing::warn!(
                    kind = kind.name(),
                    subject,
                    text,
                    "not stored: it is another keeper's turn"
                );
            }
            Err(error) => {
                tracing::error!(kind = kind.name(), subject, text, %error, "ALARM that could not be stored");
                self.announce(kind, subject, text);
            }
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
        match self.store.clear_alarm(kind, subject).await {
            Ok(true) => self.announce_cleared(kind, subject),
            Ok(false) => {}
            Err(error) => tracing::error!(kind = kind.name(), subject, %error, "an alarm could not be cleared"),
        }
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
