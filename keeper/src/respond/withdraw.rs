//! Containments that have ended in another way than by what was sent for them: that must not be included later, when the scope may be open again,
//! since the guard would raise it without a reason. Trips and settlements the guard judges itself.
//!
//! Of accounts of this keeper alone: in a fleet nobody can outbid what a keeper has signed that is gone, and it does so itself when it has a turn
//! again. Until then its containment may come late, within the bounds of its role.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account::Account;
use super::pending::{Place, place};
use super::responder::Responder;
use crate::record::TransactionRecord;

/// How often is looked for such besides the ends of actions: one may have ended in another run, or nobody may have taken what fills its nonce.
const PERIOD: Duration = Duration::from_secs(10);
/// How long ago such may have been sent: a week, the longest that a keeper is down and comes back to the same record.
const SINCE: Duration = Duration::from_hours(7 * 24);

impl Responder {
    /// Takes what was sent for containments that have ended out of the way of the chain, for ever.
    pub async fn withdraw(self) {
        loop {
            let mut tried = BTreeSet::new();
            // Anew for each: meanwhile a reorg may have opened an action again.
            while let Some((account, nonce, fee)) = self.next_open(&tried).await {
                account.withdraw(nonce, fee, self.settings.fee_cap).await;
                tried.insert((account.address(), nonce));
            }
            let _ = tokio::time::timeout(PERIOD, self.ended.notified()).await;
        }
    }

    /// An account of the keeper's, a nonce where something of it is still open, and was not tried, and the most that was offered there.
    async fn next_open(&self, tried: &BTreeSet<Place>) -> Option<(&Account, u64, u128)> {
        let all = match self.store.sent_for_ended_containments(SINCE).await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "what was sent for ended containments could not be looked up");
                return None;
            }
        };
        let open = dearest(&all).into_iter().filter(|(place, _)| !tried.contains(place));
        let mut ours = open.filter_map(|((sender, nonce), fee)| {
            let account = self.accounts.iter().find(|account| account.address() == sender)?;
            Some((account, nonce, fee))
        });
        ours.find(|(account, nonce, _)| !account.nonces.is_over(*nonce))
    }
}

/// Where something of actions that have ended is still open, and the most that was offered there, in wei per gas.
fn dearest(all: &[TransactionRecord]) -> BTreeMap<Place, u128> {
    let is_in = |tx: &&TransactionRecord| matches!(tx.status.as_str(), "succeeded" | "reverted");
    let used: BTreeSet<Place> = all.iter().filter(is_in).map(place).collect();
    let mut dearest = BTreeMap::new();
    for tx in all.iter().filter(|tx| !used.contains(&place(tx))) {
        let fee: &mut u128 = dearest.entry(place(tx)).or_default();
        *fee = (*fee).max(tx.max_fee);
    }
    dearest
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::respond::pending::tests::{sent, tx};

    #[test]
    fn what_may_still_be_included_when_an_action_has_ended_is_outbid() {
        let open = |all: &[TransactionRecord]| dearest(all).into_iter().collect::<Vec<_>>();
        let (own, other) = (Address::repeat_byte(7), Address::repeat_byte(8));
        assert_eq!(
            open(&sent()),
            [((own, 5), 13), ((other, 4), 10)],
            "a reorg gives it back to the pool"
        );
        let mut landed = sent();
        landed.push(tx(6, 7, 5, 15, "succeeded"));
        assert_eq!(open(&landed), [((other, 4), 10)]);
    }
}
