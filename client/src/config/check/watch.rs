//! `[[watch]]`.

use std::collections::BTreeSet;
use std::ops::Range;

use alloy::dyn_abi::DynSolType;
use alloy::json_abi::{Event, Function};
use alloy::primitives::{Address, B256, U256};
use cordon_core::rule::{Param, Type, compile};

use super::super::schema::{OneOrMany, RawWatch, Text};
use super::super::source::suggest;
use super::super::watch::{Condition, Standard, Status, Watch, WatchKind};
use super::super::{NotifyChannel, Severity};
use super::Checker;
use super::route::Route;
use crate::abi::{Contracts, SignatureError};

/// Most watches of a file: each costs a look at every block.
const MOST: usize = 2_000;
/// The keys that only some kinds have, by kind.
const KEYS: [(&str, &[&str]); 9] = [
    ("event", &["event", "at", "when"]),
    ("call", &["function", "at", "status", "when"]),
    ("transaction", &["from", "to", "status", "when"]),
    ("balance", &["at", "when"]),
    ("storage", &["at", "slot", "when"]),
    ("code", &["at"]),
    ("changes", &["at", "standards"]),
    ("invariants", &["artifact", "args", "state"]),
    ("pending", &["from", "to", "function", "when"]),
];

/// A value that a condition may name.
type Field = (String, Type);

const UINT: Type = Type::Int {
    signed: false,
    bits: 256,
};

impl Checker {
    pub(super) fn watches(
        &mut self,
        raws: &[RawWatch],
        contracts: &Contracts,
        channels: &[NotifyChannel],
    ) -> Vec<Watch> {
        self.ids("a watch", raws.iter().map(|raw| &raw.id));
        if let Some(beyond) = raws.get(MOST) {
            self.error(beyond.id.span(), format!("a file has at most {MOST} watches"), None);
        }
        raws.iter()
            .filter_map(|raw| {
                let watch = self.watch(raw, contracts)?;
                let route = Route {
                    channels: raw.channels.as_ref(),
                    audience: raw.audience.as_ref(),
                    severity: watch.severity,
                };
                let channels = self.route(&route, channels)?;
                Some(Watch { channels, ..watch })
            })
            .collect()
    }

    fn watch(&mut self, raw: &RawWatch, contracts: &Contracts) -> Option<Watch> {
        let name = self.choice(&raw.on, "kind of watch", &KEYS.map(|(name, _)| (name, name)))?;
        self.foreign_watch_keys(name, raw);
        let severity = raw.severity.as_ref().map_or(Some(Severity::P3), |text| {
            self.choice(text, "severity", &Severity::ALL.map(|s| (s.name(), s)))
        });
        let finality = self.finality(raw.finality.as_ref(), "a watch is about what is in a block");
        if let (Some(text), "pending") = (&raw.finality, name) {
            self.error(
                text.span(),
                "a pending transaction is in no block: leave `finality` out",
                None,
            );
        }
        let cooldown = self.duration(raw.cooldown.as_ref(), 0);
        let (kind, fields) = self.watch_kind(name, raw, contracts)?;
        let when = match &raw.when {
            Some(text) => Some(self.watch_condition(text, &fields, contracts)?),
            None => None,
        };
        Some(Watch {
            id: raw.id.get_ref().clone(),
            kind,
            when,
            severity: severity?,
            finality: finality?,
            cooldown,
            shadow: raw.shadow,
            channels: Vec::new(),
        })
    }

    fn watch_kind(&mut self, name: &str, raw: &RawWatch, contracts: &Contracts) -> Option<(WatchKind, Vec<Field>)> {
        let on = raw.on.span();
        match name {
            "event" => {
                let text = self.wanted(&on, name, "event", raw.event.as_ref())?;
                let event = self.event(text)?;
                let mut fields = fields_of(event.inputs.iter().map(|input| (&input.name, &input.ty)));
                fields.push(("emitter".to_owned(), Type::Address));
                let at = self.accounts_of(raw.at.as_ref(), contracts)?;
                Some((WatchKind::Event { event, at }, fields))
            }
            "call" => {
                let text = self.wanted(&on, name, "function", raw.function.as_ref())?;
                let function = self.function(text)?;
                let fields = call_fields(Some(&function));
                let status = self.status(raw.status.as_ref(), Status::Success)?;
                let at = self.accounts_of(raw.at.as_ref(), contracts)?;
                Some((WatchKind::Call { function, at, status }, fields))
            }
            "transaction" => {
                let status = self.status(raw.status.as_ref(), Status::Any)?;
                let from = self.accounts_of(raw.from.as_ref(), contracts)?;
                let to = self.accounts_of(raw.to.as_ref(), contracts)?;
                let mut fields = transaction_fields();
                fields.push(("gas_used".to_owned(), UINT));
                Some((WatchKind::Transaction { from, to, status }, fields))
            }
            "balance" => {
                let at = self.some_accounts(&on, name, raw.at.as_ref(), contracts)?;
                Some((WatchKind::Balance { at }, change_fields("balance")))
            }
            "storage" => {
                let at = self.some_accounts(&on, name, raw.at.as_ref(), contracts)?;
                let text = self.wanted(&on, name, "slot", raw.slot.as_ref())?;
                let slot = self.slot(text)?;
                Some((WatchKind::Storage { at, slot }, change_fields("word")))
            }
            "code" => {
                let at = self.some_accounts(&on, name, raw.at.as_ref(), contracts)?;
                Some((WatchKind::Code { at }, Vec::new()))
            }
            "changes" => {
                let at = self.some_accounts(&on, name, raw.at.as_ref(), contracts)?;
                let standards = self.standards(&on, raw.standards.as_ref())?;
                Some((WatchKind::Changes { at, standards }, Vec::new()))
            }
            "invariants" => {
                let contract = self.invariant_contract(&on, raw, contracts)?;
                Some((WatchKind::Invariants(contract), Vec::new()))
            }
            _ => {
                let from = self.accounts_of(raw.from.as_ref(), contracts)?;
                let to = self.accounts_of(raw.to.as_ref(), contracts)?;
                let function = match &raw.function {
                    Some(text) => Some(self.function(text)?),
                    None => None,
                };
                let fields = function
                    .as_ref()
                    .map_or_else(transaction_fields, |function| call_fields(Some(function)));
                Some((WatchKind::Pending { from, to, function }, fields))
            }
        }
    }

