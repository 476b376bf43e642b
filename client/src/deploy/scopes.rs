//! Scopes are numbers to a guard and to the contracts that call its hooks: whether a number would come to mean something else.

use std::fmt;

use alloy::primitives::Address;
use alloy::providers::Provider;
use cordon_core::rulebook::{View, scope_tag};

use super::DeployError;
use crate::chain::{code, explain_call};
use crate::compile::CompiledConfig;
use crate::guard::ICordonGuard;

/// A number that stands for one scope in the rulebook in force, and for another one, or none, in the configured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedScope {
    /// The number.
    pub number: u8,
    /// Name and number that the scope has in the configuration; `None` when it has none there, or is called otherwise.
    pub now: Option<(String, u8)>,
    /// What the number stands for in the configuration; `None` when for nothing.
    pub instead: Option<String>,
}

impl fmt::Display for MovedScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.now {
            Some((name, now)) => write!(out, "scope {}, `{name}`, becomes scope {now}", self.number)?,
            None => write!(out, "scope {} is gone, or has another name", self.number)?,
        }
        match &self.instead {
            Some(instead) => write!(out, ", and {} becomes `{instead}`", self.number),
            None => write!(out, ", and {} becomes no scope", self.number),
        }
    }
}

/// Compares the scopes of the rulebook that a guard has adopted with the configured ones. Nothing where there is no guard, or no rulebook.
///
/// # Errors
/// When the chain does not answer.
pub async fn moved_scopes<P: Provider>(
    provider: &P,
    guard: Address,
    compiled: &CompiledConfig,
) -> Result<Vec<MovedScope>, DeployError> {
    if code(provider, guard).await?.is_empty() {
        return Ok(Vec::new());
    }
    let adopted = ICordonGuard::new(guard, provider)
        .rulebook()
        .call()
        .await
        .map_err(|error| explain_call("reading the guard's rulebook", error))?;
    let book = code(provider, adopted.book).await?;
    let Ok(before) = View::open(&book) else {
        return Ok(Vec::new());
    };
    let tags: Vec<_> = compiled.scopes.iter().map(|name| scope_tag(name)).collect();
    let mut moved = Vec::new();
    for number in 0..before.header().scopes {
        let Some(was) = before.scope(number) else { continue };
        let place = usize::from(number);
        if tags.get(place) == Some(&was.tag) {
            continue;
        }
        let named = (0u8..).zip(&tags).find(|(_, tag)| **tag == was.tag).map(|(now, _)| now);
        moved.push(MovedScope {
            number,
            now: named.and_then(|now| Some((compiled.scope_name(now)?.to_owned(), now))),
            instead: compiled.scopes.get(place).cloned(),
        });
    }
    Ok(moved)
}
