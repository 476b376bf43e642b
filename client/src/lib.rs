//! Cordon's client side: the configuration file and what it means, the guard as seen from outside the chain, and how its
//! programs are built, deployed and looked at.

pub mod abi;
pub mod build;
pub mod chain;
pub mod compile;
pub mod config;
pub mod deploy;
pub mod guard;
pub mod import;
pub mod limiter;
pub mod observe;
pub mod operate;
pub mod playbook;
pub mod precompiles;
pub mod program;
pub mod revert;
pub mod status;

pub use compile::{CompiledConfig, ContainmentMeta, RuleMeta, SetMeta};
pub use config::{Config, ConfigError};
// The vocabulary of what the client answers, so that who shows it need not know the core.
pub use cordon_core::bounds::HEARTBEAT_MAX_AGE;
pub use cordon_core::rule::{Class, Int, Verdict};
pub use cordon_core::stream::{Spec, Stored};
pub use cordon_core::{Action, ActionSet, Level, Matrix};
pub use deploy::{DeployError, Deployment};
pub use status::{GuardStatus, status};
