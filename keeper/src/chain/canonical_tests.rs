//! Chains that grow, fork, roll back and lie, followed without a node.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::*;
use alloy::primitives::keccak256;
use proptest::prelude::*;
use std::collections::HashMap;

/// A chain that can be extended, reorganised and rolled back; every block that ever was stays known by hash, as on a
/// real node, unless the chain was rolled back.
#[derive(Default)]
struct Chain {
    canonical: Vec<BlockRef>,
    known: HashMap<B256, BlockRef>,
    salt: u64,
}

impl Chain {
    fn extend(&mut self, count: u64) {
        for _ in 0..count {
            self.salt += 1;
            let parent = self.canonical.last().map_or(B256::ZERO, |b| b.hash);
            let number = self.canonical.len() as u64;
            let hash = keccak256([parent.as_slice(), &self.salt.to_be_bytes()].concat());
            let block = BlockRef {
                number,
                hash,
                parent,
                timestamp: 1_000 + number / 4,
                base_fee: 0,
            };
            self.known.insert(hash, block);
            self.canonical.push(block);
        }
    }

    fn reorg(&mut self, depth: usize, count: u64) {
        let keep = self.canonical.len().saturating_sub(depth).max(1);
        self.canonical.truncate(keep);
        self.extend(count);
    }

    fn head(&self) -> BlockRef {
        *self.canonical.last().unwrap()
    }
}

impl BlockSource for Chain {
    async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
        Ok(self.known.get(&hash).copied())
    }
    async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
        Ok(self.canonical.get(number as usize).copied())
    }
    async fn by_numbers(&self, numbers: std::ops::Range<u64>) -> Vec<BlockRef> {
        // An endpoint that leaves some out, and one that has been asked for others.
        let every_third = |block: &&BlockRef| numbers.contains(&block.number) && !block.number.is_multiple_of(3);
        self.canonical.iter().filter(every_third).copied().collect()
    }
}

/// The same chain as one has it who is behind: nothing of what is newer, by number or by hash.
struct Late<'a> {
    chain: &'a Chain,
    length: usize,
}

impl Late<'_> {
    fn head(&self) -> BlockRef {
        self.chain.canonical[self.length - 1]
    }

    fn has(&self, block: &BlockRef) -> bool {
        self.chain.canonical[..self.length].contains(block)
    }
}

impl BlockSource for Late<'_> {
    async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
        Ok(self.chain.by_hash(hash).await?.filter(|block| self.has(block)))
    }
    async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
        Ok(self.chain.by_number(number).await?.filter(|block| self.has(block)))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Feeds `head` until the follower is content, applying the events to `model`.
fn follow(follower: &mut Canonical, chain: &impl BlockSource, head: BlockRef, model: &mut Vec<BlockRef>) {
    for _ in 0..1_000 {
        let Some(event) = block_on(follower.advance(head, chain)).unwrap() else {
            return;
        };
        for old in event.reverted().iter().rev() {
            assert_eq!(model.pop().as_ref(), Some(old), "reverted blocks are the newest ones");
        }
        for new in event.committed() {
            if let Some(last) = model.last() {
                assert_eq!(new.parent, last.hash, "no gap");
            }
            model.push(*new);
        }
    }
    unreachable!("the follower does not come to rest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn follows_any_history(ops in prop::collection::vec((0u8..4, 0usize..12, 1u64..9), 1..40)) {
        let mut chain = Chain::default();
        chain.extend(1);
        let mut follower = Canonical::new(512, []);
        let mut model = Vec::new();
        follow(&mut follower, &chain, chain.head(), &mut model);
        for (op, depth, count) in ops {
            let before = chain.head();
            match op {
                0 => chain.extend(count),
                1 => chain.reorg(depth, count),
                2 => chain.reorg(depth, 0),
                _ => chain.extend(1),
            }
            // A late announcement of what was the head before must not matter.
            follow(&mut follower, &chain, before, &mut model);
            follow(&mut follower, &chain, chain.head(), &mut model);
            // A chain that was rolled back has no other blocks yet: what it had stays until it has.
            if op == 2 {
                prop_assert!(model.starts_with(&chain.canonical));
            } else {
                prop_assert_eq!(&model, &chain.canonical);
            }
            // Nor does anybody who is behind.
            let held = model.clone();
            let late = Late { chain: &chain, length: chain.canonical.len().saturating_sub(depth).max(1) };
            follow(&mut follower, &late, late.head(), &mut model);
            prop_assert_eq!(&model, &held);
        }
        // The next block of the chain is another one than what it had there.
        chain.extend(1);
        follow(&mut follower, &chain, chain.head(), &mut model);
        prop_assert_eq!(&model, &chain.canonical);
    }

    #[test]
    fn events_invert(old in 0usize..5, new in 0usize..5) {
        let mut chain = Chain::default();
        chain.extend(10);
        let event = ChainEvent::Reorged { old: chain.canonical[..old].to_vec(), new: chain.canonical[old..old + new].to_vec() };
        let twice = event.clone().into_inverted().into_inverted();
        prop_assert_eq!(&twice, &event);
        let inverted = event.clone().into_inverted();
        prop_assert_eq!(event.committed(), inverted.reverted());
        prop_assert_eq!(event.reverted(), inverted.committed());
    }
}

