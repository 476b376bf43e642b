//! From calldata to the guard's functions and back: the router of the program.

use crate::abi::{answer, small, Answer, Arguments, ICordonGuard, Refusal};
use crate::guard::Guard;
use alloc::vec::Vec;
use alloy_sol_types::SolCall;
use cordon_core::rule::Evaluation;
use cordon_host::Host;

macro_rules! selectors {
    ($($name:ident = $call:ident,)*) => {
        $(const $name: u32 = u32::from_be_bytes(<ICordonGuard::$call as SolCall>::SELECTOR);)*
    };
}

selectors! {
    ENTER = enterCall,
    EXIT = exitCall,
    IS_ALLOWED = isAllowedCall,
    TRIP = tripCall,
    CONTAIN = containCall,
    RETRY_CONTAINMENT = retryContainmentCall,
    QUEUE_RELEASE = queueReleaseCall,
    CANCEL_RELEASE = cancelReleaseCall,
    RELEASE = releaseCall,
    SETTLE = settleCall,
    HEARTBEAT = heartbeatCall,
    INITIALIZE = initializeCall,
    SEAL = sealCall,
    ANNOUNCE = announceCall,
    CANCEL_ANNOUNCEMENT = cancelAnnouncementCall,
    SET_ROLE = setRoleCall,
    PROPOSE_GOVERNOR = proposeGovernorCall,
    ACCEPT_GOVERNOR = acceptGovernorCall,
    ADOPT_RULEBOOK = adoptRulebookCall,
    SET_LOGIC = setLogicCall,
    EVALUATE = evaluateCall,
    EVALUATE_MANY = evaluateManyCall,
    SCOPE_STATUS = scopeStatusCall,
    LEVELS = levelsCall,
    RULEBOOK = rulebookCall,
    HAS_ROLE = hasRoleCall,
    GOVERNOR = governorCall,
    LAST_HEARTBEAT = lastHeartbeatCall,
    LOGIC = logicCall,
}

/// Answers a call, or refuses it with revert data. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn dispatch<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    let (selector, rest) = input.split_first_chunk::<4>().ok_or_else(Refusal::malformed)?;
    if guard.host.has_value() {
        return Err(Refusal::malformed());
    }
    let selector = u32::from_be_bytes(*selector);
    let mut arguments = Arguments::new(rest);
    match act(guard, selector, &mut arguments)? {
        Some(data) => Ok(data),
        None => show(guard, selector, &mut arguments),
    }
}

/// The functions that change something.
fn act<H: Host>(guard: &mut Guard<H>, selector: u32, arguments: &mut Arguments<'_>) -> Answer<Option<Vec<u8>>> {
    match selector {
        ENTER => {
            let (scopes, action, _asset) = (arguments.scopes()?, arguments.u8()?, arguments.address()?);
            let (amount, _account) = (arguments.word()?, arguments.address()?);
            return Ok(Some(answer!(guard.enter(scopes, action, amount)?)));
        }
        EXIT => guard.exit(arguments.word()?)?,
        TRIP => {
            let (rule, witness) = (arguments.u16()?, arguments.words()?);
            return Ok(Some(answer!(guard.trip(rule, &witness)?)));
        }
        CONTAIN => {
            let (scope, level, duration) = (arguments.u8()?, arguments.u8()?, arguments.u32()?);
            return Ok(Some(answer!(guard.contain(
                scope,
                level,
                duration,
                arguments.word()?
            )?)));
        }
        RETRY_CONTAINMENT => guard.retry_containment(arguments.u8()?)?,
        QUEUE_RELEASE => guard.queue_release(arguments.u8()?)?,
        CANCEL_RELEASE => guard.cancel_release(arguments.u8()?)?,
        RELEASE => guard.release(arguments.u8()?)?,
        SETTLE => guard.settle(arguments.u8()?)?,
        HEARTBEAT => guard.heartbeat()?,
        INITIALIZE => guard.initialize(arguments.address()?, arguments.address()?, arguments.u32()?)?,
        SEAL => guard.seal()?,
        ANNOUNCE => guard.announce(arguments.word()?)?,
        CANCEL_ANNOUNCEMENT => guard.cancel_announcement(arguments.word()?)?,
        SET_ROLE => guard.set_role(arguments.u8()?, arguments.address()?, arguments.flag()?)?,
        PROPOSE_GOVERNOR => guard.propose_governor(arguments.address()?)?,
        ACCEPT_GOVERNOR => guard.accept_governor()?,
        ADOPT_RULEBOOK => guard.adopt_rulebook(arguments.address()?)?,
        SET_LOGIC => guard.set_logic(arguments.address()?)?,
        _ => return Ok(None),
    }
    Ok(Some(Vec::new()))
}

/// The views.
fn show<H: Host>(guard: &mut Guard<H>, selector: u32, arguments: &mut Arguments<'_>) -> Answer<Vec<u8>> {
    Ok(match selector {
        IS_ALLOWED => answer!(guard.is_allowed(arguments.scopes()?, arguments.u8()?)?),
        EVALUATE => {
            let (rule, witness) = (arguments.u16()?, arguments.words()?);
            let mut data = Vec::new();
            push(&mut data, &guard.evaluate(rule, &witness)?);
            data
        }
        EVALUATE_MANY => {
            let (rules, witnesses) = (arguments.words()?, arguments.word_lists()?);
            let mut data = answer!(32u8, rules.len() as u64);
            for (place, rule) in rules.iter().enumerate() {
                let rule = small(rule, 16).ok_or_else(Refusal::malformed)?;
                let witness = witnesses.get(place).map_or(&[][..], Vec::as_slice);
                push(&mut data, &guard.evaluate((rule & 0xffff) as u16, witness)?);
            }
            data
        }
        SCOPE_STATUS => {
            let of = guard.scope_status(arguments.u8()?)?;
            answer!(
                of.level,
                of.since,
                of.expires_at,
                of.ceiling_at,
                of.incident,
                of.release_at,
                of.applied
            )
        }
        LEVELS => {
            let (first, second) = guard.levels();
            answer!(first, second)
        }
        RULEBOOK => {
            let (book, hash) = guard.rulebook();
            answer!(book, hash)
        }
        HAS_ROLE => answer!(guard.has_role(arguments.u8()?, &arguments.address()?)),
        GOVERNOR => {
            let (current, proposed, delay, sealed) = guard.governor();
            answer!(current, proposed, delay, sealed)
        }
        LAST_HEARTBEAT => answer!(guard.last_heartbeat()),
        LOGIC => answer!(guard.logic()),
        _ => return Err(Refusal::malformed()),
    })
}

/// An evaluation, word by word.
fn push(data: &mut Vec<u8>, of: &Evaluation) {
    let verdict = of.verdict as u8;
    let (observed, bound) = (&of.observed, &of.bound);
    data.extend_from_slice(&answer!(
        verdict,
        of.reason,
        observed.negative,
        observed.magnitude,
        bound.negative,
        bound.magnitude,
    ));
}
