//! A guard on the mock VM, with a market that can be closed and a feed whose answer can move.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

use alloy_primitives::{keccak256, Address, B256, U256};
use alloy_sol_types::{SolCall, SolError, SolEvent};
use cordon_core::{
    rule::{compile, Class, Compiled, FunctionSig, Param, SymbolError, Symbols, Type},
    rulebook::{Containment, Rule, Rulebook, Scope, ScopeKind, Undo},
    Action, ActionSet, Level,
};
use cordon_host::{layout, mock::MockHost, Host};
use cordon_logic::{abi::Refusal, Guard};
use std::{cell::Cell, rc::Rc};

pub use cordon_logic::abi::ICordonGuard as Abi;

pub const GOVERNOR: Address = Address::repeat_byte(0x60);
pub const GUARDIAN: Address = Address::repeat_byte(0x61);
pub const KEEPER: Address = Address::repeat_byte(0x62);
pub const BEATER: Address = Address::repeat_byte(0x63);
pub const ANYONE: Address = Address::repeat_byte(0x64);
pub const VAULT: Address = Address::repeat_byte(0x65);
pub const FEED: Address = Address::repeat_byte(0x66);
pub const MARKET: Address = Address::repeat_byte(0x67);
pub const LOGIC: Address = Address::repeat_byte(0x68);
pub const HOOKS: Address = Address::repeat_byte(0x6c);
pub const RECOVER: Address = Address::repeat_byte(0x6b);
pub const ADMIN: Address = Address::repeat_byte(0x6a);
pub const CONTAIN: Address = Address::repeat_byte(0x6d);
pub const INSPECT: Address = Address::repeat_byte(0x6e);
pub const PROGRAMS: [Address; 6] = [LOGIC, HOOKS, RECOVER, ADMIN, CONTAIN, INSPECT];
pub const BOOK: Address = Address::repeat_byte(0x69);

pub const START: u64 = 1_700_000_000;
pub const HOUR: u64 = 3600;

/// Rules of the rulebook, by number.
pub mod rules {
    /// Robust, scope 1, ReduceOnly, hooked to Increase.
    pub const PRICE: u16 = 0;
    /// The same as a spot rule, hooked to nothing.
    pub const SPOT: u16 = 1;
    /// Hook rule on scope 2, hooked to Deposit.
    pub const STEADY: u16 = 2;
    /// With a witness; robust, scope 0, Halted.
    pub const ACCOUNT: u16 = 3;
    /// Shadow, scope 0, hooked to Trade.
    pub const SHADOW: u16 = 4;
    /// Robust, scope 2, ReduceOnly, hooked to nothing: a scope without a containment call.
    pub const PLAIN: u16 = 5;
}

/// Containment calls of the rulebook, by number.
pub mod calls {
    /// Scope 1 from ReduceOnly on.
    pub const CLOSE: u16 = 0;
    /// Scope 0 when Halted; closes Repay for 15 minutes at most.
    pub const PAUSE: u16 = 1;
}

pub struct Names;

fn signature(name: &str) -> FunctionSig {
    let (function, inputs) = name.trim_end_matches(')').split_once('(').unwrap();
    let output = if function == "value" || function == "of" {
        Type::parse("uint256")
    } else {
        Type::Bool
    };
    FunctionSig {
        selector: keccak256(name)[..4].try_into().unwrap(),
        inputs: inputs.split(',').filter(|ty| !ty.is_empty()).map(Type::parse).collect(),
        outputs: vec![(None, output)],
        view: true,
    }
}

impl Symbols for Names {
    fn contract(&self, name: &str) -> Option<Address> {
        match name {
            "feed" => Some(FEED),
            "market" => Some(MARKET),
            _ => None,
        }
    }

