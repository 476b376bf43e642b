//! A file without `[guard]`: it watches, and tells.

use cordon_core::Matrix;

use super::super::GuardConfig;
use super::super::schema::{RawConfig, RawInvariant};
use super::Checker;
use super::guard::{GOVERNOR_DELAY, HOOK_GAS, MAX_SCOPES, WHOLE_PROTOCOL};

impl Checker {
    /// What needs a guard is an error in the file.
    pub(super) fn no_guard(&mut self, raw: &RawConfig) -> GuardConfig {
        let containments = raw.containment.iter().map(|raw| (&raw.id, "a containment"));
        let sets = raw.containment_set.iter().map(|raw| (&raw.id, "a containment set"));
        let fallbacks = raw.fallback.iter().map(|raw| (&raw.id, "a fallback"));
        for (id, what) in containments.chain(sets).chain(fallbacks) {
            let help = "add the section: without one a breach is told, and nothing is raised".to_owned();
            self.error(id.span(), format!("{what} needs the section [guard]"), help);
        }
        GuardConfig {
            is_declared: false,
            address: None,
            scopes: self.labels(&raw.invariant),
            callers: Vec::new(),
            governor: None,
            guardians: Vec::new(),
            keepers: Vec::new(),
            heartbeats: Vec::new(),
            seals: Vec::new(),
            governor_delay: GOVERNOR_DELAY,
            matrix: Matrix::DEFAULT,
            hook_gas: HOOK_GAS,
        }
    }

    /// The scopes that invariants name, in their order. Nothing is raised, so each is only what its incidents are known by.
    fn labels(&mut self, raws: &[RawInvariant]) -> Vec<String> {
        let mut labels = vec![WHOLE_PROTOCOL.to_owned()];
        for text in raws.iter().filter_map(|raw| raw.scope.as_ref()) {
            if labels.iter().any(|held| held == text.get_ref()) {
                continue;
            }
            self.scope_name(text);
            if labels.len() == MAX_SCOPES {
                let message = format!("more than {MAX_SCOPES} scopes");
                self.error(text.span(), message, None);
                break;
            }
            labels.push(text.get_ref().clone());
        }
        labels
    }
}
