//! Limits: the hot path of protected contracts, and the functions of ERC-7265.

use crate::abi::{answer, emit, refusal, Answer, Refusal, Word, Words};
use crate::assets::{balance_of, locked, pay, received, remember, report_withdrawal, NATIVE};
use crate::purse::Purse;
use crate::{holds, items, keys};
use alloy_primitives::{Address, B256, U256};
use cordon_core::limiter::{use_credit, Credit, Hold, Limit};
use cordon_host::layout;

/// Bit of a limit's tag: inflows give credit beyond the transaction. The other bits are the guard's scope.
pub(crate) const ELASTIC: u8 = 0x80;

/// A limit, where it is kept, and the class it is for.
pub(crate) struct Kept {
    pub(crate) key: B256,
    pub(crate) class: u8,
    pub(crate) limit: Limit,
}

/// The limit of `protocol` on `asset`, as it is held now; one that is not set is all zero.
pub(crate) fn find<P: Purse>(vm: &P, protocol: &Address, asset: &Address, class: u8) -> Kept {
    let key = keys::limit(vm, protocol, asset, class);
    let mut limit = Limit::unpack(layout::to_number(vm.load(&key)));
    if limit.hold() != Hold::None {
        limit = limit.held(holds::current(vm, &key));
    }
    Kept { key, class, limit }
}

/// The caller's limit, or what is left of one that has been taken away.
///
/// # Errors
/// `NotLimited`.
pub(crate) fn own<P: Purse>(vm: &P, asset: &Address, class: u8) -> Answer<Kept> {
    let protocol = vm.sender();
    let kept = find(vm, &protocol, asset, class);
    if !kept.limit.is_set() && !kept.limit.is_lifted() {
        return Err(refusal!(NotLimited, protocol, asset, class));
    }
    Ok(kept)
}

fn number(word: B256) -> u128 {
    let [low, high, ..] = layout::to_number(word).into_limbs();
    u128::from(low) | u128::from(high) << 64
}

/// Adds to a number in transient storage.
fn add_transient<P: Purse>(vm: &mut P, key: &B256, amount: u128) {
    let sum = number(vm.load_transient(key)).saturating_add(amount);
    vm.store_transient(key, &sum.word());
}

/// Takes from a number in transient storage; answers what it did not have.
fn take_transient<P: Purse>(vm: &mut P, key: &B256, amount: u128) -> u128 {
    let had = vm.load_transient(key);
    if had == B256::ZERO {
        return amount;
    }
    let (left, rest) = use_credit(number(had), amount);
    vm.store_transient(key, &left.word());
    rest
}

/// Gives an account credit for what it brought in.
pub(crate) fn inflow<P: Purse>(vm: &mut P, asset: &Address, class: u8, account: &Address, amount: u128) -> Answer<()> {
    let kept = own(vm, asset, class)?;
    credit(vm, asset, &kept, account, amount);
    Ok(())
}

fn credit<P: Purse>(vm: &mut P, asset: &Address, kept: &Kept, account: &Address, amount: u128) {
    let Kept { class, limit, .. } = kept;
    if limit.is_lifted() {
        return;
    }
    let protocol = vm.sender();
    let key = keys::credit(vm, &protocol, asset, *class, account);
    if limit.tag() & ELASTIC == 0 {
        add_transient(vm, &key, amount);
    } else {
        let credit = Credit::unpack(layout::to_number(vm.load(&key)));
        let credit = credit.inflow(amount, vm.now(), limit.period());
        vm.store(&key, &layout::from_number(&credit.pack()));
    }
    if limit.share() != 0 {
        let total = keys::total(vm, &protocol, asset);
        add_transient(vm, &total, amount);
    }
}

/// Takes an outflow out of the caller's limit: what passes at once. `away`: units of it that have left the caller already.
pub(crate) fn outflow<P: Purse>(
    vm: &mut P,
    asset: &Address,
    kept: &Kept,
    account: &Address,
    amount: u128,
    away: u128,
) -> u128 {
    let Kept { key, class, limit } = kept;
    if limit.is_lifted() {
        return amount;
    }
    let protocol = vm.sender();
    let credit_key = keys::credit(vm, &protocol, asset, *class, account);
    let now = vm.now();
    let rest = if limit.tag() & ELASTIC == 0 {
        take_transient(vm, &credit_key, amount)
    } else {
        let credit = Credit::unpack(layout::to_number(vm.load(&credit_key)));
        let (left, rest) = credit.outflow(amount, now);
        if left != credit {
            vm.store(&credit_key, &layout::from_number(&left.pack()));
        }
        rest
    };
    let pool = pool(vm, asset, limit, &protocol, amount - rest, away);
    let taken = limit.take(rest, now, pool, Hold::None);
    if taken.limit != *limit {
        vm.store(key, &layout::from_number(&taken.limit.pack()));
    }
    amount - taken.excess
}

/// The pool that a share is a share of: what the caller holds, without what came in during this transaction and is still there, so
/// that a flash loan makes no room.
fn pool<P: Purse>(
    vm: &mut P,
    asset: &Address,
    limit: &Limit,
    protocol: &Address,
    credited: u128,
    away: u128,
) -> Option<u128> {
    if limit.share() == 0 {
        return None;
    }
    let held = balance_of(vm, asset, protocol)
        .unwrap_or_default()
        .saturating_add(U256::from(away))
        .saturating_sub(U256::from(credited));
    let total = keys::total(vm, protocol, asset);
    take_transient(vm, &total, credited);
    let fresh = number(vm.load_transient(&total));
    Some(u128::try_from(held).unwrap_or(u128::MAX).saturating_sub(fresh))
}

