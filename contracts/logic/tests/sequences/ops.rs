//! What can happen to a guard: calls of everybody, and what goes on around it.

use crate::common::{ANYONE, BEATER, GOVERNOR, GUARDIAN, KEEPER, MARKET};
use alloy_primitives::Address;
use proptest::prelude::*;

/// A guardian besides the first.
pub const SECOND: Address = Address::repeat_byte(0x71);
/// Who has a seal.
pub const SEALER: Address = Address::repeat_byte(0x72);
/// Who may become governor.
pub const HEIR: Address = Address::repeat_byte(0x73);

/// Everybody who calls. The market, which is called by the guard, may be given roles as well.
pub const PEOPLE: [Address; 9] = [GOVERNOR, GUARDIAN, SECOND, KEEPER, BEATER, SEALER, ANYONE, HEIR, MARKET];

/// How many rulebooks there are to adopt, see `scene::books`.
pub const BOOKS: usize = 4;

/// Matrices that a governor may want, good and bad.
pub const MATRICES: [u64; 6] = [
    0,
    // Deposit and Increase closed from Throttled on.
    0x0000_0009_0009_0009,
    // The same in Grace as well.
    0x0009_0009_0009_0009,
    // Withdraw closed at ReduceOnly; Repay closed when Halted: both are never accepted.
    0x0000_0002_0002_0000,
    0x0000_0020_0000_0000,
    // Closes at Throttled what ReduceOnly does not: a raise would open it.
    0x0000_0000_0000_0080,
];

/// A call of the governor that loosens, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Role(u8, Address, bool),
    Matrix(u64),
    Delay(u32),
    Adopt(usize),
    Propose(Address),
    WriteOff(u8),
}

/// How the market takes the guard's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Obeys,
    Pretends,
    Reverts,
    /// Obeys, after it has called back wherever it could do harm.
    Reenters,
    /// Obeys, and its views cannot be read.
    Blind,
}

#[derive(Clone, Debug)]
pub enum Op {
    Wait(u64),
    Price(Option<u64>),
    Mood(Mood),
    /// The market's own admin closes or opens it, pauses or unpauses it.
    Hand(bool, bool),
    Contain(Address, Vec<u8>, u8, u32),
    ContainSet(Address, bool),
    Trip(Vec<(u16, bool)>),
    Retry(u8),
    Settle(u8),
    Queue(Address, u8),
    Cancel(Address, u8),
    Release(Address, u8),
    Heartbeat(Address),
    Announce(Address, Act),
    TakeBack(Address, Act),
    Do(Address, Act),
    Accept(Address),
    Note(Address, u64),
    Judge(Address, u64, bool),
    /// A guarded call of the registered contract.
    Hook(u8, u8),
}

fn person() -> impl Strategy<Value = Address> {
    prop::sample::select(PEOPLE.to_vec())
}

/// Mostly those who may.
fn one_of(usual: &[Address]) -> impl Strategy<Value = Address> {
    prop_oneof![5 => prop::sample::select(usual.to_vec()), 1 => person()]
}

fn scope() -> impl Strategy<Value = u8> {
    prop_oneof![12 => 0u8..3, 1 => prop::sample::select(vec![3, 127, 128, 255])]
}

fn duration() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0u32),
        Just(59),
        Just(60),
        Just(900),
        Just(3600),
        Just(86_400),
        Just(3 * 86_400),
        Just(28 * 86_400),
        1u32..4000,
        1u32..100_000,
        1u32..3_000_000,
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u8..6, person(), any::<bool>()).prop_map(|(role, account, granted)| Act::Role(role, account, granted)),
        2 => prop::sample::select(MATRICES.to_vec()).prop_map(Act::Matrix),
        2 => prop::sample::select(vec![0u32, 3600, 5400, 7200, 7201, 14_400, 86_400, 30 * 86_400, 30 * 86_400 + 1]).prop_map(Act::Delay),
        3 => (0..BOOKS).prop_map(Act::Adopt),
        1 => prop::sample::select(vec![Address::ZERO, HEIR, GOVERNOR, GUARDIAN]).prop_map(Act::Propose),
        1 => (0u8..3).prop_map(Act::WriteOff),
    ]
}

