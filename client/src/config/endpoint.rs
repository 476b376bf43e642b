//! Endpoints of `[chain]`: a URL, or where one is kept that carries a key.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use toml::Spanned;
use url::Url;

use super::{Credential, SecretError};

/// Where the URL of an endpoint comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// It stands in the file.
    Plain(Url),
    /// It is kept elsewhere, because it carries a key, or because each machine has its own.
    Kept(Credential),
}

/// An HTTP endpoint, and how much may be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcEndpoint {
    /// Where its URL comes from.
    pub endpoint: Endpoint,
    /// Most requests that the keeper asks of it in a second; `None` for no limit but its own.
    pub rate: Option<u32>,
}

/// Why an endpoint cannot be had. No message contains a URL that is kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// What it is named by cannot be read.
    #[error("an endpoint of [chain]: {0}")]
    Secret(#[from] SecretError),
    /// What is there is no URL of an endpoint.
    #[error("{place} holds no endpoint that starts with {plain}:// or {secure}://")]
    NoUrl {
        /// Where it was read.
        place: String,
        /// The scheme without encryption.
        plain: &'static str,
        /// The scheme with it.
        secure: &'static str,
    },
    /// Two names lead to the same endpoint.
    #[error(
        "endpoint {second} of [chain] rpc is endpoint {first} once more: one that is asked twice does not agree with itself, name another"
    )]
    Twice {
        /// Position in the list, from 1.
        first: usize,
        /// Position in the list, from 1.
        second: usize,
    },
}

pub(super) const HTTP: [&str; 2] = ["http", "https"];
pub(super) const WEBSOCKET: [&str; 2] = ["ws", "wss"];

/// The URL in `text`, when it has one of the schemes and a host.
pub(super) fn endpoint_url(text: &str, schemes: [&str; 2]) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| schemes.contains(&url.scheme()) && url.has_host())
}

impl Endpoint {
    fn url(
        &self,
        directory: &Path,
        schemes: [&'static str; 2],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Url, EndpointError> {
        match self {
            Self::Plain(url) => Ok(url.clone()),
            Self::Kept(place) => {
                let text = place.read_with(directory, env)?;
                let [plain, secure] = schemes;
                endpoint_url(text.expose(), schemes).ok_or_else(|| EndpointError::NoUrl {
                    place: place.to_string(),
                    plain,
                    secure,
                })
            }
        }
    }
}

/// `[chain]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainConfig {
    /// Chain id that every endpoint must answer.
    pub id: u64,
    /// HTTP endpoints, the primary first; at least one.
    pub rpc: Vec<RpcEndpoint>,
    /// WebSocket endpoint; that of the first of `rpc` when `None`.
    pub ws: Option<Endpoint>,
    /// Where relative paths start.
    pub(super) directory: PathBuf,
}

impl ChainConfig {
    /// The URLs of the HTTP endpoints, the primary first. Reads environment and files.
    pub fn rpc_urls(&self) -> Result<Vec<Url>, EndpointError> {
        self.rpc_urls_with(|name| std::env::var(name).ok())
    }

    /// As [`ChainConfig::rpc_urls`], with the environment given.
    pub fn rpc_urls_with(&self, env: impl Fn(&str) -> Option<String>) -> Result<Vec<Url>, EndpointError> {
        let mut urls: Vec<Url> = Vec::with_capacity(self.rpc.len());
        for (position, named) in (1_usize..).zip(&self.rpc) {
            let url = named.endpoint.url(&self.directory, HTTP, &env)?;
            if let Some(at) = urls.iter().position(|held| *held == url) {
                return Err(EndpointError::Twice {
                    first: at.saturating_add(1),
                    second: position,
                });
            }
            urls.push(url);
        }
        Ok(urls)
    }

    /// The URL of the WebSocket endpoint: that of a node that serves both on one port, unless one is named. Reads environment and
    /// files.
    pub fn ws_url(&self) -> Result<Url, EndpointError> {
        self.ws_url_with(|name| std::env::var(name).ok())
    }

