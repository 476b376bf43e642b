//! `[[containment_set]]`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

use alloy::primitives::{B256, keccak256};
use cordon_core::bounds::{Actor, GOVERNOR, LEAST};
use cordon_core::rulebook::{MAX_SETS, Order, is_within};

use super::super::schema::{RawContainmentSet, RawOrder, Text};
use super::super::{ContainmentSet, format_duration};
use super::{Checker, place};

/// Most bytes of a reviewed document: more is read from no path that a configuration names.
const LONGEST: u64 = 16 << 20;

impl Checker {
    pub(super) fn sets(&mut self, raws: &[RawContainmentSet], scopes: &[String]) -> Vec<ContainmentSet> {
        self.ids("a containment set", raws.iter().map(|raw| &raw.id));
        if let Some(raw) = raws.get(usize::from(MAX_SETS)) {
            let message = format!("more than {MAX_SETS} containment sets");
            self.error(raw.id.span(), message, None);
        }
        raws.iter().filter_map(|raw| self.set(raw, scopes)).collect()
    }

    fn set(&mut self, raw: &RawContainmentSet, scopes: &[String]) -> Option<ContainmentSet> {
        let id = raw.id.get_ref();
        if id.len() > B256::len_bytes() && id.len() <= 64 {
            let help = "a guard keeps the name in one word: 32 characters at most".to_owned();
            self.error(raw.id.span(), format!("`{id}` is too long for a containment set"), help);
        }
        let reviewed = self.reviewed(raw);
        if raw.contain.is_empty() {
            let help = "contain = [{ scope = \"…\", level = \"ReduceOnly\", for = \"1 hour\" }]".to_owned();
            self.error(raw.id.span(), "a containment set needs scopes to contain", help);
        }
        let mut seen = BTreeSet::new();
        let (mut orders, mut levels_at) = (Vec::new(), Vec::new());
        for order in &raw.contain {
            let Some(found) = self.order(order, scopes) else {
                continue;
            };
            if !seen.insert(found.scope) {
                let message = format!("the scope `{}` is in the set already", order.scope.get_ref());
                self.error(order.scope.span(), message, None);
            }
            orders.push(found);
            levels_at.push(place(&order.level));
        }
        let is_whole = orders.len() == raw.contain.len() && !orders.is_empty();
        if is_whole && !is_within(&orders, Actor::Guardian) {
            let help =
                "a guardian holds a level for 24 hours, and has 72 hours a week for all scopes together".to_owned();
            self.warn(raw.id.span(), "only the governor can contain this set", help);
        }
        Some(ContainmentSet {
            id: id.clone(),
            reviewed: reviewed?,
            orders,
            id_at: place(&raw.id),
            levels_at,
        })
    }

    fn order(&mut self, raw: &RawOrder, scopes: &[String]) -> Option<Order> {
        let scope = self.scope(&raw.scope, scopes);
        let level = self.level(&raw.level);
        let before = self.problems.len();
        let duration = self.duration(Some(&raw.duration), 0);
        let level = level?;
        let most = GOVERNOR.seconds(level);
        if self.problems.len() == before && !(LEAST..=most).contains(&duration) {
            let most = format_duration(most.into());
            self.error(
                raw.duration.span(),
                format!("a set holds a level for 1 minute to {most}"),
                None,
            );
        }
        Some(Order {
            scope: scope?,
            level,
            duration,
        })
    }

    /// The hash of what was reviewed, which the document, when its path is given, must still have.
    fn reviewed(&mut self, raw: &RawContainmentSet) -> Option<B256> {
        let text = raw.reviewed.get_ref();
        let reviewed = text.parse::<B256>().ok().filter(|hash| !hash.is_zero());
        let actual = raw.document.as_ref().map(|path| self.hash(path));
        match (reviewed, actual) {
            (None, actual) => {
                let help = match actual.flatten() {
                    Some(hash) => format!("that of the document, as it is now, is {hash}"),
                    None => "the keccak256 hash of the document that was reviewed: 0x and 64 hex digits".to_owned(),
                };
                self.error(raw.reviewed.span(), format!("`{text}` is no hash"), help);
                None
            }
            (Some(hash), Some(Some(actual))) if hash != actual => {
                let help = format!("have it reviewed again, then write its hash here: {actual}");
                self.error(
                    raw.reviewed.span(),
                    "the document is not the one that was reviewed",
                    help,
                );
                None
            }
            (Some(_), Some(None)) => None,
            (reviewed, _) => reviewed,
        }
    }

    /// `None` when it cannot be read; that is reported.
    fn hash(&mut self, path: &Text) -> Option<B256> {
        let mut bytes = Vec::new();
        let read = File::open(self.source.resolve(path.get_ref()))
            .and_then(|file| file.take(LONGEST.saturating_add(1)).read_to_end(&mut bytes));
        if let Err(error) = read {
            self.error(path.span(), format!("the document cannot be read: {error}"), None);
            return None;
        }
        if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
            self.error(
                path.span(),
                format!("the document is longer than {LONGEST} bytes"),
                None,
            );
            return None;
        }
        Some(keccak256(&bytes))
    }
}
