//! Credentials of services that people are told through: named in the configuration, never written there.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::SecretError;

/// Longest credential, in bytes: a URL with a long token.
const LONGEST: u64 = 8_192;

/// Where a token, a password or a secret URL comes from. It holds no secret itself, so it may be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An environment variable that holds it.
    Env(String),
    /// A file that holds it and nothing else, as container platforms mount secrets; a relative path is seen from the
    /// configuration's directory.
    File(PathBuf),
}

/// A secret text. It prints as `***`; only [`SecretText::expose`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// A secret that is at hand already.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the request that needs it, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Credential {
    /// The secret, without white space around it. `directory` is where a relative path starts. Reads environment and files.
    pub fn read(&self, directory: &Path) -> Result<SecretText, SecretError> {
        self.read_with(directory, |name| std::env::var(name).ok())
    }

    /// As [`Credential::read`], with the environment given.
    pub fn read_with(&self, directory: &Path, env: impl Fn(&str) -> Option<String>) -> Result<SecretText, SecretError> {
        let text = match self {
            Self::Env(variable) => env(variable).ok_or_else(|| SecretError::Unset {
                variable: variable.clone(),
                what: "a credential",
            })?,
            Self::File(path) => {
                let file = directory.join(path);
                read_bounded(&file).map_err(|error| SecretError::File {
                    path: file,
                    reason: error.to_string(),
                })?
            }
        };
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(SecretError::NoText {
                place: self.to_string(),
            });
        }
        Ok(SecretText(text.to_owned()))
    }
}

fn read_bounded(file: &Path) -> std::io::Result<String> {
    if std::fs::metadata(file)?.len() > LONGEST {
        return Err(std::io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    std::fs::read_to_string(file)
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "environment variable {variable}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Message for a plain text where a [`Credential`] is wanted. The text itself is never repeated.
pub(super) const PLAIN_CREDENTIAL: &str =
    "a secret is never written in the configuration: use { env = \"NAME\" } or { file = \"PATH\" }";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCredential {
    env: Option<String>,
    file: Option<PathBuf>,
}

struct CredentialVisitor;

impl<'de> Visitor<'de> for CredentialVisitor {
    type Value = Credential;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Credential, E> {
        Err(E::custom(PLAIN_CREDENTIAL))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Credential, A::Error> {
        match RawCredential::deserialize(de::value::MapAccessDeserializer::new(map))? {
            RawCredential {
                env: Some(variable),
                file: None,
            } => Ok(Credential::Env(variable)),
            RawCredential {
                env: None,
                file: Some(path),
            } => Ok(Credential::File(path)),
            _ => Err(de::Error::custom(
                "a credential is either { env = \"NAME\" } or { file = \"PATH\" }",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CredentialVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_credential_comes_from_its_place_and_never_shows_in_a_message() {
        let env = |name: &str| (name == "TOKEN").then(|| " s3cret \n".to_owned());
        let directory = Path::new("/nowhere");
        let read = |credential: Credential| credential.read_with(directory, env);
        let secret = read(Credential::Env("TOKEN".into())).unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("s3cret", "***"));
        let message = |credential| read(credential).unwrap_err().to_string();
        assert_eq!(
            message(Credential::Env("OTHER".into())),
            "the environment variable OTHER is not set; it must hold a credential"
        );
        assert!(message(Credential::File("token".into())).starts_with("cannot read the secret in /nowhere/token: "));
        let broken = Credential::Env("TOKEN".into()).read_with(directory, |_| Some("s3cret\nX-Evil: 1".into()));
        let text = broken.unwrap_err().to_string();
        assert!(!text.contains("s3cret") && text.contains("one line"), "{text}");
    }
}
