//! Limits of the chain's validator.

use super::ModuleError;

/// Functions of the module's own.
pub(super) const FUNCTIONS: u64 = 4_096;
/// Data segments.
pub(super) const DATA_SEGMENTS: u64 = 128;
/// Element segments.
pub(super) const ELEMENT_SEGMENTS: u64 = 128;
/// Encoded bytes of all element segments.
pub(super) const ELEMENT_BYTES: u64 = 4_096;
/// Initial entries of all tables.
pub(super) const TABLE_ENTRIES: u64 = 4_096;
/// Globals, those of the instrumentation included.
pub(super) const GLOBALS: u64 = 32_768;
/// Imports, since the charging fixes.
pub(super) const IMPORTS: u64 = 513;
/// Exports that are kept.
pub(super) const EXPORTS: u64 = 1_024;
/// Declared locals of a function, parameters excluded.
pub(super) const LOCALS: u64 = 348;
/// Operators of a function after instrumentation.
pub(super) const OPERATORS: u64 = 65_536;
/// Values that a function may have on the operand stack at once.
pub(super) const STACK_VALUES: u64 = 4_096;
/// Words of a function's frame.
pub(super) const FRAME_WORDS: u32 = 10_240;
/// Bytes of the module's name, and on debug chains of an export's name.
pub(super) const NAME_BYTES: u64 = 512;
/// Initial pages of memory, whatever the chain's parameter says (8 MiB).
pub(super) const MEMORY_PAGES: u64 = 128;
/// Maximum that an instrumented memory declares.
pub(super) const MEMORY_MAX_PAGES: u64 = 65_534;
/// Values that all calls, blocks and branches of a module may pass together. The chain has no such limit; this one is far above
/// what compilers emit, and keeps a module of wide types from making validator and engine work for seconds.
pub(super) const MOVED_VALUES: u64 = 1 << 22;
/// Globals that the instrumentation adds.
pub(super) const OWN_GLOBALS: u32 = 4;

/// Refuses a count above its limit.
pub(super) fn check(what: &'static str, count: u64, limit: u64) -> Result<(), ModuleError> {
    if count > limit {
        return Err(ModuleError::TooMany { what, count, limit });
    }
    Ok(())
}

/// Refuses a body with more operators than allowed; called while a body grows, so that its size stays bounded.
pub(super) fn check_operators(len: usize) -> Result<(), ModuleError> {
    check("opcodes in func body", count(len), OPERATORS)
}

/// Refuses a name that is too long.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), ModuleError> {
    check(what, count(name.len()), NAME_BYTES)
}

/// A length as a 64-bit count.
pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
