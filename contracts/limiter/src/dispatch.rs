//! From calldata to the limiter's functions and back.

use crate::abi::{answer, refusal, Answer, Arguments, IAssetCircuitBreaker, ICordonLimiter, Refusal, Words};
use crate::assets::{expect, guard, remember, NATIVE};
use crate::purse::Purse;
use crate::{authority, holds, items, keys, limits};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;

macro_rules! selectors {
    ($($name:ident = $interface:ident :: $call:ident,)*) => {
        $(const $name: u32 = u32::from_be_bytes(<$interface::$call as SolCall>::SELECTOR);)*
    };
}

selectors! {
    OUTFLOW = ICordonLimiter::outflowCall,
    INFLOW = ICordonLimiter::inflowCall,
    QUARANTINE = ICordonLimiter::quarantineCall,
    EXPECT = ICordonLimiter::expectCall,
    RELEASE = ICordonLimiter::releaseCall,
    RELEASE_EARLY = ICordonLimiter::releaseEarlyCall,
    HOLD = ICordonLimiter::holdCall,
    GIVE_BACK = ICordonLimiter::giveBackCall,
    REDIRECT = ICordonLimiter::redirectCall,
    PAY_INSTEAD = ICordonLimiter::payInsteadCall,
    INITIALIZE = ICordonLimiter::initializeCall,
    SET_LIMIT = ICordonLimiter::setLimitCall,
    REMOVE_LIMIT = ICordonLimiter::removeLimitCall,
    SET_HOLD = ICordonLimiter::setHoldCall,
    HOLD_FOR = ICordonLimiter::holdForCall,
    LET_GO = ICordonLimiter::letGoCall,
    ANNOUNCE = ICordonLimiter::announceCall,
    CANCEL_ANNOUNCEMENT = ICordonLimiter::cancelAnnouncementCall,
    LIMIT_OF = ICordonLimiter::limitOfCall,
    HOLD_OF = ICordonLimiter::holdOfCall,
    HELD_FOR = ICordonLimiter::heldForCall,
    HOLDERS_OF = ICordonLimiter::holdersOfCall,
    ITEM_OF = ICordonLimiter::itemOfCall,
    CREDIT_OF = ICordonLimiter::creditOfCall,
    CONFIG = ICordonLimiter::configCall,
    ON_TOKEN_INFLOW = IAssetCircuitBreaker::onTokenInflowCall,
    ON_TOKEN_OUTFLOW = IAssetCircuitBreaker::onTokenOutflowCall,
    ON_NATIVE_INFLOW = IAssetCircuitBreaker::onNativeAssetInflowCall,
    ON_NATIVE_OUTFLOW = IAssetCircuitBreaker::onNativeAssetOutflowCall,
    IS_RATE_LIMITED = IAssetCircuitBreaker::isTokenRateLimitedCall,
}

