//! The guard with everything around it: a market with moods, rulebooks to adopt, and what is known of both.

use crate::common::{book, Abi, ANYONE, BEATER, FEED, GOVERNOR, GUARDIAN, KEEPER, MARKET, PROGRAMS, START, VAULT};
use crate::ops::{Act, Mood, SEALER, SECOND};
use crate::reference::{self, Reference};
use alloy_primitives::{keccak256, Address, B256, U256};
use alloy_sol_types::{SolCall, SolInterface};
use cordon_core::{
    ledger::Ledger,
    rulebook::{set_name, ContainmentSet, Order, Rulebook},
    scope::{key, ScopeState},
    Level,
};
use cordon_host::{
    layout,
    mock::{MockHost, Storage},
    Host,
};
use cordon_logic::{abi::Refusal, Guard};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

pub type Native = Guard<MockHost>;
/// The interface once more, for its errors to be shown.
mod shown {
    alloy_sol_types::sol!(
        #![sol(all_derives)]
        "../solidity/src/ICordonGuard.sol"
    );
}
pub use shown::ICordonGuard::ICordonGuardErrors as Errors;

/// The market, and what the test wants of it.
pub struct Market {
    pub closed: Cell<bool>,
    pub paused: Cell<bool>,
    pub mood: Cell<Mood>,
    /// How often it has called back.
    pub calls_back: Cell<u32>,
}

pub struct Scene {
    pub guard: Native,
    pub price: Rc<Cell<Option<u64>>>,
    pub market: Rc<Market>,
    pub books: Vec<(Rulebook, Address, B256)>,
    /// The number of each rulebook that was adopted, from 1, and which it was.
    pub adopted: Vec<usize>,
    pub reference: Reference,
    now: Rc<Cell<u64>>,
}

/// The set that the rulebooks have.
pub fn set() -> B256 {
    set_name("everything").unwrap()
}

/// The rulebooks: the usual one; the same pause under two clocks; other calls; a smaller one, in which another scope is missing.
pub fn books() -> Vec<Rulebook> {
    let mut usual = book();
    let order = |scope, level| Order {
        scope,
        level,
        duration: 900,
    };
    usual.sets = vec![ContainmentSet {
        name: set(),
        reviewed: B256::repeat_byte(9),
        orders: vec![order(1, Level::Halted), order(0, Level::ReduceOnly)],
    }];
    let mut twice = usual.clone();
    let mut again = twice.containments[1].clone();
    (again.scope, again.max_duration) = (2, 1800);
    twice.containments.push(again);
    let mut other = usual.clone();
    // Another call, which does the same.
    other.containments[0].calldata.push(0);
    other.containments.reverse();
    let mut small = usual.clone();
    small.scopes.truncate(2);
    for rule in &mut small.rules {
        rule.scope = rule.scope.min(1);
    }
    vec![usual, twice, other, small]
}

impl Scene {
    pub fn new() -> Self {
        let price = Rc::new(Cell::new(Some(100)));
        let market = Rc::new(Market {
            closed: Cell::new(false),
            paused: Cell::new(false),
            mood: Cell::new(Mood::Obeys),
            calls_back: Cell::new(0),
        });
        let now = Rc::new(Cell::new(START));
        let mut host = MockHost::at(START);
        for (number, program) in (1..).zip(PROGRAMS) {
            host.data_account(program, &[0xef, 0xf0, 0, 0, number]);
        }
        let answer = price.clone();
        host.contract(FEED, &[1], move |_, _, _| {
            let word = answer.get().map(|value| U256::from(value).to_be_bytes::<32>().to_vec());
            word.ok_or_else(Vec::new)
        });
        let books: Vec<_> = books()
            .into_iter()
            .map(|book| {
                let code = book.encode().unwrap();
                let hash = keccak256(&code);
                let account = Address::from_slice(&hash[..20]);
                host.data_account(account, &code);
                (book, account, hash)
            })
            .collect();
        put_market(&mut host, &market, &now);
        let mut scene = Self {
            guard: Guard::new(host),
            price,
            market,
            books,
            adopted: Vec::new(),
            reference: Reference::new(GOVERNOR, 3600, 0),
            now,
        };
        scene.set_up();
        scene
    }

