//! The drills' `cordon.toml`: templates with the addresses of a fork filled in.

use std::collections::BTreeMap;

use alloy::primitives::Address;

use crate::{
    cast,
    chain::signer,
    error::DrillError,
    live::{AaveMarket, Book, VaultMarket},
};

/// Template of the Aave drill.
const AAVE: &str = include_str!("../../tests/scenarios/aave/cordon.toml");
/// Template of the vault drill.
const VAULT: &str = include_str!("../../tests/scenarios/vault/cordon.toml");

/// The key of the guard's address, which is not known before the guard is deployed.
const GUARD: &str = "guard";

/// A template and what is known for its placeholders.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: &'static str,
    values: BTreeMap<String, String>,
}

impl Template {
    /// The Aave drill's, for this market behind these endpoints.
    pub(crate) fn aave(market: &AaveMarket, http: &str, ws: &str) -> Result<Self, DrillError> {
        let mut template = Self::common(AAVE, http, ws)?;
        for (name, address) in [
            ("oracle", market.oracle),
            ("configurator", market.configurator),
            ("data", market.data),
            ("pool", market.pool),
        ] {
            template.set(name, address);
        }
        for asset in market.assets() {
            template.set(asset.name, asset.token);
            template.set(&format!("a_{}", asset.name), asset.supply_token);
            template.set(&format!("d_{}", asset.name), asset.debt_token);
            template.set(&format!("{}_feed", asset.name), asset.feed);
            template.set(&format!("{}_ref", asset.name), asset.reference);
        }
        Ok(template)
    }

    /// The vault drill's, for these vaults behind these endpoints.
    pub(crate) fn vault(market: &VaultMarket, http: &str, ws: &str) -> Result<Self, DrillError> {
        let mut template = Self::common(VAULT, http, ws)?;
        template.set("vault", market.busy);
        template.set("new_vault", market.new);
        Ok(template)
    }

    /// Any drill's whose placeholders are the names in `book`.
    pub(crate) fn of(text: &'static str, book: &Book, http: &str, ws: &str) -> Result<Self, DrillError> {
        let mut template = Self::common(text, http, ws)?;
        for (name, address) in book.entries() {
            template.set(name, address);
        }
        Ok(template)
    }

    fn common(text: &'static str, http: &str, ws: &str) -> Result<Self, DrillError> {
        let mut template = Self {
            text,
            values: BTreeMap::new(),
        };
        template.values.insert("http".to_owned(), http.to_owned());
        template.values.insert("ws".to_owned(), ws.to_owned());
        for (name, index) in [
            ("governor", cast::GOVERNOR),
            ("guardian", cast::GUARDIAN),
            ("keeper", cast::KEEPER),
            ("heartbeat", cast::HEARTBEAT),
        ] {
            template.set(name, signer(index)?.address());
        }
        Ok(template)
    }

    fn set(&mut self, name: &str, address: Address) {
        self.values.insert(name.to_owned(), address.to_string());
    }

    /// The configuration before the guard is deployed: the line with its address is left out.
    pub(crate) fn before_deployment(&self) -> Result<String, DrillError> {
        let placeholder = format!("${{{GUARD}}}");
        let lines: Vec<&str> = self.text.lines().filter(|line| !line.contains(&placeholder)).collect();
        self.fill(&lines.join("\n"))
    }

    /// The whole configuration.
    pub(crate) fn with_guard(&self, guard: Address) -> Result<String, DrillError> {
        let mut filled = self.clone();
        filled.set(GUARD, guard);
        filled.fill(self.text)
    }

    fn fill(&self, text: &str) -> Result<String, DrillError> {
        let mut filled = String::with_capacity(text.len());
        for (at, line) in text.lines().enumerate() {
            if at > 0 {
                filled.push('\n');
            }
            // Comments may speak of placeholders.
            if line.starts_with('#') {
                filled.push_str(line);
            } else {
                self.fill_line(line, &mut filled)?;
            }
        }
        filled.push('\n');
        Ok(filled)
    }

    fn fill_line(&self, line: &str, filled: &mut String) -> Result<(), DrillError> {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let (name, tail) = after.split_once('}').unwrap_or((after, ""));
            let value = self
                .values
                .get(name)
                .ok_or_else(|| DrillError::Placeholder { name: name.to_owned() })?;
            filled.push_str(value);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cordon_client::Config;
    use cordon_core::rule::Class;

    use super::*;
    use crate::live::Asset;

    const HTTP: &str = "http://127.0.0.1:8545";
    const WS: &str = "ws://127.0.0.1:8545";

    fn market() -> AaveMarket {
        let mut next = 0u8;
        let mut address = || {
            next += 1;
            Address::repeat_byte(next)
        };
        let mut asset = |name| Asset {
            name,
            symbol: name,
            decimals: 18,
            dollars: 1,
            token: address(),
            feed: address(),
            reference: address(),
            supply_token: address(),
            debt_token: address(),
        };
        let (weth, wbtc, usdc) = (asset("weth"), asset("wbtc"), asset("usdc"));
        let [acl, pool, configurator, data, oracle] = [101, 102, 103, 104, 105].map(Address::repeat_byte);
        AaveMarket {
            acl,
            pool,
            configurator,
            data,
            oracle,
            weth,
            wbtc,
            usdc,
        }
    }

    fn vaults() -> VaultMarket {
        let [token, quote, busy, new, inflator] = [1, 2, 3, 4, 5].map(Address::repeat_byte);
        VaultMarket {
            token,
            quote,
            busy,
            new,
            inflator,
        }
    }

    #[test]
    fn the_aave_rules_compile_to_robust_state_rules() {
        let template = Template::aave(&market(), HTTP, WS).unwrap();
        let text = template.before_deployment().unwrap();
        let config = Config::parse(&text, "cordon.toml").unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(config.guard.address, None);
        let compiled = config.compile().unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(compiled.rules.len(), 4);
        assert!(
            compiled
                .rules
                .iter()
                .all(|rule| rule.class == Class::State && rule.robust)
        );
        assert!(compiled.rule("account-solvent").unwrap().witness.is_some());
        assert_eq!(compiled.containments.len(), 7);
    }

    #[test]
    fn the_vault_rules_compile_to_hook_rules() {
        let template = Template::vault(&vaults(), HTTP, WS).unwrap();
        let text = template.with_guard(Address::repeat_byte(9)).unwrap();
        let config = Config::parse(&text, "cordon.toml").unwrap_or_else(|error| unreachable!("{error}"));
        assert_eq!(config.guard.address, Some(Address::repeat_byte(9)));
        let compiled = config.compile().unwrap_or_else(|error| unreachable!("{error}"));
        assert!(
            compiled
                .rules
                .iter()
                .all(|rule| rule.class == Class::Hook && !rule.shadow)
        );
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let template = Template {
            text: "a = \"${nobody}\"",
            values: BTreeMap::new(),
        };
        let error = template.before_deployment().unwrap_err();
        assert!(error.to_string().contains("${nobody}"), "{error}");
    }
}
