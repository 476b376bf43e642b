//! People told of a nonce that is missing before what an account sends, when it is not for the keeper to fill it: a person confirms what the
//! account's key signs.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::Address;

use crate::alarm::Alarms;
use crate::record::AlarmKind;

/// Whether people were told. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing {
    alarms: Option<Alarms>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until it is looked at: an earlier run may have left the alarm open.
    is_told: Option<bool>,
    /// The lowest that is missing, and since when.
    since: Option<(u64, Instant)>,
}

impl Missing {
    pub(super) fn by(alarms: Alarms) -> Self {
        Self {
            alarms: Some(alarms),
            ..Self::default()
        }
    }

    /// Tells that nobody fills these, when the first of them has been missing for as long as `patience`: after a reorg what was included is on
    /// its way again.
    pub(super) async fn tell(&self, account: Address, missing: &Range<u64>, patience: Duration) {
        let Some(alarms) = &self.alarms else { return };
        if !self.state().is_news(missing.start, patience) {
            return;
        }
        let text = format!(
            "nothing of {account} gets into a block: the chain waits for its transactions from nonce {} to before {}, which are lost, and the keeper fills none with a key that a person confirms; send one with each of these nonces from the account, a transfer of nothing to itself will do",
            missing.start, missing.end
        );
        let subject = account.to_string();
        alarms.raise(AlarmKind::NonceMissing, &subject, &text, None).await;
    }

    /// Nothing is missing.
    pub(super) async fn clear(&self, account: Address) {
        let Some(alarms) = &self.alarms else { return };
        let before = {
            let mut state = self.state();
            state.since = None;
            state.is_told.replace(false)
        };
        if before != Some(false) {
            alarms.clear(AlarmKind::NonceMissing, &account.to_string()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_news(&mut self, lowest: u64, patience: Duration) -> bool {
        let now = Instant::now();
        let since = match self.since {
            Some((held, since)) if held == lowest => since,
            _ => now,
        };
        self.since = Some((lowest, since));
        now.saturating_duration_since(since) >= patience && self.is_told.replace(true) != Some(true)
    }
}
