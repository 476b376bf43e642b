//! `[[invariant]]` and `[[containment]]`: all but the rules' own texts.

use alloy::json_abi::Event;
use cordon_core::action::{Action, ActionSet};
use cordon_core::bounds::{Actor, KEEPER, LEAST, REPAY_CLOSED_MAX};
use cordon_core::level::Level;
use cordon_core::rule::Type;
use cordon_core::rulebook::MAX_CALL_GAS;
use cordon_core::scope::CEILING;

use super::super::schema::{OneOrMany, RawContainment, RawInvariant, RawWitness, Text};
use super::super::source::suggest;
use super::super::{Containment, Finality, Invariant, NotifyChannel, Parameter, Respond, Severity, Undo, Witness};
use super::route::Route;
use super::{Checker, is_identifier, place};
use crate::abi::{Contracts, SignatureError};

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
        scopes: &[String],
        contracts: &Contracts,
        channels: &[NotifyChannel],
    ) -> Vec<Invariant> {
        self.ids("an invariant", raws.iter().map(|raw| &raw.id));
        raws.iter()
            .filter_map(|raw| {
                let invariant = self.invariant(raw, scopes, contracts)?;
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
    fn invariant(&mut self, raw: &RawInvariant, scopes: &[String], contracts: &Contracts) -> Option<Invariant> {
        let scope = self.scope(&raw.scope, scopes);
        let check = self.actions(&raw.check);
        let shadow = self.in_call(raw);
        self.hooked_to_repayment(raw, shadow);
        let level = raw.level.as_ref().and_then(|text| self.level(text));
        let duration = self.trip_duration(raw);
        let severity = match &raw.severity {
            Some(text) => self.choice(text, "severity", &Severity::ALL.map(|s| (s.name(), s))),
            None => Some(Severity::P2),
        };
        let keeper_only = self.keeper_only(raw);
        let respond = self.respond(raw, level, keeper_only);
        let finality = self.rule_finality(raw.finality.as_ref());
        let params = self.params(raw.param.as_ref());
        let witness = match &raw.witness {
            Some(witness) => self.witness(witness, raw.param.is_some(), &params, contracts),
            None => None,
        };
        if raw.param.is_some() && raw.witness.is_none() {
            let help =
                "witness = { contract = \"pool\", event = \"event Borrow(…)\", field = \"onBehalfOf\" }".to_owned();
            let message = "a rule with `param` and no `witness`: the keeper has no values to evaluate it for";
            if keeper_only {
                self.error(raw.id.span(), format!("{message}, and nobody else has it"), help);
            } else {
                self.warn(
                    raw.id.span(),
                    format!("{message}, so that only who calls `trip` with the right ones finds a breach"),
                    help,
                );
            }
        }
        if let (Some(text), Some(Level::Halted), false) = (&raw.level, level, raw.robust) {
            let help =
                "assert `robust = true` when one transaction cannot move the rule's inputs; else use `ReduceOnly`";
            self.error(
                text.span(),
                "a spot rule raises a scope to ReduceOnly at most",
                help.to_owned(),
            );
        }
        // Sub-expressions keep the order of the file; the map has them by name.
        let mut lets: Vec<_> = raw.lets.iter().collect();
        lets.sort_by_key(|(name, _)| name.span().start);
        Some(Invariant {
            id: raw.id.get_ref().clone(),
            scope: scope?,
            params,
            witness,
            check,
            shadow,
            robust: raw.robust,
            level,
            duration,
            severity: severity?,
            respond,
            channels: Vec::new(),
            keeper_only,
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

    fn rule_finality(&mut self, text: Option<&Text>) -> Option<Finality> {
        let Some(text) = text else {
            return Some(Finality::Latest);
        };
        if text.get_ref() == "pending" {
            let help = "leave `finality` out for the newest block; for transactions that wait in a public mempool write a [[watch]] with on = \"pending\"";
            self.error(
                text.span(),
                "an invariant is about the state that a block has left, and what is pending is in none",
                help.to_owned(),
            );
            return None;
        }
        self.choice(text, "finality", &Finality::ALL.map(|f| (f.name(), f)))
    }

    fn in_call(&mut self, raw: &RawInvariant) -> bool {
        let Some(text) = &raw.in_call else { return false };
        if raw.check.is_empty() {
            let help = "name the hooks that check the rule: check = [\"Withdraw\"]".to_owned();
            self.error(text.span(), "`in_call` needs `check`", help);
        }
        self.choice(text, "value of `in_call`", &[("revert", false), ("shadow", true)])
            .unwrap_or_default()
    }

    /// No rule refuses a repayment: whoever reads that one checks it must not rely on that.
    fn hooked_to_repayment(&mut self, raw: &RawInvariant, shadow: bool) {
        let Some(text) = raw.check.iter().find(|text| text.get_ref() == "Repay") else {
            return;
        };
        if !shadow {
            let help = "leave `Repay` out of `check`, or count breaches only: in_call = \"shadow\"; what a repayment must not do is for the function itself to refuse";
            self.warn(
                text.span(),
                "no rule refuses `Repay`: a breach is counted, and the repayment passes",
                help.to_owned(),
            );
        }
    }

    /// Whether the keeper alone has the rule; what only a guard can do with one is refused then.
    fn keeper_only(&mut self, raw: &RawInvariant) -> bool {
        let Some(text) = &raw.held_by else { return false };
        let known = [("guard", false), ("keeper", true)];
        let keeper_only = self.choice(text, "value of `held_by`", &known).unwrap_or_default();
        if let (true, Some(check)) = (keeper_only, raw.check.first()) {
            let help = "leave `check` or `held_by` out".to_owned();
            self.error(
                check.span(),
                "a hook cannot check a rule that the guard does not have",
                help,
            );
        }
        keeper_only
    }

    fn respond(&mut self, raw: &RawInvariant, level: Option<Level>, keeper_only: bool) -> Respond {
        let Some(text) = &raw.respond else {
            return if keeper_only { Respond::Contain } else { Respond::Trip };
        };
        let known = [("trip", Respond::Trip), ("contain", Respond::Contain)];
        let respond = self.choice(text, "value of `respond`", &known).unwrap_or_default();
        if keeper_only && respond == Respond::Trip {
            let help = "respond = \"contain\", by the keeper's own authority".to_owned();
            self.error(
                text.span(),
                "a rule that the guard does not have cannot be tripped",
                help,
            );
        }
        if raw.level.is_none() {
            let help = "name what the keeper raises the scope to: level = \"ReduceOnly\"".to_owned();
            self.error(text.span(), "`respond` needs `level`", help);
        }
        if let (Respond::Contain, Some(level), Some(duration)) = (respond, level, &raw.duration) {
            let most = KEEPER.seconds(level);
            let seconds = self.duration(Some(duration), most);
            if (1..LEAST).contains(&seconds) {
                let help = "lengthen it, or let the keeper trip: respond = \"trip\"".to_owned();
                self.error(
                    duration.span(),
                    "by its own authority a keeper holds a level for a minute at least",
                    help,
                );
            }
            if seconds > most {
                let message = format!(
                    "by its own authority a keeper holds {} for {} minutes at most",
                    level.name(),
                    most / 60
                );
                let help = "shorten it, or let the keeper trip: respond = \"trip\"".to_owned();
                self.error(duration.span(), message, help);
            }
        }
        respond
    }

    fn trip_duration(&mut self, raw: &RawInvariant) -> u32 {
        let most = Actor::Trip.bound().throttled;
        let duration = self.duration(raw.duration.as_ref(), most);
        if let Some(text) = &raw.duration {
            if duration == 0 || duration > most {
                let help = "it is renewed while a fresh observation shows the breach".to_owned();
                self.error(text.span(), "a trip raises a level for 1 second to 1 hour", help);
            } else if raw.level.is_none() {
                self.error(text.span(), "`duration` needs `level`", None);
            }
        }
        duration
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
