//! What a compiled configuration means for the keeper.

use std::collections::BTreeMap;
use std::sync::Arc;

use cordon_client::config::{Evaluate, Finality, Respond};
use cordon_client::{CompiledConfig, RuleMeta};
use cordon_core::bounds::KEEPER;
use cordon_core::rule::Class;

use crate::chain::Rpc;
use crate::decide::{Response, RulePolicy};
use crate::options::Options;
use crate::record::{NamedContainment, Names};
use crate::respond::GasPlan;
use crate::rules::{Hooks, Reader, Rulebook, Watched, WitnessRule};

/// Rules that the guard evaluates as fast as anybody could read what they depend on.
const FEW: usize = 16;

/// The rules as policies, in the order of the rulebook. Hook rules are not among them: they hold inside a call only.
pub(crate) fn policies(compiled: &CompiledConfig, options: &Options) -> Vec<RulePolicy> {
    state_rules(compiled)
        .map(|rule| {
            let (response, duration) = match rule.respond {
                Respond::Trip => (Response::Trip, rule.duration),
                Respond::Contain => (Response::Contain, rule.duration.min(KEEPER.seconds(rule.level))),
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
                maintenance: options
                    .maintenance
                    .iter()
                    .filter(|window| window.names(&rule.id))
                    .map(|window| window.from..window.to)
                    .collect(),
            }
        })
        .collect()
}

/// Rules that can be evaluated on the state of a block.
fn state_rules(compiled: &CompiledConfig) -> impl Iterator<Item = &RuleMeta> {
    compiled.rules.iter().filter(|rule| rule.class != Class::Hook)
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

/// How settled a block each rule is evaluated on.
pub(crate) fn finalities(compiled: &CompiledConfig) -> BTreeMap<u16, Finality> {
    state_rules(compiled).map(|rule| (rule.index, rule.finality)).collect()
}

/// The programs of all rules, by index.
pub(crate) fn programs(compiled: &CompiledConfig) -> Arc<Vec<Vec<u8>>> {
    let held = compiled.rulebook.rules.iter().map(|rule| &rule.program);
    Arc::new(held.chain(&compiled.outside).cloned().collect())
}

/// The reader of a keeper. Without a guard no rule is anybody else's: all of them are evaluated by the keeper.
pub(crate) fn reader(rpc: Rpc, compiled: &CompiledConfig, options: &Options) -> Reader {
    let watched = watched(compiled, options);
    let here = match options.evaluate {
        // Without a guard nobody answers for several reads that depend on each other in one round trip.
        Evaluate::Auto if options.guard.is_zero() => !watched.plain.is_empty(),
        Evaluate::Auto => watched.plain.len() > FEW,
        Evaluate::Guard => false,
        Evaluate::Keeper => true,
    };
    let programs = programs(compiled);
    let held = compiled.rulebook.rules.len();
    let reader = Reader::new(rpc, options.guard, watched)
        .with_programs(Arc::clone(&programs), held)
        .with_hooks(hooks(compiled))
        .with_finality(finalities(compiled))
        .with_rulebook(Rulebook::new(compiled.code_hash()))
        .with_watches(options.watches.clone());
    if here { reader.evaluating_here(programs) } else { reader }
}

/// Where calls that a hook stopped are looked for.
pub(crate) fn hooks(compiled: &CompiledConfig) -> Hooks {
    Hooks {
        callers: compiled.rulebook.callers.clone(),
        scopes: compiled.rules.iter().map(|rule| rule.scope).collect(),
    }
}

/// Names for reports and alarms.
pub(crate) fn names(compiled: &CompiledConfig, options: &Options) -> Names {
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
        matrix: options.matrix,
        channels: compiled.rules.iter().map(|rule| rule.channels.clone()).collect(),
    }
}

/// Gas limits.
pub(crate) fn gas(compiled: &CompiledConfig) -> GasPlan {
    GasPlan {
        containments: compiled
            .call_costs()
            .into_iter()
            .map(|(scope, run, undo)| (scope, run.max(undo)))
            .collect(),
    }
}