    fn function(&self, _: &str, function: &str, _: usize) -> Result<FunctionSig, SymbolError> {
        match function {
            "value" => Ok(signature("value()")),
            "of" => Ok(signature("of(address)")),
            "closed" => Ok(signature("closed()")),
            "paused" => Ok(signature("paused()")),
            _ => Err(SymbolError::Unknown),
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["feed".into(), "market".into()]
    }

    fn functions(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}

fn rule(source: &str, params: &[Param], scope: u8, level: Level) -> Rule {
    let compiled = compile(source, params, &[], &Names).unwrap();
    Rule {
        scope,
        class: compiled.class,
        robust: true,
        shadow: false,
        level,
        duration: if level == Level::Normal { 0 } else { 3600 },
        check: ActionSet::EMPTY,
        params: u8::try_from(params.len()).unwrap(),
        program: compiled.program,
        entries: compiled.entries,
    }
}

/// A rule's text without parameters, compiled.
pub fn compiled(source: &str) -> Compiled {
    compile(source, &[], &[], &Names).unwrap()
}

fn condition(source: &str) -> Vec<u8> {
    compiled(source).program
}

fn call(name: &str, flag: bool) -> Vec<u8> {
    [&keccak256(name)[..4], &U256::from(u8::from(flag)).to_be_bytes::<32>()].concat()
}

pub fn book() -> Rulebook {
    let account = Param {
        name: "account".into(),
        ty: Type::Address,
    };
    let price = Rule {
        check: ActionSet::EMPTY
            .with(Action::Increase)
            .with(Action::Withdraw)
            .with(Action::Repay),
        ..rule("feed.value() <= 100", &[], 1, Level::ReduceOnly)
    };
    let spot = Rule {
        robust: false,
        ..rule("feed.value() <= 100", &[], 1, Level::ReduceOnly)
    };
    let steady = Rule {
        class: Class::Hook,
        check: ActionSet::EMPTY.with(Action::Deposit).with(Action::Repay),
        ..rule(
            "near(feed.value(), entry(feed.value()), 100 bps)",
            &[],
            2,
            Level::Normal,
        )
    };
    let shadow = Rule {
        shadow: true,
        check: ActionSet::EMPTY.with(Action::Trade),
        ..rule("feed.value() <= 100", &[], 0, Level::Normal)
    };
    Rulebook {
        scopes: vec![
            Scope::new(ScopeKind::Protocol, "protocol"),
            Scope::new(ScopeKind::Market, "market"),
            Scope::new(ScopeKind::Market, "other"),
        ],
        callers: vec![VAULT],
        rules: vec![
            price,
            spot,
            steady,
            rule("feed.of(account) <= 100", &[account], 0, Level::Halted),
            shadow,
            rule("feed.value() <= 100", &[], 2, Level::ReduceOnly),
        ],
        containments: vec![
            Containment {
                scope: 1,
                level: Level::ReduceOnly,
                target: MARKET,
                calldata: call("close(bool)", true),
                gas: 200_000,
                closes: ActionSet::EMPTY.with(Action::Increase),
                max_duration: 0,
                done: condition("market.closed()"),
                undo: vec![Undo {
                    target: MARKET,
                    calldata: call("close(bool)", false),
                    undone: condition("!market.closed()"),
                }],
            },
            Containment {
                scope: 0,
                level: Level::Halted,
                target: MARKET,
                calldata: call("pause(bool)", true),
                gas: 200_000,
                closes: ActionSet::EMPTY.with(Action::Repay).with(Action::Liquidate),
                max_duration: 900,
                done: condition("market.paused()"),
                undo: vec![Undo {
                    target: MARKET,
                    calldata: call("pause(bool)", false),
                    undone: condition("!market.paused()"),
                }],
            },
        ],
        streams: Vec::new(),
        sets: Vec::new(),
    }
}

/// How the market takes calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Obeys,
    /// Answers success and does nothing.
    Pretends,
    Reverts,
}

pub struct Market {
    pub closed: Cell<bool>,
    pub paused: Cell<bool>,
    pub mood: Cell<Mood>,
    /// Whether the guard's ledger counted a raised scope, as flushed, when the market was last called with effect.
    pub raised_seen: Cell<bool>,
}

pub struct World {
    pub guard: Guard<MockHost>,
    /// Answer of the feed; `None` makes it revert.
    pub price: Rc<Cell<Option<u64>>>,
    pub market: Rc<Market>,
}

fn selector(name: &str) -> [u8; 4] {
    keccak256(name)[..4].try_into().unwrap()
}

fn word(flag: bool) -> Vec<u8> {
    U256::from(u8::from(flag)).to_be_bytes::<32>().to_vec()
}

impl World {
    /// A guard that is set up and sealed, with all roles granted and the rulebook adopted.
    pub fn new() -> Self {
        let mut world = Self::unsealed();
        world.as_(GOVERNOR).seal().unwrap();
        world.done();
        world
    }

