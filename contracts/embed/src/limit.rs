//! An outflow limit in the protocol's own storage: one word per asset, the limiter's arithmetic (`cordon_core::limiter`), no call.
//!
//! What exceeds it is the protocol's to refuse or to hold back. Quarantine, credit for what came in within the transaction, and limits
//! that a guard sets are the limiter's, a contract of its own (`docs/limiter.md`).

use crate::Guarded;
use alloy_primitives::{Address, B256};
use cordon_core::limiter::{Hold, Limit};
use cordon_host::{layout, Host};

/// The limit of an asset (the zero address stands for the chain's own). No slot that the SDK gives to a field, and no hash of one.
fn key(asset: &Address) -> B256 {
    let mut key = [0; 32];
    let [tag @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = &mut key;
    *tag = *b"cordon.limit";
    let [_, _, _, _, _, _, _, _, _, _, _, _, rest @ ..] = &mut key;
    *rest = asset.into_array();
    B256::new(key)
}

/// Sets the limit of an asset; what has left still counts against it. Who may call this is the protocol's to decide.
pub fn set_limit<H: Host>(host: &mut H, asset: &Address, limit: &Limit) {
    let reshaped = limit_of(host, asset).reshaped(limit, host.now());
    host.store(&key(asset), &layout::from_number(&reshaped.pack()));
}

/// The limit of an asset, and how much of it is used; one that was not set lets everything pass.
pub fn limit_of<H: Host>(host: &H, asset: &Address) -> Limit {
    Limit::unpack(layout::to_number(host.load(&key(asset))))
}

/// Takes an outflow out of the limit of its asset: units that may leave now, `amount` at most. The guard's level counts as
/// [`enter`](crate::enter) found it: while it is Throttled or ReduceOnly a quarter of the limit holds. `pool`: units that the protocol
/// has before the outflow, where the limit has a share.
#[must_use = "what exceeds the limit must not leave"]
pub fn outflow<H: Host>(host: &mut H, call: &Guarded, asset: &Address, amount: u128, pool: Option<u128>) -> u128 {
    let key = key(asset);
    let limit = Limit::unpack(layout::to_number(host.load(&key)));
    if !limit.is_set() {
        return amount;
    }
    let taken = limit.take(amount, host.now(), pool, Hold::of(call.granted()));
    if taken.limit != limit {
        host.store(&key, &layout::from_number(&taken.limit.pack()));
    }
    taken.passed
}
