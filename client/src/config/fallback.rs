//! What is tried when the keeper's own way does not contain an incident.

use std::path::PathBuf;

use alloy::primitives::Address;
use url::Url;

use super::Credential;

/// `[[fallback]]`: a Safe that may contain in the keeper's stead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Unique name.
    pub id: String,
    /// Scopes whose incidents it is for; all when empty.
    pub scopes: Vec<u8>,
    /// The Safe.
    pub safe: Address,
    /// Seconds that the keeper has by itself.
    pub deadline: u32,
    /// Seconds that each way has.
    pub patience: u32,
    /// Files with transactions that the Safe's owners have signed ahead.
    pub signed: Vec<PathBuf>,
    /// Where transactions are proposed to the owners.
    pub proposal: Option<SafeService>,
}

impl Fallback {
    /// Whether it is for incidents of a scope.
    pub fn serves(&self, scope: u8) -> bool {
        self.scopes.is_empty() || self.scopes.contains(&scope)
    }
}

/// A Safe Transaction Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeService {
    /// Its URL, before `/api/`.
    pub url: Url,
    /// API key.
    pub key: Option<Credential>,
    /// Seconds for which the proposal raises the level.
    pub duration: u32,
}
