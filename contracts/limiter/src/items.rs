//! Items in quarantine: queued, held, paid.
//!
//! What an item is owed is a share of all that the limiter holds of its asset, so that tokens whose balances move by themselves are
//! divided fairly and the last one out is paid too. Shares are fine-grained ([`GRAIN`] per unit), and one unit's worth belongs to
//! nobody: whoever sends tokens to move the price of a share loses nearly all of them.

use crate::abi::{answer, emit, refusal, Answer, Word, Words};
use crate::assets::{held, is_contained, locked, remember, try_pay, NATIVE};
use crate::authority::{check_governor, check_guardian};
use crate::keys;
use crate::limits::{check_recipient, ELASTIC};
use crate::purse::Purse;
use alloy_primitives::{Address, B256, U256};
use cordon_core::limiter::Limit;
use cordon_core::math::{mul_div, Rounding};
use cordon_core::quarantine::{Item, ItemError, Payee};
use cordon_host::layout;

/// Shares per unit of an asset whose balance has not moved by itself: 2^32.
const GRAIN: U256 = U256::from_limbs([1 << 32, 0, 0, 0]);

const ONE: U256 = U256::from_limbs([1, 0, 0, 0]);

/// Gas that is left at least when a recipient gets its last chance, so that nobody makes its payment fail by giving too little.
const LAST_CHANCE_GAS: u64 = 500_000;

/// An item as it is kept.
struct Queued {
    asset: Address,
    recipient: Address,
    protocol: Address,
    shares: U256,
    scope: u8,
    times: Item,
}

/// Two times of 40 bits above the low 20 bytes of a word.
fn with_times(account: &Address, low: u64, high: u64) -> B256 {
    let mut word = account.word();
    let [_, _, a, b, c, d, e, f, g, h, i, j, ..] = &mut word.0;
    let ([.., h5, h4, h3, h2, h1], [.., l5, l4, l3, l2, l1]) = (high.to_be_bytes(), low.to_be_bytes());
    [*a, *b, *c, *d, *e] = [h5, h4, h3, h2, h1];
    [*f, *g, *h, *i, *j] = [l5, l4, l3, l2, l1];
    word
}

fn times(word: &B256) -> (u64, u64) {
    let [_, _, a, b, c, d, e, f, g, h, i, j, ..] = word.0;
    (
        u64::from_be_bytes([0, 0, 0, f, g, h, i, j]),
        u64::from_be_bytes([0, 0, 0, a, b, c, d, e]),
    )
}

impl Queued {
    fn load<P: Purse>(vm: &P, number: u64) -> Answer<Self> {
        let load = |field| vm.load(&keys::item(number, field));
        let (first, second) = (load(0), load(1));
        let asset = cordon_host::abi::address(&first);
        if asset == Address::ZERO {
            return Err(refusal!(NoSuchItem, number));
        }
        let ((queued_at, release_at), (held_until, scope)) = (times(&first), times(&second));
        Ok(Queued {
            asset,
            recipient: cordon_host::abi::address(&second),
            protocol: cordon_host::abi::address(&load(2)),
            shares: layout::to_number(load(3)),
            scope: (scope & 0xff) as u8,
            times: Item {
                queued_at,
                release_at,
                held_until,
            },
        })
    }

    fn store<P: Purse>(&self, vm: &mut P, number: u64) {
        let first = with_times(&self.asset, self.times.queued_at, self.times.release_at);
        let second = with_times(&self.recipient, self.times.held_until, self.scope.into());
        let words = [first, second, self.protocol.word(), self.shares.word()];
        for (field, word) in (0u8..).zip(words) {
            vm.store(&keys::item(number, field), &word);
        }
    }

    fn erase<P: Purse>(vm: &mut P, number: u64) {
        for field in 0..4 {
            vm.store(&keys::item(number, field), &B256::ZERO);
        }
    }

    /// Units that the item is owed now.
    ///
    /// # Errors
    /// `TokenSilent`.
    fn amount<P: Purse>(&self, vm: &mut P) -> Answer<U256> {
        let held = held(vm, &self.asset)?;
        let all = layout::to_number(vm.load(&keys::shares(&self.asset)));
        let (above, below) = (held.saturating_add(ONE), all.saturating_add(GRAIN));
        Ok(mul_div(self.shares, above, below, Rounding::Down)
            .unwrap_or(held)
            .min(held))
    }
}