#[test]
fn long_gap_is_filled_in_steps_without_a_hole() {
    let mut chain = Chain::default();
    chain.extend(1);
    let mut follower = Canonical::new(64, []);
    let mut model = Vec::new();
    follow(&mut follower, &chain, chain.head(), &mut model);
    chain.extend(3 * STEP + 17);
    follow(&mut follower, &chain, chain.head(), &mut model);
    assert_eq!(model, chain.canonical);
    assert_eq!(follower.blocks().count(), 64);
}

#[test]
fn a_fork_deeper_than_the_window_is_said_and_changes_nothing() {
    let mut chain = Chain::default();
    chain.extend(20);
    let mut follower = Canonical::new(4, chain.canonical.iter().copied());
    let held: Vec<BlockRef> = follower.blocks().copied().collect();
    chain.reorg(10, 12);
    let error = block_on(follower.advance(chain.head(), &chain)).unwrap_err();
    assert!(matches!(error, FollowError::Deeper { oldest: 16 }), "{error}");
    assert!(follower.blocks().eq(&held));
    // With the blocks that are common it goes on where they end.
    let mut rejoined = Canonical::new(4, chain.canonical[..10].iter().copied());
    let event = block_on(rejoined.advance(chain.head(), &chain)).unwrap().unwrap();
    assert_eq!(event.committed(), &chain.canonical[10..]);
    assert!(event.reverted().is_empty());
}

#[test]
fn a_lying_node_is_an_error_and_changes_nothing() {
    let mut chain = Chain::default();
    chain.extend(5);
    let mut follower = Canonical::new(64, chain.canonical.iter().copied());
    let tip = *follower.tip().unwrap();
    chain.extend(3);
    let wanted = chain.canonical[6].hash;
    let liar = chain.canonical[2];
    chain.known.insert(wanted, liar);
    let error = block_on(follower.advance(chain.head(), &chain)).unwrap_err();
    assert!(matches!(error, FollowError::WrongBlock { .. }), "{error}");
    chain.known.remove(&wanted);
    let error = block_on(follower.advance(chain.head(), &chain)).unwrap_err();
    assert!(matches!(error, FollowError::MissingParent { number: 7, .. }), "{error}");
    assert_eq!(follower.tip(), Some(&tip));
}

/// One message is enough for any height: it is never more than a window that is asked for, and a number that is not one above its parent's is
/// nobody's.
#[test]
fn a_height_that_is_made_up_is_an_error_and_asks_for_nothing() {
    /// Counts the heights that are asked for at once.
    struct Counting(Chain, std::sync::atomic::AtomicU64);
    impl BlockSource for Counting {
        async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
            self.0.by_hash(hash).await
        }
        async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
            self.0.by_number(number).await
        }
        async fn by_numbers(&self, numbers: std::ops::Range<u64>) -> Vec<BlockRef> {
            let asked = numbers.end - numbers.start;
            self.1.fetch_max(asked, std::sync::atomic::Ordering::SeqCst);
            self.0.by_numbers(numbers).await
        }
    }
    let mut chain = Chain::default();
    chain.extend(200);
    let (made_up, tip, below) = (B256::repeat_byte(7), chain.canonical[19], chain.canonical[10]);
    let mut follower = Canonical::new(64, chain.canonical[..20].iter().copied());
    let source = Counting(chain, 0.into());
    let mut told = |number, parent| {
        let (hash, timestamp) = (made_up, 1_000);
        let head = BlockRef {
            number,
            hash,
            parent,
            timestamp,
            base_fee: 0,
        };
        let error = block_on(follower.advance(head, &source)).unwrap_err();
        assert_eq!(follower.tip(), Some(&tip));
        error
    };
    for number in [u64::MAX, 1 << 62, 1_000_000_000, 10_000_000, 10_000] {
        // Far above what there is: the way there begins with blocks that nobody has.
        assert!(matches!(told(number, made_up), FollowError::Unknown { number: n, .. } if n == number));
        let error = told(number, tip.hash);
        assert!(
            matches!(error, FollowError::WrongHeight { expected: 20, .. }),
            "{error}"
        );
    }
    let error = told(30, below.hash);
    let held = block_on(Canonical::new(64, source.0.canonical[..20].iter().copied()).advance(
        BlockRef {
            number: 20,
            parent: tip.hash,
            ..below
        },
        &source,
    ));
    assert!(
        matches!(held, Err(FollowError::WrongHeight { expected: 10, .. })),
        "{held:?}"
    );
    assert!(
        matches!(error, FollowError::WrongHeight { expected: 11, .. }),
        "{error}"
    );
    assert!(matches!(told(270, made_up), FollowError::MissingParent { .. }));
    // The first block of all is asked for.
    let nothing = block_on(Canonical::new(64, []).advance(BlockRef { hash: made_up, ..tip }, &source));
    assert!(matches!(nothing, Err(FollowError::Unknown { .. })));
    let other = block_on(Canonical::new(64, []).advance(
        BlockRef {
            number: u64::MAX,
            ..tip
        },
        &source,
    ));
    assert!(matches!(other, Err(FollowError::WrongHeight { expected: 19, .. })));
    let most = source.1.into_inner();
    assert!((200..=STEP).contains(&most), "{most} at once");
}

#[test]
fn restored_window_is_linked() {
    let mut chain = Chain::default();
    chain.extend(10);
    let mut blocks = chain.canonical.clone();
    blocks.remove(4);
    let follower = Canonical::new(64, blocks);
    assert_eq!(follower.blocks().next().map(|b| b.number), Some(5));
}
