//! What the gate decides by itself.

use alloy_primitives::{Address, B256};
use cordon_host::{
    abi::{self, selector},
    layout::{self, Caller, Hooked, Ticket},
    quick::READ_GAS,
    CallKind, Host,
};

/// Number of actions of the ABI; a greater number is left to the logic, which refuses it by name.
const ACTIONS: u32 = 11;

/// Gas that must be left for the read of the one-word rule: as much as the logic demands for a rule's read. Not more, or a caller
/// whose gas was estimated, with the least that the logic is content with, would never come by the gate.
const QUICK_FLOOR: u64 = READ_GAS as u64 + READ_GAS as u64 / 63 + 10_000;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success without an answer.
    Done,
    /// Success with a one-word answer.
    Word(B256),
    /// Revert with a custom error.
    Refused(Refusal),
    /// The logic has answered: its return data is the answer or the revert data.
    Forwarded {
        /// Whether it succeeded.
        success: bool,
    },
}

/// Revert data of the gate's own errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Without a value.
    Plain([u8; 4]),
    /// With an address.
    Account([u8; 36]),
    /// Value was sent: no data, as a non-payable Solidity function.
    Silent,
}

impl Refusal {
    /// The revert data.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Refusal::Plain(data) => data,
            Refusal::Account(data) => data,
            Refusal::Silent => &[],
        }
    }
}

/// Answers one call.
pub fn run<H: Host>(host: &mut H, input: &[u8]) -> Outcome {
    if host.has_value() {
        return Outcome::Refused(Refusal::Silent);
    }
    let Some((selector, _)) = input.split_first_chunk::<4>() else {
        return Outcome::Refused(Refusal::Silent);
    };
    let decided = match *selector {
        selector::ENTER => enter(host, input),
        selector::EXIT => exit(host, input),
        selector::IS_ALLOWED => is_allowed(host, input),
        selector::LEVEL_OF => told(host, input, false),
        selector::LAST_HEARTBEAT => told(host, input, true),
        _ => None,
    };
    decided.unwrap_or_else(|| forward(host, *selector, input))
}

/// `enter` while the named scopes are Normal and no value has to be recorded for a rule. `None`: the logic decides.
fn enter<H: Host>(host: &H, input: &[u8]) -> Option<Outcome> {
    abi::argument(input, 4)?;
    let (scopes, action) = scopes_and_action(input)?;
    let sender = host.sender();
    let caller = Caller::unpack(&host.load(&layout::caller(&sender)));
    if !caller.is_registered() {
        return Some(refuse_account(selector::NOT_REGISTERED, &sender));
    }
    let hooked = caller.hooked(action);
    if scopes.iter().any(|scope| *scope >= caller.scopes) || hooked == Hooked::Recorded {
        return None;
    }
    if !caller.is_quiet() && !are_normal(host, scopes) {
        return None;
    }
    Some(Outcome::Word(if hooked == Hooked::Nothing {
        B256::ZERO
    } else {
        Ticket {
            counted: false,
            scopes,
            action,
        }
        .pack()
    }))
}

/// `exit` of a call that no rule has to be checked for, or none but the one-word rule, while that holds.
fn exit<H: Host>(host: &mut H, input: &[u8]) -> Option<Outcome> {
    let word = abi::argument(input, 0)?;
    if word == B256::ZERO {
        return Some(Outcome::Done);
    }
    let ticket = Ticket::unpack(&word).filter(|ticket| !ticket.counted)?;
    let caller = Caller::unpack(&host.load(&layout::caller(&host.sender())));
    let quick = caller.quick?;
    // With less gas the read might fail for want of it, which says nothing about the rule: the logic refuses by name.
    if caller.hooked(ticket.action) != Hooked::Quick || host.gas_left() < QUICK_FLOOR {
        return None;
    }
    let mut answer = B256::ZERO;
    let answered = host.call(CallKind::Static, &quick.target, &quick.selector, READ_GAS.into())
        && host.return_data(0, answer.as_mut_slice()) == answer.len();
    (answered && quick.holds(&answer)).then_some(Outcome::Done)
}