    fn set_up(&mut self) {
        let (_, account, hash) = self.books[0];
        self.call(ANYONE, |guard| guard.initialize(&PROGRAMS, GOVERNOR, 3600))
            .unwrap();
        for (role, of) in [(0, GUARDIAN), (0, SECOND), (1, KEEPER), (2, BEATER), (4, SEALER)] {
            self.call(GOVERNOR, |guard| guard.set_role(role, of, true)).unwrap();
            let bits = self.reference.with_role(1 << role, of, true).unwrap();
            self.reference.roles.insert(of, bits);
        }
        self.call(GOVERNOR, |guard| guard.adopt_rulebook(account, hash))
            .unwrap();
        self.call(GOVERNOR, Native::seal).unwrap();
        self.adopted.push(0);
    }

    pub fn now(&self) -> u64 {
        self.now.get()
    }

    /// Time passes, and with it the transaction ends.
    pub fn pass(&mut self, seconds: u64) {
        self.now.set(self.now.get() + seconds);
        self.guard.host.now = self.now.get();
        self.guard.host.end_transaction();
    }

    /// A transaction. What a refused one has written is undone; what it says is one of the guard's errors. The lock never stays.
    pub fn call<T>(&mut self, by: Address, call: impl FnOnce(&mut Native) -> Result<T, Refusal>) -> Result<T, Errors> {
        let host = &mut self.guard.host;
        host.end_transaction();
        let before = host.storage.clone();
        host.begin(by);
        let outcome = call(&mut self.guard);
        let host = &mut self.guard.host;
        if outcome.is_ok() {
            host.flush(false);
            assert_eq!(host.load_transient(&layout::lock()), B256::ZERO, "the lock stays");
        } else {
            host.cache.clear();
            host.storage = before;
        }
        outcome.map_err(|refusal| {
            let data = refusal.data();
            Errors::abi_decode(data).unwrap_or_else(|_| panic!("refused without a named error: {data:x?}"))
        })
    }

    /// Which rulebook is in force: its number from 1, and itself.
    pub fn in_force(&self) -> (u32, &Rulebook) {
        let which = *self.adopted.last().unwrap();
        (u32::try_from(self.adopted.len()).unwrap(), &self.books[which].0)
    }

    pub fn scopes(&self) -> u8 {
        u8::try_from(self.in_force().1.scopes.len()).unwrap()
    }

    pub fn word(&self, scope: u8) -> ScopeState {
        let word = self.guard.host.storage.get(&key(scope)).copied().unwrap_or_default();
        ScopeState::unpack(layout::to_number(word))
    }

    pub fn ledger(&self) -> Ledger {
        let word = self
            .guard
            .host
            .storage
            .get(&layout::LEDGER)
            .copied()
            .unwrap_or_default();
        Ledger::unpack(layout::to_number(word))
    }

    pub fn record(&mut self, number: u32) -> Option<Abi::Incident> {
        let data = self.guard.incident(number.into()).ok()?;
        Some(Abi::incidentCall::abi_decode_returns(&data).unwrap())
    }

    /// The calldata that is announced for an act.
    pub fn calldata(&self, act: Act) -> Vec<u8> {
        match act {
            Act::Role(role, account, granted) => Abi::setRoleCall {
                role: Abi::Role::try_from(role.min(4)).unwrap(),
                account,
                granted,
            }
            .abi_encode(),
            Act::Matrix(closes) => Abi::setMatrixCall { closes }.abi_encode(),
            Act::Delay(delay) => Abi::setDelayCall { governorDelay: delay }.abi_encode(),
            Act::Adopt(which) => Abi::adoptRulebookCall {
                book: self.books[which].1,
                codeHash: self.books[which].2,
            }
            .abi_encode(),
            Act::Propose(governor) => Abi::proposeGovernorCall { governor }.abi_encode(),
            Act::WriteOff(scope) => Abi::writeOffCall { scope }.abi_encode(),
        }
    }

    pub fn perform(&mut self, by: Address, act: Act) -> Result<(), Errors> {
        let (book, hash) = match act {
            Act::Adopt(which) => (self.books[which].1, self.books[which].2),
            _ => (Address::ZERO, B256::ZERO),
        };
        self.call(by, |guard| match act {
            Act::Role(role, account, granted) => guard.set_role(role, account, granted),
            Act::Matrix(closes) => guard.set_matrix(closes),
            Act::Delay(delay) => guard.set_delay(delay),
            Act::Adopt(_) => guard.adopt_rulebook(book, hash),
            Act::Propose(governor) => guard.propose_governor(governor),
            Act::WriteOff(scope) => guard.write_off(scope),
        })
    }

