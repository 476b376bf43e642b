//! A native stand-in for the VM, for unit tests: one account's storage, and a world of scripted contracts.

use crate::{CallKind, Host};
use alloy_primitives::{keccak256, Address, B256, U256};
use std::{
    boxed::Box,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    vec::Vec,
};

/// Storage as other frames see it: what was flushed.
pub type Storage = BTreeMap<B256, B256>;

/// Answers a call: the guard's flushed storage, calldata, and whether the call is static.
pub type Script = Box<dyn FnMut(&mut Storage, &[u8], bool) -> Result<Vec<u8>, Vec<u8>>>;

/// A log as it was emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its topics.
    pub topics: Vec<B256>,
    /// Its data.
    pub data: Vec<u8>,
}

/// A call that the guard made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// How.
    pub kind: CallKind,
    /// Whom.
    pub target: Address,
    /// With what.
    pub input: Vec<u8>,
    /// With how much gas at most.
    pub gas: u64,
}

/// The account that the mock's frames run in.
pub const ACCOUNT: Address = Address::repeat_byte(0xcc);

/// The mock of a program that can do all.
pub type MockHost = Mock<true>;

/// The mock of a program that has rules over statistics evaluated by another one.
pub type LeanHost = Mock<false>;

/// The mock. Fields are for tests to set and look at.
#[derive(Default)]
pub struct Mock<const STATISTICS: bool> {
    /// Caller of the frame.
    pub sender: Address,
    /// Whether value was sent.
    pub value: bool,
    /// Block time.
    pub now: u64,
    /// Number of the block.
    pub block: u64,
    /// Gas that every query answers.
    pub gas: u64,
    /// What was flushed.
    pub storage: Storage,
    /// What was written and not flushed.
    pub cache: Storage,
    /// Transient storage.
    pub transient: Storage,
    /// What a script that calls back finds in transient storage: a copy, made before each call.
    pub seen: Rc<RefCell<Storage>>,
    /// Logs, oldest first.
    pub logs: Vec<Log>,
    /// Calls, oldest first.
    pub calls: Vec<Call>,
    /// How many storage words were read since the last [`Mock::begin`].
    pub loads: Cell<usize>,
    code: BTreeMap<Address, Vec<u8>>,
    scripts: BTreeMap<Address, Script>,
    balances: BTreeMap<Address, U256>,
    returned: Vec<u8>,
    result: Vec<u8>,
}

impl<const STATISTICS: bool> Mock<STATISTICS> {
    /// A world at `now` with plenty of gas.
    #[must_use]
    pub fn at(now: u64) -> Self {
        Self {
            now,
            gas: 30_000_000,
            ..Self::default()
        }
    }

    /// Begins a call by `sender`: unflushed writes, logs and calls of the one before are forgotten.
    pub fn begin(&mut self, sender: Address) {
        self.sender = sender;
        self.cache.clear();
        self.logs.clear();
        self.calls.clear();
        self.loads.set(0);
    }

    /// Ends a transaction: transient storage is emptied.
    pub fn end_transaction(&mut self) {
        self.transient.clear();
    }

    /// Gives an account code, and a script that runs when it is called.
    pub fn contract<F>(&mut self, account: Address, code: &[u8], script: F)
    where
        F: FnMut(&mut Storage, &[u8], bool) -> Result<Vec<u8>, Vec<u8>> + 'static,
    {
        self.code.insert(account, code.to_vec());
        self.scripts.insert(account, Box::new(script));
    }

    /// Gives an account code that answers nothing.
    pub fn data_account(&mut self, account: Address, code: &[u8]) {
        self.contract(account, code, |_, _, _| Ok(Vec::new()));
    }

    /// Sets a balance in wei.
    pub fn fund(&mut self, account: Address, wei: U256) {
        self.balances.insert(account, wei);
    }

    /// The frame's result.
    #[must_use]
    pub fn result_data(&self) -> &[u8] {
        &self.result
    }
}

impl<const STATISTICS: bool> Host for Mock<STATISTICS> {
    const STATISTICS: bool = STATISTICS;

    fn sender(&self) -> Address {
        self.sender
    }

    fn address(&self) -> Address {
        ACCOUNT
    }

    fn has_value(&self) -> bool {
        self.value
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn gas_left(&self) -> u64 {
        self.gas
    }

    fn load(&self, key: &B256) -> B256 {
        self.loads.set(self.loads.get().saturating_add(1));
        self.cache
            .get(key)
            .or_else(|| self.storage.get(key))
            .copied()
            .unwrap_or_default()
    }

    fn store(&mut self, key: &B256, value: &B256) {
        self.cache.insert(*key, *value);
    }

    fn flush(&mut self, _clear: bool) {
        self.storage.append(&mut self.cache);
    }

    fn load_transient(&self, key: &B256) -> B256 {
        self.transient.get(key).copied().unwrap_or_default()
    }

    fn store_transient(&mut self, key: &B256, value: &B256) {
        self.transient.insert(*key, *value);
    }

    fn call(&mut self, kind: CallKind, target: &Address, input: &[u8], gas: u64) -> bool {
        self.calls.push(Call {
            kind,
            target: *target,
            input: input.to_vec(),
            gas,
        });
        self.seen.borrow_mut().clone_from(&self.transient);
        let answer = match self.scripts.get_mut(target) {
            Some(script) => script(&mut self.storage, input, kind == CallKind::Static),
            None => Ok(Vec::new()),
        };
        let success = answer.is_ok();
        self.returned = answer.unwrap_or_else(|data| data);
        success
    }

    fn return_data_len(&self) -> usize {
        self.returned.len()
    }

    fn return_data(&self, offset: usize, buffer: &mut [u8]) -> usize {
        copy(&self.returned, offset, buffer)
    }

    fn result(&mut self, data: &[u8]) {
        self.result = data.to_vec();
    }

    fn balance(&self, account: &Address) -> U256 {
        self.balances.get(account).copied().unwrap_or_default()
    }

    fn code_hash(&self, account: &Address) -> B256 {
        keccak256(self.code.get(account).map_or(&[][..], Vec::as_slice))
    }

    fn code_len(&self, account: &Address) -> usize {
        self.code.get(account).map_or(0, Vec::len)
    }

    fn code(&self, account: &Address, offset: usize, buffer: &mut [u8]) -> usize {
        copy(self.code.get(account).map_or(&[][..], Vec::as_slice), offset, buffer)
    }

    fn keccak(&self, data: &[u8]) -> B256 {
        keccak256(data)
    }

    fn log(&mut self, record: &[u8], topics: usize) {
        let (head, data) = record.split_at_checked(topics.saturating_mul(32)).unwrap_or_default();
        let topics = head.chunks_exact(32).map(B256::from_slice).collect();
        self.logs.push(Log {
            topics,
            data: data.to_vec(),
        });
    }
}

fn copy(from: &[u8], offset: usize, to: &mut [u8]) -> usize {
    to.iter_mut()
        .zip(from.iter().skip(offset))
        .map(|(to, from)| *to = *from)
        .count()
}
