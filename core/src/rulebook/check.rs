//! Whether a guard may adopt a rulebook. Trusts nothing.

use crate::action::{Action, ActionSet};
use crate::bounds::{REPAY_CLOSED_MAX, TRIP};
use crate::bytes::Cursor;
use crate::level::Level;
use crate::rule::program::{Class, MAX_ENTRIES, MAX_PARAMS, Program};
use crate::rule::value::Kind;
use crate::rulebook::error::{Item, Problem, RulebookError};
use crate::rulebook::set::check_set;
use crate::rulebook::stream::check_stream;
use crate::rulebook::view::{ContainmentRecord, RuleRecord, View};
use crate::rulebook::{
    MAX_CALL_COST, MAX_CALL_GAS, MAX_CALLERS, MAX_CONTAINMENTS, MAX_HOOK_GAS, MAX_RULES, MAX_SCOPES, MAX_SETS,
    MAX_STREAMS, MAX_TOTAL_GAS, MAX_UNDO, ScopeKind,
};
use crate::scope::CEILING;
use crate::stream::Spec;
use alloy_primitives::Address;

/// Checks every byte of an encoded rulebook.
///
/// # Errors
/// The first [`RulebookError`] found.
pub fn check(code: &[u8]) -> Result<View<'_>, RulebookError> {
    let book = |problem| RulebookError {
        item: Item::Book,
        problem,
    };
    let view = View::open(code).map_err(book)?;
    let header = view.header();
    if header.scopes > MAX_SCOPES
        || header.callers > MAX_CALLERS
        || header.rules > MAX_RULES
        || header.containments > MAX_CONTAINMENTS
        || header.streams > MAX_STREAMS
        || header.sets > MAX_SETS
    {
        return Err(book(Problem::TooMany));
    }
    if header.scopes == 0 {
        return Err(book(Problem::BadScope));
    }
    for index in 0..header.scopes {
        let kind = view.scope(index).map(|scope| scope.kind);
        if kind.is_none() || (kind == Some(ScopeKind::Protocol)) != (index == 0) {
            return Err(RulebookError {
                item: Item::Scope(index),
                problem: Problem::BadScope,
            });
        }
    }
    check_callers(&view)?;
    let mut end = header.sets_range().end;
    for index in 0..header.rules {
        end = check_rule(&view, index, end).map_err(|problem| RulebookError {
            item: Item::Rule(index),
            problem,
        })?;
    }
    check_hooks(&view).map_err(book)?;
    let (mut calls, mut undos) = (0u64, 0u64);
    for index in 0..header.containments {
        end = check_containment(&view, index, end).map_err(|problem| RulebookError {
            item: Item::Containment(index),
            problem,
        })?;
        let gas = view.containment(index).map_or(0, |record| u64::from(record.gas));
        calls = calls.saturating_add(gas);
        let undo = view
            .containment(index)
            .and_then(|record| view.containment_body(&record));
        undos = undos.saturating_add(gas.saturating_mul(undo.map_or(0, |body| body.undo_count.into())));
    }
    if calls.max(undos) > u64::from(MAX_TOTAL_GAS) {
        return Err(book(Problem::TooMuchGas));
    }
    for index in 0..header.streams {
        end = check_stream(&view, index, end).map_err(|problem| RulebookError {
            item: Item::Stream(index),
            problem,
        })?;
    }
    let is_learnt = |index| matches!(view.stream(index), Ok((record, _)) if matches!(record.spec, Spec::Baseline(_)));
    if header.statistics && !(0..header.streams).any(is_learnt) {
        return Err(book(Problem::NotARulebook));
    }
    for index in 0..header.sets {
        end = check_set(&view, index, end).map_err(|problem| RulebookError {
            item: Item::Set(index),
            problem,
        })?;
    }
    if end == code.len() {
        Ok(view)
    } else {
        Err(book(Problem::BadLayout))
    }
}

fn check_callers(view: &View<'_>) -> Result<(), RulebookError> {
    for (index, caller) in (0u8..).zip(view.callers()) {
        let twice = view.callers().take(usize::from(index)).any(|other| other == caller);
        if twice || caller.is_zero() {
            return Err(RulebookError {
                item: Item::Caller(index),
                problem: Problem::BadCaller,
            });
        }
    }
    Ok(())
}

/// Whether a program can be evaluated at any time by anyone: without witness, entry, context or what is stored.
pub(super) fn is_plain(program: &Program<'_>) -> bool {
    program.params() == 0 && program.entries() == 0 && !program.uses_context() && !program.uses_stored()
}

/// Checks a rule whose body must begin at `start`; returns where the body ends.
fn check_rule(view: &View<'_>, index: u16, start: usize) -> Result<usize, Problem> {
    let record = view.rule(index)?;
    if record.body.start != start {
        return Err(Problem::BadLayout);
    }
    if record.scope >= view.header().scopes {
        return Err(Problem::BadScope);
    }
    check_effect(view, &record)?;
    let mut cursor = Cursor::new(view.rule_body(&record)?.0);
    let program = decode(cursor.sized())?;
    if program.result() != Some(Kind::Bool) {
        return Err(Problem::NotBoolean);
    }
    // Whoever trips a rule chooses the transaction, and with it the context.
    let context = program.uses_context() && record.class != Class::Hook;
    if program.params() != record.params || program.entries() != record.entries || context {
        return Err(Problem::WrongInputs);
    }
    if !program.streams().all(|(stream, spec)| view.has_stream(&stream, spec)) {
        return Err(Problem::BadStream);
    }
    for _ in 0..record.entries {
        let entry = decode(cursor.sized())?;
        if !is_plain(&entry) {
            return Err(Problem::WrongInputs);
        }
    }
    if cursor.position() == record.body.len() {
        Ok(record.body.end)
    } else {
        Err(Problem::BadLayout)
    }
}

