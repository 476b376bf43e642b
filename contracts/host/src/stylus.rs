//! [`Host`] on the hooks of the Stylus VM. All unsafe code of the guard is here.
#![allow(unsafe_code)]

use crate::{CallKind, Host};
use alloy_primitives::{Address, B256, U256};
use core::ptr::addr_of;

mod hooks {
    #[link(wasm_import_module = "vm_hooks")]
    extern "C" {
        pub(super) fn read_args(dest: *mut u8);
        pub(super) fn write_result(data: *const u8, len: usize);
        pub(super) fn exit_early(status: u32) -> !;
        pub(super) fn pay_for_memory_grow(pages: u16);
        pub(super) fn msg_sender(dest: *mut u8);
        pub(super) fn msg_value(dest: *mut u8);
        pub(super) fn contract_address(dest: *mut u8);
        pub(super) fn block_timestamp() -> u64;
        pub(super) fn block_number() -> u64;
        pub(super) fn evm_gas_left() -> u64;
        pub(super) fn storage_load_bytes32(key: *const u8, dest: *mut u8);
        pub(super) fn storage_cache_bytes32(key: *const u8, value: *const u8);
        pub(super) fn storage_flush_cache(clear: bool);
        pub(super) fn transient_load_bytes32(key: *const u8, dest: *mut u8);
        pub(super) fn transient_store_bytes32(key: *const u8, value: *const u8);
        pub(super) fn call_contract(
            to: *const u8,
            data: *const u8,
            len: usize,
            value: *const u8,
            gas: u64,
            out: *mut usize,
        ) -> u8;
        pub(super) fn static_call_contract(to: *const u8, data: *const u8, len: usize, gas: u64, out: *mut usize)
            -> u8;
        pub(super) fn delegate_call_contract(
            to: *const u8,
            data: *const u8,
            len: usize,
            gas: u64,
            out: *mut usize,
        ) -> u8;
        pub(super) fn return_data_size() -> usize;
        pub(super) fn read_return_data(dest: *mut u8, offset: usize, size: usize) -> usize;
        pub(super) fn account_balance(account: *const u8, dest: *mut u8);
        pub(super) fn account_codehash(account: *const u8, dest: *mut u8);
        pub(super) fn account_code_size(account: *const u8) -> usize;
        pub(super) fn account_code(account: *const u8, offset: usize, size: usize, dest: *mut u8) -> usize;
        pub(super) fn native_keccak256(data: *const u8, len: usize, dest: *mut u8);
        pub(super) fn emit_log(data: *const u8, len: usize, topics: usize);
    }

    extern "C" {
        /// Where the linker's data ends; memory from here on is free.
        pub(super) static __heap_base: u8;
    }
}

/// The running program's VM.
pub type Stylus = Vm<true, false>;

/// The VM of a program that evaluates rules, or none (see [`Host::RULES`]), with statistics or without ([`Host::STATISTICS`]).
#[derive(Debug, Default)]
pub struct Vm<const RULES: bool, const STATISTICS: bool> {
    /// Bytes handed out by [`Vm::scratch`].
    used: usize,
}

/// Ends the program: the frame reverts with this data, and with it everything that it did.
pub fn revert(data: &[u8]) -> ! {
    // SAFETY: the hook reads the slice; `exit_early` does not return.
    unsafe {
        hooks::write_result(data.as_ptr(), data.len());
        hooks::exit_early(1)
    }
}

const PAGE: usize = 65_536;

impl<const RULES: bool, const STATISTICS: bool> Vm<RULES, STATISTICS> {
    /// Copies the frame's calldata into `buffer`, which must be as long as the calldata is (the length that the VM passes
    /// to the entry point): a shorter one gets nothing and `false` is answered.
    pub fn read_args(&mut self, len: usize, buffer: &mut [u8]) -> bool {
        if buffer.len() < len {
            return false;
        }
        // SAFETY: the hook writes `len` bytes, and the buffer has at least as many.
        unsafe { hooks::read_args(buffer.as_mut_ptr()) };
        true
    }

    /// `len` zeroed bytes for the rest of the frame, from the program's first page as long as that lasts. The VM limits
    /// calldata and return data to far less than what could wrap these sums. Only for programs
    /// that have no allocator: it would use the same memory.
    pub fn scratch(&mut self, len: usize) -> &'static mut [u8] {
        let base = addr_of!(hooks::__heap_base) as usize;
        let start = base.wrapping_add(self.used);
        let end = start.wrapping_add(len);
        let have = core::arch::wasm32::memory_size::<0>().wrapping_mul(PAGE);
        if end > have {
            let pages = (end - have).div_ceil(PAGE);
            if core::arch::wasm32::memory_grow::<0>(pages) == usize::MAX {
                core::arch::wasm32::unreachable();
            }
        }
        self.used = self.used.wrapping_add(len);
        // SAFETY: the range lies within memory, behind all data of the program, and is handed out once; the VM zeroes it.
        unsafe { core::slice::from_raw_parts_mut(start as *mut u8, len) }
    }

    /// Keeps the hook that the VM demands of every program whose memory may grow.
    pub fn declare_memory(&self) {
        // SAFETY: no memory is touched.
        unsafe { hooks::pay_for_memory_grow(0) }
    }
}

