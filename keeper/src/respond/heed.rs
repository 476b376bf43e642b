//! What a delivery does about what nodes have answered.

use super::account::Draft;
use super::deliver::DeliverError;
use super::delivery::Delivery;
use super::verdict::{Verdict, judge_all};
use crate::chain::NotSent;

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
}