/// Answers a call, or refuses it with revert data. Value is taken by `quarantine` and `onNativeAssetOutflow` alone.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn dispatch<P: Purse>(vm: &mut P, input: &[u8]) -> Answer<Words> {
    let (selector, _) = input.split_first_chunk::<4>().ok_or_else(Refusal::malformed)?;
    let selector = u32::from_be_bytes(*selector);
    let mut arguments = Arguments::new(input);
    if selector == OUTFLOW {
        return outflow(vm, &mut arguments);
    }
    if !matches!(selector, QUARANTINE | ON_NATIVE_OUTFLOW) && vm.has_value() {
        return Err(Refusal::malformed());
    }
    match selector {
        INFLOW => {
            let (asset, class, account) = (arguments.address()?, arguments.u8()?, arguments.address()?);
            limits::inflow(vm, &asset, class, &account, arguments.amount()?)?;
        }
        ON_TOKEN_INFLOW => {
            let token = token(&mut arguments)?;
            limits::on_inflow(vm, &token, arguments.amount()?)?;
        }
        ON_TOKEN_OUTFLOW => {
            let (token, amount) = (token(&mut arguments)?, arguments.amount()?);
            limits::on_outflow(vm, &token, amount, &arguments.address()?)?;
        }
        ON_NATIVE_INFLOW => limits::on_inflow(vm, &NATIVE, arguments.amount()?)?,
        ON_NATIVE_OUTFLOW => limits::on_outflow(vm, &NATIVE, 0, &arguments.address()?)?,
        QUARANTINE => {
            let (asset, class, amount) = (arguments.address()?, arguments.u8()?, arguments.amount()?);
            let recipient = arguments.address()?;
            return Ok(answer!(limits::quarantine(vm, &asset, class, amount, &recipient)?));
        }
        EXPECT => {
            let token = token(&mut arguments)?;
            remember(vm, &token)?;
        }
        RELEASE => items::release(vm, arguments.item()?)?,
        RELEASE_EARLY => items::release_early(vm, arguments.item()?)?,
        HOLD => items::hold(vm, arguments.item()?)?,
        GIVE_BACK => items::give_back(vm, arguments.item()?)?,
        REDIRECT => {
            let item = arguments.item()?;
            items::redirect(vm, item, &arguments.address()?)?;
        }
        PAY_INSTEAD => {
            let item = arguments.item()?;
            items::pay_instead(vm, item, &arguments.address()?)?;
        }
        INITIALIZE => {
            let guard = arguments.address()?;
            authority::initialize(vm, &guard, arguments.u32()?)?;
        }
        SET_LIMIT => {
            initialized(vm)?;
            authority::set_limit(vm, &mut arguments, input)?;
        }
        REMOVE_LIMIT => {
            initialized(vm)?;
            authority::remove_limit(vm, &mut arguments, input)?;
        }
        SET_HOLD => {
            initialized(vm)?;
            holds::set_hold(vm, &mut arguments, input)?;
        }
        HOLD_FOR | LET_GO => holds::of_scope(vm, &mut arguments, selector == HOLD_FOR)?,
        ANNOUNCE => {
            initialized(vm)?;
            authority::announce(vm, &arguments.word()?)?;
        }
        CANCEL_ANNOUNCEMENT => {
            initialized(vm)?;
            authority::cancel_announcement(vm, &arguments.word()?)?;
        }
        _ => return show(vm, selector, &mut arguments),
    }
    Ok(Words::EMPTY)
}

/// The hot path. Value that was sent along would be stuck. What does not pass is brought next, so the balance is read before.
fn outflow<P: Purse>(vm: &mut P, arguments: &mut Arguments<'_>) -> Answer<Words> {
    if vm.has_value() {
        return Err(Refusal::malformed());
    }
    let (asset, class, account) = (arguments.address()?, arguments.u8()?, arguments.address()?);
    let amount = arguments.amount()?;
    let kept = limits::own(vm, &asset, class)?;
    let passed = limits::outflow(vm, &asset, &kept, &account, amount, 0);
    if passed < amount && asset != NATIVE {
        expect(vm, &asset)?;
    }
    Ok(answer!(passed))
}

/// The views.
fn show<P: Purse>(vm: &mut P, selector: u32, arguments: &mut Arguments<'_>) -> Answer<Words> {
    Ok(match selector {
        LIMIT_OF => {
            let (protocol, asset) = (arguments.address()?, arguments.address()?);
            limits::show(vm, &protocol, &asset, arguments.u8()?)
        }
        HOLD_OF => holds::show(vm, arguments)?,
        HELD_FOR => holds::show_scope(vm, arguments)?,
        HOLDERS_OF => holds::show_holders(vm, arguments)?,
        ITEM_OF => items::show(vm, arguments.item()?)?,
        CREDIT_OF => {
            let (protocol, asset, class) = (arguments.address()?, arguments.address()?, arguments.u8()?);
            answer!(limits::credit_of(vm, &protocol, &asset, class, &arguments.address()?))
        }
        CONFIG => answer!(guard(vm), items::delay(vm), items::counter(vm)),
        IS_RATE_LIMITED => {
            let asset = arguments.address()?;
            answer!(limits::is_rate_limited(vm, &asset))
        }
        _ => return Err(Refusal::malformed()),
    })
}

/// A token of ERC-7265's token functions; the native asset has functions of its own.
fn token(arguments: &mut Arguments<'_>) -> Answer<Address> {
    let token = arguments.address()?;
    if token == NATIVE {
        return Err(Refusal::malformed());
    }
    Ok(token)
}

/// Without a guard there is nobody whose word counts.
fn initialized<P: Purse>(vm: &P) -> Answer<()> {
    if vm.load(&keys::CONFIG) == B256::ZERO {
        return Err(refusal!(NotInitialized));
    }
    Ok(())
}
