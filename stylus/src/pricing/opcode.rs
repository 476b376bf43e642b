//! Ink per operator.

/// Ink of a basic block's own metering, added to its operators.
pub const BLOCK_HEADER_INK: u64 = 2_450;
/// Ink per byte of `memory.copy` and `memory.fill`.
pub const BULK_BYTE_INK: u64 = 100;