    pub fn unsealed() -> Self {
        let price = Rc::new(Cell::new(Some(100)));
        let market = Rc::new(Market {
            closed: Cell::new(false),
            paused: Cell::new(false),
            mood: Cell::new(Mood::Obeys),
            raised_seen: Cell::new(false),
        });
        let mut host = MockHost::at(START);
        host.data_account(LOGIC, &[0xef, 0xf0, 0, 0, 1]);
        host.data_account(ADMIN, &[0xef, 0xf0, 0, 0, 2]);
        host.data_account(RECOVER, &[0xef, 0xf0, 0, 0, 3]);
        host.data_account(INSPECT, &[0xef, 0xf0, 0, 0, 6]);
        host.contract(HOOKS, &[0xef, 0xf0, 0, 0, 4], |_, input, _| {
            assert!(input.starts_with(&Abi::isAllowedCall::SELECTOR));
            Err(Abi::BadAction { action: 11 }.abi_encode())
        });
        host.contract(CONTAIN, &[0xef, 0xf0, 0, 0, 5], |_, input, _| probed_contain(input));
        host.data_account(BOOK, &book().encode().unwrap());
        let answer = price.clone();
        host.contract(FEED, &[1], move |_, _, _| {
            answer
                .get()
                .map(|value| U256::from(value).to_be_bytes::<32>().to_vec())
                .ok_or_else(Vec::new)
        });
        let state = market.clone();
        host.contract(MARKET, &[1], move |storage, input, is_static| {
            let head: [u8; 4] = input[..4].try_into().unwrap();
            if head == selector("closed()") {
                return Ok(word(state.closed.get()));
            }
            if head == selector("paused()") {
                return Ok(word(state.paused.get()));
            }
            assert!(!is_static, "a containment call is not static");
            state.raised_seen.set(
                storage
                    .get(&layout::LEDGER)
                    .is_some_and(|ledger| !layout::is_quiet(ledger)),
            );
            match state.mood.get() {
                Mood::Reverts => return Err(b"no".to_vec()),
                Mood::Pretends => return Ok(Vec::new()),
                Mood::Obeys => {}
            }
            let flag = input[35] == 1;
            if head == selector("close(bool)") {
                state.closed.set(flag);
            } else {
                assert_eq!(head, selector("pause(bool)"));
                state.paused.set(flag);
            }
            Ok(Vec::new())
        });
        let book_hash = host.code_hash(&BOOK);
        let mut world = Self {
            guard: Guard::new(host),
            price,
            market,
        };
        world.as_(ANYONE).initialize(&PROGRAMS, GOVERNOR, 3600).unwrap();
        for (role, account) in [(0, GUARDIAN), (1, KEEPER), (2, BEATER)] {
            world.as_(GOVERNOR).set_role(role, account, true).unwrap();
            world.done();
        }
        world.as_(GOVERNOR).adopt_rulebook(BOOK, book_hash).unwrap();
        world.done();
        world.as_(BEATER).heartbeat().unwrap();
        world.done();
        world
    }

    /// The guard, called by `sender`. What the call before wrote counts only if it was `done`.
    pub fn as_(&mut self, sender: Address) -> &mut Guard<MockHost> {
        self.done();
        self.guard.host.begin(sender);
        &mut self.guard
    }

    /// What the program does when a call succeeds.
    pub fn done(&mut self) {
        self.guard.host.flush(false);
        let storage = &self.guard.host.storage;
        let quiet = storage.get(&layout::LEDGER).is_none_or(layout::is_quiet);
        let raised = (0..3).filter(|scope| {
            let word = storage.get(&layout::scope(*scope)).copied().unwrap_or_default();
            !layout::is_normal(&word)
        });
        assert_eq!(quiet, raised.count() == 0);
        let caller = storage.get(&layout::caller(&VAULT)).copied().unwrap_or_default();
        let caller = layout::Caller::unpack(&caller);
        // Whatever a test has just done.
        assert_eq!(
            caller.is_registered() && caller.is_quiet(),
            caller.is_registered() && quiet
        );
    }

    /// Time passes, and with it the transaction ends.
    pub fn pass(&mut self, seconds: u64) {
        self.done();
        self.guard.host.end_transaction();
        self.guard.host.now += seconds;
    }

