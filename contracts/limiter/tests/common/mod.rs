//! The limiter on a ledger of assets, with a guard that says what a test wants.
#![allow(dead_code, unreachable_pub)]

use alloy_primitives::{address, Address, B256, U256};
use alloy_sol_types::{SolCall, SolError, SolValue};
use cordon_host::mock::MockHost;
use cordon_host::{CallKind, Host};
use cordon_limiter::abi::{ICordonGuard, ICordonLimiter};
use cordon_limiter::{dispatch, Purse};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// StylusDeployer.
pub const DEPLOYER: Address = address!("cEcba2F1DC234f70Dd89F2041029807F8D03A990");
pub const LIMITER: Address = address!("00000000000000000000000000000000000000a1");
pub const GUARD: Address = address!("00000000000000000000000000000000000000a2");
pub const GOVERNOR: Address = address!("00000000000000000000000000000000000000a3");
pub const GUARDIAN: Address = address!("00000000000000000000000000000000000000a4");
pub const VAULT: Address = address!("00000000000000000000000000000000000000b1");
pub const ALICE: Address = address!("00000000000000000000000000000000000000c1");
pub const BOB: Address = address!("00000000000000000000000000000000000000c2");
pub const NATIVE: Address = address!("0000000000000000000000000000000000000001");
pub const TOKEN: Address = address!("00000000000000000000000000000000000000d1");
pub const OTHER: Address = address!("00000000000000000000000000000000000000d2");

pub const START: u64 = 1_700_000_000;
pub const DAY: u64 = 86_400;

alloy_sol_types::sol! {
    interface IERC20 {
        function balanceOf(address account) external view returns (uint256);
        function transfer(address to, uint256 amount) external returns (bool);
    }
}

/// Who has how much of what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    balances: BTreeMap<(Address, Address), U256>,
    /// Accounts that cannot be paid.
    pub blocked: Vec<Address>,
}

impl Ledger {
    pub fn of(&self, asset: Address, account: Address) -> U256 {
        self.balances.get(&(asset, account)).copied().unwrap_or_default()
    }

    pub fn give(&mut self, asset: Address, account: Address, amount: U256) {
        *self.balances.entry((asset, account)).or_default() += amount;
    }

    /// The balance of one account moves by itself, to `percent` of what it was.
    pub fn scale(&mut self, asset: Address, account: Address, percent: u64) {
        let moved = self.of(asset, account) * U256::from(percent) / U256::from(100);
        self.balances.insert((asset, account), moved);
    }

    /// Gives to who may not take.
    pub fn force(&mut self, asset: Address, from: Address, to: Address, amount: U256) -> bool {
        let blocked = std::mem::take(&mut self.blocked);
        let given = self.transfer(asset, from, to, amount);
        self.blocked = blocked;
        given
    }

    pub fn transfer(&mut self, asset: Address, from: Address, to: Address, amount: U256) -> bool {
        let had = self.of(asset, from);
        if had < amount || self.blocked.contains(&to) {
            return false;
        }
        self.balances.insert((asset, from), had - amount);
        self.give(asset, to, amount);
        true
    }
}

/// What the guard answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mood {
    /// The scope of the limits is raised.
    pub contained: bool,
    /// The whole protocol is.
    pub everything: bool,
    pub is_sealed: bool,
    pub silent: bool,
}

/// The VM that the limiter runs in.
pub struct Vm {
    pub mock: MockHost,
    pub ledger: Rc<RefCell<Ledger>>,
    pub mood: Rc<RefCell<Mood>>,
    value: U256,
}

impl Host for Vm {
    fn sender(&self) -> Address {
        self.mock.sender()
    }
    fn address(&self) -> Address {
        LIMITER
    }
    fn has_value(&self) -> bool {
        !self.value.is_zero()
    }
    fn now(&self) -> u64 {
        self.mock.now()
    }
    fn block(&self) -> u64 {
        self.mock.block()
    }
    fn gas_left(&self) -> u64 {
        self.mock.gas_left()
    }
    fn load(&self, key: &B256) -> B256 {
        self.mock.load(key)
    }
    fn store(&mut self, key: &B256, value: &B256) {
        self.mock.store(key, value);
    }
    fn flush(&mut self, clear: bool) {
        self.mock.flush(clear);
    }
    fn load_transient(&self, key: &B256) -> B256 {
        self.mock.load_transient(key)
    }
    fn store_transient(&mut self, key: &B256, value: &B256) {
        self.mock.store_transient(key, value);
    }
    fn call(&mut self, kind: CallKind, target: &Address, input: &[u8], gas: u64) -> bool {
        self.mock.call(kind, target, input, gas)
    }
    fn return_data_len(&self) -> usize {
        self.mock.return_data_len()
    }
    fn return_data(&self, offset: usize, buffer: &mut [u8]) -> usize {
        self.mock.return_data(offset, buffer)
    }
    fn result(&mut self, data: &[u8]) {
        self.mock.result(data);
    }
    fn balance(&self, account: &Address) -> U256 {
        self.ledger.borrow().of(NATIVE, *account)
    }
    fn code_hash(&self, account: &Address) -> B256 {
        self.mock.code_hash(account)
    }
    fn code_len(&self, account: &Address) -> usize {
        self.mock.code_len(account)
    }
    fn code(&self, account: &Address, offset: usize, buffer: &mut [u8]) -> usize {
        self.mock.code(account, offset, buffer)
    }
    fn keccak(&self, data: &[u8]) -> B256 {
        self.mock.keccak(data)
    }
    fn log(&mut self, record: &[u8], topics: usize) {
        self.mock.log(record, topics);
    }
}

