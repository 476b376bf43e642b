//! Which side of a split is followed, and when it changes.

#![allow(clippy::unwrap_used)]

use super::*;

fn rpc(count: usize) -> Rpc {
    let urls: Vec<String> = (0..count).map(|at| format!("http://127.0.0.1:{}", at + 1)).collect();
    Rpc::new(&urls, 1, Duration::from_secs(1)).unwrap()
}

/// A look in which the endpoints had these blocks; who had none was silent.
fn look(rpc: &Rpc, blocks: &[Option<u8>]) -> Standing {
    let opinions: Vec<Opinion> = rpc
        .all_endpoints()
        .zip(blocks)
        .map(|(endpoint, block)| Opinion {
            endpoint: endpoint.name().to_owned(),
            height: block.map(|_| 9).ok_or_else(|| "down".to_owned()),
            hash: block.map(B256::repeat_byte),
            follows: None,
            outvoted: endpoint.is_outvoted(),
        })
        .collect();
    let comparison = compare(7, &opinions, rpc.split().as_deref());
    let standing = comparison.standing.clone();
    rpc.note(&Looked(comparison, opinions), None);
    standing
}

fn asked(rpc: &Rpc) -> Vec<usize> {
    rpc.in_turn().collect()
}

/// Nobody who is asked has answered for so long that it counts.
fn long_silence(rpc: &Rpc) {
    let long_ago = Instant::now().checked_sub(SILENCE).unwrap();
    *rpc.agreement().silent.lock().unwrap() = Some(long_ago);
    rpc.note_silence();
}

fn followed(rpc: &Rpc) -> Option<(u64, B256)> {
    *rpc.followed().borrow()
}

#[test]
fn in_a_split_the_block_that_is_followed_is_that_of_the_side_that_is_asked() {
    let rpc = rpc(2);
    assert_eq!(look(&rpc, &[Some(5), Some(5)]), Standing::Together);
    assert_eq!(followed(&rpc), Some((7, B256::repeat_byte(5))));
    assert!(matches!(look(&rpc, &[Some(1), Some(2)]), Standing::Split(_)));
    assert_eq!(followed(&rpc), Some((7, B256::repeat_byte(1))));
    long_silence(&rpc);
    assert!(matches!(look(&rpc, &[Some(1), Some(2)]), Standing::Split(_)));
    assert_eq!(followed(&rpc), Some((7, B256::repeat_byte(2))));
}

#[test]
fn what_one_alone_says_is_followed_and_is_not_common() {
    let rpc = rpc(2);
    let common = || *rpc.agreement().common.lock().unwrap();
    let (both, alone) = (B256::repeat_byte(5), B256::repeat_byte(6));
    assert_eq!(look(&rpc, &[Some(5), Some(5)]), Standing::Together);
    assert_eq!((followed(&rpc), common()), (Some((7, both)), Some((7, both))));
    assert_eq!(look(&rpc, &[None, Some(6)]), Standing::Together);
    assert_eq!((followed(&rpc), common()), (Some((7, alone)), Some((7, both))));
    assert!(matches!(look(&rpc, &[Some(5), Some(6)]), Standing::Split(_)));
    assert_eq!(common(), Some((7, both)));
    assert_eq!(look(&rpc, &[Some(6), Some(6)]), Standing::Together);
    assert_eq!(common(), Some((7, alone)), "the chain was reorganised");
}

#[test]
fn the_other_side_is_all_that_had_its_block_when_they_answered_last() {
    let rpc = rpc(4);
    assert!(matches!(
        look(&rpc, &[Some(1), Some(2), Some(2), Some(1)]),
        Standing::Split(_)
    ));
    assert_eq!(asked(&rpc), [0, 3]);
    assert!(matches!(look(&rpc, &[None, None, None, None]), Standing::Split(_)));
    assert_eq!(asked(&rpc), [0, 3], "who does not say stays where it was");
    long_silence(&rpc);
    assert_eq!(asked(&rpc), [1, 2]);
}

#[test]
fn who_was_outvoted_is_not_followed_when_those_of_a_split_are_silent() {
    let rpc = rpc(3);
    assert!(matches!(
        look(&rpc, &[Some(9), Some(1), Some(1)]),
        Standing::Outvoted(_)
    ));
    assert!(matches!(look(&rpc, &[None, Some(1), Some(2)]), Standing::Split(_)));
    assert_eq!(asked(&rpc), [1]);
    long_silence(&rpc);
    assert_eq!(asked(&rpc), [2]);
}

#[test]
fn only_silence_without_an_answer_in_between_changes_the_side() {
    let rpc = rpc(2);
    long_silence(&rpc);
    assert_eq!(asked(&rpc), [0, 1], "there is no split");
    look(&rpc, &[Some(1), Some(2)]);
    let long_ago = Instant::now().checked_sub(SILENCE).unwrap();
    *rpc.agreement().silent.lock().unwrap() = Some(long_ago);
    rpc.note_answer();
    rpc.note_silence();
    assert_eq!(asked(&rpc), [0], "it has answered");
    long_silence(&rpc);
    assert_eq!(asked(&rpc), [1]);
    rpc.note_silence();
    assert_eq!(asked(&rpc), [1], "the other side has its time too");
}
