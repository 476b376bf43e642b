//! From calldata to the guard's functions and back: the routers of the programs.

use crate::abi::{answer, Answer, Arguments, ICordonGuard, Refusal};
use crate::guard::Guard;
use alloc::vec::Vec;
use alloy_primitives::B256;
use alloy_sol_types::SolCall;
use cordon_core::rule::Evaluation;
use cordon_host::Host;

macro_rules! selectors {
    ($($name:ident = $call:ident,)*) => {
        $(const $name: u32 = u32::from_be_bytes(<ICordonGuard::$call as SolCall>::SELECTOR);)*

        /// Selectors of all functions that the programs answer together.
        pub const SELECTORS: &[u32] = &[$($name),*];
    };
}

selectors! {
    ENTER = enterCall,
    EXIT = exitCall,
    IS_ALLOWED = isAllowedCall,
    TRIP = tripCall,
    TRIP_MANY = tripManyCall,
    CONTAIN = containCall,
    CONTAIN_MANY = containManyCall,
    CONTAIN_SET = containSetCall,
    RETRY_CONTAINMENT = retryContainmentCall,
    QUEUE_RELEASE = queueReleaseCall,
    CANCEL_RELEASE = cancelReleaseCall,
    RELEASE = releaseCall,
    SETTLE = settleCall,
    WRITE_OFF = writeOffCall,
    HEARTBEAT = heartbeatCall,
    INITIALIZE = initializeCall,
    SEAL = sealCall,
    ANNOUNCE = announceCall,
    CANCEL_ANNOUNCEMENT = cancelAnnouncementCall,
    SET_ROLE = setRoleCall,
    PROPOSE_GOVERNOR = proposeGovernorCall,
    ACCEPT_GOVERNOR = acceptGovernorCall,
    ADOPT_RULEBOOK = adoptRulebookCall,
    SET_MATRIX = setMatrixCall,
    SET_DELAY = setDelayCall,
    SET_LOGIC = setLogicCall,
    EVALUATE = evaluateCall,
    EVALUATE_MANY = evaluateManyCall,
    SCOPE_STATUS = scopeStatusCall,
    LEVEL_OF = levelOfCall,
    LEVELS = levelsCall,
    CONTAINMENT_SETS = containmentSetsCall,
    CONTAINMENT_SET = containmentSetCall,
    RULEBOOK = rulebookCall,
    HAS_ROLE = hasRoleCall,
    GOVERNOR = governorCall,
    LAST_HEARTBEAT = lastHeartbeatCall,
    LOGIC = logicCall,
    PROGRAMS = programsCall,
    HALTED_SECONDS = haltedSecondsCall,
    CLOSES = closesCall,
    GUARDED_CALLS = guardedCallsCall,
    REHEARSE = rehearseCall,
    REHEARSE_SET = rehearseSetCall,
    HEALTH = healthCall,
    SHADOW_BREACHES = shadowBreachesCall,
    SUPPORTS_INTERFACE = supportsInterfaceCall,
    NOTE_INCIDENT = noteIncidentCall,
    JUDGE_INCIDENT = judgeIncidentCall,
    INCIDENT = incidentCall,
    INCIDENTS = incidentsCall,
    OBSERVE = observeCall,
    STREAM = streamCall,
}

/// Answers a call of the hooks program, or refuses it with revert data. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn hook<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    let (selector, mut arguments) = begin(guard, input)?;
    match selector {
        ENTER => {
            let (scopes, action, asset) = (arguments.scopes()?, arguments.u8()?, arguments.address()?);
            let (amount, _account) = (arguments.word()?, arguments.address()?);
            Ok(answer!(guard.enter(scopes, action, &asset, amount)?))
        }
        EXIT => {
            guard.exit(arguments.word()?)?;
            Ok(Vec::new())
        }
        IS_ALLOWED => Ok(answer!(guard.is_allowed(arguments.scopes()?, arguments.u8()?)?)),
        LEVEL_OF => Ok(answer!(guard.level_of(arguments.u8()?)?)),
        OBSERVE => {
            guard.observe(&arguments.u8s()?)?;
            Ok(Vec::new())
        }
        _ => Err(Refusal::malformed()),
    }
}

