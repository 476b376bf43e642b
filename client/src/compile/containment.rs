//! Containment calls and sets: what a level does, compiled.

use cordon_core::Level;
use cordon_core::rule::{CompiledCall, compile as compile_rule, compile_call};
use cordon_core::rulebook::{Containment as BookContainment, Undo, set_name};

use super::{Compiler, SetMeta};
use crate::config::{Config, Containment};

impl Compiler<'_> {
    /// The containment sets. Reports levels without effect at their place.
    pub(super) fn sets(&mut self) -> Vec<SetMeta> {
        let config = self.config;
        let mut sets = Vec::new();
        for set in &config.sets {
            for (order, at) in set.orders.iter().zip(&set.levels_at) {
                self.throttled_by_hooks_alone(order.scope, Some(order.level), Some(at.span()));
                if !config.level_has_effect(order.scope, order.level) {
                    let scope = config.scope_name(order.scope).unwrap_or_default();
                    let message = format!(
                        "the level {} would have no effect on scope `{scope}`",
                        order.level.name()
                    );
                    let help =
                        "add a [[containment]] for the scope at this level or a lower one, or leave the scope out";
                    self.error(at.span(), message, help.to_owned());
                }
            }
            // A name that is none was reported when the file was checked.
            sets.extend(set_name(&set.id).map(|name| SetMeta {
                id: set.id.clone(),
                name,
                reviewed: set.reviewed,
                orders: set.orders.clone(),
            }));
        }
        sets
    }

    pub(super) fn containment(&mut self, containment: &Containment) -> Option<BookContainment> {
        let call = self.call(&containment.call, &containment.id);
        let done = self.condition(&containment.done, &containment.id);
        let undo: Vec<_> = containment
            .undo
            .iter()
            .map(|undo| {
                (
                    self.call(&undo.call, &containment.id),
                    self.condition(&undo.undone, &containment.id),
                )
            })
            .collect();
        let call = call?;
        Some(BookContainment {
            scope: containment.scope,
            level: containment.level,
            target: call.target,
            calldata: call.calldata,
            gas: containment.gas,
            closes: containment.closes,
            max_duration: containment.max_duration,
            done: done?,
            undo: undo
                .into_iter()
                .map(|(call, undone)| {
                    let call = call?;
                    Some(Undo {
                        target: call.target,
                        calldata: call.calldata,
                        undone: undone?,
                    })
                })
                .collect::<Option<_>>()?,
        })
    }

    fn call(&mut self, text: &toml::Spanned<String>, id: &str) -> Option<CompiledCall> {
        compile_call(text.get_ref(), &self.config.contracts)
            .map_err(|error| {
                let span = self.config.source.inside(text.span(), text.get_ref(), error.column);
                self.error(
                    span,
                    error.message,
                    format!("column {} of a call of `{id}`", error.column),
                );
            })
            .ok()
    }

    /// A condition on the state that a call leaves behind.
    fn condition(&mut self, text: &toml::Spanned<String>, id: &str) -> Option<Vec<u8>> {
        let compiled = compile_rule(text.get_ref(), &[], &[], &self.config.contracts)
            .map_err(|error| {
                let span = self.config.source.inside(text.span(), text.get_ref(), error.column);
                self.error(
                    span,
                    error.message,
                    format!("column {} of a condition of `{id}`", error.column),
                );
            })
            .ok()?;
        if let Some((word, column)) = &compiled.class_reason {
            let span = self.config.source.inside(text.span(), text.get_ref(), *column);
            self.error(
                span,
                format!("`{word}` cannot be part of a condition on the state"),
                None,
            );
            return None;
        }
        if !compiled.streams.is_empty() {
            let message =
                "what the guard has stored (`anchor`, `mean` and so on) cannot be part of a condition on the state";
            self.error(text.span(), message, None);
            return None;
        }
        Some(compiled.program)
    }
}

impl Config {
    /// Whether raising `scope` to `level` would change anything: a registered caller asks for it, or a call runs.
    pub(super) fn level_has_effect(&self, scope: u8, level: Level) -> bool {
        !self.guard.callers.is_empty() || self.is_served(scope, level)
    }

    /// Whether a containment call runs when `scope` is raised to `level`.
    pub(super) fn is_served(&self, scope: u8, level: Level) -> bool {
        self.containments
            .iter()
            .any(|call| (scope == 0 || scope == call.scope) && call.level.rank() <= level.rank())
    }
}
