//! Keys that others hold, tried out before they are needed: one that cannot sign is an alarm, not a surprise.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use super::account::Account;
use super::armory::Readiness;
use crate::alarm::Alarms;
use crate::record::AlarmKind;

/// How often each key is tried: services charge by the signature, a few cents a month at this pace.
const PERIOD: Duration = Duration::from_secs(60);
/// The same, while one does not sign.
const AGAIN: Duration = Duration::from_secs(5);
/// Rounds in a row in which a key must fail before people hear of it.
const PATIENCE: u32 = 2;

/// The keys of `[keeper]` by their names there.
const KEY: &str = "[keeper] key";
const MORE_KEYS: &str = "[keeper] more_keys";
const HEARTBEAT_KEY: &str = "[keeper] heartbeat_key";
/// All of them.
pub(crate) const KEYS: [&str; 3] = [KEY, MORE_KEYS, HEARTBEAT_KEY];

/// Tries keys out.
#[derive(Debug)]
pub(crate) struct KeyWatch {
    keys: Vec<(&'static str, Account)>,
    alarms: Alarms,
    readiness: Readiness,
    /// How often, while all sign and while one does not.
    periods: (Duration, Duration),
}

impl KeyWatch {
    /// For the accounts that act, and the heartbeat's. `readiness` is told of those whose key somebody else holds.
    pub(crate) fn new(accounts: &[Account], heartbeat: Option<&Account>, alarms: Alarms, readiness: Readiness) -> Self {
        let acting = accounts.iter().enumerate().map(|(place, account)| {
            let name = if place == 0 { KEY } else { MORE_KEYS };
            (name, account.clone())
        });
        let keys = acting.chain(heartbeat.map(|account| (HEARTBEAT_KEY, account.clone())));
        Self {
            keys: keys.filter(|(_, account)| account.is_elsewhere()).collect(),
            alarms,
            readiness,
            periods: (PERIOD, AGAIN),
        }
    }

    /// Works for ever, or ends when no key is elsewhere.
    pub(crate) async fn run(self) {
        let mut failed: BTreeMap<&str, u32> = BTreeMap::new();
        loop {
            let troubles = self.look().await;
            for name in KEYS {
                let Some(text) = troubles.get(name) else {
                    // In the first round, too: an alarm may be left of a key that was replaced since.
                    if failed.insert(name, 0).is_none_or(|rounds| rounds >= PATIENCE) {
                        self.alarms.clear(AlarmKind::NotReady, name).await;
                    }
                    continue;
                };
                let rounds = failed.entry(name).or_default();
                *rounds = rounds.saturating_add(1);
                if *rounds == PATIENCE {
                    self.alarms.raise(AlarmKind::NotReady, name, text, None).await;
                }
            }
            if self.keys.is_empty() {
                return;
            }
            let (period, again) = self.periods;
            tokio::time::sleep(if troubles.is_empty() { period } else { again }).await;
        }
    }

    /// What is wrong with the keys of each name.
    async fn look(&self) -> BTreeMap<&'static str, String> {
        let tried = join_all(self.keys.iter().map(|(name, account)| async move {
            let result = account.probe().await;
            (*name, account, result)
        }));
        let mut troubles: BTreeMap<&'static str, String> = BTreeMap::new();
        for (name, account, result) in tried.await {
            let trouble = result.err();
            if let Some(why) = &trouble {
                tracing::warn!(account = %account.address(), name, "the key cannot sign: {why}");
                let text = troubles.entry(name).or_default();
                if !text.is_empty() {
                    text.push_str("; ");
                }
                text.push_str(&format!("{name} of {} cannot sign: {why}", account.address()));
            }
            self.readiness.set(&account.address().to_string(), trouble);
        }
        troubles
    }

    /// The same at another pace.
    #[cfg(all(test, feature = "aws-kms"))]
    pub(super) fn every(mut self, period: Duration) -> Self {
        self.periods = (period, period);
        self
    }
}