/// Answers a call of the contain program, or refuses it with revert data. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn contain<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    let (selector, mut arguments) = begin(guard, input)?;
    let arguments = &mut arguments;
    match selector {
        CONTAIN => {
            let (scope, level, duration) = (arguments.u8()?, arguments.u8()?, arguments.u32()?);
            let evidence = arguments.word()?;
            Ok(answer!(guard.contain(scope, level, duration, evidence)?))
        }
        CONTAIN_MANY => {
            let (scopes, level, duration) = (arguments.u8s()?, arguments.u8()?, arguments.u32()?);
            let evidence = arguments.word()?;
            Ok(numbers(&guard.contain_many(&scopes, level, duration, evidence)?))
        }
        CONTAIN_SET => {
            let (name, evidence) = (arguments.word()?, arguments.word()?);
            Ok(numbers(&guard.contain_set(&name, evidence)?))
        }
        RETRY_CONTAINMENT => {
            guard.retry_containment(arguments.u8()?)?;
            Ok(Vec::new())
        }
        _ => Err(Refusal::malformed()),
    }
}

/// Answers a call of the respond program; `None` when it is none of its functions. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn respond<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Option<Vec<u8>>> {
    let (selector, mut arguments) = begin(guard, input)?;
    let arguments = &mut arguments;
    match selector {
        TRIP => {
            let (rule, witness) = (arguments.u16()?, arguments.words()?);
            Ok(Some(answer!(guard.trip(rule, witness)?)))
        }
        TRIP_MANY => {
            let (rules, witnesses) = arguments.rules()?;
            Ok(Some(numbers(&guard.trip_many(&rules, &witnesses)?)))
        }
        _ => Ok(None),
    }
}

/// Answers a call as the respond program does: itself, or by one of the other programs.
///
/// # Errors
/// As [`respond`]; the other programs' own refusals.
pub fn respond_or_hand_on<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    match respond(guard, input)? {
        Some(data) => Ok(data),
        None => guard.hand_on(input),
    }
}

/// Answers a call of the recover program, or refuses it with revert data. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn recover<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    let (selector, mut arguments) = begin(guard, input)?;
    match selector {
        QUEUE_RELEASE => guard.queue_release(arguments.u8()?)?,
        CANCEL_RELEASE => guard.cancel_release(arguments.u8()?)?,
        RELEASE => guard.release(arguments.u8()?)?,
        SETTLE => guard.settle(arguments.u8()?)?,
        WRITE_OFF => guard.write_off(arguments.u8()?)?,
        _ => return Err(Refusal::malformed()),
    }
    Ok(Vec::new())
}

/// Which program answers a call that is none of the respond program's functions: its place among [`layout::PROGRAMS`].
pub(crate) const fn place_of(selector: u32) -> usize {
    match selector {
        OBSERVE => 1,
        QUEUE_RELEASE | CANCEL_RELEASE | RELEASE | SETTLE | WRITE_OFF => 2,
        INITIALIZE | HEARTBEAT | SEAL | ANNOUNCE | CANCEL_ANNOUNCEMENT | SET_ROLE | PROPOSE_GOVERNOR
        | ACCEPT_GOVERNOR | ADOPT_RULEBOOK | SET_MATRIX | SET_DELAY | SET_LOGIC | NOTE_INCIDENT | JUDGE_INCIDENT => 3,
        RETRY_CONTAINMENT => 4,
        _ => 5,
    }
}

/// Answers a call of the admin program, or refuses it with revert data. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn administer<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    let (selector, mut arguments) = begin(guard, input)?;
    let arguments = &mut arguments;
    match selector {
        INITIALIZE => {
            let programs = arguments.programs()?;
            guard.initialize(&programs, arguments.address()?, arguments.u32()?)?;
        }
        HEARTBEAT => guard.heartbeat()?,
        SEAL => guard.seal()?,
        ANNOUNCE => guard.announce(arguments.word()?)?,
        CANCEL_ANNOUNCEMENT => guard.cancel_announcement(arguments.word()?)?,
        SET_ROLE => guard.set_role(arguments.u8()?, arguments.address()?, arguments.flag()?)?,
        PROPOSE_GOVERNOR => guard.propose_governor(arguments.address()?)?,
        ACCEPT_GOVERNOR => guard.accept_governor()?,
        ADOPT_RULEBOOK => guard.adopt_rulebook(arguments.address()?, arguments.word()?)?,
        SET_MATRIX => guard.set_matrix(arguments.u64()?)?,
        SET_DELAY => guard.set_delay(arguments.u32()?)?,
        SET_LOGIC => {
            let programs = arguments.programs()?;
            guard.set_logic(&programs, arguments.word()?)?;
        }
        NOTE_INCIDENT => guard.note_incident(arguments.u64()?, arguments.word()?)?,
        JUDGE_INCIDENT => guard.judge_incident(arguments.u64()?, arguments.flag()?)?,
        _ => return Err(Refusal::malformed()),
    }
    Ok(Vec::new())
}

