//! A JSON-RPC node for tests and drills: what anvil is to the EVM, for chains that run Stylus programs.
//!
//! It forks any Ethereum or Arbitrum endpoint (or starts a fresh chain), mines on top of it, and speaks the `eth_`, `anvil_`,
//! `evm_`, `debug_` and `txpool_` methods that Foundry, alloy, viem and `cargo stylus` use, over HTTP and WebSocket on one port.
//! [`spawn`] starts one inside this process, on threads of its own.

mod chain;
mod clock;
mod config;
mod cors;
mod dump;
mod endpoint;
mod error;
mod evm;
mod fork;
mod handle;
mod historical;
#[cfg(unix)]
mod ipc;
mod lineage;
mod node;
mod payment;
mod pending;
mod place;
mod pool;
mod producer;
mod programs;
mod replace;
mod restore;
mod rpc;
mod save;
mod seal;
mod session;
mod setup;
mod signature;
mod state;
mod trace;
mod transaction;
mod typed_data;
mod upstream;
mod validate;
mod wire;
mod ws;

pub use config::{
    DEFAULT_CHAIN_ID, DEFAULT_DERIVATION_PATH, DEFAULT_MNEMONIC, EngineChoice, ForkRequests, Hardfork, KeptPrograms,
    NodeConfig, StateFiles, TRANSACTION_GAS_CAP, TransactionOrder,
};
pub use error::NodeError;
pub use handle::{ChainStart, NodeHandle, spawn};
