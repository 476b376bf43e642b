//! Verdicts of blocks in which little changes: most rules say in one block what they said in the block before. A block's verdicts
//! are stored as those that differ from a frame, which is the verdicts of an earlier block, stored once and never changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{B256, keccak256};

use super::codec::{decode_verdicts, encode_verdicts};
use super::db::{Connection, query};
use super::{Store, StoreError};
use crate::decide::RuleVerdict;

/// With fewer verdicts than this a block stores all of them.
const WORTH: usize = 32;
/// A frame is replaced when more than one in so many of its verdicts differ.
const TOO_FAR: usize = 4;
/// Blocks after which, and time after which, a frame is replaced: old ones go with the blocks that need them.
const MOST_BLOCKS: u32 = 1_000;
const MOST_TIME: Duration = Duration::from_secs(10 * 60);

/// The verdicts that blocks are compared with.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    digest: B256,
    verdicts: Arc<Vec<RuleVerdict>>,
    blocks: u32,
    since: Instant,
}

/// What is stored of a block's verdicts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framed {
    /// The frame; `None` when `verdicts` are all.
    pub(super) frame: Option<B256>,
    /// In the form of the codec.
    pub(super) verdicts: Vec<u8>,
}

/// The verdicts that differ from the frame's, with those of witnesses; `None` when the frame has a rule that the block has not, or
/// too many differ.
fn differing(frame: &[RuleVerdict], verdicts: &[RuleVerdict]) -> Option<Vec<RuleVerdict>> {
    let mut held: HashMap<u16, &RuleVerdict> = frame.iter().map(|verdict| (verdict.rule, verdict)).collect();
    let differing: Vec<RuleVerdict> = verdicts
        .iter()
        .filter(|verdict| !verdict.witness.is_empty() || held.remove(&verdict.rule) != Some(*verdict))
        .cloned()
        .collect();
    let few = differing.len().saturating_mul(TOO_FAR) <= frame.len();
    (few && held.is_empty()).then_some(differing)
}

/// The verdicts of a block: the frame's, but for those that differ.
fn merged(frame: Vec<RuleVerdict>, differing: Vec<RuleVerdict>) -> Vec<RuleVerdict> {
    let mut other: HashMap<u16, RuleVerdict> = HashMap::new();
    let mut rest = Vec::new();
    for verdict in differing {
        if verdict.witness.is_empty() {
            other.insert(verdict.rule, verdict);
        } else {
            rest.push(verdict);
        }
    }
    let mut verdicts: Vec<RuleVerdict> = frame
        .into_iter()
        .map(|verdict| other.remove(&verdict.rule).unwrap_or(verdict))
        .collect();
    // Rules that the frame has not.
    let mut new: Vec<RuleVerdict> = other.into_values().collect();
    new.sort_by_key(|verdict| verdict.rule);
    verdicts.extend(new);
    verdicts.extend(rest);
    verdicts
}

/// What is to be stored of these verdicts. Where no frame will do, they become the next one.
pub(super) fn store(connection: &mut Connection, held: &mut Option<Frame>, verdicts: &[RuleVerdict]) -> Framed {
    let plain = verdicts.iter().filter(|verdict| verdict.witness.is_empty());
    if verdicts.len() < WORTH {
        return Framed {
            frame: None,
            verdicts: encode_verdicts(verdicts),
        };
    }
    if let Some(frame) = held
        && frame.blocks < MOST_BLOCKS
        && frame.since.elapsed() < MOST_TIME
        && let Some(differing) = differing(&frame.verdicts, verdicts)
    {
        frame.blocks = frame.blocks.saturating_add(1);
        return Framed {
            frame: Some(frame.digest),
            verdicts: encode_verdicts(&differing),
        };
    }
    let next: Vec<RuleVerdict> = plain.cloned().collect();
    let bytes = encode_verdicts(&next);
    let digest = keccak256(&bytes);
    query("INSERT INTO frames (digest, verdicts) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING")
        .bind(digest.to_vec())
        .bind(bytes)
        .later(connection);
    let others: Vec<RuleVerdict> = verdicts
        .iter()
        .filter(|verdict| !verdict.witness.is_empty())
        .cloned()
        .collect();
    *held = Some(Frame {
        digest,
        verdicts: Arc::new(next),
        blocks: 1,
        since: Instant::now(),
    });
    Framed {
        frame: Some(digest),
        verdicts: encode_verdicts(&others),
    }
}

