//! Whose rules find what: the alerts that a change of rules adds and removes.

use std::collections::BTreeSet;

use alloy::primitives::B256;

use super::{Found, Side, What};
use crate::chain::BlockRef;

/// What tells one alert from another of its block: its rule, what would be done, and which account or log it is about.
type Key = (String, u8, Vec<B256>, String);

fn key(id: &str, what: &What) -> Key {
    match what {
        What::Decided(decision) => {
            let act = format!("{:?} {} {}", decision.act, decision.scope, decision.level.name());
            (id.to_owned(), 0, decision.witness.clone(), act)
        }
        What::Waiting(held) => {
            let act = format!("waiting {} {}", held.decision.scope, held.decision.level.name());
            (id.to_owned(), 3, held.decision.witness.clone(), act)
        }
        What::Unknown => (id.to_owned(), 1, Vec::new(), String::new()),
        What::Sighted(sighting) => (id.to_owned(), 2, Vec::new(), sighting.key.clone()),
    }
}

/// What either configuration found at a block, and whether the other did too; `theirs` is `None` when there is no other.
pub(super) fn sides(block: &BlockRef, mine: Vec<(String, What)>, theirs: Option<Vec<(String, What)>>) -> Vec<Found> {
    let found = |(id, what): (String, What), side| Found {
        block: *block,
        id,
        what,
        side,
    };
    let Some(theirs) = theirs else {
        return mine.into_iter().map(|one| found(one, Side::Both)).collect();
    };
    let of_mine: BTreeSet<Key> = mine.iter().map(|(id, what)| key(id, what)).collect();
    let of_theirs: BTreeSet<Key> = theirs.iter().map(|(id, what)| key(id, what)).collect();
    let mine = mine.into_iter().map(|one| {
        let both = of_theirs.contains(&key(&one.0, &one.1));
        found(one, if both { Side::Both } else { Side::Removed })
    });
    let added = theirs
        .into_iter()
        .filter(|(id, what)| !of_mine.contains(&key(id, what)))
        .map(|one| found(one, Side::Added));
    mine.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Sighting;
    use cordon_client::config::{Finality, Severity};

    fn sighting(watch: &str, key: &str) -> (String, What) {
        let sighting = Sighting {
            watch: watch.to_owned(),
            key: key.to_owned(),
            severity: Severity::P3,
            finality: Finality::Latest,
            cooldown: 0,
            standing: false,
            silent: false,
            tx: None,
            text: String::new(),
            facts: serde_json::Value::Null,
            channels: Vec::new(),
        };
        (watch.to_owned(), What::Sighted(sighting))
    }

    #[test]
    fn a_change_of_rules_adds_and_removes() {
        let block = BlockRef {
            number: 1,
            hash: B256::repeat_byte(1),
            parent: B256::ZERO,
            timestamp: 1,
            base_fee: 0,
        };
        let mine = vec![
            sighting("a", "log:1"),
            sighting("a", "log:2"),
            ("r".to_owned(), What::Unknown),
        ];
        let theirs = vec![
            sighting("a", "log:2"),
            sighting("b", "log:1"),
            ("r".to_owned(), What::Unknown),
        ];
        let found: Vec<(String, Side)> = sides(&block, mine.clone(), Some(theirs))
            .into_iter()
            .map(|found| (found.id, found.side))
            .collect();
        let expected = [
            ("a", Side::Removed),
            ("a", Side::Both),
            ("r", Side::Both),
            ("b", Side::Added),
        ];
        assert_eq!(found, expected.map(|(id, side)| (id.to_owned(), side)));
        assert!(sides(&block, mine, None).iter().all(|found| found.side == Side::Both));
    }
}
