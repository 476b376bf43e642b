use super::*;

const SOMEBODY: Address = Address::repeat_byte(1);

fn change(slot: u64, value: u64) -> ChangeSet {
    let mut changes = ChangeSet::default();
    changes.storage.insert((SOMEBODY, U256::from(slot)), U256::from(value));
    changes.accounts.insert(
        SOMEBODY,
        AccountInfo {
            nonce: value,
            ..AccountInfo::default()
        },
    );
    changes
}

fn slot(store: &Store, slot: u64, version: Version) -> Option<u64> {
    store
        .slot(SOMEBODY, U256::from(slot), version)
        .map(|value| value.saturating_to())
}

fn filled(blocks: u64) -> Store {
    let mut store = Store::default();
    for number in 1..=blocks {
        store.commit(number, change(number % 2, number));
    }
    store
}

#[test]
fn each_version_sees_what_was_set_by_then() {
    let store = filled(4);
    assert_eq!(
        [1, 2, 3, 4].map(|version| slot(&store, 1, version)),
        [Some(1), Some(1), Some(3), Some(3)]
    );
    assert_eq!(
        [1, 2, 3, 4].map(|version| slot(&store, 0, version)),
        [None, Some(2), Some(2), Some(4)]
    );
    assert_eq!(store.account(&SOMEBODY, 3).map(|info| info.nonce), Some(3));
    assert_eq!(store.account(&SOMEBODY, 0), None);
}

#[test]
fn a_revert_forgets_and_versions_are_not_used_again() {
    let mut store = filled(4);
    let root = store.root();
    store.revert(2, 2, B256::ZERO);
    assert_eq!(slot(&store, 1, 4), Some(1));
    assert_eq!((store.head(), store.version_of_block(3)), (2, None));
    assert_eq!(store.commit(3, change(1, 30)), 5);
    assert_eq!(slot(&store, 1, 5), Some(30));
    assert_eq!(slot(&store, 1, 4), Some(1));
    assert_ne!(store.root(), root);
}

#[test]
fn pruning_keeps_what_later_versions_see() {
    let mut store = filled(100);
    store.prune(90, None);
    assert_eq!(store.oldest_block(), Some(90));
    assert_eq!((slot(&store, 1, 90), slot(&store, 0, 90)), (Some(89), Some(90)));
    assert_eq!(
        store.storage.values().map(|versions| versions.0.len()).sum::<usize>(),
        12
    );
    assert_eq!(store.touched.len(), 10);
}

#[test]
fn pruning_spares_a_pinned_version() {
    let mut store = filled(100);
    store.prune(90, Some(50));
    assert_eq!(slot(&store, 1, 51), Some(51));
    store.revert(50, 50, B256::ZERO);
    assert_eq!((slot(&store, 1, 50), slot(&store, 0, 50)), (Some(49), Some(50)));
}

#[test]
fn a_renewed_account_does_not_show_what_lies_below_or_was_there() {
    let mut store = filled(2);
    let mut changes = change(7, 7);
    changes.renewed.insert(SOMEBODY);
    let version = store.commit(3, changes);
    assert_eq!(slot(&store, 1, version), Some(0));
    assert_eq!(slot(&store, 7, version), Some(7));
    assert_eq!(slot(&store, 9, version), Some(0));
    assert_eq!(slot(&store, 9, version - 1), None);
    assert_eq!(slot(&store, 1, version - 1), Some(1));
}
