//! Addresses of a scenario's contracts, by the names that its `cordon.toml` gives them.

use std::collections::BTreeMap;

use alloy::primitives::Address;

use crate::error::DrillError;

/// Names and addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book(BTreeMap<&'static str, Address>);

impl Book {
    /// Adds a name, or moves it.
    pub(crate) fn set(&mut self, name: &'static str, address: Address) {
        self.0.insert(name, address);
    }

    /// The address called `name`.
    ///
    /// # Errors
    /// When the scenario has not deployed it.
    pub(crate) fn get(&self, name: &'static str) -> Result<Address, DrillError> {
        let found = self.0.get(name).copied();
        found.ok_or_else(|| DrillError::OutOfRange {
            what: format!("the address of `{name}`"),
        })
    }

    /// All of them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static str, Address)> {
        self.0.iter().map(|(name, address)| (*name, *address))
    }
}
