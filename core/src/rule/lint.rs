//! Known traps. A lint is a warning: it never refuses a rule.

use crate::rule::program::op;
use crate::rule::term::{Term, TermNode, compared};
use crate::rule::value::{Int, Kind, Value};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Functions whose answer anyone may raise by sending tokens.
const BALANCES: [&str; 2] = ["balanceOf", "getBalance"];

/// Functions that report the state of a pool at this instant, and what to use instead.
const INSTANT: [(&str, &str); 5] = [
    (
        "slot0",
        "the price of this instant, which one swap moves: use an average over time (`observe`)",
    ),
    (
        "getReserves",
        "reserves of this instant, which one swap moves: use an average over time or an oracle",
    ),
    (
        "get_virtual_price",
        "a price that moves while the pool is entered again: read it outside of the pool's own calls",
    ),
    (
        "getAmountsOut",
        "a quote from reserves of this instant, which one swap moves: use an oracle",
    ),
    (
        "quoteExactInputSingle",
        "a quote from the state of this instant, which one swap moves: use an oracle",
    ),
];

/// Names of everything a rule reads at an instant, plus all warnings.
pub(crate) fn warnings(rule: &Term) -> Vec<String> {
    let mut found = Vec::new();
    walk(rule, &mut found);
    empty_pool(rule, &mut found);
    dust(rule, &mut found);
    found
}

/// Parameters are the choice of whoever trips the rule. When what they name is weighed, and the rule does not hold by itself below a constant,
/// it can be breached by a position of next to nothing, whose rounding error is as large as itself.
fn dust(rule: &Term, found: &mut Vec<String>) {
    let (mut weighed, mut minimum) = (false, false);
    weigh(rule, true, &mut weighed, &mut minimum);
    if weighed && !minimum {
        add(
            found,
            String::from(
                "whoever trips the rule chooses its parameter, and no minimum is asked of what it names: dust can prove a breach; begin with \
                 `debt(account) < 1000e6 ||`",
            ),
        );
    }
}

/// Whether numbers that depend on a parameter are compared, and whether one of these comparisons is true below a constant. `truth` is what
/// the term has to be for the rule to hold.
fn weigh(term: &Term, truth: bool, weighed: &mut bool, minimum: &mut bool) {
    let (code, left, right) = match &term.node {
        TermNode::Op(op::NOT, inner) => {
            inner.iter().for_each(|inner| weigh(inner, !truth, weighed, minimum));
            return;
        }
        TermNode::Op(code @ op::LT..=op::NE, sides) => match sides.as_slice() {
            [left, right] => (*code, left, right),
            _ => return,
        },
        TermNode::Near(_, left, right) => (op::NEAR, left, right),
        _ => {
            let children = term.children();
            children
                .into_iter()
                .for_each(|child| weigh(child, truth, weighed, minimum));
            return;
        }
    };
    if left.kind != Kind::Int || !(names_parameter(left) || names_parameter(right)) {
        return;
    }
    *weighed = true;
    let is_bound = |side: &Term| side.constant_int().is_some_and(|bound| bound > Int::ZERO);
    let smaller = match code {
        op::LT | op::LE => Some(truth),
        op::GT | op::GE => Some(!truth),
        _ => None,
    };
    // Below the constant on the right, or above which the one on the left is.
    *minimum |= smaller == Some(true) && is_bound(right) || smaller == Some(false) && is_bound(left);
}

fn names_parameter(term: &Term) -> bool {
    matches!(term.node, TermNode::Param(..)) || term.children().into_iter().any(names_parameter)
}

fn add(found: &mut Vec<String>, message: String) {
    if !found.contains(&message) {
        found.push(message);
    }
}

fn walk(term: &Term, found: &mut Vec<String>) {
    match &term.node {
        TermNode::Call(read, ..) => {
            if let Some((_, why)) = INSTANT.iter().find(|(name, _)| *name == read.function) {
                add(found, format!("`{}` gives {why}", read.name));
            }
        }
        TermNode::Op(code @ (op::EQ | op::NE), sides) => {
            if let [left, right] = sides.as_slice() {
                equality(*code, left, right, found);
            }
        }
        TermNode::Op(op::LT..=op::GE, sides) => {
            if let [left, right] = sides.as_slice()
                && left == right
            {
                add(
                    found,
                    String::from("a comparison has the same on both sides: it always decides the same way"),
                );
            }
        }
        TermNode::Near(_, left, right) if left == right => {
            add(
                found,
                String::from("`near` compares a value with itself: it always holds"),
            );
        }
        TermNode::Op(op::MUL, factors)
            if factors
                .iter()
                .any(|factor| matches!(&factor.node, TermNode::Op(op::DIV, _))) =>
        {
            add(
                found,
                String::from("a quotient is multiplied: the division has already rounded; multiply first"),
            );
        }
        _ => {}
    }
    for child in term.children() {
        walk(child, found);
    }
}