/// Forgets frames that no block needs.
pub(super) fn prune(connection: &mut Connection) {
    query("DELETE FROM frames WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.frame = frames.digest)")
        .later(connection);
}

impl Store {
    /// Verdicts of a block; `None` when the record has no such block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn verdicts(&self, hash: B256) -> Result<Option<Vec<RuleVerdict>>, StoreError> {
        type Row = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);
        let row: Option<Row> = super::db::query_as(
            "SELECT b.verdicts, b.frame, f.verdicts FROM blocks b LEFT JOIN frames f ON f.digest = b.frame
             WHERE b.hash = ? AND length(b.verdicts) > 0",
        )
        .bind(hash.to_vec())
        .fetch_optional(&self.pool)
        .await?;
        let Some((own, frame, framed)) = row else {
            return Ok(None);
        };
        let own = decode_verdicts(&own)?;
        match (frame, framed) {
            (None, _) => Ok(Some(own)),
            (Some(_), Some(framed)) => Ok(Some(merged(decode_verdicts(&framed)?, own))),
            (Some(_), None) => Err(StoreError::Damaged {
                what: "frame of verdicts",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::decide::Reading;
    use cordon_core::rule::eval::Verdict;
    use cordon_core::rule::value::Int;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn verdict(rule: u16, witness: Option<u8>, observed: u64) -> RuleVerdict {
        let reading = Reading {
            verdict: if observed.is_multiple_of(5) {
                Verdict::Unknown
            } else {
                Verdict::Holds
            },
            reason: 0,
            observed: Int::from(observed),
            bound: Int::ZERO,
        };
        RuleVerdict {
            rule,
            witness: witness.into_iter().map(B256::repeat_byte).collect(),
            reading,
        }
    }

    prop_compose! {
        fn some_verdicts()(plain in prop::collection::vec(prop_oneof![60 => Just(Some(1)), 3 => (2u64..9).prop_map(Some), 1 => Just(None)], 40),
            others in prop::collection::btree_map((40u16..43, any::<u8>()), 0u64..9, 0..5)) -> Vec<RuleVerdict> {
            let plain = (0..).zip(plain).filter_map(|(rule, observed)| Some(verdict(rule, None, observed?)));
            plain.chain(others.into_iter().map(|((rule, witness), observed)| verdict(rule, Some(witness), observed))).collect()
        }
    }

    proptest! {
        #[test]
        fn what_differs_and_the_frame_are_the_verdicts(frame in some_verdicts(), verdicts in some_verdicts()) {
            let frame: Vec<RuleVerdict> = frame.into_iter().filter(|verdict| verdict.witness.is_empty()).collect();
            let by_key = |list: &[RuleVerdict]| -> BTreeMap<(u16, Vec<B256>), RuleVerdict> {
                list.iter().map(|verdict| ((verdict.rule, verdict.witness.clone()), verdict.clone())).collect()
            };
            if let Some(differing) = differing(&frame, &verdicts) {
                prop_assert!(differing.len() * TOO_FAR <= frame.len());
                let back = merged(frame, differing);
                prop_assert_eq!(back.len(), verdicts.len());
                prop_assert_eq!(by_key(&back), by_key(&verdicts));
            }
        }
    }

    #[test]
    fn a_rule_that_is_gone_needs_another_frame() {
        let frame: Vec<RuleVerdict> = (0..40).map(|rule| verdict(rule, None, 1)).collect();
        assert_eq!(differing(&frame, &frame), Some(vec![]));
        assert_eq!(differing(&frame, frame.get(1..).unwrap()), None);
        let other: Vec<RuleVerdict> = (0..40).map(|rule| verdict(rule, None, 2)).collect();
        assert_eq!(differing(&frame, &other), None);
    }
}
