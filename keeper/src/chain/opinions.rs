//! How endpoints stand to each other, by what they say of one block. All of them must have the same block at the same height; where they
//! differ, the most are believed. Where neither side has the most, nobody can say which chain is the right one. Who is asked, and what
//! follows of it, is in `compare`.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

/// Blocks below the newest that most have: endpoints are not equally fast, and the newest blocks of a chain may still change.
pub(super) const DEPTH: u64 = 2;
/// An endpoint that is more blocks behind the others than this lags.
const LAG: u64 = 8;

/// What one endpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// Scheme, host and port of the endpoint.
    pub endpoint: String,
    /// Height of its newest block; why it does not answer.
    pub height: Result<u64, String>,
    /// Hash of its block at the height that is compared; `None` when it has none.
    pub hash: Option<B256>,
    /// Of one that has not come so far: whether it has the same block as the most a little below its own newest. `None` when that is not
    /// known, or not needed.
    pub follows: Option<bool>,
    /// Whether most had another block than it at an earlier look.
    pub outvoted: bool,
}

impl Opinion {
    /// Whether it has other blocks than the most; `None` when it does not say.
    pub(super) fn differs(&self, agreed: B256) -> Option<bool> {
        self.hash
            .map(|hash| hash != agreed)
            .or(self.follows.map(|follows| !follows))
    }
}

/// What the endpoints say of each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// No two of them differ.
    #[default]
    Together,
    /// Most have the same block, some another: the sentence for people.
    Outvoted(String),
    /// They differ, and neither side has the most: the sentence for people.
    Split(String),
}

/// What a look at all endpoints has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Height that was compared.
    pub number: u64,
    /// Who differs.
    pub standing: Standing,
    /// The block that most have at that height.
    pub agreed: Option<B256>,
    /// Endpoints that do not answer, or lag behind, and why.
    pub poor: Vec<(String, String)>,
    /// Endpoints that keep up and agree with the most.
    pub good: Vec<String>,
}

/// The height to compare: a little below the one that more than half of those that answer have reached.
pub(super) fn common_height(mut heights: Vec<u64>) -> Option<u64> {
    heights.sort_unstable_by(|one, other| other.cmp(one));
    let most = heights.get(heights.len() / 2).or(heights.last())?;
    Some(most.saturating_sub(DEPTH))
}

/// The hash that more than half have; `None` when none has.
fn majority(votes: &[B256]) -> Option<B256> {
    let mut counts: BTreeMap<B256, usize> = BTreeMap::new();
    for hash in votes {
        let count = counts.entry(*hash).or_default();
        *count = count.saturating_add(1);
    }
    let (hash, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > votes.len() / 2).then_some(hash)
}

/// The block that is believed at the height that is compared. One that was outvoted has a say, but is never believed alone: when those who
/// were right do not answer, nothing is agreed. After a split it takes more than half of all endpoints, answering or not.
pub(super) fn believed(opinions: &[Opinion], was_split: bool) -> Option<B256> {
    let votes = |all: bool| -> Vec<B256> {
        let heard = opinions.iter().filter(|opinion| all || !opinion.outvoted);
        heard.filter_map(|opinion| opinion.hash).collect()
    };
    let trusted = votes(false);
    let agreed = majority(&votes(true))
        .filter(|hash| trusted.contains(hash))
        .or_else(|| majority(&trusted))?;
    (!was_split || is_common(opinions, agreed)).then_some(agreed)
}

/// Whether more than half of all endpoints, answering or not, have this block at the height that is compared.
pub(super) fn is_common(opinions: &[Opinion], block: B256) -> bool {
    let has = opinions.iter().filter(|opinion| opinion.hash == Some(block)).count();
    has.saturating_mul(2) > opinions.len()
}

