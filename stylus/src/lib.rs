//! Runs Arbitrum Stylus programs inside revm, with Arbitrum's metering, precompiles and state.
//!
//! `code` and `module` turn an account's code into an instrumented WASM module, `pricing` and `activation` say what that
//! costs; `run` executes a module as a coroutine, `hooks` are its host functions, `evm` joins program frames and EVM
//! frames in one frame loop. `arbos`, `precompile` and `genesis` are the parts of Arbitrum that programs and their tools rely on.

pub mod activation;
pub mod arbos;
pub mod cache;
pub mod code;
pub mod evm;
pub mod genesis;
pub mod hooks;
pub mod install;
pub mod module;
pub mod precompile;
pub mod pricing;
pub mod run;

pub use cache::{CacheOptions, EngineChoice, ProgramCache};
pub use evm::{BlockContext, Listener, RecentPrograms, StylusContext, StylusEvm};
pub use precompile::Signatures;
