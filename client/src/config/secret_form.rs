//! How a [`Secret`] is written in the configuration.

use std::fmt;
use std::path::PathBuf;

use alloy::primitives::Address;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use url::Url;

use super::Credential;
use super::secret::{GcpKeyVersion, Secret};

/// Message for a plain text where a [`Secret`] is wanted. The text itself is never repeated: it may be a key.
pub(super) const PLAIN_KEY: &str = "a key is never written in the configuration: use { env = \"NAME\" } or { keystore = \"FILE\", password = { env = \"NAME\" } }";

const FORMS: &str = "a secret is { env = \"NAME\" }, { keystore = \"FILE\", password = { env = \"NAME\" } }, { web3signer = { env = \"NAME\" }, address = \"0x…\" }, { aws_kms = \"KEY\" }, { gcp_kms = \"projects/…\" }, or { ledger = \"m/44'/60'/0'/0/0\" }";

/// Message for an address that is no place to ask a key at. It may hold a password, so it is not repeated.
pub(super) const ENDPOINT: &str = "`endpoint` is an https:// URL without path and user (http:// for this machine only)";

/// Longest name of a key in AWS KMS (an ARN has 2,048 characters at most).
const LONGEST_NAME: usize = 2_048;

/// All forms share one table; which keys belong to which is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    env: Option<String>,
    keystore: Option<PathBuf>,
    password: Option<RawPassword>,
    web3signer: Option<Credential>,
    aws_kms: Option<String>,
    gcp_kms: Option<String>,
    ledger: Option<String>,
    address: Option<Address>,
    region: Option<String>,
    endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPassword {
    env: String,
}

impl RawSecret {
    /// The one form that was chosen.
    fn kind(&self) -> Result<&'static str, String> {
        let given: Vec<&'static str> = [
            ("env", self.env.is_some()),
            ("keystore", self.keystore.is_some()),
            ("web3signer", self.web3signer.is_some()),
            ("aws_kms", self.aws_kms.is_some()),
            ("gcp_kms", self.gcp_kms.is_some()),
            ("ledger", self.ledger.is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, is_given)| is_given.then_some(kind))
        .collect();
        let [kind] = given.as_slice() else {
            return Err(FORMS.to_owned());
        };
        let own: &[&str] = match *kind {
            "keystore" => &["password"],
            "web3signer" | "ledger" => &["address"],
            "aws_kms" => &["region", "endpoint", "address"],
            "gcp_kms" => &["endpoint", "address"],
            _ => &[],
        };
        for (key, is_given) in [
            ("password", self.password.is_some()),
            ("address", self.address.is_some()),
            ("region", self.region.is_some()),
            ("endpoint", self.endpoint.is_some()),
        ] {
            if is_given && !own.contains(&key) {
                return Err(format!("`{key}` does not belong to `{kind}`: {FORMS}"));
            }
        }
        Ok(kind)
    }

    fn read(self) -> Result<Secret, String> {
        let kind = self.kind()?;
        let address = self.address;
        let read = match kind {
            "env" => self.env.map(Secret::Env),
            "keystore" => {
                let password = self
                    .password
                    .ok_or("a keystore needs `password = { env = \"NAME\" }`")?;
                self.keystore.map(|path| Secret::Keystore {
                    path,
                    password_env: password.env,
                })
            }
            "web3signer" => {
                let address =
                    address.ok_or("a signing service needs `address = \"0x…\"`: the account that it signs for")?;
                self.web3signer.map(|url| Secret::Service { url, address })
            }
            "aws_kms" => {
                let key = self.aws_kms.unwrap_or_default();
                if key.is_empty() || key.len() > LONGEST_NAME || !key.chars().all(|c| c.is_ascii_graphic()) {
                    return Err("`aws_kms` is the id, the ARN or the alias (alias/NAME) of a key".to_owned());
                }
                let is_region = |text: &String| {
                    (1..=32).contains(&text.len())
                        && text
                            .chars()
                            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                };
                if !self.region.as_ref().is_none_or(is_region) {
                    return Err("`region` is a region of AWS, such as \"eu-central-1\"".to_owned());
                }
                Some(Secret::AwsKms {
                    key,
                    region: self.region,
                    endpoint: endpoint(self.endpoint)?,
                    address,
                })
            }
            "gcp_kms" => {
                let key = self.gcp_kms.as_deref().and_then(GcpKeyVersion::parse);
                let key = key.ok_or("`gcp_kms` is the name of a version of a key: \"projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1\"")?;
                let endpoint = endpoint(self.endpoint)?;
                if endpoint
                    .as_ref()
                    .is_some_and(|url| url.scheme() == "https" && url.port().is_some())
                {
                    return Err("the https `endpoint` of a GCP KMS has no port".to_owned());
                }
                Some(Secret::GcpKms { key, endpoint, address })
            }
            _ => {
                let path = self.ledger.filter(|path| is_path(path));
                let path = path.ok_or("`ledger` is a derivation path, such as \"m/44'/60'/0'/0/0\"")?;
                Some(Secret::Ledger { path, address })
            }
        };
        read.ok_or_else(|| FORMS.to_owned())
    }
}

/// Requests carry what proves who asks: in the clear they go to this machine only.
fn endpoint(text: Option<String>) -> Result<Option<Url>, String> {
    let Some(text) = text else { return Ok(None) };
    let Ok(url) = Url::parse(&text) else {
        return Err(ENDPOINT.to_owned());
    };
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let has_secret = !url.username().is_empty() || url.password().is_some();
    if is_safe && is_bare && !has_secret {
        Ok(Some(url))
    } else {
        Err(ENDPOINT.to_owned())
    }
}

/// `m/44'/60'/0'/0/0`: up to ten numbers below 2^31.
fn is_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("m/") else {
        return false;
    };
    let is_number = |part: &str| {
        let digits = part.strip_suffix('\'').unwrap_or(part);
        !digits.is_empty()
            && digits.chars().all(|c| c.is_ascii_digit())
            && digits.parse::<u32>().is_ok_and(|number| number < 1 << 31)
    };
    rest.split('/').count() <= 10 && rest.split('/').all(is_number)
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
        RawSecret::deserialize(de::value::MapAccessDeserializer::new(map))?
            .read()
            .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}
