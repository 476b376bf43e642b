//! What a compiled configuration means for the keeper.

use std::collections::BTreeSet;

use cordon_client::{CompiledConfig, RuleMeta};
use cordon_core::bounds::KEEPER;
use cordon_core::rule::Class;

use crate::decide::{Response, RulePolicy};
use crate::error::KeeperError;
use crate::options::Options;
use crate::record::{NamedContainment, Names};
use crate::respond::GasPlan;
use crate::rules::{Watched, WitnessRule};

/// The rules as policies, in the order of the rulebook. Hook rules are not among them: they hold inside a call only.
pub(crate) fn policies(compiled: &CompiledConfig, options: &Options) -> Result<Vec<RulePolicy>, KeeperError> {
    let known: BTreeSet<&str> = state_rules(compiled).map(|rule| rule.id.as_str()).collect();
    if let Some(name) = options.contain.iter().find(|name| !known.contains(name.as_str())) {
        return Err(KeeperError::UnknownRule(name.clone()));
    }
    Ok(state_rules(compiled)
        .map(|rule| {
            let response = if options.contain.contains(&rule.id) {
                Response::Contain
            } else {
                Response::Trip
            };
            let duration = match response {
                Response::Trip => rule.duration,
                Response::Contain => rule.duration.min(KEEPER.seconds(rule.level)),
            };
            RulePolicy {
                index: rule.index,
                id: rule.id.clone(),
                scope: rule.scope,
                level: rule.level,
                duration,
                severity: rule.severity,
                robust: rule.robust,
                shadow: rule.shadow,
                response,
                cooldown: options.cooldown,
            }
        })
        .collect())
}

fn state_rules(compiled: &CompiledConfig) -> impl Iterator<Item = &RuleMeta> {
    compiled.rules.iter().filter(|rule| rule.class == Class::State)
}

/// What is evaluated at every block.
pub(crate) fn watched(compiled: &CompiledConfig, options: &Options) -> Watched {
    let mut watched = Watched {
        recheck: options.recheck,
        ..Watched::default()
    };
    for rule in state_rules(compiled) {
        if rule.params.is_empty() {
            watched.plain.push(rule.index);
        } else {
            watched.witnessed.push(WitnessRule {
                index: rule.index,
                witness: rule.witness.clone(),
            });
        }
    }
    watched
}

/// Names for reports and alarms.
pub(crate) fn names(compiled: &CompiledConfig) -> Names {
    Names {
        scopes: compiled.scopes.clone(),
        rules: compiled.rules.iter().map(|rule| rule.id.clone()).collect(),
        containments: compiled
            .containments
            .iter()
            .map(|call| NamedContainment {
                id: call.id.clone(),
                closes: call.closes,
            })
            .collect(),
        hooked: !compiled.rulebook.callers.is_empty(),
    }
}

/// Gas limits.
pub(crate) fn gas(compiled: &CompiledConfig) -> GasPlan {
    GasPlan {
        containments: compiled
            .rulebook
            .containments
            .iter()
            .map(|call| (call.scope, u64::from(call.gas)))
            .collect(),
    }
}
