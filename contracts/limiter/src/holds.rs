//! Holds on limits: the guard's, for each of its scopes; the guardians', for a time; the governor's. The strictest counts, and nobody
//! loosens but his own (`cordon_core::limiter::Holds`). A limit's word keeps the strictest of when one was last set, so that a limit
//! nobody holds costs nothing more.

use crate::abi::{answer, emit, refusal, Answer, Arguments, Refusal, Words};
use crate::assets::guard;
use crate::authority::{check_governor, is_guardian, use_announcement};
use crate::keys;
use crate::limits::{find, Kept};
use crate::purse::Purse;
use alloy_primitives::{Address, B256};
use cordon_core::limiter::{Hold, HoldError, Holds, ScopeHolds};
use cordon_host::layout;

fn of_guard<P: Purse>(vm: &P, limit: &B256) -> ScopeHolds {
    ScopeHolds::unpack(layout::to_number(vm.load(&keys::guard_holds(limit))))
}

fn of_people<P: Purse>(vm: &P, limit: &B256) -> Holds {
    Holds::unpack(layout::to_number(vm.load(&keys::holds(limit))))
}

/// What holds now of the limit with this key.
#[cold]
#[inline(never)]
pub(crate) fn current<P: Purse>(vm: &P, limit: &B256) -> Hold {
    of_people(vm, limit).strictest(of_guard(vm, limit).strictest(), vm.now())
}

/// A limit that a call names, and where it is.
struct Named {
    protocol: Address,
    asset: Address,
    class: u8,
    kept: Kept,
}

fn named<P: Purse>(vm: &P, arguments: &mut Arguments<'_>) -> Answer<Named> {
    let (protocol, asset, class) = (arguments.address()?, arguments.address()?, arguments.u8()?);
    let kept = find(vm, &protocol, &asset, class);
    Ok(Named {
        protocol,
        asset,
        class,
        kept,
    })
}

impl Named {
    fn check_set(&self) -> Answer<()> {
        if self.kept.limit.is_set() {
            return Ok(());
        }
        Err(refusal!(NotLimited, self.protocol, self.asset, self.class))
    }

    /// Puts into the limit's word what holds now, and reports it.
    fn settle<P: Purse>(&self, vm: &mut P, until: u64) {
        let Kept { key, limit, .. } = &self.kept;
        let hold = current(vm, key);
        if limit.is_set() {
            vm.store(key, &layout::from_number(&limit.held(hold).pack()));
        }
        let by = vm.sender();
        emit!(
            vm,
            ICordonLimiter::HoldSet,
            [self.protocol, self.asset],
            self.class,
            hold as u8,
            by,
            until
        );
    }
}

fn hold(arguments: &mut Arguments<'_>) -> Answer<Hold> {
    let number = arguments.u8()?;
    Hold::from_u8(number).ok_or_else(|| refusal!(BadHold, number))
}

fn scope(arguments: &mut Arguments<'_>) -> Answer<u8> {
    let scope = arguments.u8()?;
    if scope < layout::MAX_SCOPES {
        return Ok(scope);
    }
    Err(refusal!(BadScope, scope))
}

fn refuse(error: HoldError, wanted: Hold) -> Refusal {
    match error {
        HoldError::NotTighter { current } => refusal!(NotTighter, current as u8, wanted as u8),
        HoldError::BudgetSpent { available } => refusal!(HoldBudgetSpent, available),
    }
}

/// `setHold`. A guardian tightens for a time, or takes the guardians' hold back; the governor announces what loosens its own. `input`
/// is the whole calldata.
pub(crate) fn set_hold<P: Purse>(vm: &mut P, arguments: &mut Arguments<'_>, input: &[u8]) -> Answer<()> {
    let named = named(vm, arguments)?;
    let wanted = hold(arguments)?;
    named.check_set()?;
    let (people, now) = (of_people(vm, &named.kept.key), vm.now());
    let (people, until) = if is_guardian(vm)? {
        let people = match wanted {
            Hold::None => people.take_back(now),
            _ => people.tighten(wanted, now),
        }
        .map_err(|error| refuse(error, wanted))?;
        (people, people.until())
    } else {
        let (_, is_sealed) = check_governor(vm)?;
        if is_sealed && wanted.or(people.governor()) != wanted {
            use_announcement(vm, input)?;
        }
        (people.governed(wanted), 0)
    };
    let key = keys::holds(&named.kept.key);
    vm.store(&key, &layout::from_number(&people.pack()));
    named.settle(vm, until);
    Ok(())
}

/// `holdFor` and `letGo`: the guard's word for one of its scopes, which a containment only tightens and its undoing only loosens.
pub(crate) fn of_scope<P: Purse>(vm: &mut P, arguments: &mut Arguments<'_>, tightens: bool) -> Answer<()> {
    let scope = scope(arguments)?;
    let named = named(vm, arguments)?;
    let wanted = hold(arguments)?;
    let sender = vm.sender();
    if sender != guard(vm) {
        return Err(refusal!(NotGuard, sender));
    }
    let holds = of_guard(vm, &named.kept.key);
    let holds = if tightens {
        named.check_set()?;
        holds.tighten(scope, wanted)
    } else {
        holds.loosen(scope, wanted)
    };
    let key = keys::guard_holds(&named.kept.key);
    vm.store(&key, &layout::from_number(&holds.pack()));
    named.settle(vm, 0);
    Ok(())
}

/// `holdOf`.
pub(crate) fn show<P: Purse>(vm: &P, arguments: &mut Arguments<'_>) -> Answer<Words> {
    let named = named(vm, arguments)?;
    Ok(answer!(named.kept.limit.hold() as u8))
}

/// `heldFor`.
pub(crate) fn show_scope<P: Purse>(vm: &P, arguments: &mut Arguments<'_>) -> Answer<Words> {
    let scope = scope(arguments)?;
    let named = named(vm, arguments)?;
    Ok(answer!(of_guard(vm, &named.kept.key).of(scope) as u8))
}

/// `holdersOf`.
pub(crate) fn show_holders<P: Purse>(vm: &P, arguments: &mut Arguments<'_>) -> Answer<Words> {
    let named = named(vm, arguments)?;
    let (people, now) = (of_people(vm, &named.kept.key), vm.now());
    Ok(answer!(
        of_guard(vm, &named.kept.key).strictest() as u8,
        people.guardian(now) as u8,
        people.until(),
        people.governor() as u8,
        people.budget(now)
    ))
}