    fn foreign_watch_keys(&mut self, name: &str, raw: &RawWatch) {
        let own = KEYS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(&[][..], |(_, own)| own);
        for (key, span) in raw.kind_keys() {
            if !own.contains(&key) {
                let list: Vec<String> = own.iter().map(|key| format!("`{key}`")).collect();
                let help = format!("keys of a watch on {name}: {}", list.join(", "));
                self.error(span, format!("`{key}` is not for a watch on {name}"), help);
            }
        }
    }

    /// A key that the kind cannot do without.
    pub(super) fn wanted<'a>(
        &mut self,
        at: &Range<usize>,
        name: &str,
        key: &str,
        value: Option<&'a Text>,
    ) -> Option<&'a Text> {
        if value.is_none() {
            self.error(at.clone(), format!("a watch on {name} needs the key `{key}`"), None);
        }
        value
    }

    fn event(&mut self, text: &Text) -> Option<Event> {
        let event = Event::parse(text.get_ref())
            .map_err(|error| {
                let help = "write it as Solidity does: \"event Transfer(address indexed from, address indexed to, uint256 value)\"";
                let error = SignatureError::new(text.get_ref(), &error);
                self.signature_error(text, "event", &error, help.to_owned());
            })
            .ok()?;
        let types = event.inputs.iter().map(|input| input.selector_type().into_owned());
        self.known_types(text, types).then_some(event)
    }

    /// Whether Solidity has all these types. A mistyped one would give a signature that nothing on the chain ever has.
    pub(super) fn known_types(&mut self, text: &Text, types: impl Iterator<Item = String>) -> bool {
        let mut fine = true;
        for ty in types.filter(|ty| ty.parse::<DynSolType>().is_err()) {
            let help =
                "types as they are in the ABI: a contract is `address`, an enum `uint8`, a struct `(uint256,address)`";
            self.error(text.span(), format!("`{ty}` is no type of the ABI"), help.to_owned());
            fine = false;
        }
        fine
    }

    fn function(&mut self, text: &Text) -> Option<Function> {
        let function = Function::parse(text.get_ref())
            .map_err(|error| {
                let help = "write it as Solidity does: \"function withdraw(uint256 amount)\"";
                let error = SignatureError::new(text.get_ref(), &error);
                self.signature_error(text, "function", &error, help.to_owned());
            })
            .ok()?;
        let types = function.inputs.iter().map(|input| input.selector_type().into_owned());
        self.known_types(text, types).then_some(function)
    }

    fn status(&mut self, text: Option<&Text>, default: Status) -> Option<Status> {
        let Some(text) = text else { return Some(default) };
        let known = [
            ("any", Status::Any),
            ("success", Status::Success),
            ("failure", Status::Failure),
        ];
        self.choice(text, "status", &known)
    }

    /// Accounts by the names of contracts or by address.
    fn accounts_of(&mut self, raw: Option<&OneOrMany>, contracts: &Contracts) -> Option<Vec<Address>> {
        let mut accounts = Vec::new();
        let mut fine = true;
        for text in raw.map(|raw| raw.0.as_slice()).unwrap_or_default() {
            match self.account_of(text, contracts) {
                Some(account) if accounts.contains(&account) => {
                    self.error(text.span(), format!("{account} is named twice"), None);
                }
                Some(account) => accounts.push(account),
                None => fine = false,
            }
        }
        fine.then_some(accounts)
    }

    fn account_of(&mut self, text: &Text, contracts: &Contracts) -> Option<Address> {
        let name = text.get_ref();
        if name.starts_with("0x") {
            return self.address(text);
        }
        let found = contracts.get(name).map(|contract| contract.address);
        if found.is_none() && !contracts.is_broken(name) {
            let help = suggest(name, contracts.names());
            self.error(text.span(), format!("unknown contract `{name}`"), help);
        }
        found
    }

    fn some_accounts(
        &mut self,
        on: &Range<usize>,
        name: &str,
        raw: Option<&OneOrMany>,
        contracts: &Contracts,
    ) -> Option<Vec<Address>> {
        let accounts = self.accounts_of(raw, contracts)?;
        if accounts.is_empty() {
            let help = "names of [contracts], or addresses".to_owned();
            self.error(on.clone(), format!("a watch on {name} needs accounts in `at`"), help);
            return None;
        }
        Some(accounts)
    }

    pub(super) fn slot(&mut self, text: &Text) -> Option<B256> {
        let slot = text.get_ref().parse::<U256>().ok().map(B256::from);
        if slot.is_none() {
            let help = "a number, or up to 64 hex digits after 0x: `forge inspect NAME storage-layout` shows them";
            self.error(text.span(), format!("`{}` is no slot", text.get_ref()), help.to_owned());
        }
        slot
    }

    fn standards(&mut self, on: &Range<usize>, raw: Option<&OneOrMany>) -> Option<Vec<Standard>> {
        let table = Standard::ALL.map(|standard| (standard.name(), standard));
        let texts = raw.map(|raw| raw.0.as_slice()).unwrap_or_default();
        if texts.is_empty() {
            let list: Vec<String> = table.iter().map(|(name, _)| format!("`{name}`")).collect();
            let help = format!("known: {}", list.join(", "));
            self.error(on.clone(), "a watch on changes needs `standards`", help);
            return None;
        }
        let found: Vec<Option<Standard>> = texts.iter().map(|text| self.choice(text, "standard", &table)).collect();
        let mut found: Vec<Standard> = found.into_iter().collect::<Option<_>>()?;
        found.sort();
        found.dedup();
        Some(found)
    }

    fn watch_condition(&mut self, text: &Text, fields: &[Field], contracts: &Contracts) -> Option<Condition> {
        let named = identifiers(text.get_ref());
        let params: Vec<Param> = fields
            .iter()
            .filter(|(name, _)| named.contains(name.as_str()))
            .map(|(name, ty)| Param {
                name: name.clone(),
                ty: ty.clone(),
            })
            .collect();
        let compiled = match compile(text.get_ref(), &params, &[], contracts) {
            Ok(compiled) => compiled,
            Err(error) => {
                let known: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                let help = if known.is_empty() {
                    "the rule language of docs/rules.md".to_owned()
                } else {
                    format!("it may name {}", known.join(", "))
                };
                let span = self.source.inside(text.span(), text.get_ref(), error.column);
                self.error(span, error.message, help);
                return None;
            }
        };
        if let Some((word, column)) = &compiled.class_reason {
            let span = self.source.inside(text.span(), text.get_ref(), *column);
            self.error(span, format!("`{word}` cannot be part of a watch's condition"), None);
            return None;
        }
        if !compiled.streams.is_empty() {
            let message =
                "what the guard has stored (`anchor`, `mean` and so on) cannot be part of a watch's condition";
            self.error(text.span(), message, None);
            return None;
        }
        Some(Condition {
            text: text.get_ref().clone(),
            program: compiled.program,
            fields: params.into_iter().map(|param| param.name).collect(),
        })
    }
}

