//! Which rules are evaluated with which witnesses.

use alloy::primitives::B256;
use cordon_client::config::Witness;

use super::Request;
use crate::record::{OpenIncident, Store, StoreError};

/// A rule with parameters and where their values come from.
#[derive(Debug, Clone)]
pub struct WitnessRule {
    /// Index of the rule.
    pub index: u16,
    /// The event that names values; `None` when they are only given by hand.
    pub witness: Option<Witness>,
}

/// What the keeper evaluates at every block.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// State rules without parameters.
    pub plain: Vec<u16>,
    /// State rules with parameters.
    pub witnessed: Vec<WitnessRule>,
    /// How many remembered witnesses of a rule are evaluated again per block.
    pub recheck: u32,
}

impl Watched {
    /// The evaluations of a block as far as they are known before its logs: rules without parameters, the witnesses of
    /// incidents that are not closed, and the remembered witnesses whose turn it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn requests(&self, store: &Store, open: &[OpenIncident]) -> Result<Vec<Request>, StoreError> {
        let mut requests: Vec<Request> = self.plain.iter().map(|rule| Request::plain(*rule)).collect();
        for rule in &self.witnessed {
            let of_incidents = open.iter().filter(|incident| incident.rule == Some(rule.index));
            let mut words: Vec<Vec<B256>> = of_incidents.map(|incident| incident.witness.clone()).collect();
            words.extend(store.witnesses_in_turn(rule.index, self.recheck).await?);
            words.sort();
            words.dedup();
            requests.extend(words.into_iter().map(|witness| Request {
                rule: rule.index,
                witness,
            }));
        }
        Ok(requests)
    }
}
