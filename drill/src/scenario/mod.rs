//! The drills, by name.

mod aave;
mod vault;

use std::{fmt, str::FromStr};

use crate::error::DrillError;

/// A drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The holder of ASSET_LISTING_ADMIN replaces an oracle source of a real Aave v3 market and borrows against it.
    AaveOracle,
    /// The first depositor of an ERC-4626 vault inflates the price of a share and takes the next depositor's assets.
    VaultInflation,
}

impl Scenario {
    /// All drills, in the order in which the demo runs them.
    pub const ALL: [Self; 2] = [Self::AaveOracle, Self::VaultInflation];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AaveOracle => "aave-oracle",
            Self::VaultInflation => "vault-inflation",
        }
    }

    /// Whether the protocol under attack is a published one, run from its published bytecode.
    #[must_use]
    pub const fn real_bytecode(self) -> bool {
        matches!(self, Self::AaveOracle)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = DrillError;

    fn from_str(name: &str) -> Result<Self, DrillError> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
            .ok_or_else(|| DrillError::UnknownScenario {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_name_finds_its_drill() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse::<Scenario>().unwrap(), scenario);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "aave".parse::<Scenario>().unwrap_err().to_string();
        assert!(
            error.contains("`aave`") && error.contains("aave-oracle, vault-inflation"),
            "{error}"
        );
    }
}