/// What those say who hold `block`, which is an older one: the side of a split that goes on from there. `held` is what each endpoint has at
/// its height. `None` when several sides have it, or none that says anything.
pub(super) fn side_from(block: B256, opinions: &[Opinion], held: &[Option<B256>]) -> Option<B256> {
    let holders = opinions.iter().zip(held).filter(|(_, held)| **held == Some(block));
    let sides: BTreeSet<B256> = holders.filter_map(|(opinion, _)| opinion.hash).collect();
    sides.first().copied().filter(|_| sides.len() == 1)
}

/// How the endpoints stand, when this block is believed, and what they stood like at the look before.
fn standing(number: u64, opinions: &[Opinion], agreed: Option<B256>, before: Option<&str>) -> Standing {
    let told = |opinion: &Opinion| match opinion.hash {
        Some(hash) => format!("{} has {hash}", opinion.endpoint),
        None => format!("{} has others below", opinion.endpoint),
    };
    let Some(agreed) = agreed else {
        let said: Vec<String> = opinions
            .iter()
            .filter(|opinion| opinion.hash.is_some())
            .map(told)
            .collect();
        let hashes: BTreeSet<B256> = opinions.iter().filter_map(|opinion| opinion.hash).collect();
        let outvoted = opinions.iter().find(|opinion| opinion.outvoted);
        return match (before, outvoted) {
            // Silence is no agreement.
            (Some(before), _) if hashes.len() < 2 => Standing::Split(before.to_owned()),
            (None, Some(outvoted)) if hashes.len() < 2 => Standing::Outvoted(format!(
                "{} had other blocks than the most, and those do not answer",
                outvoted.endpoint
            )),
            _ if hashes.len() < 2 => Standing::Together,
            _ => Standing::Split(format!(
                "at block {number} {}, and neither side has the most",
                said.join(", ")
            )),
        };
    };
    let differ: Vec<String> = opinions
        .iter()
        .filter_map(|opinion| match opinion.differs(agreed) {
            Some(true) => Some(told(opinion)),
            None if opinion.outvoted => Some(format!("{} has not answered since it differed", opinion.endpoint)),
            Some(false) | None => None,
        })
        .collect();
    if differ.is_empty() {
        return Standing::Together;
    }
    Standing::Outvoted(format!(
        "most endpoints have {agreed} at block {number}, but {}: what differs is not asked any more",
        differ.join(", ")
    ))
}

