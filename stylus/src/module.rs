//! Validation and instrumentation of modules: from what is deployed to what an engine runs.
//!
//! [`prepare`] is independent of any engine and deterministic: equal bytes and parameters give equal instrumented bytes.

mod body;
mod build;
mod error;
mod instrument;
mod limits;
mod names;
mod sections;
#[cfg(test)]
mod tests;

pub use error::ModuleError;

use crate::pricing::Params;

/// Exported function that runs a program: takes the length of the calldata, returns 0 for success.
pub const ENTRYPOINT: &str = "user_entrypoint";
/// Exported memory of a program.
pub const MEMORY: &str = "memory";
/// Exported mutable i64 global of an instrumented module: ink left. The host sets it before a call.
pub const INK_LEFT: &str = "stylus_ink_left";
/// Exported mutable i32 global: not 0 = the program ran out of ink.
pub const INK_STATUS: &str = "stylus_ink_status";
/// Exported mutable i32 global: words of stack left; 0 after a trap = stack overflow. The host sets it before a call.
pub const STACK_LEFT: &str = "stylus_stack_left";

/// A module that may be activated, instrumented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The instrumented module. Exports [`ENTRYPOINT`], [`MEMORY`], [`INK_LEFT`], [`INK_STATUS`] and [`STACK_LEFT`].
    pub wasm: Vec<u8>,
    /// Sizes and predicted costs.
    pub info: ProgramInfo,
}

/// Sizes of a module and the costs predicted from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Functions of the module's own.
    pub functions: u64,
    /// Parameters and results of all own functions together.
    pub type_len: u64,
    /// Bytes of the decompressed module.
    pub wasm_len: u64,
    /// Globals including the four of the instrumentation.
    pub globals: u64,
    /// Payload bytes of the data segments.
    pub data_bytes: u64,
    /// Encoded bytes of the data segments, headers included.
    pub data_len: u64,
    /// Encoded bytes of the element segments, headers included.
    pub element_len: u64,
    /// Initial memory in pages.
    pub footprint: u16,
    /// Operators of all functions after instrumentation.
    pub operators: u64,
    /// Own gas of an uncached entry.
    pub init_cost: u16,
    /// Own gas of a cached entry.
    pub cached_cost: u16,
    /// Estimated bytes of native code.
    pub asm_estimate: u32,
}

/// Validates and instruments a decompressed module.
///
/// `open_pages` are the pages that the transaction has open already (0 when a stored program is prepared to run).
///
/// # Errors
/// The first rule that the module breaks.
pub fn prepare(wasm: &[u8], params: &Params, open_pages: u16) -> Result<Prepared, ModuleError> {
    if u64::try_from(wasm.len()).unwrap_or(u64::MAX) > u64::from(params.max_wasm_size) {
        return Err(ModuleError::TooLarge {
            len: wasm.len(),
            max: params.max_wasm_size,
        });
    }
    build::Builder::new(params, open_pages).build(wasm)
}