/// The names that a text may refer to.
fn identifiers(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .collect()
}

/// What of named and typed values a condition can look at: those of one word.
fn fields_of<'a>(inputs: impl Iterator<Item = (&'a String, &'a String)>) -> Vec<Field> {
    inputs
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, ty)| (name.clone(), Type::parse(ty)))
        .filter(|(_, ty)| ty.word_type().is_some())
        .collect()
}

fn transaction_fields() -> Vec<Field> {
    [
        ("from", Type::Address),
        ("to", Type::Address),
        ("value", UINT),
        ("gas_price", UINT),
        ("gas_limit", UINT),
        ("nonce", UINT),
    ]
    .map(|(name, ty)| (name.to_owned(), ty))
    .into()
}

fn call_fields(function: Option<&Function>) -> Vec<Field> {
    let inputs = function.map(|function| function.inputs.as_slice()).unwrap_or_default();
    let mut fields = fields_of(inputs.iter().map(|input| (&input.name, &input.ty)));
    for (name, ty) in [("tx_from", Type::Address), ("tx_to", Type::Address), ("tx_value", UINT)] {
        fields.push((name.to_owned(), ty));
    }
    fields
}

fn change_fields(now: &str) -> Vec<Field> {
    [(now, UINT), ("before", UINT), ("account", Type::Address)]
        .map(|(name, ty)| (name.to_owned(), ty))
        .into()
}
