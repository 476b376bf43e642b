//! Which settings can work together.

use std::time::Duration;

use cordon_stylus::arbos;

use crate::{config::NodeConfig, error::NodeError};

/// The most development accounts.
const MAX_ACCOUNTS: u32 = 1_000;

/// Cost of the smallest transaction.
pub(crate) const MIN_GAS_LIMIT: u64 = 21_000;

/// The version of ArbOS that brought Stylus.
const FIRST_ARBOS: u64 = 30;

/// Refuses settings that contradict each other or cannot work.
pub(crate) fn validate(config: &NodeConfig) -> Result<(), NodeError> {
    let fail = |field, reason: &str| {
        Err(NodeError::Config {
            field,
            reason: reason.to_owned(),
        })
    };
    if config.fork_block_number.is_some() && config.fork_url.is_none() {
        return fail("fork_block_number", "needs a fork_url");
    }
    let places = [
        config.fork_block_number.is_some(),
        config.fork_blocks_back.is_some(),
        config.fork_transaction_hash.is_some(),
    ];
    let places = places.into_iter().filter(|given| *given).count();
    if places > 0 && config.fork_url.is_none() {
        return fail("fork_transaction_hash", "needs a fork_url");
    }
    if places > 1 {
        return fail(
            "fork_block_number",
            "a block, a distance from the newest one and a transaction exclude each other: choose one",
        );
    }
    if config.genesis.is_some() && config.fork_url.is_some() {
        return fail(
            "genesis",
            "excludes fork_url: a fork begins with the state of its chain",
        );
    }
    if config.mixed_mining && config.block_time.is_none() {
        return fail("mixed_mining", "needs a block_time");
    }
    if config.state.interval.is_some() && config.state.dump.is_none() {
        return fail("state.interval", "needs a file to write to, state.dump");
    }
    if config.transaction_blocks == Some(0) {
        return fail("transaction_blocks", "must be at least one block");
    }
    if config.block_time.is_some_and(|time| time < Duration::from_millis(1)) {
        return fail(
            "block_time",
            "must be at least one millisecond; leave it out to mine every transaction at once",
        );
    }
    if config.no_mining && config.block_time.is_some() {
        return fail("no_mining", "excludes block_time: choose one");
    }
    if !(FIRST_ARBOS..=arbos::NEWEST).contains(&config.arbos_version) {
        return fail(
            "arbos_version",
            "must be 30 to 60: the versions of ArbOS that run Stylus programs and are known here",
        );
    }
    if config.accounts > MAX_ACCOUNTS {
        return fail("accounts", "at most 1,000");
    }
    if config.gas_limit.is_some_and(|limit| limit < MIN_GAS_LIMIT) {
        return fail(
            "gas_limit",
            "must be at least 21,000, the cost of the smallest transaction",
        );
    }
    if config.history == 0 {
        return fail("history", "must be at least one block");
    }
    if config.max_transactions == 0 {
        return fail("max_transactions", "must be at least one");
    }
    Ok(())
}
