//! Keys: named in the configuration, never written there.

use std::fmt;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::Credential;

/// Where a signing key comes from. It holds no secret itself, so it may be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable that holds the key as 32 bytes in hex.
    Env(String),
    /// An encrypted keystore file (Web3 secret storage, as `cast wallet` writes it).
    Keystore {
        /// The file; a relative path is seen from the configuration's directory.
        path: PathBuf,
        /// Environment variable that holds its password.
        password_env: String,
    },
    /// A service that signs (web3signer, or another that speaks `eth_signTransaction`); the key never leaves it.
    Service {
        /// Where it listens: a URL, which may hold a token.
        url: Credential,
        /// The account that it signs for.
        address: Address,
    },
}

/// Why a key could not be had. No message contains any part of a key or password.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is missing.
    #[error("the environment variable {variable} is not set; it must hold {what}")]
    Unset {
        /// Name of the variable.
        variable: String,
        /// What it must hold.
        what: &'static str,
    },
    /// The variable holds something else than a key.
    #[error(
        "the environment variable {variable} holds no private key: 32 bytes in hex are wanted (64 digits, with or without 0x)"
    )]
    NoKey {
        /// Name of the variable.
        variable: String,
    },
    /// The keystore could not be opened.
    #[error("cannot open the keystore {path}: {reason}; check the path, and the password in {password_env}")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// Where the password came from.
        password_env: String,
    },
    /// The key is not in reach of this command.
    #[error(
        "the key of {address} is held by a signing service, which only the keeper asks: name a key in the environment or a keystore"
    )]
    Elsewhere {
        /// Its account.
        address: Address,
    },
    /// The file of a credential could not be read.
    #[error("cannot read the secret in {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is there is no credential.
    #[error("{place} holds no credential: one line of text is wanted")]
    NoText {
        /// Where it was read.
        place: String,
    },
}

impl Secret {
    /// The signing key. `directory` is where a relative keystore path starts. Reads environment and files.
    pub fn signer(&self, directory: &Path) -> Result<PrivateKeySigner, SecretError> {
        self.signer_with(directory, |name| std::env::var(name).ok())
    }

    /// As [`Secret::signer`], with the environment given.
    pub fn signer_with(
        &self,
        directory: &Path,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<PrivateKeySigner, SecretError> {
        match self {
            Self::Env(variable) => {
                let value = env(variable).ok_or_else(|| SecretError::Unset {
                    variable: variable.clone(),
                    what: "a private key in hex",
                })?;
                value.trim().parse().map_err(|_| SecretError::NoKey {
                    variable: variable.clone(),
                })
            }
            Self::Service { address, .. } => Err(SecretError::Elsewhere { address: *address }),
            Self::Keystore { path, password_env } => {
                let password = env(password_env).ok_or_else(|| SecretError::Unset {
                    variable: password_env.clone(),
                    what: "the keystore's password",
                })?;
                let file = directory.join(path);
                PrivateKeySigner::decrypt_keystore(&file, password).map_err(|error| SecretError::Keystore {
                    path: file,
                    reason: error.to_string(),
                    password_env: password_env.clone(),
                })
            }
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "environment variable {variable}"),
            Self::Keystore { path, .. } => write!(f, "keystore {}", path.display()),
            Self::Service { address, .. } => write!(f, "signing service for {address}"),
        }
    }
}

/// Message for a plain text where a [`Secret`] is wanted. The text itself is never repeated: it may be a key.
pub(super) const PLAIN_KEY: &str = "a key is never written in the configuration: use { env = \"NAME\" } or { keystore = \"FILE\", password = { env = \"NAME\" } }";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    env: Option<String>,
    keystore: Option<PathBuf>,
    password: Option<RawPassword>,
    web3signer: Option<Credential>,
    address: Option<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPassword {
    env: String,
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" } or { keystore = \"FILE\", password = { env = \"NAME\" } }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(PLAIN_KEY))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
        let raw = RawSecret::deserialize(de::value::MapAccessDeserializer::new(map))?;
        match raw {
            RawSecret {
                env: Some(variable),
                keystore: None,
                password: None,
                web3signer: None,
                address: None,
            } => Ok(Secret::Env(variable)),
            RawSecret {
                env: None,
                keystore: Some(path),
                password: Some(password),
                web3signer: None,
                address: None,
            } => Ok(Secret::Keystore {
                path,
                password_env: password.env,
            }),
            RawSecret {
                env: None,
                keystore: Some(_),
                password: None,
                web3signer: None,
                address: None,
            } => Err(de::Error::custom("a keystore needs `password = { env = \"NAME\" }`")),
            RawSecret {
                env: None,
                keystore: None,
                password: None,
                web3signer: Some(url),
                address: Some(address),
            } => Ok(Secret::Service { url, address }),
            RawSecret {
                web3signer: Some(_),
                address: None,
                ..
            } => Err(de::Error::custom(
                "a signing service needs `address = \"0x…\"`: the account that it signs for",
            )),
            _ => Err(de::Error::custom(
                "a secret is { env = \"NAME\" }, { keystore = \"FILE\", password = { env = \"NAME\" } }, or { web3signer = { env = \"NAME\" }, address = \"0x…\" }",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}
