//! What a rulebook means for the hooks: which actions have rules, and which rule the gate can check by itself.

use crate::guard::rule_in;
use alloy_primitives::{Address, B256};
use cordon_core::{
    rule::{
        program::{op, GAS_UNIT},
        Program, WordType,
    },
    rulebook::View,
    Action,
};
use cordon_host::{
    layout::{Caller, Hooked},
    quick::{Comparison, Quick, READ_GAS},
};

/// The word of a registered caller under a rulebook: for each action what its hooks have to do. The first rule that is alone with
/// some action, and is a one-word rule, becomes the gate's.
#[must_use]
pub fn hooked(view: &View<'_>) -> Caller {
    let mut chosen: Option<(u16, Quick)> = None;
    let mut caller = Caller::new(view.header().scopes, None);
    for action in Action::ALL {
        let (mut rules, mut recorded, mut last) = (0u16, false, None);
        for index in 0..view.header().rules {
            let Ok((rule, body)) = rule_in(view, index) else {
                continue;
            };
            if rule.check.contains(action) {
                rules = rules.saturating_add(1);
                // While a call is counted, nothing is observed: what the call has moved must not become an anchor.
                recorded |= rule.entries > 0 || body.program().uses_stored();
                last = Some((index, body));
            }
        }
        let alone = last.filter(|_| rules == 1 && !recorded);
        if let (None, Some((index, body))) = (&chosen, &alone) {
            chosen = quick(&body.program()).map(|rule| (*index, rule));
        }
        let is_chosen = matches!((&alone, &chosen), (Some((index, _)), Some((of, _))) if index == of);
        let what = match (rules, recorded, is_chosen) {
            (0, ..) => Hooked::Nothing,
            (_, true, _) => Hooked::Recorded,
            (_, _, true) => Hooked::Quick,
            _ => Hooked::Checked,
        };
        caller = caller.with(action as u8, what);
    }
    caller.quick = chosen.map(|(_, rule)| rule);
    if uses_context(view) {
        // What one rule wants to know of the transaction, every hook has to tell.
        for action in Action::ALL {
            caller = caller.with(action as u8, Hooked::Recorded);
        }
        caller = caller.keeping_context();
    }
    caller
}

/// Whether a rule asks for the context of the transaction.
fn uses_context(view: &View<'_>) -> bool {
    (0..view.header().rules).any(|index| rule_in(view, index).is_ok_and(|(_, body)| body.program().uses_context()))
}

/// Bytes of `ADDRESS`, and of `CALL` without arguments.
const READ: usize = 21 + 10;

/// A program of the form `contract.function() <= bound`, with the answer's first word, an integer of 256 bits, on the left.
#[must_use]
pub fn quick(program: &Program<'_>) -> Option<Quick> {
    let (read, rest) = program.code().split_first_chunk::<READ>()?;
    let [op::ADDRESS, target @ .., op::CALL, a, b, c, d, g0, g1, 0, result, 0] = *read else {
        return None;
    };
    let integer = [WordType::UINT256, WordType::INT256]
        .iter()
        .any(|of| of.code() == result);
    let gas = u32::from(u16::from_be_bytes([g0, g1])).saturating_mul(GAS_UNIT);
    let (length, rest) = rest.split_first()?;
    let (bound, rest) = rest.split_at_checked(usize::from(*length))?;
    let ([comparison], op::PUSH1..=op::PUSH32) = (rest, *length) else {
        return None;
    };
    let comparison = match *comparison {
        op::LE => Comparison::AtMost,
        op::GE => Comparison::AtLeast,
        op::LT => Comparison::Less,
        op::GT => Comparison::More,
        op::EQ => Comparison::Equal,
        op::NE => Comparison::Unequal,
        _ => return None,
    };
    let mut word = B256::ZERO;
    for (to, from) in word.0.iter_mut().rev().zip(bound.iter().rev()) {
        *to = *from;
    }
    if !integer || gas < READ_GAS {
        return None;
    }
    Quick::new(Address::new(target), [a, b, c, d], comparison, &word)
}
