//! What surrounds the guard's behaviour in a Stylus program.

#[cfg(target_arch = "wasm32")]
use crate::{abi::Answer, Guard};
#[cfg(target_arch = "wasm32")]
use alloc::{vec, vec::Vec};
#[cfg(target_arch = "wasm32")]
use cordon_host::{Host, Vm};

/// Makes a crate the program that answers its calls with a function of [`Guard`] and calldata: entry point, allocator, panic
/// handler. Natively it makes nothing. With `, conditions` it evaluates no rules (see `cordon_host::Host::RULES`), with `, statistics` those
/// over statistics too.
#[macro_export]
macro_rules! program {
    ($answer:path) => {
        $crate::program!(@ $answer, true, false);
    };
    ($answer:path, conditions) => {
        $crate::program!(@ $answer, false, false);
    };
    ($answer:path, statistics) => {
        $crate::program!(@ $answer, true, true);
    };
    (@ $answer:path, $rules:literal, $statistics:literal) => {
        #[cfg(target_arch = "wasm32")]
        mod entry {
            #![allow(unsafe_code, unreachable_pub)]

            use mini_alloc::MiniAlloc;

            #[global_allocator]
            static ALLOCATOR: MiniAlloc = MiniAlloc::INIT;

            #[panic_handler]
            fn panic(_: &core::panic::PanicInfo) -> ! {
                core::arch::wasm32::unreachable()
            }

            /// Called by the VM with the length of the calldata; 0 is success, 1 a revert.
            #[no_mangle]
            pub extern "C" fn user_entrypoint(len: usize) -> usize {
                cordon_logic::serve::<$rules, $statistics>(len, $answer)
            }
        }
    };
}

/// Answers the frame's call; the program's status.
#[cfg(target_arch = "wasm32")]
pub fn serve<const RULES: bool, const STATISTICS: bool>(
    len: usize,
    answer: fn(&mut Guard<Vm<RULES, STATISTICS>>, &[u8]) -> Answer<Vec<u8>>,
) -> usize {
    let mut vm = Vm::default();
    vm.declare_memory();
    let mut input = vec![0; len];
    if !vm.read_args(len, &mut input) {
        return 1;
    }
    let mut guard = Guard::new(vm);
    // A refusal has ended the program already.
    let Ok(data) = answer(&mut guard, &input);
    guard.host.flush(false);
    guard.host.result(&data);
    0
}
