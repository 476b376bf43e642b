//! Cordon's client side: the configuration file and what it means, and the guard as seen from outside the chain.

pub mod abi;
pub mod compile;
pub mod config;
pub mod guard;

pub use compile::{CompiledConfig, ContainmentMeta, RuleMeta};
pub use config::{Config, ConfigError};
