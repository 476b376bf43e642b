//! Entry point of the WASM program.
#![allow(unsafe_code, unreachable_pub)]

use crate::{run, Outcome};
use cordon_host::{Host, Stylus};
use core::alloc::{GlobalAlloc, Layout};

/// Calldata of `enter`; anything longer is for the logic.
const SHORT: usize = 164;

/// A crate of the types used here wants an allocator to exist. The gate allocates nothing.
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
    let mut short = [0; SHORT];
    let buffer: &mut [u8] = if len <= SHORT { &mut short } else { vm.scratch(len) };
    if !vm.read_args(len, buffer) {
        return 1;
    }
    let Some(input) = buffer.get(..len) else { return 1 };
    match run(&mut vm, input) {
        Outcome::Done => 0,
        Outcome::Word(word) => {
            vm.result(word.as_slice());
            0
        }
        Outcome::Refused(data) => {
            vm.result(data.as_slice());
            1
        }
        Outcome::Forwarded { success } => {
            vm.declare_memory();
            let answer = vm.scratch(vm.return_data_len());
            vm.return_data(0, answer);
            vm.result(answer);
            usize::from(!success)
        }
    }
}