/// Compares opinions on the block at `number`. `before` is the sentence of the split that the look before has found: it ends when more than
/// half of all endpoints agree, not when some are silent.
#[must_use]
pub fn compare(number: u64, opinions: &[Opinion], before: Option<&str>) -> Comparison {
    let agreed = believed(opinions, before.is_some());
    let agrees = |opinion: &Opinion| agreed.is_none_or(|agreed| opinion.differs(agreed) != Some(true));
    let reached: Vec<u64> = opinions
        .iter()
        .filter(|opinion| agrees(opinion))
        .filter_map(|opinion| opinion.height.as_ref().ok().copied())
        .collect();
    // What one of several claims alone makes the others no laggards.
    let newest = match reached.as_slice() {
        [_, _, _, ..] => number.saturating_add(DEPTH),
        few => few.iter().copied().max().unwrap_or_default(),
    };
    let mut comparison = Comparison {
        number,
        standing: standing(number, opinions, agreed, before),
        agreed,
        ..Comparison::default()
    };
    for opinion in opinions {
        let endpoint = opinion.endpoint.clone();
        match &opinion.height {
            Err(why) => comparison.poor.push((endpoint, why.clone())),
            Ok(height) if height.saturating_add(LAG) < newest => {
                let why = format!("its newest block is {height}, that of others {newest}");
                comparison.poor.push((endpoint, why));
            }
            Ok(_) if opinion.hash.is_some() && agrees(opinion) => comparison.good.push(endpoint),
            Ok(_) => {}
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn opinion(endpoint: &str, height: Result<u64, &str>, hash: Option<u8>) -> Opinion {
        Opinion {
            endpoint: endpoint.to_owned(),
            height: height.map_err(str::to_owned),
            hash: hash.map(B256::repeat_byte),
            follows: None,
            outvoted: false,
        }
    }

    #[test]
    fn a_different_block_is_told_from_one_that_is_missing() {
        let agree = compare(7, &[opinion("a", Ok(9), Some(1)), opinion("b", Ok(9), Some(1))], None);
        assert_eq!((agree.standing, agree.good.len()), (Standing::Together, 2));
        let differ = compare(
            90,
            &[
                opinion("a", Ok(99), Some(1)),
                opinion("b", Ok(99), Some(2)),
                opinion("c", Ok(3), None),
                opinion("d", Err("down"), None),
                opinion("e", Ok(92), Some(1)),
            ],
            None,
        );
        let Standing::Outvoted(text) = differ.standing else {
            panic!("{differ:?}")
        };
        assert!(text.contains("b has 0x0202") && !text.contains("a has"), "{text}");
        let poor: Vec<&str> = differ.poor.iter().map(|(endpoint, _)| endpoint.as_str()).collect();
        assert_eq!(
            (poor, differ.good),
            (vec!["c", "d"], vec!["a".to_owned(), "e".to_owned()])
        );
    }

    #[test]
    fn one_against_one_is_no_majority_unless_one_was_outvoted_before() {
        let two = [opinion("a", Ok(9), Some(1)), opinion("b", Ok(9), Some(2))];
        let split = compare(7, &two, None);
        assert!(matches!(&split.standing, Standing::Split(text) if text.contains("a has") && text.contains("b has")));
        assert_eq!(split.agreed, None);
        let [mut liar, honest] = two;
        liar.outvoted = true;
        let comparison = compare(7, &[liar.clone(), honest.clone()], None);
        assert_eq!(comparison.agreed, Some(B256::repeat_byte(2)));
        assert!(matches!(comparison.standing, Standing::Outvoted(_)));
        // When it says the same as the others it is one of them.
        liar.hash = honest.hash;
        assert_eq!(compare(7, &[liar, honest], None).standing, Standing::Together);
    }

    #[test]
    fn one_that_is_behind_is_told_apart_by_its_own_newest_blocks() {
        let mut behind = opinion("fork", Ok(80), None);
        let most = [opinion("a", Ok(99), Some(1)), opinion("b", Ok(99), Some(1))];
        for (follows, outvoted) in [(None, false), (Some(true), false), (Some(false), true)] {
            behind.follows = follows;
            let all = [behind.clone(), most[0].clone(), most[1].clone()];
            let comparison = compare(97, &all, None);
            assert_eq!(
                matches!(comparison.standing, Standing::Outvoted(_)),
                outvoted,
                "{follows:?}"
            );
        }
    }

    #[test]
    fn silence_ends_neither_a_split_nor_a_doubt() {
        let (a, b) = (opinion("a", Ok(9), Some(1)), opinion("b", Ok(9), Some(2)));
        let down = |of: &Opinion| Opinion {
            height: Err("down".to_owned()),
            hash: None,
            ..of.clone()
        };
        let Standing::Split(text) = compare(7, &[a.clone(), b.clone()], None).standing else {
            panic!("no split")
        };
        for opinions in [[a.clone(), down(&b)], [down(&a), b.clone()], [down(&a), down(&b)]] {
            let comparison = compare(7, &opinions, Some(&text));
            assert_eq!(
                (comparison.standing, comparison.agreed),
                (Standing::Split(text.clone()), None)
            );
        }
        let agree = Opinion {
            hash: a.hash,
            ..b.clone()
        };
        assert_eq!(
            compare(7, &[a.clone(), agree], Some(&text)).standing,
            Standing::Together
        );
        let third = opinion("c", Ok(9), Some(2));
        let comparison = compare(7, &[a.clone(), b.clone(), third], Some(&text));
        assert!(matches!(comparison.standing, Standing::Outvoted(_)) && comparison.agreed == b.hash);
        // One that was outvoted is not believed because those who were right are silent.
        let liar = Opinion {
            outvoted: true,
            ..b.clone()
        };
        let comparison = compare(7, &[down(&a), liar.clone()], None);
        assert!(matches!(comparison.standing, Standing::Outvoted(_)) && comparison.agreed.is_none());
        let colluder = Opinion {
            endpoint: "c".to_owned(),
            ..liar.clone()
        };
        assert_eq!(compare(7, &[a.clone(), liar.clone(), colluder], None).agreed, a.hash);
        let comparison = compare(7, &[a.clone(), down(&liar)], None);
        assert!(matches!(&comparison.standing, Standing::Outvoted(text) if text.contains("has not answered")));
    }

    #[test]
    fn what_most_of_those_say_that_answer_is_not_yet_common() {
        let (has, other, down) = (
            opinion("a", Ok(9), Some(1)),
            opinion("b", Ok(9), Some(2)),
            opinion("c", Err("down"), None),
        );
        let one = B256::repeat_byte(1);
        for (opinions, common) in [
            (vec![has.clone(), has.clone()], true),
            (vec![has.clone(), down.clone()], false),
            (vec![has.clone(), has.clone(), down.clone()], true),
            (vec![has.clone(), other.clone(), down.clone()], false),
            (vec![has.clone(), has, other, down], false),
        ] {
            assert_eq!(is_common(&opinions, one), common, "{opinions:?}");
        }
    }

    #[test]
    fn the_side_that_goes_on_from_a_block_is_that_of_those_who_hold_it() {
        let [one, two] = [1, 2].map(B256::repeat_byte);
        let opinions = [1, 2, 1].map(|said| opinion("of two sides", Ok(9), Some(said)));
        let block = B256::repeat_byte(7);
        let (holds, differs) = (Some(block), Some(B256::repeat_byte(8)));
        for (held, side) in [
            ([holds, differs, holds], Some(one)),
            ([holds, differs, None], Some(one)),
            ([None, holds, differs], Some(two)),
            ([holds, holds, None], None),
            ([differs, None, None], None),
        ] {
            assert_eq!(side_from(block, &opinions, &held), side, "{held:?}");
        }
        // Who holds it and says nothing of the newer one is of no side.
        let silent = [opinion("silent", Ok(9), None)];
        assert_eq!(side_from(block, &silent, &[holds]), None);
    }

    #[test]
    fn one_absurd_height_makes_nobody_poor() {
        let all = [
            opinion("liar", Ok(u64::MAX), None),
            opinion("a", Ok(99), Some(1)),
            opinion("b", Ok(98), Some(1)),
        ];
        let comparison = compare(97, &all, None);
        assert_eq!((comparison.poor, comparison.good.len()), (vec![], 2));
    }

    #[test]
    fn a_height_is_compared_that_most_have_reached() {
        assert_eq!(common_height(vec![]), None);
        assert_eq!(common_height(vec![9]), Some(7));
        // Both of two; two of three, however far one is ahead or behind; three of four.
        assert_eq!(common_height(vec![1, 9]), Some(0));
        assert_eq!(common_height(vec![9_000_000, 50, 49]), Some(48));
        assert_eq!(common_height(vec![3, 50, 49]), Some(47));
        assert_eq!(common_height(vec![53, 52, 51, 50]), Some(49));
    }

    proptest! {
        #[test]
        fn only_more_than_half_is_a_majority(votes in prop::collection::vec(0_u8..4, 0..9)) {
            let hashes: Vec<B256> = votes.iter().copied().map(B256::repeat_byte).collect();
            let found = majority(&hashes);
            for hash in &hashes {
                let count = hashes.iter().filter(|other| *other == hash).count();
                prop_assert_eq!(found == Some(*hash), 2 * count > hashes.len());
            }
            prop_assert!(found.is_none_or(|hash| hashes.contains(&hash)));
        }
    }
}
