//! Where the limiter keeps what. The first byte of a key is a tag, so that keys of different sorts cannot collide.

use alloy_primitives::{Address, B256};
use cordon_host::Host;

mod tag {
    pub(super) const CONFIG: u8 = 1;
    pub(super) const LIMIT: u8 = 2;
    pub(super) const CREDIT: u8 = 3;
    pub(super) const ITEM: u8 = 4;
    pub(super) const ASSET: u8 = 5;
    pub(super) const ANNOUNCEMENT: u8 = 6;
    pub(super) const PROTOCOL: u8 = 7;
    pub(super) const LOCK: u8 = 8;
    pub(super) const TOTAL: u8 = 9;
    pub(super) const GUARD_HOLDS: u8 = 10;
    pub(super) const HOLDS: u8 = 11;
}

const fn plain(tag: u8, field: u8) -> B256 {
    let mut key = [0; 32];
    key[0] = tag;
    key[1] = field;
    B256::new(key)
}

/// Guard (low 20 bytes) and delay of quarantine (the 4 above).
pub(crate) const CONFIG: B256 = plain(tag::CONFIG, 0);
/// Number of the latest item.
pub(crate) const ITEMS: B256 = plain(tag::CONFIG, 1);
/// Transient: one while the limiter calls out.
pub(crate) const LOCK: B256 = plain(tag::LOCK, 0);

/// Longest key before it is hashed: three accounts and a class.
const LONGEST: usize = 3 * 20 + 1;

/// Hashes fields into a key of its tag. They are copied as pieces, because a loop over bytes costs the hot path more than the hash.
fn hashed<H: Host>(host: &H, tag: u8, parts: [&[u8]; 4]) -> B256 {
    let mut data = [0; LONGEST];
    let mut end = 0;
    for part in parts {
        let next = end + part.len();
        if let Some(to) = data.get_mut(end..next) {
            to.copy_from_slice(part);
            end = next;
        }
    }
    let mut key = host.keccak(data.get(..end).unwrap_or_default());
    key.0[0] = tag;
    key
}

/// The limit of a protected contract on an asset for a class (`cordon_core::limiter::Limit`).
pub(crate) fn limit<H: Host>(host: &H, protocol: &Address, asset: &Address, class: u8) -> B256 {
    hashed(host, tag::LIMIT, [&protocol.0 .0, &asset.0 .0, &[class], &[]])
}

fn beside(limit: &B256, tag: u8) -> B256 {
    let mut key = *limit;
    key.0[0] = tag;
    key
}

/// The guard's holds on the limit with this key (`cordon_core::limiter::ScopeHolds`).
pub(crate) fn guard_holds(limit: &B256) -> B256 {
    beside(limit, tag::GUARD_HOLDS)
}

/// The holds of people on it (`cordon_core::limiter::Holds`).
pub(crate) fn holds(limit: &B256) -> B256 {
    beside(limit, tag::HOLDS)
}

/// Credit of an account in a class: transient a number, persistent a `cordon_core::limiter::Credit`.
pub(crate) fn credit<H: Host>(host: &H, protocol: &Address, asset: &Address, class: u8, account: &Address) -> B256 {
    hashed(
        host,
        tag::CREDIT,
        [&protocol.0 .0, &asset.0 .0, &account.0 .0, &[class]],
    )
}

/// Transient: what came in during the transaction and was not taken out again.
pub(crate) fn total<H: Host>(host: &H, protocol: &Address, asset: &Address) -> B256 {
    hashed(host, tag::TOTAL, [&protocol.0 .0, &asset.0 .0, &[], &[]])
}

fn of_account(tag: u8, field: u8, account: &Address) -> B256 {
    let mut key = plain(tag, field);
    if let Some(tail) = key.0.last_chunk_mut::<20>() {
        *tail = account.0 .0;
    }
    key
}

/// Balance of an asset after the limiter last held it.
pub(crate) fn known(asset: &Address) -> B256 {
    of_account(tag::ASSET, 0, asset)
}

/// Transient: balance of an asset when it was last read in this transaction, and one more.
pub(crate) fn seen(asset: &Address) -> B256 {
    of_account(tag::ASSET, 2, asset)
}

/// Shares of all items of an asset.
pub(crate) fn shares(asset: &Address) -> B256 {
    of_account(tag::ASSET, 1, asset)
}

/// One when the contract has a limit.
pub(crate) fn protocol(account: &Address) -> B256 {
    of_account(tag::PROTOCOL, 0, account)
}

/// Word `field` of an item.
pub(crate) fn item(number: u64, field: u8) -> B256 {
    let mut key = plain(tag::ITEM, field);
    if let Some(tail) = key.0.last_chunk_mut::<8>() {
        *tail = number.to_be_bytes();
    }
    key
}

/// When an announced action may be executed.
pub(crate) fn announcement(hash: &B256) -> B256 {
    beside(hash, tag::ANNOUNCEMENT)
}