/// Answers a call of the inspect program, or refuses it with revert data. The guard takes no value.
///
/// # Errors
/// [`Refusal`] with a custom error of the ABI; empty for calldata that is not of the ABI.
pub fn inspect<H: Host>(guard: &mut Guard<H>, input: &[u8]) -> Answer<Vec<u8>> {
    let (selector, mut arguments) = begin(guard, input)?;
    let arguments = &mut arguments;
    match selector {
        EVALUATE => {
            let (rule, witness) = (arguments.u16()?, arguments.words()?);
            let mut data = Vec::new();
            push(&mut data, &guard.evaluate(rule, &witness)?);
            Ok(data)
        }
        EVALUATE_MANY => {
            let (rules, witnesses) = arguments.rules()?;
            let mut data = answer!(32u8, rules.len() as u64);
            for (rule, witness) in rules.iter().zip(&witnesses) {
                push(&mut data, &guard.evaluate(*rule, witness)?);
            }
            Ok(data)
        }
        STREAM => guard.stream(arguments.u8()?),
        HEALTH => guard.health(),
        REHEARSE => {
            guard.rehearse(arguments.u16()?)?;
            Ok(Vec::new())
        }
        REHEARSE_SET => {
            guard.rehearse_set(&arguments.word()?)?;
            Ok(Vec::new())
        }
        _ => show(guard, selector, arguments),
    }
}

/// The views of the guard's state.
fn show<H: Host>(guard: &Guard<H>, selector: u32, arguments: &mut Arguments<'_>) -> Answer<Vec<u8>> {
    Ok(match selector {
        HALTED_SECONDS => answer!(guard.halted_seconds(arguments.u8()?, arguments.u64()?)?),
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
        CONTAINMENT_SETS => guard.containment_sets()?,
        CONTAINMENT_SET => guard.containment_set(&arguments.word()?)?,
        RULEBOOK => {
            let (book, hash) = guard.rulebook();
            answer!(book, hash)
        }
        HAS_ROLE => answer!(guard.has_role(arguments.u8()?, &arguments.address()?)),
        GOVERNOR => {
            let (current, proposed, delay, sealed) = guard.governor();
            answer!(current, proposed, delay, sealed)
        }
        CLOSES => answer!(guard.closes()),
        GUARDED_CALLS => {
            let (depth, complete, locked) = guard.guarded_calls()?;
            answer!(depth, complete, locked)
        }
        SHADOW_BREACHES => answer!(guard.shadow_breaches(arguments.u16()?)?),
        SUPPORTS_INTERFACE => answer!(supports_interface(&arguments.word()?)?),
        LAST_HEARTBEAT => answer!(guard.last_heartbeat()),
        LOGIC => answer!(guard.logic()),
        PROGRAMS => {
            let [respond, hooks, recover, admin, contain, inspect] = guard.programs();
            answer!(respond, hooks, recover, admin, contain, inspect)
        }
        INCIDENT => guard.incident(arguments.u64()?)?,
        INCIDENTS => {
            let (latest, oldest) = guard.incidents();
            answer!(latest, oldest)
        }
        _ => return Err(Refusal::malformed()),
    })
}

/// The selector and the arguments.
fn begin<'a, H: Host>(guard: &Guard<H>, input: &'a [u8]) -> Answer<(u32, Arguments<'a>)> {
    let (selector, rest) = input.split_first_chunk::<4>().ok_or_else(Refusal::malformed)?;
    if guard.host.has_value() {
        return Err(Refusal::malformed());
    }
    Ok((u32::from_be_bytes(*selector), Arguments::new(rest)))
}

/// ERC-165: the interface of the guard (all its selectors, one exclusive-ored with the other) and the one of this question.
fn supports_interface(word: &B256) -> Answer<bool> {
    let (id, rest) = word.0.split_first_chunk::<4>().ok_or_else(Refusal::malformed)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Refusal::malformed());
    }
    let guard = SELECTORS.iter().fold(0, |id, selector| id ^ selector);
    let id = u32::from_be_bytes(*id);
    Ok(id == guard || id == SUPPORTS_INTERFACE)
}

/// A dynamic array of numbers, as the only value.
fn numbers(values: &[u64]) -> Vec<u8> {
    let mut data = answer!(32u8, values.len() as u64);
    for value in values {
        data.extend_from_slice(&answer!(value));
    }
    data
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