impl Purse for Vm {
    fn value(&self) -> U256 {
        self.value
    }
    fn send(&mut self, to: &Address, wei: &U256) -> bool {
        self.ledger.borrow_mut().transfer(NATIVE, LIMITER, *to, *wei)
    }
    fn force(&mut self, to: &Address, wei: &U256) -> bool {
        self.ledger.borrow_mut().force(NATIVE, LIMITER, *to, *wei)
    }
}

fn word(value: impl SolValue) -> Result<Vec<u8>, Vec<u8>> {
    Ok(value.abi_encode())
}

impl Vm {
    pub fn new() -> Self {
        let (ledger, mood) = (
            Rc::new(RefCell::new(Ledger::default())),
            Rc::new(RefCell::new(Mood::default())),
        );
        let mut mock = MockHost::at(START);
        for asset in [TOKEN, OTHER] {
            let ledger = ledger.clone();
            mock.contract(asset, &[1], move |_, input, is_static| {
                if let Ok(call) = IERC20::balanceOfCall::abi_decode(input) {
                    return word(ledger.borrow().of(asset, call.account));
                }
                assert!(!is_static);
                let call = IERC20::transferCall::abi_decode(input).unwrap();
                if ledger.borrow_mut().transfer(asset, LIMITER, call.to, call.amount) {
                    word(true)
                } else {
                    Err(b"refused".to_vec())
                }
            });
        }
        let answers = mood.clone();
        mock.contract(GUARD, &[1], move |_, input, is_static| {
            assert!(is_static, "the guard is only asked");
            let mood = *answers.borrow();
            if mood.silent {
                return Err(Vec::new());
            }
            if let Ok(call) = ICordonGuard::hasRoleCall::abi_decode(input) {
                return word(call.account == GUARDIAN);
            }
            if ICordonGuard::governorCall::abi_decode(input).is_ok() {
                return word((GOVERNOR, Address::ZERO, U256::from(3600), mood.is_sealed));
            }
            assert_eq!(input[..4], ICordonGuard::levelOfCall::SELECTOR);
            word(U256::from(u8::from(mood.contained || mood.everything)))
        });
        let mut vm = Self {
            mock,
            ledger,
            mood,
            value: U256::ZERO,
        };
        let delay = DAY.try_into().unwrap();
        vm.ok(DEPLOYER, ICordonLimiter::initializeCall { guard: GUARD, delay });
        for asset in [TOKEN, OTHER, NATIVE] {
            vm.ledger.borrow_mut().give(asset, VAULT, U256::from(1u64 << 60));
            vm.ok(GOVERNOR, limit(asset, 1_000_000));
        }
        vm
    }

    /// One transaction that calls the limiter. A refusal changes nothing.
    pub fn call<C: SolCall>(&mut self, sender: Address, value: u128, call: C) -> Result<C::Return, Vec<u8>> {
        let (storage, ledger) = (self.mock.storage.clone(), self.ledger.borrow().clone());
        self.mock.begin(sender);
        self.value = U256::from(value);
        let arrived = self.ledger.borrow_mut().transfer(NATIVE, sender, LIMITER, self.value);
        assert!(arrived || value == 0);
        let outcome = dispatch(self, &call.abi_encode());
        match outcome {
            Ok(answer) => {
                self.mock.flush(false);
                Ok(C::abi_decode_returns(answer.as_slice()).unwrap())
            }
            Err(refusal) => {
                self.mock.cache.clear();
                self.mock.storage = storage;
                self.mock.transient.clear();
                *self.ledger.borrow_mut() = ledger;
                Err(refusal.data().to_vec())
            }
        }
    }

    pub fn ok<C: SolCall>(&mut self, sender: Address, call: C) -> C::Return {
        self.call(sender, 0, call)
            .unwrap_or_else(|data| panic!("{} refused: {data:x?}", C::SIGNATURE))
    }

    pub fn refused<E: SolError>(&mut self, sender: Address, call: impl SolCall) -> E {
        let data = self.call(sender, 0, call).err().expect("a refusal");
        E::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data:x?}"))
    }

    /// Time passes, and with it the transaction ends.
    pub fn pass(&mut self, seconds: u64) {
        self.mock.end_transaction();
        self.mock.now += seconds;
    }

    /// The vault pays as `Limited.sol` does: units that pass, and the item of the rest.
    pub fn pay(&mut self, asset: Address, to: Address, amount: u128) -> (u128, U256) {
        let outflow = ICordonLimiter::outflowCall {
            asset,
            class: 0,
            account: to,
            amount: U256::from(amount),
        };
        let passed = u128::try_from(self.ok(VAULT, outflow)).unwrap();
        assert!(passed <= amount);
        self.ledger.borrow_mut().transfer(asset, VAULT, to, U256::from(passed));
        let rest = amount - passed;
        if rest == 0 {
            return (passed, U256::ZERO);
        }
        let quarantine = ICordonLimiter::quarantineCall {
            asset,
            class: 0,
            amount: U256::from(rest),
            recipient: to,
        };
        let value = if asset == NATIVE { rest } else { 0 };
        if asset != NATIVE {
            assert!(self
                .ledger
                .borrow_mut()
                .transfer(asset, VAULT, LIMITER, U256::from(rest)));
        }
        (passed, self.call(VAULT, value, quarantine).unwrap())
    }

    pub fn held(&self, asset: Address) -> U256 {
        self.ledger.borrow().of(asset, LIMITER)
    }
}

/// So many units of an asset a day for the vault.
pub fn limit(asset: Address, units: u128) -> ICordonLimiter::setLimitCall {
    ICordonLimiter::setLimitCall {
        protocol: VAULT,
        asset,
        class: 0,
        limit: ICordonLimiter::Limit {
            units,
            period: DAY.try_into().unwrap(),
            share: 0,
            scope: 3,
            rebasing: false,
            elastic: false,
        },
    }
}
