//! Which blocks of a dump are its chain.
//!
//! A node that was itself started from a dump may hold blocks that are none of that chain: anvil keeps the genesis that it made
//! before it loaded the dump, and writes it among the others.

use std::collections::{BTreeMap, HashMap};

use alloy::{consensus::Header, primitives::B256};

use crate::dump::DumpError;

/// The places in `headers` of the blocks that lead to the best one, oldest first: the parent of each is the one before it. The best
/// block is the one with the number `best`, or the highest where there is none.
///
/// # Errors
///
/// When a block's parent is not there by its hash, and several others have its number.
pub(crate) fn lineage(headers: &[(B256, &Header)], best: Option<u64>) -> Result<Vec<usize>, DumpError> {
    let by_hash: HashMap<B256, usize> = headers.iter().map(|(hash, _)| *hash).zip(0..).collect();
    let mut by_number: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, (_, header)) in headers.iter().enumerate() {
        by_number.entry(header.number).or_default().push(index);
    }
    let highest = best.and_then(|best| by_number.get(&best));
    let highest = highest.or_else(|| by_number.values().next_back()).into_iter().flatten();
    // Of several with this number the one that was made last.
    let newest = highest.max_by_key(|index| headers.get(**index).map(|(_, header)| header.timestamp));
    let mut next = newest.copied();
    let mut chain = Vec::new();
    while let Some((index, header)) = next.and_then(|index| Some((index, headers.get(index)?.1))) {
        chain.push(index);
        let Some(number) = header.number.checked_sub(1) else {
            break;
        };
        let known = by_hash.get(&header.parent_hash).copied();
        let named = known.filter(|index| headers.get(*index).is_some_and(|(_, parent)| parent.number == number));
        next = match (named, by_number.get(&number).map(Vec::as_slice)) {
            (Some(parent), _) => Some(parent),
            (None, Some([only])) => Some(*only),
            (None, Some([_, ..])) => {
                return Err(DumpError::Format(format!(
                    "block {} follows {}, which is not there, but there are several blocks {number}",
                    header.number, header.parent_hash
                )));
            }
            (None, Some([]) | None) => None,
        };
    }
    chain.reverse();
    Ok(chain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header(number: u64, parent_hash: B256, timestamp: u64) -> Header {
        Header {
            number,
            parent_hash,
            timestamp,
            ..Header::default()
        }
    }

    fn found(headers: &[Header], best: Option<u64>) -> Result<Vec<usize>, DumpError> {
        let hashed: Vec<_> = headers.iter().map(|header| (header.hash_slow(), header)).collect();
        lineage(&hashed, best)
    }

    #[test]
    fn the_chain_is_what_the_best_block_descends_from() {
        let genesis = header(0, B256::ZERO, 10);
        let other = header(0, B256::ZERO, 20);
        let first = header(1, genesis.hash_slow(), 11);
        let replaced = header(1, other.hash_slow(), 21);
        let second = header(2, first.hash_slow(), 12);
        let all = [second, other, first, replaced, genesis];
        assert_eq!(found(&all, Some(2)).unwrap(), [4, 2, 0]);
        assert_eq!(found(&all, None).unwrap(), [4, 2, 0]);
        // The later of two.
        assert_eq!(found(&all, Some(1)).unwrap(), [1, 3]);
        assert_eq!(found(&[], Some(3)).unwrap(), [0_usize; 0]);
    }

    #[test]
    fn a_parent_with_another_hash_is_taken_only_if_it_is_the_only_one() {
        let headers = [header(4, B256::ZERO, 1), header(5, B256::repeat_byte(1), 2)];
        assert_eq!(found(&headers, Some(5)).unwrap(), [0, 1]);
        let [parent, child] = headers;
        let headers = [parent, header(4, B256::ZERO, 3), child];
        let error = found(&headers, Some(5)).unwrap_err().to_string();
        assert!(error.contains("several blocks 4"), "{error}");
    }
}