    /// A call that must be refused with this error, and changes nothing.
    pub fn refused<E: SolError, T: std::fmt::Debug>(&mut self, outcome: Result<T, Refusal>) -> E {
        let refusal = outcome.expect_err("refused");
        self.guard.host.cache.clear();
        E::abi_decode(refusal.data()).unwrap_or_else(|_| panic!("another error: {:x?}", refusal.data()))
    }

    /// The events of this kind that the last call emitted.
    pub fn events<E: SolEvent>(&self) -> Vec<E> {
        self.guard
            .host
            .logs
            .iter()
            .filter(|log| log.topics[0] == E::SIGNATURE_HASH)
            .map(|log| E::decode_raw_log(log.topics.iter().copied(), &log.data).unwrap())
            .collect()
    }

    pub fn level(&mut self, scope: u8) -> Level {
        self.guard.scope_status(scope).unwrap().level
    }

    /// Adopts another rulebook, announced.
    pub fn adopt(&mut self, book: &Rulebook) {
        let code = book.encode().unwrap();
        let account = Address::from_slice(&keccak256(&code)[..20]);
        self.guard.host.data_account(account, &code);
        let code_hash = keccak256(&code);
        self.announce(&Abi::adoptRulebookCall {
            book: account,
            codeHash: code_hash,
        });
        self.as_(GOVERNOR).adopt_rulebook(account, code_hash).unwrap();
        self.done();
    }

    /// Announces a call of the governor and lets the delay pass.
    pub fn announce<C: alloy_sol_types::SolCall>(&mut self, call: &C) {
        self.as_(GOVERNOR).announce(keccak256(call.abi_encode())).unwrap();
        self.pass(3600);
        // An hour has passed: the heartbeat goes on.
        self.as_(BEATER).heartbeat().unwrap();
        self.done();
    }

    pub fn as_refused<E: SolError, T: std::fmt::Debug>(
        &mut self,
        sender: Address,
        f: impl FnOnce(&mut Guard<MockHost>) -> Result<T, Refusal>,
    ) -> E {
        self.done();
        let before = self.guard.host.storage.clone();
        let outcome = f(self.as_(sender));
        let error = self.refused(outcome);
        // What a refused call had flushed is undone with it.
        self.guard.host.storage = before;
        error
    }

    /// What the announcement of programs names of their code.
    pub fn codes(&self, programs: &[Address]) -> B256 {
        let hashes: Vec<_> = programs
            .iter()
            .map(|program| self.guard.host.code_hash(program))
            .collect();
        keccak256(hashes.concat())
    }
}

/// What a respond program, with programs behind it that work, answers to the questions of `set_logic`.
pub fn probed(input: &[u8], programs: [Address; 6]) -> Result<Vec<u8>, Vec<u8>> {
    if input.starts_with(&Abi::programsCall::SELECTOR) {
        return Ok(Abi::programsCall::abi_encode_returns(&programs));
    }
    // The questions are calls of the ABI.
    Err(if Abi::setRoleCall::SELECTOR == input[..4] {
        Abi::BadRole { role: input[35] }.abi_encode()
    } else if let Ok(call) = Abi::settleCall::abi_decode(input) {
        Abi::BadScope {
            scope: call.scope,
            count: 128,
        }
        .abi_encode()
    } else if let Ok(call) = Abi::tripCall::abi_decode(input) {
        assert!(call.witness.is_empty());
        Abi::UnknownRule { rule: call.rule }.abi_encode()
    } else if let Ok(call) = Abi::evaluateCall::abi_decode(input) {
        assert!(call.witness.is_empty());
        Abi::UnknownRule { rule: call.rule }.abi_encode()
    } else {
        let call = Abi::observeCall::abi_decode(input).unwrap();
        Abi::UnknownStream {
            stream: call.streams[0],
        }
        .abi_encode()
    })
}

/// The same of a contain program.
pub fn probed_contain(input: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    Err(if let Ok(call) = Abi::containCall::abi_decode(input) {
        Abi::BadLevel {
            level: call.level as u8,
        }
        .abi_encode()
    } else {
        let call = Abi::containSetCall::abi_decode(input).unwrap();
        Abi::UnknownSet { set: call.set }.abi_encode()
    })
}
