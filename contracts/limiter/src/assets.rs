//! Moving assets: ERC-20s of all sorts, and the native one.

use crate::abi::{emit, refusal, Answer, ICordonGuard, Word, Words};
use crate::keys;
use crate::purse::Purse;
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use cordon_host::{layout, CallKind};

alloy_sol_types::sol! {
    interface IERC20 {
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
    }
}

/// The native asset, as ERC-7265 writes it.
pub(crate) const NATIVE: Address = {
    let mut bytes = [0; 20];
    bytes[19] = 1;
    Address::new(bytes)
};

/// Gas of a question to the guard, which may be neither cached nor called before.
const GUARD_GAS: u64 = 1_000_000;

/// Units of an asset that an account has; `None` when the token does not say.
pub(crate) fn balance_of<P: Purse>(vm: &mut P, asset: &Address, account: &Address) -> Option<U256> {
    if *asset == NATIVE {
        return Some(vm.balance(account));
    }
    let mut call = Words::EMPTY;
    call.push(&IERC20::balanceOfCall::SELECTOR);
    call.push(account.word().as_slice());
    let mut word = B256::ZERO;
    if !vm.call(CallKind::Static, asset, call.as_slice(), u64::MAX) || vm.return_data(0, &mut word.0) < 32 {
        return None;
    }
    Some(layout::to_number(word))
}

/// Units of an asset that the limiter has.
///
/// # Errors
/// `TokenSilent`: whoever gives a token too little gas to answer must not make it look as if nothing were there.
pub(crate) fn held<P: Purse>(vm: &mut P, asset: &Address) -> Answer<U256> {
    let this = vm.address();
    balance_of(vm, asset, &this).ok_or_else(|| refusal!(TokenSilent, asset))
}

/// Pays units of an asset. False when the recipient or the token refuses: a token may answer nothing (as USDT does), or true.
/// Persists what was written before, because the recipient may call back.
pub(crate) fn try_pay<P: Purse>(vm: &mut P, asset: &Address, to: &Address, amount: &U256) -> bool {
    vm.flush(true);
    if *asset == NATIVE {
        return vm.send(to, amount);
    }
    let mut call = Words::EMPTY;
    call.push(&IERC20::transferCall::SELECTOR);
    call.push(to.word().as_slice());
    call.push(amount.word().as_slice());
    if !vm.call(CallKind::Call, asset, call.as_slice(), u64::MAX) {
        return false;
    }
    let mut word = B256::ZERO;
    match vm.return_data(0, &mut word.0) {
        0 => vm.code_len(asset) > 0,
        32 => word == true.word(),
        _ => false,
    }
}

/// Pays units of an asset.
///
/// # Errors
/// `PaymentFailed`.
pub(crate) fn pay<P: Purse>(vm: &mut P, asset: &Address, to: &Address, amount: u128) -> Answer<()> {
    if amount > 0 && !try_pay(vm, asset, to, &U256::from(amount)) {
        return Err(refusal!(PaymentFailed, asset, to, amount));
    }
    Ok(())
}

/// Reads the balance of an asset before units of it are brought: what has moved it until now is everybody's, what moves it from now on in
/// this transaction is brought by who claims it first.
///
/// # Errors
/// `TokenSilent`.
pub(crate) fn expect<P: Purse>(vm: &mut P, asset: &Address) -> Answer<U256> {
    let balance = held(vm, asset)?;
    // One more, so that nothing can be told from an empty purse.
    let seen = layout::from_number(&balance.saturating_add(U256::from_limbs([1, 0, 0, 0])));
    vm.store_transient(&keys::seen(asset), &seen);
    Ok(balance)
}

/// The same, also for transactions to come.
///
/// # Errors
/// `TokenSilent`.
pub(crate) fn remember<P: Purse>(vm: &mut P, asset: &Address) -> Answer<()> {
    if *asset != NATIVE {
        let balance = expect(vm, asset)?;
        vm.store(&keys::known(asset), &layout::from_number(&balance));
    }
    Ok(())
}

/// Units of `asset`, up to `amount`, that the caller has just brought: what the balance has grown by since it was last read, by nobody's
/// word. When it was read in this transaction less may have come than was sent, because of a fee on transfer; else the token may
/// have lost value by itself meanwhile, and nobody pays for that unknowingly.
///
/// # Errors
/// `ShortArrival`, `NotMeasured`, `TokenSilent`.
pub(crate) fn received<P: Purse>(vm: &mut P, asset: &Address, amount: u128, rebasing: bool) -> Answer<u128> {
    if *asset == NATIVE {
        return Ok(u128::try_from(vm.value()).unwrap_or(u128::MAX));
    }
    let balance = held(vm, asset)?;
    let seen = layout::to_number(vm.load_transient(&keys::seen(asset)));
    let measured = seen != U256::ZERO;
    let before = if measured {
        seen.saturating_sub(U256::from_limbs([1, 0, 0, 0]))
    } else if rebasing {
        return Err(refusal!(NotMeasured, asset));
    } else {
        layout::to_number(vm.load(&keys::known(asset)))
    };
    let arrived = u128::try_from(balance.saturating_sub(before))
        .unwrap_or(u128::MAX)
        .min(amount);
    if arrived < amount && (arrived == 0 || !measured) {
        return Err(refusal!(ShortArrival, asset, amount, arrived));
    }
    Ok(arrived)
}

/// Reports what ERC-7265 calls a withdrawal.
pub(crate) fn report_withdrawal<P: Purse>(vm: &mut P, asset: &Address, to: &Address, amount: u128) {
    emit!(vm, IAssetCircuitBreaker::AssetWithdraw, [asset, to], amount);
}

/// Asks the guard, without changing anything.
///
/// # Errors
/// `GuardSilent` when it reverts, runs out of gas or answers too little.
pub(crate) fn ask_guard<P: Purse, const N: usize>(vm: &mut P, request: &Words) -> Answer<[B256; N]> {
    let guard = guard(vm);
    let mut words = [B256::ZERO; N];
    if !vm.call(CallKind::Static, &guard, request.as_slice(), GUARD_GAS) {
        return Err(refusal!(GuardSilent));
    }
    let mut offset = 0;
    for word in &mut words {
        if vm.return_data(offset, &mut word.0) < 32 {
            return Err(refusal!(GuardSilent));
        }
        offset += 32;
    }
    Ok(words)
}

/// The guard's address; zero before `initialize`.
pub(crate) fn guard<P: Purse>(vm: &P) -> Address {
    cordon_host::abi::address(&vm.load(&keys::CONFIG))
}

/// Whether a scope of the guard is contained, by itself or with the whole protocol: at any level but Normal.
///
/// # Errors
/// `GuardSilent`.
pub(crate) fn is_contained<P: Purse>(vm: &mut P, scope: u8) -> Answer<bool> {
    let mut request = Words::EMPTY;
    request.push(&ICordonGuard::levelOfCall::SELECTOR);
    request.push(scope.word().as_slice());
    let [level] = ask_guard(vm, &request)?;
    Ok(level != B256::ZERO)
}

/// Runs `act` with the lock taken: whoever is paid cannot call back into what pays.
///
/// # Errors
/// `Locked`, and those of `act`.
pub(crate) fn locked<P: Purse, T>(vm: &mut P, act: impl FnOnce(&mut P) -> Answer<T>) -> Answer<T> {
    if vm.load_transient(&keys::LOCK) != B256::ZERO {
        return Err(refusal!(Locked));
    }
    vm.store_transient(&keys::LOCK, &true.word());
    let outcome = act(vm)?;
    vm.store_transient(&keys::LOCK, &B256::ZERO);
    Ok(outcome)
}
