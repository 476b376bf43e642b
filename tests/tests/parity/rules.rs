//! Random rules, as text.

use proptest::prelude::*;

use crate::PERIOD;
use crate::registers::{ALL, VALUES};

/// Greatest mean of the statistics: samples are numbers without their last 24 bits.
const BOUND: &str = "4722366482869645213695";
/// Greatest value of the anchors: 2^255.
const ANCHORED: &str = "57896044618658097711785492504343953926634992332820282019728792003956564819968";

const STATISTICS: [&str; 6] = ["mean", "deviation", "score", "drift", "lowest", "highest"];
/// The parameters of the rules that have some.
pub(crate) const PARAMS: &str = r#"["n: uint256", "s: uint8", "a: address", "t: bytes4"]"#;

/// What a rule may speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The state of the chain alone.
    State,
    /// And what who trips it supplies ([`PARAMS`]).
    Witness,
    /// And the value when the guarded call began, and the transaction: in hooks.
    Hook,
}

/// A statistic of a register: one stream a register. Warm after 24 observations.
fn statistic(register: usize, name: &str) -> String {
    let (time, other) = match name {
        "lowest" | "highest" => ("1 h", format!("spacing: {PERIOD}")),
        _ => ("600", "window: 1 h".to_owned()),
    };
    format!("{name}(r{register}.value(), {time}, 1, {BOUND}, rate: 12.5 %, {other})")
}

/// A read of a register that answers a number: its own, or the one to which the last register points.
fn read() -> BoxedStrategy<String> {
    let target =
        prop_oneof![4 => (0..VALUES).prop_map(|place| format!("r{place}")), 1 => Just(format!("r0(r{VALUES}.peer())"))];
    prop_oneof![
        4 => target.clone().prop_map(|at| format!("{at}.value()")),
        2 => target.clone().prop_map(|at| format!("{at}.signed()")),
        1 => target.clone().prop_map(|at| format!("{at}.small()")),
        1 => target.prop_map(|at| format!("{at}.narrow()")),
    ]
    .boxed()
}

fn leaf(kind: Kind) -> BoxedStrategy<String> {
    let constant = prop_oneof![Just(0_u64), Just(1), any::<u64>()].prop_map(|number| number.to_string());
    let common = prop_oneof![
        8 => read(),
        2 => constant,
        1 => Just(alloy::primitives::U256::MAX.to_string()),
        1 => (0..ALL).prop_map(|place| format!("eth(r{place})")),
        1 => Just("now".to_owned()),
        2 => (0..VALUES).prop_map(|place| format!("anchor(r{place}.value(), {PERIOD}, 0, {ANCHORED})")),
        3 => (0..VALUES, 0..STATISTICS.len()).prop_map(|(place, what)| statistic(place, STATISTICS[what])),
    ];
    match kind {
        Kind::State => common.boxed(),
        Kind::Witness => prop_oneof![
            2 => common,
            1 => prop::sample::select(vec!["n", "s", "eth(a)", "r0(a).value()", "r1(a).small()", "r2.plus(n)", "r3.mixed(s, a, t)"])
                .prop_map(str::to_owned),
        ]
        .boxed(),
        Kind::Hook => prop_oneof![
            2 => common,
            1 => read().prop_map(|read| format!("entry({read})")),
            1 => (0..VALUES, any::<bool>()).prop_map(|(place, entered)| {
                format!("{}(r{place})", if entered { "entered" } else { "left" })
            }),
            1 => Just("depth".to_owned()),
        ]
        .boxed(),
    }
}

/// A number of the language.
fn number(kind: Kind) -> impl Strategy<Value = String> {
    leaf(kind).prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), prop::sample::select(vec!["+", "-", "*", "/"]))
                .prop_map(|((a, b), sign)| format!("({a} {sign} {b})")),
            (pair.clone(), inner.clone()).prop_map(|((a, b), c)| format!("({a} * {b} / {c})")),
            pair.clone().prop_map(|(a, b)| format!("min({a}, {b})")),
            pair.prop_map(|(a, b)| format!("max({a}, {b})")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("(-{a})")),
            (0..VALUES, inner.clone()).prop_map(|(place, a)| format!("r{place}.plus({a})")),
            (inner, 1_u16..10_000).prop_map(|(a, share)| format!("({a} * {share} bps)")),
        ]
    })
}

/// A boolean that no comparison of numbers makes.
fn flag(kind: Kind) -> BoxedStrategy<String> {
    let pair = || (0..ALL, 0..ALL);
    let common = prop_oneof![
        2 => (0..ALL).prop_map(|place| format!("r{place}.flag()")),
        1 => pair().prop_map(|(a, b)| format!("codehash(r{a}) == codehash(r{b})")),
        1 => pair().prop_map(|(a, b)| format!("r{a}.tag() == r{b}.tag()")),
        1 => (0..ALL).prop_map(|place| format!("r{VALUES}.peer() == r{place}")),
        1 => Just(format!("codehash(r{VALUES}.peer()) != codehash(r0)")),
    ];
    let own: &[&str] = match kind {
        Kind::State => return common.boxed(),
        Kind::Witness => &["r4.peer() == a", "t == r1.tag()", "codehash(a) == codehash(r0)"],
        Kind::Hook => &["round_trip", "entry(r0.flag())", "entry(r4.peer()) == r4.peer()"],
    };
    prop_oneof![1 => common, 1 => prop::sample::select(own.to_vec()).prop_map(str::to_owned)].boxed()
}

/// A rule.
pub(crate) fn condition(kind: Kind) -> impl Strategy<Value = String> {
    let signs = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let numbers = || number(kind);
    let leaf = prop_oneof![
        4 => (numbers(), signs, numbers()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        1 => (numbers(), numbers(), 1_u16..9_999).prop_map(|(a, b, share)| format!("near({a}, {b}, {share} bps)")),
        2 => flag(kind),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}
