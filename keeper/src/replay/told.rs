//! What watches have been told of so far in a replay, as the record of a keeper has it: what lasts once for as long as it does, and nothing
//! within a cooldown.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::{Sighting, Sightings};

#[derive(Debug, Default)]
pub(super) struct Told {
    /// What was told and is so since, by watch and key.
    standing: BTreeSet<(String, String)>,
    /// When each watch has spoken last, in Unix seconds.
    spoke: BTreeMap<String, u64>,
}

impl Told {
    /// Takes over a block of this time, and answers what is told of it.
    pub(super) fn of(&mut self, sightings: Sightings, now: u64) -> Vec<Sighting> {
        self.standing.retain(|(watch, key)| !sightings.has_ended(watch, key));
        let found = sightings.found.into_iter();
        found.filter(|sighting| self.tells(sighting, now)).collect()
    }

    fn tells(&mut self, sighting: &Sighting, now: u64) -> bool {
        let place = (sighting.watch.clone(), sighting.key.clone());
        if sighting.standing && self.standing.contains(&place) {
            return false;
        }
        let last = self.spoke.get(&sighting.watch);
        let cools = last.is_some_and(|last| now < last.saturating_add(u64::from(sighting.cooldown)));
        if sighting.silent || cools {
            return false;
        }
        self.spoke.insert(sighting.watch.clone(), now);
        if sighting.lasts() {
            self.standing.insert(place);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Unwatched;
    use cordon_client::config::{Finality, Severity};

    /// An invariant that is broken, as it was in the block before or not.
    fn broken(standing: bool, cooldown: u32) -> Sightings {
        let found = vec![Sighting {
            watch: "solvent".to_owned(),
            key: "invariant:solvent".to_owned(),
            severity: Severity::P1,
            finality: Finality::Latest,
            cooldown,
            standing,
            silent: false,
            tx: None,
            text: "broken".to_owned(),
            facts: serde_json::Value::Null,
            channels: Vec::new(),
        }];
        Sightings {
            found,
            unwatched: Vec::new(),
        }
    }

    #[test]
    fn what_lasts_is_told_once_and_again_when_it_was_over() {
        let mut told = Told::default();
        let unseen = Sightings {
            unwatched: vec![Unwatched {
                watch: "solvent".to_owned(),
                reason: "no state".to_owned(),
            }],
            ..Sightings::default()
        };
        let blocks = [
            (broken(false, 0), 1),
            (broken(true, 0), 0),
            // Not looked at is not over.
            (unseen, 0),
            (broken(true, 0), 0),
            (Sightings::default(), 0),
            (broken(false, 0), 1),
            (broken(true, 0), 0),
        ];
        for (at, (block, count)) in blocks.into_iter().enumerate() {
            assert_eq!(told.of(block, 100).len(), count, "block {at}");
        }
    }

    #[test]
    fn what_lasts_through_a_cooldown_is_told_when_that_is_over() {
        let mut told = Told::default();
        assert_eq!(told.of(broken(false, 60), 100).len(), 1);
        assert_eq!(told.of(Sightings::default(), 101).len(), 0);
        assert_eq!(told.of(broken(false, 60), 110).len(), 0, "it cools");
        assert_eq!(told.of(broken(true, 60), 160).len(), 1, "nobody was told of it yet");
        assert_eq!(told.of(broken(true, 60), 300).len(), 0);
    }
}
