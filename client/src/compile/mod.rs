//! From a configuration to the rulebook that a guard adopts, with the names that the chain does not need.

mod containment;
mod meta;

use std::ops::Range;

use cordon_core::rule::{Class, CompileError, Compiled, CompiledStream, Param, compile as compile_rule};
use cordon_core::rulebook::check::hook_gas;
use cordon_core::rulebook::{
    ContainmentSet, Item, MAX_STREAMS, Rule, Rulebook, RulebookError, Scope, ScopeKind, Stream, View,
};
use cordon_core::{Action, Level};

use crate::config::{Config, ConfigError, Invariant, Problem, Report};

use meta::containment_meta;
pub use meta::{CompiledConfig, ContainmentMeta, RuleMeta, SetMeta, StreamMeta};

impl Config {
    /// Compiles rules and containment calls. Reads no chain.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with everything that is wrong and where: malformed rules with the column and the nearest
    /// name, rules of the wrong class, levels without effect.
    pub fn compile(&self) -> Result<CompiledConfig, ConfigError> {
        let mut compiler = Compiler {
            config: self,
            problems: Vec::new(),
            warnings: self.warnings.clone(),
            rules: Vec::new(),
            outside: Vec::new(),
            streams: Vec::new(),
        };
        let mut book = Rulebook {
            scopes: (0..)
                .zip(&self.guard.scopes)
                .map(|(at, name)| {
                    let kind = if at == 0 {
                        ScopeKind::Protocol
                    } else {
                        ScopeKind::Market
                    };
                    Scope::new(kind, name)
                })
                .collect(),
            callers: self.guard.callers.iter().map(|caller| caller.address).collect(),
            ..Rulebook::default()
        };
        // Rules that the guard does not have are numbered after those that it has.
        let (outside, inside): (Vec<_>, Vec<_>) = self.invariants.iter().partition(|rule| rule.keeper_only);
        for invariant in &inside {
            book.rules.extend(compiler.rule(invariant));
        }
        for invariant in &outside {
            if let Some(rule) = compiler.rule(invariant) {
                compiler.outside.push(rule.program);
            }
        }
        for containment in &self.containments {
            book.containments.extend(compiler.containment(containment));
        }
        let sets = compiler.sets();
        book.sets = sets
            .iter()
            .map(|set| ContainmentSet {
                name: set.name,
                reviewed: set.reviewed,
                orders: set.orders.clone(),
            })
            .collect();
        let Compiler {
            mut problems,
            mut warnings,
            rules,
            outside,
            streams,
            ..
        } = compiler;
        book.streams.extend(streams.iter().map(|(meta, program)| Stream {
            scope: meta.scope,
            spec: meta.spec,
            program: program.clone(),
        }));
        let code = if problems.is_empty() {
            book.encode()
                .map_err(|error| problems.push(self.refusal(&error, &inside)))
                .unwrap_or_default()
        } else {
            Vec::new()
        };
        self.hooks_beyond_their_gas(&code, &inside, &mut warnings);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(Report::new(self.source.path(), problems)));
        }
        let containments = (0u16..)
            .zip(self.containments.iter().zip(&book.containments))
            .map(|(index, (written, compiled))| containment_meta(index, written, compiled))
            .collect();
        Ok(CompiledConfig {
            rulebook: book,
            code: code.into(),
            scopes: self.guard.scopes.clone(),
            rules,
            outside,
            containments,
            sets,
            streams: streams.into_iter().map(|(meta, _)| meta).collect(),
            warnings,
        })
    }

    /// Says of which actions the hooked rules may use more gas than a caller gives to a hook.
    fn hooks_beyond_their_gas(&self, code: &[u8], rules: &[&Invariant], warnings: &mut Vec<Problem>) {
        let Ok(view) = View::open(code) else { return };
        let has = self.guard.hook_gas;
        for action in Action::ALL {
            let needs = hook_gas(&view, action).unwrap_or_default();
            let hooked = rules.iter().find(|rule| rule.check.contains(action));
            let Some(first) = hooked.filter(|_| needs > has) else {
                continue;
            };
            let name = action.name();
            let then = if matches!(action, Action::Repay | Action::Settle) {
                "let it pass unchecked"
            } else {
                "close it"
            };
            let message = format!(
                "the rules hooked to {name} may use {needs} gas together, a hook has {has}: contracts that burn their gas in being read \
                 would {then}"
            );
            let help = "raise `_guardGas` in the protocol and say so by `hook_gas` under [guard], or take rules out of `check`";
            warnings.push(
                self.source
                    .problem(first.id_at.span(), message)
                    .with_help(help.to_owned()),
            );
        }
    }

    /// The place in the file of what makes a guard refuse the rulebook.
    fn refusal(&self, error: &RulebookError, rules: &[&Invariant]) -> Problem {
        let span = match error.item {
            Item::Rule(index) => rules.get(usize::from(index)).map(|rule| rule.id_at.span()),
            Item::Containment(index) => self.containments.get(usize::from(index)).map(|call| call.id_at.span()),
            Item::Set(index) => self.sets.get(usize::from(index)).map(|set| set.id_at.span()),
            Item::Book | Item::Scope(_) | Item::Caller(_) | Item::Stream(_) => None,
        };
        let message = match span {
            Some(_) => error.problem.to_string(),
            None => error.to_string(),
        };
        self.source.problem(span.unwrap_or(0..0), message)
    }
}