/// Takes over units that the limiter has received for `recipient`. Answers the item's number.
///
/// # Errors
/// `TokenSilent`; `Diluted` when so few units are worth less than the smallest share of what is there.
pub(crate) fn queue<P: Purse>(
    vm: &mut P,
    asset: &Address,
    limit: &Limit,
    recipient: &Address,
    amount: u128,
) -> Answer<u64> {
    let (protocol, now) = (vm.sender(), vm.now());
    let all_key = keys::shares(asset);
    let all = layout::to_number(vm.load(&all_key));
    let held = held(vm, asset)?;
    // What is there while nobody has a share of it is nobody's, and the price of nothing.
    let before = match all {
        U256::ZERO => U256::ZERO,
        _ => held.saturating_sub(U256::from(amount)),
    };
    let (above, below) = (all.saturating_add(GRAIN), before.saturating_add(ONE));
    let shares = mul_div(U256::from(amount), above, below, Rounding::Down).unwrap_or_default();
    if shares == U256::ZERO {
        return Err(refusal!(Diluted, asset, amount, held));
    }
    vm.store(&all_key, &layout::from_number(&all.saturating_add(shares)));
    let number = counter(vm).saturating_add(1);
    vm.store(&keys::ITEMS, &number.word());
    let item = Queued {
        asset: *asset,
        recipient: *recipient,
        protocol,
        shares,
        scope: limit.tag() & !ELASTIC,
        times: Item::queued(now, delay(vm)),
    };
    item.store(vm, number);
    let release_at = item.times.release_at;
    emit!(
        vm,
        ICordonLimiter::Quarantined,
        [number, protocol, recipient],
        asset,
        amount,
        release_at
    );
    Ok(number)
}

/// Number of the latest item.
pub(crate) fn counter<P: Purse>(vm: &P) -> u64 {
    let [number, ..] = layout::to_number(vm.load(&keys::ITEMS)).into_limbs();
    number
}

/// Delay of quarantine in seconds.
pub(crate) fn delay<P: Purse>(vm: &P) -> u32 {
    let config = vm.load(&keys::CONFIG);
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = config.0;
    u32::from_be_bytes([a, b, c, d])
}

/// The refusal that says why an item stays where it is.
fn refuse(number: u64, scope: u8, error: ItemError) -> crate::abi::Refusal {
    match error {
        ItemError::TooEarly { until } => refusal!(TooEarly, number, until),
        ItemError::Contained => refusal!(ScopeContained, scope),
        ItemError::NotContained => refusal!(ScopeNotContained, scope),
        ItemError::HeldTooLong { until } => refusal!(HeldTooLong, number, until),
    }
}

/// `release`: neither the guard nor any setting is asked.
pub(crate) fn release<P: Purse>(vm: &mut P, number: u64) -> Answer<()> {
    locked(vm, |vm| {
        let item = Queued::load(vm, number)?;
        let payee = item
            .times
            .release(vm.now())
            .map_err(|error| refuse(number, item.scope, error))?;
        let payees = [item.recipient, item.protocol];
        match payee {
            Payee::Recipient => settle(vm, number, &item, &[item.recipient], false),
            Payee::RecipientElseProtocol => settle(vm, number, &item, &payees, true),
        }
    })
}

/// `releaseEarly`.
pub(crate) fn release_early<P: Purse>(vm: &mut P, number: u64) -> Answer<()> {
    locked(vm, |vm| {
        check_guardian(vm)?;
        let item = Queued::load(vm, number)?;
        let contained = is_contained(vm, item.scope)?;
        item.times
            .release_early(vm.now(), contained)
            .map_err(|error| refuse(number, item.scope, error))?;
        settle(vm, number, &item, &[item.recipient], false)
    })
}

/// `giveBack`.
pub(crate) fn give_back<P: Purse>(vm: &mut P, number: u64) -> Answer<()> {
    locked(vm, |vm| {
        check_governor(vm)?;
        let item = Queued::load(vm, number)?;
        let contained = is_contained(vm, item.scope)?;
        item.times
            .give_back(contained)
            .map_err(|error| refuse(number, item.scope, error))?;
        settle(vm, number, &item, &[item.protocol], true)
    })
}