    /// As [`ChainConfig::ws_url`], with the environment given.
    pub fn ws_url_with(&self, env: impl Fn(&str) -> Option<String>) -> Result<Url, EndpointError> {
        let no_url = || EndpointError::NoUrl {
            place: "[chain] rpc".to_owned(),
            plain: "http",
            secure: "https",
        };
        match (&self.ws, self.rpc.first()) {
            (Some(endpoint), _) => endpoint.url(&self.directory, WEBSOCKET, env),
            (None, Some(first)) => {
                let mut url = first.endpoint.url(&self.directory, HTTP, env)?;
                let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
                url.set_scheme(scheme).map_err(|()| no_url())?;
                Ok(url)
            }
            (None, None) => Err(no_url()),
        }
    }
}

/// An endpoint as it is written: a URL, or a table that says where one is and how much may be asked of it.
#[derive(Clone, Debug)]
pub(super) struct RawEndpoint {
    pub(super) place: RawPlace,
    pub(super) rate: Option<Spanned<u32>>,
}

#[derive(Clone, Debug)]
pub(super) enum RawPlace {
    Text(String),
    Kept(Credential),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    url: Option<String>,
    env: Option<String>,
    file: Option<PathBuf>,
    rate: Option<Spanned<u32>>,
}

/// Message for a table that says nothing of where the endpoint is, or more than one thing. It may have a URL with a key in it.
pub(super) const PLACES: &str = "an endpoint has one of `url`, `env` and `file`, and may have a `rate`";

struct EndpointVisitor;

impl<'de> Visitor<'de> for EndpointVisitor {
    type Value = RawEndpoint;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL, { env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawEndpoint, E> {
        Ok(RawEndpoint {
            place: RawPlace::Text(text.to_owned()),
            rate: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawEndpoint, A::Error> {
        let raw = RawTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let place = match (raw.url, raw.env, raw.file) {
            (Some(url), None, None) => RawPlace::Text(url),
            (None, Some(variable), None) => RawPlace::Kept(Credential::Env(variable)),
            (None, None, Some(path)) => RawPlace::Kept(Credential::File(path)),
            _ => {
                return Err(de::Error::custom(PLACES));
            }
        };
        Ok(RawEndpoint { place, rate: raw.rate })
    }
}

impl<'de> Deserialize<'de> for RawEndpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EndpointVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn chain(rpc: Vec<Endpoint>, ws: Option<Endpoint>) -> ChainConfig {
        let unlimited = |endpoint| RpcEndpoint { endpoint, rate: None };
        ChainConfig {
            id: 1,
            rpc: rpc.into_iter().map(unlimited).collect(),
            ws,
            directory: PathBuf::from("/nowhere"),
        }
    }

    fn env(name: &str) -> Option<String> {
        match name {
            "ONE" => Some("https://one.example/s3cret\n".to_owned()),
            "SAME" => Some("https://one.example/s3cret".to_owned()),
            "FTP" => Some("ftp://one.example/s3cret".to_owned()),
            _ => None,
        }
    }

    fn kept(name: &str) -> Endpoint {
        Endpoint::Kept(Credential::Env(name.to_owned()))
    }

    #[test]
    fn endpoints_come_from_where_they_are_kept_and_show_in_no_message() {
        let plain = Endpoint::Plain(Url::parse("http://127.0.0.1:8545").unwrap());
        let named = chain(vec![kept("ONE"), plain], None);
        let urls: Vec<String> = named
            .rpc_urls_with(env)
            .unwrap()
            .into_iter()
            .map(String::from)
            .collect();
        assert_eq!(urls, ["https://one.example/s3cret", "http://127.0.0.1:8545/"]);
        assert_eq!(named.ws_url_with(env).unwrap().as_str(), "wss://one.example/s3cret");
        assert!(!format!("{named:?}").contains("s3cret"));
        let message = |rpc: Vec<Endpoint>| chain(rpc, None).rpc_urls_with(env).unwrap_err().to_string();
        assert_eq!(
            message(vec![kept("FTP")]),
            "environment variable FTP holds no endpoint that starts with http:// or https://"
        );
        assert_eq!(
            message(vec![kept("NONE")]),
            "an endpoint of [chain]: the environment variable NONE is not set; it must hold a credential"
        );
        assert!(
            message(vec![kept("ONE"), kept("SAME")]).starts_with("endpoint 2 of [chain] rpc is endpoint 1 once more")
        );
        let ws = chain(vec![kept("ONE")], Some(kept("ONE")))
            .ws_url_with(env)
            .unwrap_err()
            .to_string();
        assert!(ws.contains("ws:// or wss://") && !ws.contains("s3cret"), "{ws}");
    }
}
