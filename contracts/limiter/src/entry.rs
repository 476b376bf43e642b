//! Entry point of the WASM program.
#![allow(unsafe_code, unreachable_pub)]

use crate::abi::INPUT;
use crate::dispatch;
use cordon_host::{Host, Stylus};
use core::alloc::{GlobalAlloc, Layout};

/// A crate of the types used here wants an allocator to exist. The limiter allocates nothing.
struct Refuse;

// SAFETY: null says that there is no memory.
unsafe impl GlobalAlloc for Refuse {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Refuse = Refuse;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

/// Called by the VM with the length of the calldata; 0 is success, 1 a revert.
#[no_mangle]
pub extern "C" fn user_entrypoint(len: usize) -> usize {
    let mut vm = Stylus::default();
    let mut buffer = [0; INPUT];
    // Longer calldata than that of any function is not of the ABI.
    if len > INPUT || !vm.read_args(len, &mut buffer) {
        return 1;
    }
    vm.declare_memory();
    let Some(input) = buffer.get(..len) else { return 1 };
    // A refusal has ended the program already.
    let Ok(answer) = dispatch(&mut vm, input);
    vm.flush(false);
    vm.result(answer.as_slice());
    0
}
