//! What the limiter asks of the VM besides [`Host`]: value.

use alloy_primitives::{Address, U256};
use cordon_host::Host;

/// A VM in which value can be held and sent.
pub trait Purse: Host {
    /// Value that was sent with the call, in wei.
    fn value(&self) -> U256;
    /// Sends wei, with all gas. Answers whether the recipient took it.
    fn send(&mut self, to: &Address, wei: &U256) -> bool;
    /// Gives wei to an account whether it takes them or not. Answers whether it has them now.
    fn force(&mut self, to: &Address, wei: &U256) -> bool;
}

#[cfg(target_arch = "wasm32")]
mod stylus {
    #![allow(unsafe_code)]

    use super::Purse;
    use alloy_primitives::{Address, B256, U256};
    use cordon_host::{layout, Stylus};

    mod hooks {
        #[link(wasm_import_module = "vm_hooks")]
        extern "C" {
            pub(super) fn msg_value(dest: *mut u8);
            pub(super) fn call_contract(
                to: *const u8,
                data: *const u8,
                len: usize,
                value: *const u8,
                gas: u64,
                out: *mut usize,
            ) -> u8;
            pub(super) fn create1(
                code: *const u8,
                len: usize,
                value: *const u8,
                contract: *mut u8,
                revert_data_len: *mut usize,
            );
        }
    }

    // SAFETY (of every block below): the hooks read and write exactly 20 bytes of an address, 32 of a word, the
    // length and as many bytes of code as they are told of.
    /// What a contract does while it is created, before and after the address that it leaves its value to: PUSH20, SELFDESTRUCT.
    const PUSH_ADDRESS: u8 = 0x73;
    const LEAVE_ALL: u8 = 0xff;

    impl Purse for Stylus {
        fn value(&self) -> U256 {
            let mut out = B256::ZERO;
            unsafe { hooks::msg_value(out.as_mut_ptr()) };
            layout::to_number(out)
        }

        fn send(&mut self, to: &Address, wei: &U256) -> bool {
            let value = layout::from_number(wei);
            let mut size = 0usize;
            let out = core::ptr::addr_of_mut!(size);
            // No data: the pointer is not read from.
            unsafe { hooks::call_contract(to.as_ptr(), value.as_ptr(), 0, value.as_ptr(), u64::MAX, out) == 0 }
        }

        fn force(&mut self, to: &Address, wei: &U256) -> bool {
            let mut code = [LEAVE_ALL; 22];
            let (first, rest) = code.split_at_mut(1);
            first.fill(PUSH_ADDRESS);
            rest.iter_mut()
                .zip(to.as_slice())
                .for_each(|(byte, from)| *byte = *from);
            let value = layout::from_number(wei);
            let (mut contract, mut size) = (Address::ZERO, 0usize);
            let out = core::ptr::addr_of_mut!(size);
            unsafe {
                hooks::create1(
                    code.as_ptr(),
                    code.len(),
                    value.as_ptr(),
                    contract.0 .0.as_mut_ptr(),
                    out,
                )
            };
            contract != Address::ZERO
        }
    }
}
