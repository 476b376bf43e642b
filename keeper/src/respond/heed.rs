//! What a delivery does about what nodes have answered.

use std::time::{Duration, Instant};

use alloy::primitives::B256;

use super::account::Draft;
use super::deliver::{DeliverError, Delivered};
use super::delivery::Delivery;
use super::verdict::{Verdict, judge, judge_all};
use crate::chain::{NotSent, Rest};

/// Refusals in a row that are believed although an endpoint has not answered.
const PATIENT: u32 = 3;

/// What a delivery does next.
pub(super) enum Heed {
    /// It looks for a receipt, and sends the same bytes again.
    Wait,
    /// The same, and fills what is missing before it.
    Fill,
    /// It looks who has used the nonce.
    Used,
    /// It sends this.
    Draft(Box<Draft>),
}

impl Delivery<'_> {
    /// What was just sent may be in a block from now on, and may be served as such late.
    fn may_arrive(&mut self) {
        self.may_be_in = true;
        self.has_waited = false;
    }

    /// What to do about an answer to a draft; the error ends the delivery.
    pub(super) async fn heed(&mut self, answer: Result<(), NotSent>, draft: &Draft) -> Result<Heed, DeliverError> {
        let refused = match answer {
            Ok(()) => {
                self.may_arrive();
                self.refused = 0;
                return Ok(Heed::Wait);
            }
            Err(refused) => refused,
        };
        // Where nobody has answered it may have arrived.
        if refused.silent.is_some() {
            self.may_arrive();
        }
        self.refused = self.refused.saturating_add(1);
        let is_told = refused.silent.is_none() || self.refused >= PATIENT;
        let (verdict, reason) = match judge_all(&refused.refusals) {
            Some((Verdict::Known, _)) => {
                self.may_arrive();
                self.refused = 0;
                return Ok(Heed::Wait);
            }
            Some((Verdict::Ahead, _)) => return Ok(Heed::Fill),
            Some((Verdict::Underpriced, _)) => {
                return Ok(Heed::Draft(Box::new(self.raised(draft.clone()).await)));
            }
            Some(other) if is_told => other,
            _ => {
                tracing::warn!(error = %refused, "not every endpoint has answered to a broadcast; it is sent again");
                return Ok(Heed::Wait);
            }
        };
        if verdict == Verdict::NonceUsed {
            return Ok(Heed::Used);
        }
        if verdict == Verdict::Funds
            && self.refused <= PATIENT
            && let Some(cheaper) = self.affordable(draft).await
        {
            return Ok(Heed::Draft(Box::new(cheaper)));
        }
        self.account.disarm().await;
        Err(DeliverError::Refused {
            account: self.account.address(),
            reason: reason.to_owned(),
        })
    }

    /// Keeps what is still to be heard of bytes that an endpoint has taken; what is said of others does not matter any more.
    pub(super) fn hear(&mut self, of: B256, rest: Rest) {
        if self.rest.0 == of {
            self.rest.1.extend(rest);
        } else {
            self.rest = (of, rest);
        }
    }

    /// Looks for a receipt for as long as `period`, and hears what others say to what one endpoint has taken: that one may lie, or pass nothing
    /// on. Where they refuse it the wait is soon over. Not at once: endpoints pass the same bytes on to one sequencer, and the second to do so is
    /// told that the nonce is used, by the very transaction. Nor all the time: they may be the ones that lie.
    pub(super) async fn listen(
        &mut self,
        period: Duration,
    ) -> Result<(Option<Delivered>, Option<Verdict>), DeliverError> {
        let (of, mut rest) = std::mem::take(&mut self.rest);
        let (mut heard, mut until) = (None, Instant::now() + period);
        let delivered = loop {
            let left = until.saturating_duration_since(Instant::now());
            tokio::select! {
                delivered = self.wait(left) => break delivered?,
                verdict = telling(&mut rest) => {
                    let is_time = self.hearkened_at.is_none_or(|at| at.elapsed() >= self.settings.rebroadcast);
                    if is_time {
                        self.hearkened_at = Some(Instant::now());
                        until = until.min(Instant::now() + self.settings.rebroadcast / 4);
                    }
                    if is_time || heard.is_some() {
                        heard = Some(heard.map_or(verdict, |held: Verdict| held.min(verdict)));
                    }
                }
            }
        };
        self.rest = (of, rest);
        Ok((delivered, heard))
    }

    /// What to do about a refusal of what another endpoint has taken.
    pub(super) async fn heed_late(&self, verdict: Verdict, draft: &Draft) -> Heed {
        let other = match verdict {
            Verdict::NonceUsed => return Heed::Used,
            Verdict::Underpriced => Some(self.raised(draft.clone()).await),
            Verdict::Funds => self.affordable(draft).await.filter(|_| self.is_beyond_its_means(draft)),
            // What is missing before it is filled after each round.
            Verdict::Known | Verdict::Ahead | Verdict::Other => None,
        };
        other.map_or(Heed::Wait, |draft| Heed::Draft(Box::new(draft)))
    }
}

/// The next refusal that something can be done about; it waits for ever when there is none.
async fn telling(rest: &mut Rest) -> Verdict {
    while let Some(words) = rest.refusal().await {
        match judge(&words) {
            Verdict::Known => {}
            Verdict::Other => tracing::info!(words, "an endpoint refuses what another has taken"),
            verdict => return verdict,
        }
    }
    std::future::pending().await
}
