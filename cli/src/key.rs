//! Who signs: a key from the environment or a keystore, never from the command line.

use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::providers::DynProvider;
use clap::Args;
use cordon_client::chain;
use cordon_client::config::{ChainConfig, Secret};

/// Options of every command that sends transactions.
#[derive(Args)]
pub(crate) struct KeyArgs {
    /// Environment variable that holds the private key in hex.
    #[arg(long, value_name = "VARIABLE", default_value = "CORDON_KEY", conflicts_with_all = ["keystore", "unlocked"])]
    key_env: String,
    /// Keystore file that holds the key, instead of a variable.
    #[arg(long, value_name = "FILE", requires = "password_env", conflicts_with = "unlocked")]
    keystore: Option<PathBuf>,
    /// Environment variable that holds the keystore's password.
    #[arg(long, value_name = "VARIABLE", requires = "keystore")]
    password_env: Option<String>,
    /// Let the node sign for this account of its own: development nodes only.
    #[arg(long, value_name = "ADDRESS")]
    unlocked: Option<Address>,
}

impl KeyArgs {
    /// A connection to the configured chain, and the account that sends.
    pub(crate) async fn connect(&self, config: &ChainConfig) -> eyre::Result<(DynProvider, Address)> {
        if let Some(account) = self.unlocked {
            return Ok((chain::connect(config, None).await?, account));
        }
        let secret = match (&self.keystore, &self.password_env) {
            (Some(path), Some(password_env)) => Secret::Keystore {
                path: path.clone(),
                password_env: password_env.clone(),
            },
            _ => Secret::Env(self.key_env.clone()),
        };
        let signer = secret.signer(Path::new("."))?;
        let from = signer.address();
        Ok((chain::connect(config, Some(signer)).await?, from))
    }
}