/// `isAllowed` while the named scopes are Normal: then every action is.
fn is_allowed<H: Host>(host: &H, input: &[u8]) -> Option<Outcome> {
    let (scopes, _) = scopes_and_action(input)?;
    let known = scopes.iter().all(|scope| *scope < layout::MAX_SCOPES);
    let normal = || layout::is_quiet(&host.load(&layout::LEDGER)) || are_normal(host, scopes);
    (known && normal()).then(|| Outcome::Word(B256::with_last_byte(1)))
}

/// `levelOf` while every scope is Normal, and `lastHeartbeat`: what the ledger tells, of a guard that was set up.
fn told<H: Host>(host: &H, input: &[u8], heartbeat: bool) -> Option<Outcome> {
    let ledger = host.load(&layout::LEDGER);
    if ledger == B256::ZERO {
        return None;
    }
    if heartbeat {
        return Some(Outcome::Word(layout::heartbeat(&ledger)));
    }
    let scope = abi::small(&abi::argument(input, 0)?)?;
    (scope < u32::from(layout::MAX_SCOPES) && layout::is_quiet(&ledger)).then_some(Outcome::Word(B256::ZERO))
}

fn scopes_and_action(input: &[u8]) -> Option<([u8; 3], u8)> {
    let [none, a, b, c] = abi::small(&abi::argument(input, 0)?)?.to_be_bytes();
    let action = abi::small(&abi::argument(input, 1)?)?;
    let action = u8::try_from(action).ok().filter(|_| none == 0 && action < ACTIONS)?;
    Some(([a, b, c], action))
}

/// Whether scope 0 and the named ones are Normal, the time aside.
fn are_normal<H: Host>(host: &H, scopes: [u8; 3]) -> bool {
    let [a, b, c] = scopes;
    // A scope that is named twice, or not at all, costs next to nothing the second time.
    [0, a, b, c]
        .iter()
        .all(|scope| layout::is_normal(&host.load(&layout::scope(*scope))))
}

/// Runs the logic on the same calldata: for hooks the program that answers them, for containment by authority the one that is made for
/// it, else the one that responds. Before `initialize` there is no logic: that call names it, and nobody else gets in.
fn forward<H: Host>(host: &mut H, selector: [u8; 4], input: &[u8]) -> Outcome {
    let program = match selector {
        selector::ENTER | selector::EXIT | selector::IS_ALLOWED | selector::LEVEL_OF => layout::program::HOOKS,
        selector::CONTAIN | selector::CONTAIN_MANY | selector::CONTAIN_SET => layout::program::CONTAIN,
        selector::HEARTBEAT => layout::program::ADMIN,
        _ => layout::program::LOGIC,
    };
    let logic = abi::address(&host.load(&layout::config(program)));
    if logic != Address::ZERO {
        return Outcome::Forwarded {
            success: host.call(CallKind::Delegate, &logic, input, u64::MAX),
        };
    }
    let named = match abi::argument(input, 0) {
        Some(word) if selector == selector::INITIALIZE => abi::address(&word),
        _ => return Outcome::Refused(Refusal::Plain(selector::NOT_INITIALIZED)),
    };
    let success = host.call(CallKind::Delegate, &named, input, u64::MAX);
    // A call to an account without code succeeds and does nothing: then nobody has stored the logic's address.
    host.flush(true);
    if success && abi::address(&host.load(&layout::LOGIC)) != named {
        return refuse_account(selector::NOT_A_PROGRAM, &named);
    }
    Outcome::Forwarded { success }
}

fn refuse_account(selector: [u8; 4], account: &Address) -> Outcome {
    Outcome::Refused(Refusal::Account(abi::error_with_address(selector, account)))
}
