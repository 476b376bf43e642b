//! Keys: named in the configuration, never written there.

use std::fmt;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use url::Url;

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
    /// A key that never leaves AWS KMS: asymmetric, `ECC_SECG_P256K1`, for signing. Who asks comes from the SDK's own chain
    /// (environment, profile, container, instance).
    AwsKms {
        /// Id, ARN, alias or alias' ARN of the key.
        key: String,
        /// The region, when neither the ARN nor the SDK's own chain says it.
        region: Option<String>,
        /// Another place than the region's: a VPC endpoint.
        endpoint: Option<Url>,
        /// The account that the key must be of.
        address: Option<Address>,
    },
    /// A key that never leaves GCP KMS: purpose `ASYMMETRIC_SIGN`, algorithm `EC_SIGN_SECP256K1_SHA256`. Who asks comes from
    /// application default credentials.
    GcpKms {
        /// The version of the key.
        key: GcpKeyVersion,
        /// Another place than `https://cloudkms.googleapis.com`.
        endpoint: Option<Url>,
        /// The account that the key must be of.
        address: Option<Address>,
    },
    /// A key in a Ledger device, where a person confirms each signature.
    Ledger {
        /// Derivation path, such as `m/44'/60'/0'/0/0`.
        path: String,
        /// The account that the key must be of.
        address: Option<Address>,
    },
}

/// `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcpKeyVersion {
    /// The project's id.
    pub project: String,
    /// Where the key ring is, such as `global` or `europe-west3`.
    pub location: String,
    /// Name of the key ring.
    pub ring: String,
    /// Name of the key.
    pub key: String,
    /// Number of the version, from 1.
    pub version: u64,
}

impl GcpKeyVersion {
    /// Reads the full name of a version; `None` when `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [
            "projects",
            project,
            "locations",
            location,
            "keyRings",
            ring,
            "cryptoKeys",
            key,
            "cryptoKeyVersions",
            version,
        ] = parts.as_slice()
        else {
            return None;
        };
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            (1..=100).contains(&name.len()) && name.chars().all(allowed)
        };
        let names = [*project, *location, *ring, *key];
        let version = version.parse().ok().filter(|version| *version > 0)?;
        names.iter().all(|name| is_name(name)).then(|| Self {
            project: (*project).to_owned(),
            location: (*location).to_owned(),
            ring: (*ring).to_owned(),
            key: (*key).to_owned(),
            version,
        })
    }
}

impl fmt::Display for GcpKeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "projects/{}/locations/{}/keyRings/{}/cryptoKeys/{}/cryptoKeyVersions/{}",
            self.project, self.location, self.ring, self.key, self.version
        )
    }
}

/// Why a key could not be had. No message contains any part of a key or password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    #[error("the {place} is asked by the keeper only: name a key in the environment or a keystore")]
    Elsewhere {
        /// Who holds it.
        place: String,
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
            Self::Service { .. } | Self::AwsKms { .. } | Self::GcpKms { .. } | Self::Ledger { .. } => {
                Err(SecretError::Elsewhere {
                    place: self.to_string(),
                })
            }
        }
    }

    /// Whether a person has to confirm each signature.
    pub fn needs_hand(&self) -> bool {
        matches!(self, Self::Ledger { .. })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "environment variable {variable}"),
            Self::Keystore { path, .. } => write!(f, "keystore {}", path.display()),
            Self::Service { address, .. } => write!(f, "signing service for {address}"),
            Self::AwsKms { key, .. } => write!(f, "AWS KMS key {key}"),
            Self::GcpKms { key, .. } => write!(f, "GCP KMS key {key}"),
            Self::Ledger { path, .. } => write!(f, "Ledger at {path}"),
        }
    }
}
