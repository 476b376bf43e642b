//! Which rules depend on which words of the state. Pure: no I/O, no evaluation.

use std::collections::BTreeMap;

/// Number of a word in [`super::values::Values`].
pub(super) type Word = u32;

/// The footprints of rules, and for every word the rules that have it in theirs.
#[derive(Debug, Default)]
pub(super) struct Footprints {
    /// Sorted, without repetition.
    of: BTreeMap<u16, Vec<Word>>,
    /// Indexed by word; sorted.
    users: Vec<Vec<u16>>,
}

impl Footprints {
    /// Replaces a rule's footprint. Answers whether it is another one than before.
    pub(super) fn set(&mut self, rule: u16, mut words: Vec<Word>) -> bool {
        words.sort_unstable();
        words.dedup();
        if self.of.get(&rule) == Some(&words) {
            return false;
        }
        for word in self.of.remove(&rule).unwrap_or_default() {
            if let Some(users) = self.place(word)
                && let Ok(at) = users.binary_search(&rule)
            {
                users.remove(at);
            }
        }
        for word in &words {
            if let Some(users) = self.place(*word)
                && let Err(at) = users.binary_search(&rule)
            {
                users.insert(at, rule);
            }
        }
        self.of.insert(rule, words);
        true
    }

    fn place(&mut self, word: Word) -> Option<&mut Vec<u16>> {
        let at = usize::try_from(word).ok()?;
        if at >= self.users.len() {
            self.users.resize_with(at.saturating_add(1), Vec::new);
        }
        self.users.get_mut(at)
    }

    /// The rules whose verdict may be another one when this word is.
    pub(super) fn users(&self, word: Word) -> &[u16] {
        let users = usize::try_from(word).ok().and_then(|at| self.users.get(at));
        users.map_or(&[], Vec::as_slice)
    }

    /// The words that some rule depends on.
    pub(super) fn used(&self) -> impl Iterator<Item = Word> {
        (0..)
            .zip(&self.users)
            .filter(|(_, users)| !users.is_empty())
            .map(|(word, _)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn the_users_of_a_word_are_the_rules_that_have_it(changes in prop::collection::vec((0u16..12, prop::collection::vec(0u32..20, 0..8)), 1..60)) {
            let mut footprints = Footprints::default();
            let mut plain: BTreeMap<u16, BTreeSet<u32>> = BTreeMap::new();
            for (rule, words) in changes {
                let now: BTreeSet<u32> = words.iter().copied().collect();
                let is_other = plain.insert(rule, now.clone()).is_none_or(|before| before != now);
                prop_assert_eq!(footprints.set(rule, words), is_other);
                for word in 0..20 {
                    let users: Vec<u16> = plain.iter().filter(|(_, words)| words.contains(&word)).map(|(rule, _)| *rule).collect();
                    prop_assert_eq!(footprints.users(word), users);
                }
                let used: BTreeSet<u32> = plain.values().flatten().copied().collect();
                prop_assert_eq!(footprints.used().collect::<Vec<_>>(), used.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