struct Compiler<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    rules: Vec<RuleMeta>,
    /// Programs of the rules that only the keeper has.
    outside: Vec<Vec<u8>>,
    /// The streams with their programs.
    streams: Vec<(StreamMeta, Vec<u8>)>,
}

impl Compiler<'_> {
    fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems
            .push(self.config.source.problem(span, message).with_help(help));
    }

    /// `None` when something is wrong; it is then reported.
    fn rule(&mut self, invariant: &Invariant) -> Option<Rule> {
        let params: Vec<Param> = invariant
            .params
            .iter()
            .map(|p| Param {
                name: p.name.clone(),
                ty: p.ty.clone(),
            })
            .collect();
        let lets: Vec<(String, String)> = invariant
            .lets
            .iter()
            .map(|(name, text)| (name.clone(), text.get_ref().clone()))
            .collect();
        let source = invariant.rule.get_ref();
        let compiled = compile_rule(source, &params, &lets, &self.config.contracts)
            .map_err(|error| self.malformed(invariant, &error))
            .ok()?;
        let problems = self.problems.len();
        self.class(invariant, &compiled);
        self.effect(invariant, &compiled);
        for warning in &compiled.warnings {
            self.warnings
                .push(self.config.source.problem(invariant.rule.span(), warning));
        }
        if !compiled.streams.is_empty() && !self.config.guard.is_declared {
            let message = "what a guard stores (`anchor`, `mean` and so on) needs the section [guard]";
            self.error(invariant.rule.span(), message, None);
        }
        for stream in &compiled.streams {
            self.stream(invariant, stream);
        }
        let level = invariant.level.unwrap_or(Level::Normal);
        let duration = if invariant.level.is_some() {
            invariant.duration
        } else {
            0
        };
        self.rules.push(RuleMeta {
            id: invariant.id.clone(),
            index: u16::try_from(self.rules.len()).ok()?,
            scope: invariant.scope,
            class: if invariant.keeper_only {
                Class::Keeper
            } else {
                compiled.class
            },
            class_reason: compiled.class_reason.map(|(word, _)| word),
            robust: invariant.robust,
            shadow: invariant.shadow,
            level,
            duration,
            check: invariant.check,
            severity: invariant.severity,
            respond: invariant.respond,
            finality: invariant.finality,
            channels: invariant.channels.clone(),
            params: invariant.params.clone(),
            witness: invariant.witness.clone(),
            source: source.clone(),
            reads: compiled.reads,
            gas_bound: compiled.gas_bound,
        });
        (problems == self.problems.len()).then(|| Rule {
            scope: invariant.scope,
            class: compiled.class,
            robust: invariant.robust,
            shadow: invariant.shadow,
            level,
            duration,
            check: invariant.check,
            // At most 8, or the compiler had refused the rule.
            params: u8::try_from(params.len()).unwrap_or(u8::MAX),
            program: compiled.program,
            entries: compiled.entries,
        })
    }

    /// Registers a stream that a rule compares with. Rules of several scopes share it under scope 0: an incident in any of them freezes it.
    fn stream(&mut self, invariant: &Invariant, stream: &CompiledStream) {
        if let Some((known, _)) = self.streams.iter_mut().find(|(known, _)| known.id == stream.id) {
            if known.scope != invariant.scope {
                known.scope = 0;
            }
            known.rules.push(invariant.id.clone());
            return;
        }
        let Some(index) = u8::try_from(self.streams.len())
            .ok()
            .filter(|index| *index < MAX_STREAMS)
        else {
            let message = format!("more than {MAX_STREAMS} different streams (values of `anchor`, `mean` and so on)");
            let help = "use the same value with the same numbers in several rules: they then share one".to_owned();
            return self.error(invariant.rule.span(), message, help);
        };
        let meta = StreamMeta {
            index,
            id: stream.id,
            scope: invariant.scope,
            spec: stream.spec,
            reads: stream.reads.clone(),
            rules: vec![invariant.id.clone()],
        };
        self.streams.push((meta, stream.program.clone()));
    }

    fn malformed(&mut self, invariant: &Invariant, error: &CompileError) {
        let within = error
            .within
            .as_ref()
            .and_then(|name| invariant.lets.iter().find(|(other, _)| other == name));
        let text = within.map_or(&invariant.rule, |(_, text)| text);
        let span = self.config.source.inside(text.span(), text.get_ref(), error.column);
        let place = match within {
            Some((name, _)) => format!("column {} of `{name}` in the rule", error.column),
            None => format!("column {} of the rule", error.column),
        };
        self.error(span, error.message.clone(), format!("{place} `{}`", invariant.id));
    }

    /// What the rule's class cannot do, with the word that gave it its class.
    fn class(&mut self, invariant: &Invariant, compiled: &Compiled) {
        let source = &self.config.source;
        let reason = compiled.class_reason.as_ref();
        let word = reason.map(|(word, _)| word.as_str()).unwrap_or_default();
        let at_word = reason.map_or(invariant.rule.span(), |(_, column)| {
            source.inside(invariant.rule.span(), invariant.rule.get_ref(), *column)
        });
        match (compiled.class, &invariant.level_at) {
            (Class::Hook, _) if invariant.keeper_only => {
                let message = format!("`{word}` makes this a hook rule, which a keeper cannot evaluate");
                let help = match self.config.guard.is_declared {
                    true => "leave `held_by` out, and name the hooks: check = [\"Withdraw\"]",
                    false => "hooks are a guard's: add the section [guard], and name them: check = [\"Withdraw\"]",
                };
                self.error(at_word, message, help.to_owned());
            }
            (Class::Hook, Some(level)) => {
                let message = format!(
                    "`{word}` makes this a hook rule, which raises no level: only hooks know the value when the guarded call began"
                );
                let help =
                    "leave `level` out; the hook that finds a breach reverts (or counts it: in_call = \"shadow\")";
                self.error(level.span(), message, help.to_owned());
            }
            (Class::Hook, None) if invariant.check.is_empty() => {
                let message = format!("`{word}` makes this a hook rule, but no hook checks it");
                self.error(
                    at_word,
                    message,
                    "name the hooks: check = [\"Deposit\", \"Withdraw\"]".to_owned(),
                );
            }
            _ => {}
        }
        if !invariant.params.is_empty() && !invariant.check.is_empty() {
            let message = "a hook cannot check a rule with parameters: nobody supplies them there";
            self.error(
                invariant.id_at.span(),
                message,
                "leave `check` or `param` out".to_owned(),
            );
        }
    }

    /// Refuses a rule or level that would change nothing.
    fn effect(&mut self, invariant: &Invariant, compiled: &Compiled) {
        let config = self.config;
        let at = invariant.level_at.as_ref().map(|at| at.span());
        self.throttled_by_hooks_alone(invariant.scope, invariant.level, at);
        match (&invariant.level_at, invariant.level) {
            (Some(at), Some(level)) if !config.level_has_effect(invariant.scope, level) => {
                let scope = config.scope_name(invariant.scope).unwrap_or_default();
                let message = format!("the level {} would have no effect on scope `{scope}`", level.name());
                let help = "add a [[containment]] for the scope at this level or a lower one, or name the contracts that call the guard's hooks in `callers`";
                self.error(at.span(), message, help.to_owned());
            }
            // Without a guard every breach is told.
            (None, _) if !config.guard.is_declared => {}
            (None, _) if compiled.class == Class::State && invariant.check.is_empty() => {
                let help = match invariant.keeper_only {
                    true => "give it a `level` that the keeper raises",
                    false => "give it a `level` that a trip raises, or the hooks that `check` it",
                };
                let help = help.to_owned();
                self.error(invariant.id_at.span(), "the rule would have no effect", help);
            }
            _ => {}
        }
    }

    /// Says where `Throttled` is left to hooks, which close nothing at it.
    fn throttled_by_hooks_alone(&mut self, scope: u8, level: Option<Level>, at: Option<Range<usize>>) {
        let config = self.config;
        let (Some(Level::Throttled), Some(at)) = (level, at) else {
            return;
        };
        if config.guard.callers.is_empty() || config.is_served(scope, Level::Throttled) {
            return;
        }
        let scope = config.scope_name(scope).unwrap_or_default();
        let message = format!(
            "no containment call serves Throttled on scope `{scope}`: hooks close nothing at it, they only want Loosen announced"
        );
        let help = "let a [[containment]] quarter the limits (`holdFor` of the limiter), or raise ReduceOnly; as it is, it serves contracts that \
                    ask the guard for its level, people who are told, and streams, which it stops";
        self.warnings
            .push(config.source.problem(at, message).with_help(help.to_owned()));
    }
}