    /// A guarded call of the registered contract, in one transaction.
    pub fn hook(&mut self, scope: u8, action: u8) -> Result<(), Errors> {
        self.call(VAULT, |guard| {
            let ticket = guard.enter([scope, 0, 0], action, &Address::ZERO, B256::ZERO)?;
            guard.exit(ticket)
        })
    }
}

fn put_market(host: &mut MockHost, market: &Rc<Market>, now: &Rc<Cell<u64>>) {
    let (state, now, seen) = (market.clone(), now.clone(), host.seen.clone());
    let books: Vec<_> = books().iter().map(|book| book.encode().unwrap()).collect();
    let selector = |name: &str| -> [u8; 4] { keccak256(name)[..4].try_into().unwrap() };
    let (closed, paused, close) = (selector("closed()"), selector("paused()"), selector("close(bool)"));
    host.contract(MARKET, &[1], move |storage, input, is_static| {
        let mood = state.mood.get();
        let word = |flag: bool| Ok(U256::from(u8::from(flag)).to_be_bytes::<32>().to_vec());
        if input.starts_with(&closed) || input.starts_with(&paused) {
            if mood == Mood::Blind {
                return Err(Vec::new());
            }
            return word(if input.starts_with(&closed) {
                state.closed.get()
            } else {
                state.paused.get()
            });
        }
        assert!(!is_static, "a containment call is not static");
        match mood {
            Mood::Reverts => return Err(b"no".to_vec()),
            Mood::Pretends => return Ok(Vec::new()),
            Mood::Reenters => {
                call_back(storage, &seen, now.get(), &books);
                state.calls_back.set(state.calls_back.get() + 1);
            }
            Mood::Obeys | Mood::Blind => {}
        }
        let flag = if input.starts_with(&close) {
            &state.closed
        } else {
            &state.paused
        };
        flag.set(input[35] == 1);
        Ok(Vec::new())
    });
}

/// What a target can do in the middle of a containment call, as whoever it is: nothing that changes the guard; views and hooks answer.
fn call_back(storage: &Storage, seen: &Rc<RefCell<Storage>>, now: u64, books: &[Vec<u8>]) {
    let mut host = MockHost::at(now);
    host.storage.clone_from(storage);
    host.transient.clone_from(&seen.borrow());
    for code in books {
        host.data_account(Address::from_slice(&keccak256(code)[..20]), code);
    }
    let mut guard = Guard::new(host);
    let hash = B256::repeat_byte(1);
    for sender in [MARKET, GOVERNOR, GUARDIAN, KEEPER, ANYONE] {
        guard.host.begin(sender);
        let attempts = [
            guard.trip(0, Vec::new()).map(drop),
            guard.contain(0, 3, 900, hash).map(drop),
            guard.contain_set(&set(), hash).map(drop),
            guard.retry_containment(1),
            guard.settle(1),
            guard.write_off(1),
            guard.queue_release(1),
            guard.cancel_release(1),
            guard.release(1),
            guard.heartbeat(),
            guard.seal(),
            guard.announce(hash),
            guard.cancel_announcement(hash),
            guard.set_role(0, MARKET, true),
            guard.propose_governor(MARKET),
            guard.accept_governor(),
            guard.adopt_rulebook(MARKET, hash),
            guard.set_matrix(0),
            guard.set_delay(3600),
            guard.set_logic(&PROGRAMS, hash),
            guard.note_incident(1, hash),
            guard.judge_incident(1, true),
            guard.observe(&[0]),
            guard.rehearse(0),
            guard.health().map(drop),
        ];
        for (number, attempt) in attempts.into_iter().enumerate() {
            let refusal = attempt.expect_err("locked");
            let error = Errors::abi_decode(refusal.data()).unwrap();
            // Some ask first for what the caller lacks anyhow.
            let locked = matches!(
                error,
                Errors::Locked(_)
                    | Errors::NotGovernor(_)
                    | Errors::MissingRole(_)
                    | Errors::NotAnnounced(_)
                    | Errors::AnnouncementPending(_)
            );
            assert!(locked, "call {number} answers {error:?}");
        }
    }
    assert!(guard.scope_status(0).is_ok() && guard.guarded_calls().unwrap().2);
    assert_eq!(guard.is_allowed([1, 0, 0], reference::REPAY), Ok(true));
    guard.host.begin(VAULT);
    let ticket = guard.enter([1, 0, 0], reference::REPAY, &Address::ZERO, B256::ZERO);
    let ticket = ticket.unwrap();
    assert_eq!(guard.exit(ticket), Ok(()), "a repayment within a containment call");
}
