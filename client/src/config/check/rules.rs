//! `[[invariant]]` and `[[containment]]`: all but the rules' own texts.

use alloy::json_abi::Event;
use cordon_core::action::{Action, ActionSet};
use cordon_core::bounds::REPAY_CLOSED_MAX;
use cordon_core::rule::Type;
use cordon_core::rulebook::MAX_CALL_GAS;
use cordon_core::scope::CEILING;

use super::super::schema::{OneOrMany, RawContainment, RawInvariant, RawWitness, Text};
use super::super::source::suggest;
use super::super::{Containment, Finality, GuardConfig, Invariant, NotifyChannel, Parameter, Severity, Undo, Witness};
use super::route::Route;
use super::{Checker, is_identifier, place};
use crate::abi::{Contracts, SignatureError};

/// The scope of an invariant that names none, where there is no guard.
const PROTOCOL: u8 = 0;
/// A containment's effect lasts as long as its level, unless given.
const UNLIMITED: u32 = 0;
/// Gas of a containment call unless given.
const CALL_GAS: u32 = 500_000;
/// Least gas that a call can do anything with.
const LEAST_CALL_GAS: u32 = 21_000;

impl Checker {
    pub(super) fn invariants(
        &mut self,
        raws: &[RawInvariant],
        guard: &GuardConfig,
        contracts: &Contracts,
        channels: &[NotifyChannel],
    ) -> Vec<Invariant> {
        self.ids("an invariant", raws.iter().map(|raw| &raw.id));
        raws.iter()
            .filter_map(|raw| {
                let invariant = self.invariant(raw, guard, contracts)?;
                let route = Route {
                    channels: raw.channels.as_ref(),
                    audience: raw.audience.as_ref(),
                    severity: invariant.severity,
                };
                let channels = self.route(&route, channels)?;
                Some(Invariant { channels, ..invariant })
            })
            .collect()
    }

    /// `None` when something is wrong that the rest cannot do without; it is reported.
    fn invariant(&mut self, raw: &RawInvariant, guard: &GuardConfig, contracts: &Contracts) -> Option<Invariant> {
        let scope = match &raw.scope {
            Some(text) => self.scope(text, &guard.scopes),
            None if guard.is_declared => {
                self.error(raw.id.span(), "the key `scope` is missing", None);
                None
            }
            None => Some(PROTOCOL),
        };
        let answer = match guard.is_declared {
            true => self.answer(raw),
            false => self.told(raw),
        };
        let severity = match &raw.severity {
            Some(text) => self.choice(text, "severity", &Severity::ALL.map(|s| (s.name(), s))),
            None => Some(Severity::P2),
        };
        let finality = self.finality(
            raw.finality.as_ref(),
            "an invariant is about the state that a block has left",
        );
        let params = self.params(raw.param.as_ref());
        let witness = match &raw.witness {
            Some(witness) => self.witness(witness, raw.param.is_some(), &params, contracts),
            None => None,
        };
        if raw.param.is_some() && raw.witness.is_none() {
            let help =
                "witness = { contract = \"pool\", event = \"event Borrow(…)\", field = \"onBehalfOf\" }".to_owned();
            let message = "a rule with `param` and no `witness`: the keeper has no values to evaluate it for";
            if answer.keeper_only {
                self.error(raw.id.span(), format!("{message}, and nobody else has it"), help);
            } else {
                self.warn(
                    raw.id.span(),
                    format!("{message}, so that only who calls `trip` with the right ones finds a breach"),
                    help,
                );
            }
        }
        // Sub-expressions keep the order of the file; the map has them by name.
        let mut lets: Vec<_> = raw.lets.iter().collect();
        lets.sort_by_key(|(name, _)| name.span().start);
        Some(Invariant {
            id: raw.id.get_ref().clone(),
            scope: scope?,
            params,
            witness,
            check: answer.check,
            shadow: answer.shadow,
            robust: raw.robust,
            level: answer.level,
            duration: answer.duration,
            severity: severity?,
            respond: answer.respond,
            channels: Vec::new(),
            keeper_only: answer.keeper_only,
            finality: finality?,
            id_at: place(&raw.id),
            level_at: raw.level.as_ref().map(place),
            rule: raw.rule.clone(),
            lets: lets
                .into_iter()
                .map(|(name, text)| (name.get_ref().clone(), text.clone()))
                .collect(),
        })
    }