/// `payInstead`: the protocol or the governor names who takes what neither recipient nor protocol does.
pub(crate) fn pay_instead<P: Purse>(vm: &mut P, number: u64, to: &Address) -> Answer<()> {
    check_recipient(vm, to)?;
    locked(vm, |vm| {
        let item = Queued::load(vm, number)?;
        if vm.sender() != item.protocol {
            check_governor(vm)?;
        }
        item.times
            .pay_instead(vm.now())
            .map_err(|error| refuse(number, item.scope, error))?;
        settle(vm, number, &item, &[item.recipient, item.protocol, *to], true)
    })
}

/// `hold`.
pub(crate) fn hold<P: Purse>(vm: &mut P, number: u64) -> Answer<()> {
    check_guardian(vm)?;
    let mut item = Queued::load(vm, number)?;
    let contained = is_contained(vm, item.scope)?;
    item.times = item
        .times
        .hold(vm.now(), contained)
        .map_err(|error| refuse(number, item.scope, error))?;
    item.store(vm, number);
    let (release_at, by) = (item.times.release_at, vm.sender());
    emit!(vm, ICordonLimiter::Held, [number], release_at, by);
    Ok(())
}

/// `redirect`.
pub(crate) fn redirect<P: Purse>(vm: &mut P, number: u64, recipient: &Address) -> Answer<()> {
    check_recipient(vm, recipient)?;
    let mut item = Queued::load(vm, number)?;
    let from = item.recipient;
    if vm.sender() != from {
        return Err(refusal!(NotRecipient, number, vm.sender()));
    }
    item.recipient = *recipient;
    item.store(vm, number);
    emit!(vm, ICordonLimiter::Redirected, [number, from, recipient]);
    Ok(())
}

/// Erases an item and pays it to the first of the payees that takes it. Who may be forced is the protocol: of the native asset, which
/// it would take when it is called for a deposit, but not when it is just sent.
///
/// # Errors
/// `PaymentFailed`, `GasBelowFloor`, `TokenSilent`.
fn settle<P: Purse>(vm: &mut P, number: u64, item: &Queued, payees: &[Address], may_force: bool) -> Answer<()> {
    let amount = item.amount(vm)?;
    let all_key = keys::shares(&item.asset);
    let all = layout::to_number(vm.load(&all_key));
    Queued::erase(vm, number);
    vm.store(&all_key, &layout::from_number(&all.saturating_sub(item.shares)));
    let to = pay_first(vm, item, payees, may_force, &amount)?;
    remember(vm, &item.asset)?;
    let by = vm.sender();
    emit!(vm, ICordonLimiter::Released, [number, to], item.asset, amount, by);
    Ok(())
}

fn pay_first<P: Purse>(
    vm: &mut P,
    item: &Queued,
    payees: &[Address],
    may_force: bool,
    amount: &U256,
) -> Answer<Address> {
    for (at, to) in payees.iter().enumerate() {
        let left = vm.gas_left();
        if at + 1 < payees.len() && left < LAST_CHANCE_GAS {
            return Err(refusal!(GasBelowFloor, LAST_CHANCE_GAS, left));
        }
        if try_pay(vm, &item.asset, to, amount) {
            return Ok(*to);
        }
    }
    if may_force && item.asset == NATIVE && vm.force(&item.protocol, amount) {
        return Ok(item.protocol);
    }
    Err(refusal!(PaymentFailed, item.asset, item.recipient, amount))
}

/// `itemOf`: zeros for one that does not exist.
pub(crate) fn show<P: Purse>(vm: &mut P, number: u64) -> Answer<Words> {
    let none = Address::ZERO;
    if vm.load(&keys::item(number, 0)) == B256::ZERO {
        return Ok(answer!(none, none, none, 0u8, 0u8, 0u8));
    }
    let item = Queued::load(vm, number)?;
    let amount = item.amount(vm)?;
    Ok(answer!(
        item.asset,
        item.protocol,
        item.recipient,
        amount,
        item.times.queued_at,
        item.times.release_at
    ))
}