/// One thing that happens.
fn op() -> impl Strategy<Value = Op> {
    let containing = [GOVERNOR, GUARDIAN, GUARDIAN, SECOND, KEEPER, KEEPER, SEALER];
    let releasing = [GUARDIAN, SECOND, GOVERNOR];
    let governing = [GOVERNOR, GOVERNOR, HEIR];
    let wait = prop_oneof![
        Just(1u64),
        Just(2),
        Just(900),
        Just(3600),
        0u64..1000,
        0u64..10_000,
        0u64..100_000,
        0u64..800_000,
    ];
    let mood = prop::sample::select(vec![
        Mood::Obeys,
        Mood::Obeys,
        Mood::Pretends,
        Mood::Reverts,
        Mood::Reenters,
        Mood::Blind,
    ]);
    let calls = prop_oneof![
        6 => (one_of(&containing), prop::collection::vec(scope(), 1..2), 0u8..5, duration())
            .prop_map(|(by, scopes, level, duration)| Op::Contain(by, scopes, level, duration)),
        2 => (one_of(&containing), prop::collection::vec(scope(), 0..4), 1u8..4, duration())
            .prop_map(|(by, scopes, level, duration)| Op::Contain(by, scopes, level, duration)),
        1 => (one_of(&containing), any::<bool>()).prop_map(|(by, known)| Op::ContainSet(by, known)),
        6 => prop::collection::vec((prop_oneof![9 => 0u16..6, 1 => 6u16..8], prop::bool::weighted(0.9)), 1..4).prop_map(Op::Trip),
        2 => scope().prop_map(Op::Retry),
        4 => scope().prop_map(Op::Settle),
        3 => (one_of(&releasing), scope()).prop_map(|(by, scope)| Op::Queue(by, scope)),
        1 => (one_of(&releasing), scope()).prop_map(|(by, scope)| Op::Cancel(by, scope)),
        4 => (one_of(&releasing), scope()).prop_map(|(by, scope)| Op::Release(by, scope)),
        4 => one_of(&[BEATER]).prop_map(Op::Heartbeat),
        1 => (person(), 0u64..8).prop_map(|(by, back)| Op::Note(by, back)),
        1 => (one_of(&releasing), 0u64..8, any::<bool>()).prop_map(|(by, back, none)| Op::Judge(by, back, none)),
    ];
    let governance = prop_oneof![
        5 => (one_of(&governing), act()).prop_map(|(by, act)| Op::Announce(by, act)),
        1 => (one_of(&releasing), act()).prop_map(|(by, act)| Op::TakeBack(by, act)),
        3 => (one_of(&governing), act()).prop_map(|(by, act)| Op::Do(by, act)),
        1 => one_of(&[HEIR]).prop_map(Op::Accept),
    ];
    prop_oneof![
        6 => wait.prop_map(Op::Wait),
        2 => prop::sample::select(vec![Some(50u64), Some(100), Some(101), Some(200), None]).prop_map(Op::Price),
        2 => mood.prop_map(Op::Mood),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(what, to)| Op::Hand(what, to)),
        14 => calls,
        4 => governance,
        3 => (0u8..3, 0u8..11).prop_map(|(scope, action)| Op::Hook(scope, action)),
    ]
}

/// Acts that come to something: announced, waited for, done.
fn carried_out() -> impl Strategy<Value = Vec<Op>> {
    (act(), 0u64..4, one_of(&[GOVERNOR]))
        .prop_map(|(act, days, by)| vec![Op::Announce(by, act), Op::Wait(3600 + days * 86_400), Op::Do(by, act)])
}

/// Closed for as long as somebody can, by turns.
fn renewed() -> impl Strategy<Value = Vec<Op>> {
    (
        one_of(&[GUARDIAN, KEEPER]),
        scope(),
        1u8..4,
        60u32..90_000,
        1u64..40_000,
        2usize..8,
    )
        .prop_map(|(by, scope, level, duration, gap, times)| {
            let turn = [
                Op::Heartbeat(BEATER),
                Op::Contain(by, vec![scope], level, duration),
                Op::Wait(gap),
            ];
            turn.iter().cloned().cycle().take(3 * times).collect()
        })
}

/// Released as it should be.
fn released() -> impl Strategy<Value = Vec<Op>> {
    (one_of(&[GUARDIAN, GOVERNOR]), 0u8..3).prop_map(|(by, scope)| {
        vec![
            Op::Price(Some(100)),
            Op::Queue(by, scope),
            Op::Wait(900),
            Op::Release(by, scope),
            Op::Wait(3600),
            Op::Settle(scope),
        ]
    })
}

/// A sequence, of up to so many parts.
pub fn operations(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let part = prop_oneof![
        16 => op().prop_map(|op| vec![op]),
        2 => carried_out(),
        1 => renewed(),
        1 => released(),
    ];
    prop::collection::vec(part, 1..most).prop_map(|parts| parts.concat())
}