    /// How settled a block is waited for. `pending` is none: no block holds what is pending, and `subject` is about blocks.
    pub(super) fn finality(&mut self, text: Option<&Text>, subject: &str) -> Option<Finality> {
        let Some(text) = text else {
            return Some(Finality::Latest);
        };
        if text.get_ref() == "pending" {
            let help = "leave `finality` out for the newest block; for transactions that wait in a public mempool write a [[watch]] with on = \"pending\"";
            let message = format!("{subject}, and what is pending is in none");
            self.error(text.span(), message, help.to_owned());
            return None;
        }
        self.choice(text, "finality", &Finality::ALL.map(|f| (f.name(), f)))
    }

    fn params(&mut self, raw: Option<&OneOrMany>) -> Vec<Parameter> {
        let mut params: Vec<Parameter> = Vec::new();
        for text in raw.map(|raw| raw.0.as_slice()).unwrap_or_default() {
            let Some((name, ty)) = text.get_ref().split_once(':') else {
                let help = "write a name and a type: \"account: address\"".to_owned();
                self.error(text.span(), format!("`{}` is no parameter", text.get_ref()), help);
                continue;
            };
            let (name, ty) = (name.trim(), ty.trim());
            if !is_identifier(name) {
                self.error(text.span(), format!("`{name}` cannot be the name of a parameter"), None);
            } else if params.iter().any(|param| param.name == name) {
                self.error(text.span(), format!("parameter `{name}` is named twice"), None);
            }
            let parsed = Type::parse(ty);
            if parsed.word_type().is_none() {
                let help = suggest(ty, ["address", "bool", "uint256", "int256", "bytes32"]);
                self.error(text.span(), format!("`{ty}` is no type of one word"), help);
                continue;
            }
            params.push(Parameter {
                name: name.to_owned(),
                ty: parsed,
            });
        }
        params
    }

    fn witness(
        &mut self,
        raw: &RawWitness,
        has_param: bool,
        params: &[Parameter],
        contracts: &Contracts,
    ) -> Option<Witness> {
        let name = raw.contract.get_ref();
        if params.is_empty() && !has_param {
            let help = "name what the event supplies: param = \"account: address\"".to_owned();
            self.error(raw.contract.span(), "a witness needs `param`", help);
            return None;
        }
        let Some(contract) = contracts.get(name) else {
            if !contracts.is_broken(name) {
                self.error(
                    raw.contract.span(),
                    format!("unknown contract `{name}`"),
                    suggest(name, contracts.names()),
                );
            }
            return None;
        };
        let event = match Event::parse(raw.event.get_ref()) {
            Ok(event) => event,
            Err(error) => {
                let help =
                    "write it as Solidity does: \"event Borrow(address indexed user, uint256 amount)\"".to_owned();
                self.signature_error(
                    &raw.event,
                    "event",
                    &SignatureError::new(raw.event.get_ref(), &error),
                    help,
                );
                return None;
            }
        };
        let types = event.inputs.iter().map(|input| input.selector_type().into_owned());
        if !self.known_types(&raw.event, types) {
            return None;
        }
        let fields = self.witness_fields(raw, &event, params)?;
        Some(Witness {
            contract: name.clone(),
            address: contract.address,
            event,
            fields,
        })
    }

