//! What the flags make of the node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cordon_node::{ForkRequests, Hardfork as Rules, KeptPrograms, NodeConfig, StateFiles, TransactionOrder};
use eyre::{bail, eyre};
use url::Url;

use super::{Args, Hardfork, Order};
use crate::node::wallet::Wallet;

/// A URL, with the block that may follow it after an `@`.
fn endpoint(text: &str) -> eyre::Result<(Url, Option<u64>)> {
    if let Some((url, block)) = text.rsplit_once('@')
        && let Ok(block) = block.parse()
    {
        return Ok((parse_url(url)?, Some(block)));
    }
    Ok((parse_url(text)?, None))
}

/// The URL may hold a key and is not repeated.
fn parse_url(text: &str) -> eyre::Result<Url> {
    Url::parse(text).map_err(|error| eyre!("--fork-url is no URL: {error}"))
}

fn header(text: &str) -> eyre::Result<(String, String)> {
    let parts = text.split_once(':');
    let (name, value) = parts.ok_or_else(|| eyre!("--fork-header must be `Name: value`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    /// Where the development accounts come from.
    pub(in crate::node) fn wallet(&self) -> eyre::Result<Wallet> {
        Wallet::new(
            self.mnemonic.clone(),
            self.mnemonic_random,
            self.mnemonic_seed_unsafe,
            (&self.derivation_path, self.accounts),
        )
    }

    pub(in crate::node) fn config(&self, wallet: &Wallet) -> eyre::Result<NodeConfig> {
        self.refused.check()?;
        for warning in self.unused.warnings() {
            tracing::warn!("{warning}");
        }
        let default = NodeConfig::default();
        let endpoints = self.fork_url.iter().map(|text| endpoint(text));
        let endpoints: Vec<_> = endpoints.collect::<eyre::Result<_>>()?;
        let (mut urls, blocks): (Vec<_>, Vec<_>) = endpoints.into_iter().unzip();
        let fork_url = (!urls.is_empty()).then(|| urls.remove(0));
        let in_url = blocks.into_iter().flatten().next();
        let (ahead, back) = match self.fork_block_number {
            Some(number) if number < 0 => (None, Some(number.unsigned_abs())),
            number => (number.map(i64::unsigned_abs), None),
        };
        if in_url.is_some() && (self.fork_block_number.is_some() || self.fork_transaction_hash.is_some()) {
            bail!("the block to fork is given twice, in --fork-url and by another flag");
        }
        let code_size_limit = self.code_size_limit;
        Ok(NodeConfig {
            fork_url,
            fork_block_number: ahead.or(in_url),
            fork_blocks_back: back,
            fork_transaction_hash: self.fork_transaction_hash,
            fork_requests: ForkRequests {
                fallbacks: urls,
                headers: self
                    .fork_headers
                    .iter()
                    .map(|text| header(text))
                    .collect::<eyre::Result<_>>()?,
                retries: self.retries,
                backoff: Duration::from_millis(self.fork_retry_backoff),
                timeout: Duration::from_millis(self.timeout),
                units_per_second: self.compute_units_per_second.filter(|_| !self.no_rate_limit),
            },
            host: self.host.first().copied().unwrap_or(default.host),
            more_hosts: self.host.iter().skip(1).copied().collect(),
            port: self.port,
            ipc: self.ipc.clone(),
            allow_origin: (!self.no_cors).then(|| self.allow_origin.clone()),
            block_time: self.block_time,
            mixed_mining: self.mixed_mining,
            no_mining: self.no_mining,
            chain_id: self.chain_id,
            fork_chain_id: self.fork_chain_id,
            genesis: self.init.clone(),
            genesis_number: self.number.unwrap_or_default(),
            state: self.state_files(),
            accounts: self.accounts,
            mnemonic: wallet.phrase().to_owned(),
            derivation_path: self.derivation_path.clone(),
            balance: self.balance,
            order: match self.order {
                Order::Fees => TransactionOrder::Fees,
                Order::Fifo => TransactionOrder::Arrival,
            },
            timestamp: self.timestamp,
            gas_limit: self.gas_limit,
            disable_block_gas_limit: self.disable_block_gas_limit,
            base_fee: self.block_base_fee_per_gas,
            gas_price: self.gas_price,
            code_size_limit: if self.disable_code_size_limit {
                Some(usize::MAX)
            } else {
                code_size_limit
            },
            hardfork: match self.hardfork {
                Hardfork::Shanghai => Rules::Shanghai,
                Hardfork::Cancun => Rules::Cancun,
                Hardfork::Prague => Rules::Prague,
                Hardfork::Osaka => Rules::Osaka,
            },
            disable_create2_factory: self.disable_default_create2_deployer,
            slots_in_an_epoch: self.slots_in_an_epoch,
            auto_impersonate: self.auto_impersonate,
            silent: self.silent,
            history: self
                .history
                .or(self.prune_history.map(|kept| kept.max(1)))
                .unwrap_or(default.history),
            transaction_blocks: self.transaction_block_keeper.map(|kept| kept.max(1)),
            max_transactions: self.max_transactions.unwrap_or(default.max_transactions),
            arbos_version: self.arbos_version.unwrap_or(default.arbos_version),
            activate_on_first_call: self.activate_on_first_call,
            wasm_engine: self.wasm_engine,
            program_cache: match &self.program_cache {
                Some(directory) => KeptPrograms::Directory(directory.clone()),
                None if self.no_program_cache => KeptPrograms::Nowhere,
                None => KeptPrograms::UserCache,
            },
            stylus_console: self.stylus_console,
            print_traces: self.print_traces,
            console_log: !self.disable_console_log,
            abis: self.abis.clone(),
        })
    }

    fn state_files(&self) -> StateFiles {
        let exists = |path: &&PathBuf| {
            let path: &Path = path;
            if path.is_dir() {
                path.join("state.json").is_file()
            } else {
                path.is_file()
            }
        };
        let load = self.load_state.as_ref().or(self.state.as_ref().filter(exists));
        StateFiles {
            load: load.cloned(),
            dump: self.dump_state.clone().or(self.state.clone()),
            interval: self.state_interval,
            historical: self.preserve_historical_states,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_block_may_follow_the_url() {
        assert_eq!(endpoint("http://localhost:8545@1400000").unwrap().1, Some(1_400_000));
        let (url, block) = endpoint("https://user:pass@host/key").unwrap();
        assert_eq!((url.host_str(), block), (Some("host"), None));
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        assert!(!endpoint("secret").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn headers_have_a_name_and_a_value() {
        assert_eq!(header("User-Agent: a:b").unwrap(), ("User-Agent".into(), "a:b".into()));
        assert!(header("none").is_err());
    }
}
