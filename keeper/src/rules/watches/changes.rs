//! What the standards' changes of power look like.

use alloy::json_abi::Event;
use alloy::primitives::B256;
use cordon_client::config::Standard;

/// The events of the standards. Some differ only in which argument is indexed: the same first topic, told apart by decoding.
pub(super) fn events(standards: &[Standard]) -> Vec<Event> {
    standards
        .iter()
        .flat_map(|standard| standard.events())
        .filter_map(|text| Event::parse(text).ok())
        .collect()
}

/// The slots of the standards, with what they hold.
pub(super) fn slots(standards: &[Standard]) -> Vec<(&'static str, B256)> {
    standards
        .iter()
        .flat_map(|standard| standard.slots())
        .copied()
        .collect()
}
