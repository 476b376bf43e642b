//! What things cost: the Stylus parameters, ink per operator and per hook, memory pages, and entering a program.
//!
//! Ink is the fine unit (10,000 ink = 1 gas by default). Everything here is a pure function of its arguments.

pub mod entry;
pub mod hooks;
pub(crate) mod opcode;
pub mod pages;
mod params;

pub use entry::{cached_gas, call_gas, init_gas, return_data_gas};
pub use opcode::{BLOCK_HEADER_INK, BULK_BYTE_INK};
pub use pages::{PAGE_EXPONENT, memory_cost};
pub use params::{
    ARBOS_CHARGING_FIXES, ARBOS_FRAGMENTS, ARBOS_RETURN_DATA_FLOOR, ARBOS_STYLUS_V3, ARBOS_WASM_SIZE_PARAM, Params,
};
pub(crate) use params::{Packer, Unpacker};