/// `onTokenInflow` and `onNativeAssetInflow`: nobody says whose inflow it is, so it is the transaction's.
pub(crate) fn on_inflow<P: Purse>(vm: &mut P, asset: &Address, amount: u128) -> Answer<()> {
    if let Some(kept) = protected(vm, asset)? {
        credit(vm, asset, &kept, &Address::ZERO, amount);
    }
    let from = vm.sender();
    emit!(vm, IAssetCircuitBreaker::AssetDeposit, [asset, from], amount);
    Ok(())
}

/// `onTokenOutflow` and `onNativeAssetOutflow`: pays what the limit passes and queues the rest.
pub(crate) fn on_outflow<P: Purse>(vm: &mut P, asset: &Address, amount: u128, recipient: &Address) -> Answer<()> {
    check_recipient(vm, recipient)?;
    let kept = protected(vm, asset)?;
    locked(vm, |vm| {
        let rebasing = kept.as_ref().is_some_and(|kept| kept.limit.is_rebasing());
        let amount = received(vm, asset, amount, rebasing)?;
        let passed = match &kept {
            Some(kept) => outflow(vm, asset, kept, &Address::ZERO, amount, amount),
            None => amount,
        };
        pay(vm, asset, recipient, passed)?;
        if let (Some(kept), true) = (&kept, passed < amount) {
            items::queue(vm, asset, &kept.limit, recipient, amount - passed)?;
            remember(vm, asset)?;
        }
        report_withdrawal(vm, asset, recipient, passed);
        Ok(())
    })
}

/// `quarantine`: the caller has been told that so much exceeds its limit.
pub(crate) fn quarantine<P: Purse>(
    vm: &mut P,
    asset: &Address,
    class: u8,
    amount: u128,
    recipient: &Address,
) -> Answer<u64> {
    check_recipient(vm, recipient)?;
    let Kept { limit, .. } = own(vm, asset, class)?;
    if limit.is_lifted() {
        return Err(refusal!(NotLimited, vm.sender(), asset, class));
    }
    if *asset != NATIVE && vm.has_value() {
        return Err(Refusal::malformed());
    }
    locked(vm, |vm| {
        let amount = received(vm, asset, amount, limit.is_rebasing())?;
        if amount == 0 {
            return Err(refusal!(ShortArrival, asset, amount, amount));
        }
        let item = items::queue(vm, asset, &limit, recipient, amount)?;
        remember(vm, asset)?;
        Ok(item)
    })
}

/// Nobody can be paid at the zero address, and the limiter's own balance is other people's.
///
/// # Errors
/// `BadRecipient`.
pub(crate) fn check_recipient<P: Purse>(vm: &P, recipient: &Address) -> Answer<()> {
    if *recipient == Address::ZERO || *recipient == vm.address() {
        return Err(refusal!(BadRecipient, recipient));
    }
    Ok(())
}

/// The caller's limit, or `None` for an asset that a protected contract has no limit for, which ERC-7265 lets pass.
///
/// # Errors
/// `NotLimited` for a contract that is not protected.
fn protected<P: Purse>(vm: &P, asset: &Address) -> Answer<Option<Kept>> {
    let protocol = vm.sender();
    let kept = find(vm, &protocol, asset, 0);
    if kept.limit.is_set() {
        return Ok(Some(kept));
    }
    if vm.load(&keys::protocol(&protocol)) == B256::ZERO {
        return Err(refusal!(NotLimited, protocol, asset, 0u8));
    }
    Ok(None)
}

/// What may leave now, of a limit that is set.
fn available<P: Purse>(vm: &mut P, protocol: &Address, asset: &Address, limit: &Limit) -> u128 {
    let pool = (limit.share() != 0)
        .then(|| balance_of(vm, asset, protocol).unwrap_or_default())
        .map(|held| u128::try_from(held).unwrap_or(u128::MAX));
    limit.available(vm.now(), pool, Hold::None)
}

/// `isTokenRateLimited`, for the caller.
pub(crate) fn is_rate_limited<P: Purse>(vm: &mut P, asset: &Address) -> bool {
    let protocol = vm.sender();
    let Kept { limit, .. } = find(vm, &protocol, asset, 0);
    limit.is_set() && available(vm, &protocol, asset, &limit) == 0
}

/// `limitOf`.
pub(crate) fn show<P: Purse>(vm: &mut P, protocol: &Address, asset: &Address, class: u8) -> Words {
    let Kept { limit, .. } = find(vm, protocol, asset, class);
    if limit.is_lifted() {
        let mut shown = answer!(0u8, 0u8, 0u8, 0u8, 0u8, 0u8);
        shown.push(0u8.word().as_slice());
        shown.push(u128::MAX.word().as_slice());
        return shown;
    }
    let available = available(vm, protocol, asset, &limit);
    let (scope, elastic) = (limit.tag() & !ELASTIC, limit.tag() & ELASTIC != 0);
    let mut shown = answer!(
        limit.units(),
        limit.period(),
        limit.share(),
        scope,
        limit.is_rebasing(),
        elastic
    );
    shown.push((limit.hold() as u8).word().as_slice());
    shown.push(available.word().as_slice());
    shown
}

/// `creditOf`.
pub(crate) fn credit_of<P: Purse>(vm: &P, protocol: &Address, asset: &Address, class: u8, account: &Address) -> u128 {
    let key = keys::credit(vm, protocol, asset, class, account);
    Credit::unpack(layout::to_number(vm.load(&key)))
        .settled(vm.now())
        .units()
}
