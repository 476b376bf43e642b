//! The program: the Stylus SDK's entry point around [`dispatch`].
#![allow(missing_docs, unreachable_pub, unsafe_code)] // what the SDK's macro generates

use crate::{dispatch, Guard};
use alloc::vec::Vec;
use cordon_host::Stylus;
use stylus_sdk::{host::VM, prelude::*, ArbResult};

#[entrypoint]
fn run(input: Vec<u8>, _vm: VM) -> ArbResult {
    // A refusal has ended the program already.
    let Ok(answer) = dispatch(&mut Guard::new(Stylus::default()), &input);
    Ok(answer)
}
