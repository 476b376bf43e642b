//! Compiled programs, shared by all executions.

/// Instrumented and compiled programs by code hash and Stylus version. Shared between threads in an `Arc`.
#[derive(Debug, Default)]
pub struct ProgramCache {}

impl ProgramCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