    fn witness_fields(&mut self, raw: &RawWitness, event: &Event, params: &[Parameter]) -> Option<Vec<usize>> {
        let texts = &raw.field.0;
        if params.is_empty() {
            // The parameters are wrong, which has been reported.
            return None;
        }
        if texts.len() != params.len() {
            let message = format!(
                "fields named: {}, parameters of the rule: {}; one each is needed",
                texts.len(),
                params.len()
            );
            self.error(raw.contract.span(), message, None);
            return None;
        }
        let mut fields = Vec::new();
        for (text, param) in texts.iter().zip(params) {
            let name = text.get_ref();
            let Some(at) = event.inputs.iter().position(|input| input.name == *name) else {
                let help = suggest(name, event.inputs.iter().map(|input| input.name.as_str()));
                self.error(
                    text.span(),
                    format!("the event `{}` has no field `{name}`", event.name),
                    help,
                );
                continue;
            };
            let ty = event.inputs.get(at).map(|input| input.ty.as_str()).unwrap_or_default();
            if Type::parse(ty) != param.ty {
                let message = format!(
                    "the field `{name}` is {ty}, the parameter `{}` is {}",
                    param.name, param.ty
                );
                self.error(text.span(), message, None);
                continue;
            }
            fields.push(at);
        }
        (fields.len() == params.len()).then_some(fields)
    }

    pub(super) fn containments(&mut self, raws: &[RawContainment], scopes: &[String]) -> Vec<Containment> {
        self.ids("a containment", raws.iter().map(|raw| &raw.id));
        raws.iter().filter_map(|raw| self.containment(raw, scopes)).collect()
    }

    fn containment(&mut self, raw: &RawContainment, scopes: &[String]) -> Option<Containment> {
        let scope = self.scope(&raw.scope, scopes);
        let level = self.level(&raw.level);
        let closes = self.actions(&raw.closes);
        let max_duration = self.duration(raw.max_duration.as_ref(), UNLIMITED);
        self.repayment(raw, closes, max_duration);
        if let Some(text) = &raw.max_duration
            && (max_duration == 0 || max_duration > CEILING)
        {
            self.error(
                text.span(),
                "a containment lasts from 1 second to 7 days without the governor",
                None,
            );
        }
        let gas = raw.gas.as_ref().map_or(u64::from(CALL_GAS), |gas| *gas.get_ref());
        if let Some(at) = &raw.gas
            && !(u64::from(LEAST_CALL_GAS)..=u64::from(MAX_CALL_GAS)).contains(&gas)
        {
            self.error(
                at.span(),
                format!("a containment call gets {LEAST_CALL_GAS} to {MAX_CALL_GAS} gas"),
                None,
            );
        }
        Some(Containment {
            id: raw.id.get_ref().clone(),
            scope: scope?,
            level: level?,
            closes,
            max_duration,
            gas: u32::try_from(gas).unwrap_or(CALL_GAS),
            id_at: place(&raw.id),
            call: raw.call.clone(),
            done: raw.done.clone(),
            undo: raw
                .undo
                .iter()
                .map(|undo| Undo {
                    call: undo.call.clone(),
                    undone: undo.undone.clone(),
                })
                .collect(),
        })
    }

    /// A call that closes repayment traps borrowers: it must be accepted in words, be short, and be undone by the guard.
    fn repayment(&mut self, raw: &RawContainment, closes: ActionSet, max_duration: u32) {
        let closing = raw.closes.iter().find(|text| text.get_ref() == "Repay");
        for text in &raw.accepts {
            if text.get_ref() != "Repay" {
                self.error(text.span(), "only `Repay` has to be accepted", None);
            } else if closing.is_none() {
                self.error(
                    text.span(),
                    "`accepts` names `Repay`, which the call does not close",
                    None,
                );
            }
        }
        let Some(closing) = closing.filter(|_| closes.contains(Action::Repay)) else {
            return;
        };
        if !raw.accepts.iter().any(|text| text.get_ref() == "Repay") {
            let help =
                "borrowers cannot repay while it lasts; if that is meant, write accepts = [\"Repay\"]".to_owned();
            self.error(closing.span(), "the call closes `Repay`", help);
        }
        if max_duration == UNLIMITED || max_duration > REPAY_CLOSED_MAX {
            let span = raw.max_duration.as_ref().map_or(closing.span(), Text::span);
            let help = "set `max_duration`, such as \"15 minutes\"".to_owned();
            self.error(span, "a call that closes `Repay` may last 1 hour at most", help);
        }
        if raw.undo.is_empty() {
            let help = "declare the calls that open it again: undo = [{ call = \"…\", undone = \"…\" }]".to_owned();
            self.error(closing.span(), "a call that closes `Repay` needs `undo`", help);
        }
    }
}
