//! `[keeper.quorum]`.

use cordon_core::level::Level;
use toml::Spanned;

use super::super::schema::RawQuorum;
use super::super::{ChainConfig, Invariant, KeeperConfig, QuorumConfig, StorePlace};
use super::Checker;

/// Id of the scope `protocol`.
const PROTOCOL: u8 = 0;
const MOST: u32 = 16;

impl Checker {
    /// A quorum that can never be reached is a mistake: the protocol would never be raised.
    pub(super) fn quorum(
        &mut self,
        raw: Option<&RawQuorum>,
        keeper: &KeeperConfig,
        chain: Option<&ChainConfig>,
        invariants: &[Invariant],
    ) -> QuorumConfig {
        let Some(raw) = raw else {
            return QuorumConfig::default();
        };
        let (rules, endpoints, keepers) = (
            self.count(raw.rules.as_ref()),
            self.count(raw.endpoints.as_ref()),
            self.count(raw.keepers.as_ref()),
        );
        let raising = invariants
            .iter()
            .filter(|rule| rule.scope == PROTOCOL && rule.level.is_some_and(Level::is_raised))
            .count();
        if let Some(at) = raw.rules.as_ref().filter(|_| rules as usize > raising) {
            let help = "count the invariants with `scope = \"protocol\"` and a `level`".to_owned();
            self.error(
                at.span(),
                format!("{rules} rules have to agree, but {raising} may raise the protocol: it would never be raised"),
                help,
            );
        }
        let named = chain.map_or(usize::MAX, |chain| chain.rpc.len());
        if let Some(at) = raw.endpoints.as_ref().filter(|_| endpoints as usize > named) {
            let help = "name more endpoints in `rpc` of [chain]".to_owned();
            self.error(
                at.span(),
                format!("{endpoints} endpoints have to agree, but {named} are named"),
                help,
            );
        }
        if let Some(at) = raw.keepers.as_ref().filter(|_| keepers > 1)
            && matches!(keeper.store, StorePlace::File(_))
        {
            let help = "keepers agree through the database that they share: store = { postgres = { env = \"NAME\" } }";
            self.error(
                at.span(),
                format!("{keepers} keepers have to agree, but the record is a file of one keeper's own"),
                help.to_owned(),
            );
        }
        QuorumConfig {
            rules,
            endpoints,
            keepers,
        }
    }

    fn count(&mut self, raw: Option<&Spanned<u32>>) -> u32 {
        let Some(raw) = raw else { return 1 };
        let count = *raw.get_ref();
        if !(1..=MOST).contains(&count) {
            self.error(raw.span(), format!("1 to {MOST} may have to agree"), None);
            return 1;
        }
        count
    }
}
