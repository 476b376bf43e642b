//! Who may change what. Governor and guardians are those of the guard: the limiter has no roles of its own to be lost.

use crate::abi::{emit, refusal, Answer, Arguments, ICordonGuard, Word, Words};
use crate::assets::ask_guard;
use crate::limits::{find, Kept, ELASTIC};
use crate::purse::Purse;
use crate::{holds, keys};
use alloy_primitives::{address, Address, B256};
use alloy_sol_types::SolCall;
use cordon_core::limiter::Limit;
use cordon_core::quarantine::MAX_DELAY;
use cordon_host::layout;

/// The guard's governor, its delay, and whether the guard is sealed.
fn governor<P: Purse>(vm: &mut P) -> Answer<(Address, u64, bool)> {
    let mut request = Words::EMPTY;
    request.push(&ICordonGuard::governorCall::SELECTOR);
    let [current, _, delay, is_sealed] = ask_guard(vm, &request)?;
    let [delay, ..] = layout::to_number(delay).into_limbs();
    Ok((cordon_host::abi::address(&current), delay, is_sealed != B256::ZERO))
}

/// Refuses all but the governor; answers its delay and whether the guard is sealed.
///
/// # Errors
/// `NotGovernor`, `GuardSilent`.
pub(crate) fn check_governor<P: Purse>(vm: &mut P) -> Answer<(u64, bool)> {
    let (current, delay, is_sealed) = governor(vm)?;
    let sender = vm.sender();
    if current != sender {
        return Err(refusal!(NotGovernor, sender));
    }
    Ok((delay, is_sealed))
}

/// Whether the caller is a guardian.
///
/// # Errors
/// `GuardSilent`.
pub(crate) fn is_guardian<P: Purse>(vm: &mut P) -> Answer<bool> {
    let mut request = Words::EMPTY;
    request.push(&ICordonGuard::hasRoleCall::SELECTOR);
    request.push((ICordonGuard::Role::Guardian as u8).word().as_slice());
    request.push(vm.sender().word().as_slice());
    let [is] = ask_guard(vm, &request)?;
    Ok(is == true.word())
}

/// Refuses all but guardians.
///
/// # Errors
/// `NotGuardian`, `GuardSilent`.
pub(crate) fn check_guardian<P: Purse>(vm: &mut P) -> Answer<()> {
    if is_guardian(vm)? {
        return Ok(());
    }
    Err(refusal!(NotGuardian, vm.sender()))
}

/// StylusDeployer, which creates, activates and initialises a program in one transaction; the same address on every chain.
const DEPLOYER: Address = address!("cEcba2F1DC234f70Dd89F2041029807F8D03A990");

/// `initialize`. StylusDeployer calls a contract that it has just created and no other, so that nobody comes between.
pub(crate) fn initialize<P: Purse>(vm: &mut P, guard: &Address, delay: u32) -> Answer<()> {
    if vm.load(&keys::CONFIG) != B256::ZERO {
        return Err(refusal!(AlreadyInitialized));
    }
    let sender = vm.sender();
    if sender != DEPLOYER {
        return Err(refusal!(NotDeployer, sender));
    }
    if vm.code_len(guard) == 0 {
        return Err(refusal!(BadRecipient, guard));
    }
    if delay == 0 || delay > MAX_DELAY {
        return Err(refusal!(BadDelay, delay));
    }
    let mut config = guard.word();
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = &mut config.0;
    [*a, *b, *c, *d] = delay.to_be_bytes();
    vm.store(&keys::CONFIG, &config);
    Ok(())
}

/// `announce`.
pub(crate) fn announce<P: Purse>(vm: &mut P, hash: &B256) -> Answer<()> {
    let (delay, _) = check_governor(vm)?;
    let at = vm.now().saturating_add(delay);
    vm.store(&keys::announcement(hash), &at.word());
    emit!(vm, ICordonLimiter::Announced, [hash], at);
    Ok(())
}

/// Seconds for which an announcement can be used from when it is executable: as long as one of the guard, 14 days.
const ANNOUNCEMENT_LIFETIME: u64 = 14 * 86_400;

