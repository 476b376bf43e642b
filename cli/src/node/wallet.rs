//! The development accounts as the command shows them.

use alloy::primitives::hex;
use alloy::signers::local::coins_bip39::{English, Mnemonic};
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use cordon_node::DEFAULT_MNEMONIC;
use eyre::WrapErr;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A mnemonic and what is derived from it.
pub(super) struct Wallet {
    phrase: String,
    /// Somebody gave the phrase: it may be a secret, and so may the keys.
    secret: bool,
    path: String,
    accounts: u32,
}

impl Wallet {
    /// From the flags: a given phrase, a new one of so many words, one derived from a number, or the well-known one.
    pub(super) fn new(
        given: Option<String>,
        random: Option<usize>,
        seed: Option<u64>,
        (path, accounts): (&str, u32),
    ) -> eyre::Result<Self> {
        let secret = given.is_some();
        let phrase = match (given, random, seed) {
            (Some(phrase), ..) => phrase,
            (None, Some(words), _) => Mnemonic::<English>::new_with_count(&mut rand::thread_rng(), words)
                .wrap_err("--mnemonic-random: 12, 15, 18, 21 or 24 words are possible")?
                .to_phrase(),
            (None, None, Some(seed)) => Mnemonic::<English>::new(&mut StdRng::seed_from_u64(seed)).to_phrase(),
            (None, None, None) => DEFAULT_MNEMONIC.to_owned(),
        };
        Ok(Self {
            phrase,
            secret,
            path: path.to_owned(),
            accounts,
        })
    }

    pub(super) fn phrase(&self) -> &str {
        &self.phrase
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether phrase and keys must not be shown.
    pub(super) fn is_secret(&self) -> bool {
        self.secret
    }

    /// The keys, in hexadecimal.
    pub(super) fn keys(&self) -> Vec<String> {
        let key = |index: u32| -> Option<PrivateKeySigner> {
            let path = format!("{}/{index}", self.path.trim_end_matches('/'));
            let builder = MnemonicBuilder::from_phrase(&self.phrase);
            builder.derivation_path(path).ok()?.build().ok()
        };
        (0..self.accounts)
            .map_while(key)
            .map(|key| hex::encode_prefixed(key.to_bytes()))
            .collect()
    }
}