fn equality(code: u8, left: &Term, right: &Term, found: &mut Vec<String>) {
    let zero = |side: &Term| side.constant_int() == Some(Int::ZERO);
    if left == right {
        add(
            found,
            String::from("an equality has the same on both sides: it always decides the same way"),
        );
    }
    if left.kind != Kind::Int || zero(left) || zero(right) {
        return;
    }
    let sign = if code == op::EQ { "==" } else { "!=" };
    if let Some(name) = balance(left).or_else(|| balance(right)) {
        add(
            found,
            format!("`{sign}` on {name}: anyone can change a balance by sending to it; use `>=`"),
        );
    }
}

/// The first balance in a term.
fn balance(term: &Term) -> Option<String> {
    match &term.node {
        TermNode::Balance(_) => return Some(String::from("`eth(…)`")),
        TermNode::Call(read, ..) if BALANCES.contains(&read.function.as_str()) => {
            return Some(format!("`{}`", read.name));
        }
        _ => {}
    }
    term.children().into_iter().find_map(balance)
}

/// What a rule comes to when every number read is zero, as in an empty pool.
fn empty_pool(rule: &Term, found: &mut Vec<String>) {
    let mut bound = false;
    match zero(rule, &mut bound) {
        Err(DividesByZero) => add(
            found,
            String::from(
                "with every number read at zero, as in an empty pool, the rule divides by zero and is Unknown: begin with `x == 0 ||`",
            ),
        ),
        Ok(Some(Value::Bool(false))) if bound => add(
            found,
            String::from(
                "with every number read at zero, as in an empty pool, the rule is breached: use `>=` or `<=`, or begin with `x == 0 ||`",
            ),
        ),
        Ok(_) => {}
    }
}

/// The rule divides by zero when every number read is zero.
struct DividesByZero;

/// Value of a term when every number read is zero; `None` when it depends on other things. `bound` is set when a comparison
/// between two things read came out false.
fn zero(term: &Term, bound: &mut bool) -> Result<Option<Value>, DividesByZero> {
    if let Some(value) = term.constant() {
        return Ok(Some(value));
    }
    let nothing = (term.kind == Kind::Int).then_some(Value::Int(Int::ZERO));
    Ok(match &term.node {
        TermNode::Call(..) | TermNode::Balance(_) | TermNode::Entry(_) | TermNode::Anchor(_) => nothing,
        TermNode::Op(code, terms) => {
            let mut values = Vec::new();
            for child in terms {
                match zero(child, bound)? {
                    Some(value) => values.push(value),
                    None => return Ok(None),
                }
            }
            let value = operate(*code, &values)?;
            let read_twice = terms.len() == 2 && terms.iter().all(|side| side.reads);
            *bound |= matches!(code, op::LT..=op::GE) && read_twice && value == Some(Value::Bool(false));
            value
        }
        TermNode::Near(tolerance, left, right) => match (zero(left, bound)?, zero(right, bound)?) {
            (Some(Value::Int(x)), Some(Value::Int(y))) => Some(Value::Bool(x.near(y, *tolerance))),
            _ => None,
        },
        TermNode::Junction(and, left, right) => match zero(left, bound)? {
            Some(Value::Bool(value)) if value != *and => Some(Value::Bool(value)),
            Some(_) => zero(right, bound)?,
            None => match zero(right, bound)? {
                Some(Value::Bool(value)) if value != *and => Some(Value::Bool(value)),
                _ => None,
            },
        },
        _ => None,
    })
}

fn operate(code: u8, values: &[Value]) -> Result<Option<Value>, DividesByZero> {
    let ints: Vec<Int> = values.iter().map(Value::shown).collect();
    Ok(match (code, ints.as_slice()) {
        (op::DIV, [_, divisor]) | (op::MUL_DIV, [_, _, divisor]) if *divisor == Int::ZERO => return Err(DividesByZero),
        (op::DIV, [x, y]) => x.mul_div(Int::from(1), *y).map(Value::Int),
        (op::MUL_DIV, [x, y, z]) => x.mul_div(*y, *z).map(Value::Int),
        (op::ADD, [x, y]) => x.checked_add(*y).map(Value::Int),
        (op::SUB, [x, y]) => x.checked_sub(*y).map(Value::Int),
        (op::MUL, [x, y]) => x.checked_mul(*y).map(Value::Int),
        (op::MIN, [x, y]) => Some(Value::Int(*x.min(y))),
        (op::MAX, [x, y]) => Some(Value::Int(*x.max(y))),
        (op::NEG, [x]) => Some(Value::Int(x.negated())),
        (op::ABS, [x]) => Some(Value::Int(x.absolute())),
        (op::NOT, [x]) => Some(Value::Bool(*x == Int::ZERO)),
        (op::LT..=op::NE, [_, _]) => match values {
            [x, y] => Some(Value::Bool(compared(code, x, y))),
            _ => None,
        },
        _ => None,
    })
}