fn announced_at<P: Purse>(vm: &P, key: &B256) -> u64 {
    let [at, ..] = layout::to_number(vm.load(key)).into_limbs();
    at
}

/// `cancelAnnouncement`: by the governor, or by a guardian, because it tightens.
pub(crate) fn cancel_announcement<P: Purse>(vm: &mut P, hash: &B256) -> Answer<()> {
    if !is_guardian(vm)? {
        check_governor(vm)?;
    }
    let key = keys::announcement(hash);
    if announced_at(vm, &key) == 0 {
        return Err(refusal!(NotAnnounced, hash));
    }
    vm.store(&key, &B256::ZERO);
    let by = vm.sender();
    emit!(vm, ICordonLimiter::AnnouncementCancelled, [hash], by);
    Ok(())
}

/// Uses an announcement of this calldata.
///
/// # Errors
/// `NotAnnounced`, `AnnouncementPending`.
pub(crate) fn use_announcement<P: Purse>(vm: &mut P, input: &[u8]) -> Answer<()> {
    let hash = vm.keccak(input);
    let key = keys::announcement(&hash);
    let (at, now) = (announced_at(vm, &key), vm.now());
    if at == 0 || now > at.saturating_add(ANNOUNCEMENT_LIFETIME) {
        return Err(refusal!(NotAnnounced, hash));
    }
    if now < at {
        return Err(refusal!(AnnouncementPending, hash, at));
    }
    vm.store(&key, &B256::ZERO);
    Ok(())
}

/// `removeLimit`: from then on everything leaves, also of a contract that goes on asking. `input` is the whole calldata.
pub(crate) fn remove_limit<P: Purse>(vm: &mut P, arguments: &mut Arguments<'_>, input: &[u8]) -> Answer<()> {
    let (protocol, asset, class) = (arguments.address()?, arguments.address()?, arguments.u8()?);
    let (_, is_sealed) = check_governor(vm)?;
    let Kept { key, limit, .. } = find(vm, &protocol, &asset, class);
    if !limit.is_set() {
        return Err(refusal!(NotLimited, protocol, asset, class));
    }
    if is_sealed {
        use_announcement(vm, input)?;
    }
    vm.store(&key, &layout::from_number(&Limit::lifted().pack()));
    emit!(vm, ICordonLimiter::LimitRemoved, [protocol, asset], class);
    Ok(())
}

/// `setLimit`. `input` is the whole calldata, which is what was announced.
pub(crate) fn set_limit<P: Purse>(vm: &mut P, arguments: &mut Arguments<'_>, input: &[u8]) -> Answer<()> {
    let (protocol, asset, class) = (arguments.address()?, arguments.address()?, arguments.u8()?);
    let (units, period, share) = (arguments.amount()?, arguments.u32()?, arguments.u16()?);
    let (scope, rebasing, elastic) = (arguments.u8()?, arguments.flag()?, arguments.flag()?);
    let limit = match Limit::new(units, period, share) {
        Ok(limit) if scope < layout::MAX_SCOPES => limit,
        _ => return Err(refusal!(BadLimit, units, period, share)),
    };
    let limit = limit
        .rebasing(rebasing)
        .tagged(if elastic { scope | ELASTIC } else { scope });
    let (_, is_sealed) = check_governor(vm)?;
    let Kept { key, limit: old, .. } = find(vm, &protocol, &asset, class);
    let same_marks = old.tag() == limit.tag() && old.is_rebasing() == rebasing;
    let tightens = old.is_lifted() || old.is_set() && same_marks && old.is_tighter(&limit);
    if is_sealed && !tightens {
        use_announcement(vm, input)?;
    }
    let new = if old.is_set() {
        old.reshaped(&limit, vm.now())
    } else {
        limit.held(holds::current(vm, &key))
    };
    vm.store(&key, &layout::from_number(&new.pack()));
    vm.store(&keys::protocol(&protocol), &true.word());
    emit!(
        vm,
        ICordonLimiter::LimitSet,
        [protocol, asset],
        class,
        new.units(),
        period,
        share
    );
    Ok(())
}