// SAFETY (of every block below): the hooks read and write exactly the ranges that are passed: 20 bytes of an address,
// 32 bytes of a word, or a slice with its own length.
impl<const RULES: bool, const STATISTICS: bool> Host for Vm<RULES, STATISTICS> {
    const RULES: bool = RULES;
    const STATISTICS: bool = STATISTICS;

    fn sender(&self) -> Address {
        let mut out = Address::ZERO;
        unsafe { hooks::msg_sender(out.as_mut_ptr()) };
        out
    }

    fn address(&self) -> Address {
        let mut out = Address::ZERO;
        unsafe { hooks::contract_address(out.as_mut_ptr()) };
        out
    }

    fn has_value(&self) -> bool {
        let mut out = B256::ZERO;
        unsafe { hooks::msg_value(out.as_mut_ptr()) };
        out != B256::ZERO
    }

    fn now(&self) -> u64 {
        unsafe { hooks::block_timestamp() }
    }

    fn block(&self) -> u64 {
        unsafe { hooks::block_number() }
    }

    fn gas_left(&self) -> u64 {
        unsafe { hooks::evm_gas_left() }
    }

    fn load(&self, key: &B256) -> B256 {
        let mut out = B256::ZERO;
        unsafe { hooks::storage_load_bytes32(key.as_ptr(), out.as_mut_ptr()) };
        out
    }

    fn store(&mut self, key: &B256, value: &B256) {
        unsafe { hooks::storage_cache_bytes32(key.as_ptr(), value.as_ptr()) };
    }

    fn flush(&mut self, clear: bool) {
        unsafe { hooks::storage_flush_cache(clear) };
    }

    fn load_transient(&self, key: &B256) -> B256 {
        let mut out = B256::ZERO;
        unsafe { hooks::transient_load_bytes32(key.as_ptr(), out.as_mut_ptr()) };
        out
    }

    fn store_transient(&mut self, key: &B256, value: &B256) {
        unsafe { hooks::transient_store_bytes32(key.as_ptr(), value.as_ptr()) };
    }

    fn call(&mut self, kind: CallKind, target: &Address, input: &[u8], gas: u64) -> bool {
        let (to, data, len) = (target.as_ptr(), input.as_ptr(), input.len());
        let mut size = 0usize;
        let out = core::ptr::addr_of_mut!(size);
        let status = unsafe {
            match kind {
                CallKind::Call => hooks::call_contract(to, data, len, B256::ZERO.as_ptr(), gas, out),
                CallKind::Static => hooks::static_call_contract(to, data, len, gas, out),
                CallKind::Delegate => hooks::delegate_call_contract(to, data, len, gas, out),
            }
        };
        status == 0
    }

    fn return_data_len(&self) -> usize {
        unsafe { hooks::return_data_size() }
    }

    fn return_data(&self, offset: usize, buffer: &mut [u8]) -> usize {
        unsafe { hooks::read_return_data(buffer.as_mut_ptr(), offset, buffer.len()) }
    }

    fn result(&mut self, data: &[u8]) {
        unsafe { hooks::write_result(data.as_ptr(), data.len()) };
    }

    fn balance(&self, account: &Address) -> U256 {
        let mut out = B256::ZERO;
        unsafe { hooks::account_balance(account.as_ptr(), out.as_mut_ptr()) };
        crate::layout::to_number(out)
    }

    fn code_hash(&self, account: &Address) -> B256 {
        let mut out = B256::ZERO;
        unsafe { hooks::account_codehash(account.as_ptr(), out.as_mut_ptr()) };
        out
    }

    fn code_len(&self, account: &Address) -> usize {
        unsafe { hooks::account_code_size(account.as_ptr()) }
    }

    fn code(&self, account: &Address, offset: usize, buffer: &mut [u8]) -> usize {
        unsafe { hooks::account_code(account.as_ptr(), offset, buffer.len(), buffer.as_mut_ptr()) }
    }

    fn keccak(&self, data: &[u8]) -> B256 {
        let mut out = B256::ZERO;
        unsafe { hooks::native_keccak256(data.as_ptr(), data.len(), out.as_mut_ptr()) };
        out
    }

    fn log(&mut self, record: &[u8], topics: usize) {
        unsafe { hooks::emit_log(record.as_ptr(), record.len(), topics) };
    }
}
