//! The hooks of the VM that the guard uses, as a trait.

use alloy_primitives::{Address, B256, U256};

/// How another account's code is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// In its own storage; it may change state. No value is ever sent.
    Call,
    /// In its own storage, without changing any state.
    Static,
    /// In the guard's storage, as the guard: only ever the logic program.
    Delegate,
}

/// The VM as seen by the guard. Storage written with [`Host::store`] is cached by the VM and lost unless it is flushed.
pub trait Host {
    /// Whether the program evaluates rules, which may look at the transaction and at what the guard stored. One that evaluates nothing but
    /// conditions on the state leaves that code out.
    const RULES: bool = true;
    /// Whether it evaluates rules over statistics too. One that does not asks one that does.
    const STATISTICS: bool = true;

    /// The caller of the running frame.
    fn sender(&self) -> Address;
    /// The account whose storage the frame runs in: the guard.
    fn address(&self) -> Address;
    /// Whether the frame was called with value. The guard takes none.
    fn has_value(&self) -> bool;
    /// Time of the block, Unix seconds.
    fn now(&self) -> u64;
    /// Number of the block, as the VM numbers them: on Arbitrum the estimate of the parent chain's block.
    fn block(&self) -> u64;
    /// Gas that is left to the frame.
    fn gas_left(&self) -> u64;

    /// Reads a storage word.
    fn load(&self, key: &B256) -> B256;
    /// Writes a storage word to the VM's cache.
    fn store(&mut self, key: &B256, value: &B256);
    /// Persists the written words. With `clear` the cache is emptied too, so that later reads see what other frames wrote.
    fn flush(&mut self, clear: bool);
    /// Reads a word of transient storage.
    fn load_transient(&self, key: &B256) -> B256;
    /// Writes a word of transient storage, at once.
    fn store_transient(&mut self, key: &B256, value: &B256);

    /// Runs `target` with at most `gas`. Answers whether it succeeded; its answer or revert data is then the return data.
    fn call(&mut self, kind: CallKind, target: &Address, input: &[u8], gas: u64) -> bool;
    /// Length in bytes of the latest call's return data.
    fn return_data_len(&self) -> usize;
    /// Copies return data from `offset` on into `buffer`; answers how many bytes there were.
    fn return_data(&self, offset: usize, buffer: &mut [u8]) -> usize;
    /// Sets the frame's result (or its revert data).
    fn result(&mut self, data: &[u8]);

    /// Balance of an account in wei.
    fn balance(&self, account: &Address) -> U256;
    /// Hash of an account's code; that of empty code when it has none.
    fn code_hash(&self, account: &Address) -> B256;
    /// Length in bytes of an account's code.
    fn code_len(&self, account: &Address) -> usize;
    /// Copies an account's code from `offset` on into `buffer`; answers how many bytes there were.
    fn code(&self, account: &Address, offset: usize, buffer: &mut [u8]) -> usize;

    /// Keccak-256.
    fn keccak(&self, data: &[u8]) -> B256;
    /// Emits a log: `topics` (at most four) words at the head of `record`, then the data.
    fn log(&mut self, record: &[u8], topics: usize);
}