/// Checks what a rule does: class, level, duration, hooks.
fn check_effect(view: &View<'_>, rule: &RuleRecord) -> Result<(), Problem> {
    if rule.params > MAX_PARAMS || rule.entries > MAX_ENTRIES {
        return Err(Problem::TooMany);
    }
    match rule.class {
        Class::State if rule.entries > 0 => return Err(Problem::WrongInputs),
        Class::State => {}
        Class::Hook if rule.level != Level::Normal => return Err(Problem::BadLevel),
        Class::Hook if rule.check.is_empty() => return Err(Problem::NothingChecks),
        Class::Hook => {}
        Class::Keeper => return Err(Problem::BadClass),
    }
    if rule.params > 0 && !rule.check.is_empty() {
        return Err(Problem::WitnessInHook);
    }
    if rule.level == Level::Normal {
        return if rule.duration == 0 {
            Ok(())
        } else {
            Err(Problem::BadDuration)
        };
    }
    if !rule.level.is_raised() {
        return Err(Problem::BadLevel);
    }
    if !rule.robust && rule.level == Level::Halted {
        return Err(Problem::SpotRuleTooStrict);
    }
    if rule.duration == 0 || rule.duration > TRIP.seconds(rule.level) {
        return Err(Problem::BadDuration);
    }
    if view.level_has_effect(rule.scope, rule.level) {
        Ok(())
    } else {
        Err(Problem::LevelHasNoEffect)
    }
}

/// Checks what the rules hooked to an action may cost together. A hook is called with a share of gas: a rulebook that nobody can pay
/// for would close the action for good.
fn check_hooks(view: &View<'_>) -> Result<(), Problem> {
    for action in ActionSet::ALL.iter() {
        let gas = hook_gas(view, action)?;
        if gas > u64::from(MAX_HOOK_GAS) {
            return Err(Problem::HookTooDear { action, gas });
        }
    }
    Ok(())
}

/// Most gas that the rules hooked to an action may need together: for what they take when the guarded call begins, or after it,
/// whichever is more.
///
/// # Errors
/// [`Problem`] when a rule lies outside of the code.
pub fn hook_gas(view: &View<'_>, action: Action) -> Result<u64, Problem> {
    let (mut before, mut after) = (0u64, 0u64);
    for index in 0..view.header().rules {
        let record = view.rule(index)?;
        if !record.check.contains(action) {
            continue;
        }
        let body = view.rule_body(&record)?;
        after = after.saturating_add(body.program().gas().into());
        for entry in 0..record.entries {
            before = before.saturating_add(body.entry(entry).gas().into());
        }
    }
    Ok(before.max(after))
}

/// Checks a containment call whose body must begin at `start`; returns where the body ends.
fn check_containment(view: &View<'_>, index: u16, start: usize) -> Result<usize, Problem> {
    let record = view.containment(index)?;
    if record.body.start != start {
        return Err(Problem::BadLayout);
    }
    if record.scope >= view.header().scopes {
        return Err(Problem::BadScope);
    }
    check_closing(&record)?;
    let body = view.containment_body(&record)?;
    if body.undo_count > MAX_UNDO {
        return Err(Problem::TooMany);
    }
    check_call(body.target, body.calldata, record.gas)?;
    check_condition(body.done)?;
    if body.undo_length().ok_or(Problem::Truncated)? != body.undo_bytes() {
        return Err(Problem::BadLayout);
    }
    for undo in body.undo() {
        check_call(undo.target, undo.calldata, record.gas)?;
        check_condition(undo.undone)?;
    }
    if body.run_gas(record.gas).max(body.undo_gas(record.gas)) > u64::from(MAX_CALL_COST) {
        return Err(Problem::CallTooDear);
    }
    Ok(record.body.end)
}

fn check_closing(record: &ContainmentRecord) -> Result<(), Problem> {
    if !record.level.is_raised() {
        return Err(Problem::BadLevel);
    }
    if record.max_duration > CEILING {
        return Err(Problem::BadDuration);
    }
    if record.closes.contains(Action::Repay) {
        if record.max_duration == 0 || record.max_duration > REPAY_CLOSED_MAX {
            return Err(Problem::RepayClosedTooLong);
        }
        if !record.closes.contains(Action::Liquidate) {
            return Err(Problem::LiquidationWithoutRepay);
        }
    }
    Ok(())
}

fn check_call(target: Address, calldata: &[u8], gas: u32) -> Result<(), Problem> {
    let good = !target.is_zero() && calldata.len() >= 4 && gas > 0 && gas <= MAX_CALL_GAS;
    if good { Ok(()) } else { Err(Problem::BadCall) }
}

/// A read-back: a boolean without inputs.
fn check_condition(program: Program<'_>) -> Result<(), Problem> {
    let program = decode(Some(program.bytes()))?;
    if program.result() != Some(Kind::Bool) {
        return Err(Problem::NotBoolean);
    }
    if is_plain(&program) {
        Ok(())
    } else {
        Err(Problem::WrongInputs)
    }
}

pub(super) fn decode(bytes: Option<&[u8]>) -> Result<Program<'_>, Problem> {
    Program::decode(bytes.ok_or(Problem::Truncated)?).map_err(Problem::Program)
}
