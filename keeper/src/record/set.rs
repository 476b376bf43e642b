//! Containment sets as words of an intent, so that what was planned is what is confirmed, whatever the configuration says later.

use alloy::primitives::B256;
use cordon_client::SetMeta;
use cordon_core::level::Level;
use cordon_core::rulebook::Order;

/// The set's name, then a word for each scope: zeros, scope (1 byte), level (1), seconds (4).
#[must_use]
pub fn set_words(set: &SetMeta) -> Vec<B256> {
    let orders = set.orders.iter().map(|order| {
        let mut word = B256::ZERO;
        if let Some((_, [scope, level, seconds @ ..])) = word.0.split_last_chunk_mut::<6>() {
            *scope = order.scope;
            *level = order.level as u8;
            *seconds = order.duration.to_be_bytes();
        }
        word
    });
    std::iter::once(set.name).chain(orders).collect()
}

/// What the words of [`set_words`] say that the set raises.
pub fn set_orders(words: &[B256]) -> impl Iterator<Item = Order> {
    words.iter().skip(1).filter_map(|word| {
        let (_, [scope, level, a, b, c, d]) = word.0.split_last_chunk::<6>()?;
        Some(Order {
            scope: *scope,
            level: Level::from_u8(*level)?,
            duration: u32::from_be_bytes([*a, *b, *c, *d]),
        })
    })
}

/// The name of a set as people write it.
#[must_use]
pub fn set_text(name: &B256) -> String {
    let text = name.iter().take_while(|byte| **byte != 0);
    text.map(|byte| char::from(*byte).escape_default().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_set_raises_comes_back() {
        let orders = vec![
            Order {
                scope: 127,
                level: Level::ReduceOnly,
                duration: 3_600,
            },
            Order {
                scope: 0,
                level: Level::Halted,
                duration: u32::MAX,
            },
        ];
        let set = SetMeta {
            id: "halt-all".into(),
            name: cordon_core::rulebook::set_name("halt-all").unwrap(),
            reviewed: B256::repeat_byte(1),
            orders: orders.clone(),
        };
        let words = set_words(&set);
        assert_eq!(set_orders(&words).collect::<Vec<_>>(), orders);
        assert_eq!(set_text(words.first().unwrap()), "halt-all");
    }
}
