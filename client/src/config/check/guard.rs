//! `[chain]`, `[guard]` and `[keeper]`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use alloy::primitives::Address;
use cordon_core::bounds::{GOVERNOR_DELAY_MAX, GOVERNOR_DELAY_MIN};
use cordon_core::{Action, Level, Matrix};
use toml::Spanned;

use super::super::endpoint::{Endpoint, HTTP, RawEndpoint, RawPlace, RpcEndpoint, WEBSOCKET, endpoint_url};
use super::super::schema::{RawChain, RawConsole, RawGuard, RawKeeper, RawStore, Text};
use super::super::source::suggest;
use super::super::{Caller, ChainConfig, GuardConfig, KeeperConfig, QuorumConfig, Secret, StorePlace, format_duration};
use super::{Checker, is_identifier};
use crate::abi::Contracts;

/// A day, in seconds.
const DAY: u32 = 24 * 60 * 60;
/// How long what is over is kept, in seconds, where nothing is said.
const RETENTION: u32 = 90 * DAY;
/// A chain without a new block for so long is not seen any more, in seconds.
const STALE_HEAD: u32 = 60;
const LEAST_STALE_HEAD: u32 = 10;
/// Name of scope 0, which counts in every call.
pub(super) const WHOLE_PROTOCOL: &str = "protocol";
/// Scopes that the guard's levels word can hold.
pub(super) const MAX_SCOPES: usize = 128;
/// Seconds of the governor's delay unless given: two days.
pub(super) const GOVERNOR_DELAY: u32 = 172_800;
/// Gas of a hook call unless given: what `Guarded.sol` gives.
pub(super) const HOOK_GAS: u64 = 1_000_000;
/// More than any plan allows.
const MOST_RATE: u32 = 100_000;
/// Directory of reports unless given.
const REPORTS: &str = "incidents";
/// Where the console listens unless given.
const CONSOLE: &str = "127.0.0.1:9464";

impl Checker {
    /// `None` when an endpoint is wrong; that is then reported.
    pub(super) fn chain(&mut self, raw: &RawChain) -> Option<ChainConfig> {
        let named = raw.rpc.get_ref();
        let rpc: Vec<Option<Endpoint>> = named.iter().map(|raw| self.endpoint(raw, HTTP)).collect();
        if rpc.is_empty() {
            self.error(raw.rpc.span(), "at least one endpoint is needed", None);
        }
        let mut seen: Vec<&Endpoint> = Vec::new();
        for (endpoint, raw) in rpc.iter().zip(named) {
            let Some(endpoint) = endpoint else { continue };
            if seen.contains(&endpoint) {
                let problem = self.source.problem(raw.span(), "this endpoint is named already");
                let help =
                    "one that is asked twice does not agree with itself: name one of another provider, or leave it out";
                self.problems.push(problem.with_help(help.to_owned()).redacted());
            }
            seen.push(endpoint);
        }
        let rates: Vec<Option<u32>> = named.iter().map(|raw| self.rate(raw)).collect();
        let rpc: Vec<Endpoint> = rpc.into_iter().collect::<Option<_>>()?;
        let rpc = rpc.into_iter().zip(rates);
        let rpc: Vec<RpcEndpoint> = rpc.map(|(endpoint, rate)| RpcEndpoint { endpoint, rate }).collect();
        let ws = match &raw.ws {
            Some(raw) => {
                if let Some(rate) = &raw.get_ref().rate {
                    let help = "heads come there by themselves; what is asked is asked of `rpc`".to_owned();
                    self.error(rate.span(), "`rate` is for endpoints of `rpc`", help);
                }
                Some(self.endpoint(raw, WEBSOCKET)?)
            }
            None => None,
        };
        (!rpc.is_empty()).then(|| ChainConfig {
            id: raw.id,
            rpc,
            ws,
            directory: self.source.directory().to_owned(),
        })
    }

    fn endpoint(&mut self, raw: &Spanned<RawEndpoint>, schemes: [&str; 2]) -> Option<Endpoint> {
        let text = match &raw.get_ref().place {
            RawPlace::Kept(place) => return Some(Endpoint::Kept(place.clone())),
            RawPlace::Text(text) => text,
        };
        let url = endpoint_url(text, schemes);
        if url.is_none() {
            // Endpoints often carry an access key.
            let [plain, secure] = schemes;
            let message = format!("an endpoint that starts with {plain}:// or {secure}:// is wanted");
            self.problems.push(self.source.problem(raw.span(), message).redacted());
        }
        url.map(Endpoint::Plain)
    }

    fn rate(&mut self, raw: &Spanned<RawEndpoint>) -> Option<u32> {
        let rate = *raw.get_ref().rate.as_ref()?.get_ref();
        if !(1..=MOST_RATE).contains(&rate) {
            let help = "leave `rate` out for an endpoint that may be asked as often as it answers".to_owned();
            let message = format!("`rate = {rate}`: between 1 and {MOST_RATE} requests a second are wanted");
            // A URL with a key may stand beside it.
            let problem = self.source.problem(raw.span(), message).with_help(help);
            self.problems.push(problem.redacted());
        }
        Some(rate)
    }

    fn governor_delay(&mut self, raw: &RawGuard) -> u32 {
        let delay = self.duration(raw.governor_delay.as_ref(), GOVERNOR_DELAY);
        let least = format_duration(GOVERNOR_DELAY_MIN.into());
        let most = format_duration(GOVERNOR_DELAY_MAX.into());
        if let Some(text) = raw.governor_delay.as_ref() {
            // What is no duration at all has been reported, and reads as the default.
            if delay > GOVERNOR_DELAY_MAX {
                self.error(text.span(), format!("a governor's delay is {most} at most"), None);
            } else if delay < GOVERNOR_DELAY_MIN {
                self.error(text.span(), format!("a governor's delay is {least} at least"), None);
            }
        }
        delay
    }

    /// The default, with what `[guard.stricter]` closes besides: at the level that is named and at every stricter one.
    fn matrix(&mut self, raw: &RawGuard) -> Matrix {
        let mut matrix = Matrix::DEFAULT;
        for (name, texts) in &raw.stricter {
            let Some(level) = self.choice(name, "level", &Level::ALL.map(|level| (level.name(), level))) else {
                continue;
            };
            if level == Level::Normal {
                let help = "name one of Throttled, ReduceOnly, Halted and Grace".to_owned();
                self.error(name.span(), "Normal closes nothing", help);
                continue;
            }
            for text in texts {
                let action = self.choice(text, "action", &Action::ALL.map(|action| (action.name(), action)));
                let Some(action) = action else { continue };
                if Matrix::DEFAULT.is_closed(level, action) {
                    let message = format!("{} closes {} anyway", level.name(), action.name());
                    self.warn(text.span(), message, "leave it out".to_owned());
                }
                match matrix.closing(level, action) {
                    Some(stricter) => matrix = stricter,
                    None => self.never_closes(text, level, action),
                }
            }
        }
        matrix
    }

    fn never_closes(&mut self, text: &Text, level: Level, action: Action) {
        let (message, help) = match action {
            Action::Withdraw | Action::Decrease | Action::Settle => (
                format!(
                    "{} does not close {}: exits close at Halted only",
                    level.name(),
                    action.name()
                ),
                "leave it out; a limit on what may leave is the limiter's",
            ),
            _ => (
                format!("no level closes {}", action.name()),
                "Repay, Sync, Tighten and Loosen stay open: debts can be paid, the books kept, risk lowered and announced fixes made at every level",
            ),
        };
        self.error(text.span(), message, help.to_owned());
    }

    pub(super) fn guard(&mut self, raw: &RawGuard, contracts: &Contracts) -> GuardConfig {
        for text in &raw.heartbeats {
            if raw
                .keepers
                .iter()
                .any(|keeper| keeper.get_ref().eq_ignore_ascii_case(text.get_ref()))
            {
                let help = "a stolen keeper's key would keep its own power alive, and no guard grants it (KeysNotApart): use another key";
                self.error(
                    text.span(),
                    "this account has the keeper role as well".to_owned(),
                    Some(help.to_owned()),
                );
            }
        }
        for text in &raw.seals {
            let mut others = raw.guardians.iter().chain(&raw.keepers);
            if others.any(|other| other.get_ref().eq_ignore_ascii_case(text.get_ref())) {
                let help = "who may contain anyhow would never come to use the seal, and no guard grants it (KeysNotApart): use another key";
                self.error(
                    text.span(),
                    "this account is a guardian or keeper as well".to_owned(),
                    Some(help.to_owned()),
                );
            }
        }
        GuardConfig {
            is_declared: true,
            address: raw.address.as_ref().and_then(|text| self.address(text)),
            scopes: self.scopes(raw),
            callers: self.callers(&raw.callers, contracts),
            governor: raw.governor.as_ref().and_then(|text| self.address(text)),
            guardians: self.accounts(&raw.guardians),
            keepers: self.accounts(&raw.keepers),
            heartbeats: self.accounts(&raw.heartbeats),
            seals: self.accounts(&raw.seals),
            governor_delay: self.governor_delay(raw),
            matrix: self.matrix(raw),
            hook_gas: raw.hook_gas.unwrap_or(HOOK_GAS),
        }
    }

    fn scopes(&mut self, raw: &RawGuard) -> Vec<String> {
        let texts = raw.scopes.get_ref();
        if texts.first().map(|first| first.get_ref().as_str()) != Some(WHOLE_PROTOCOL) {
            let span = texts.first().map_or(raw.scopes.span(), |first| first.span());
            let help = "scope 0 is the whole protocol and counts in every call".to_owned();
            self.error(span, format!("the first scope must be `{WHOLE_PROTOCOL}`"), help);
        }
        if texts.len() > MAX_SCOPES {
            self.error(
                raw.scopes.span(),
                format!("{} scopes: a guard holds {MAX_SCOPES} at most", texts.len()),
                None,
            );
        }
        let mut seen = BTreeSet::new();
        for text in texts {
            let name = text.get_ref();
            self.scope_name(text);
            if !seen.insert(name) {
                self.error(text.span(), format!("scope `{name}` is named twice"), None);
            }
        }
        texts.iter().map(|text| text.get_ref().clone()).collect()
    }

    /// Reports what cannot be the name of a scope.
    pub(super) fn scope_name(&mut self, text: &Text) {
        let name = text.get_ref();
        if !is_identifier(&name.replace('-', "_")) {
            let help = "letters, digits, `-` and `_`, a letter first".to_owned();
            self.error(text.span(), format!("`{name}` cannot be the name of a scope"), help);
        }
    }

    fn callers(&mut self, texts: &[Text], contracts: &Contracts) -> Vec<Caller> {
        let mut callers: Vec<Caller> = Vec::new();
        for text in texts {
            let name = text.get_ref();
            let Some(contract) = contracts.get(name) else {
                // A contract that was declared wrongly has been reported where it stands.
                if !contracts.is_broken(name) {
                    let help = suggest(name, contracts.names());
                    self.error(text.span(), format!("unknown contract `{name}`"), help);
                }
                continue;
            };
            if callers.iter().any(|caller| caller.address == contract.address) {
                self.error(text.span(), format!("caller `{name}` is named twice"), None);
            } else {
                callers.push(Caller {
                    name: name.clone(),
                    address: contract.address,
                });
            }
        }
        callers
    }

    fn accounts(&mut self, texts: &[Text]) -> Vec<Address> {
        let mut accounts = Vec::new();
        for text in texts {
            let Some(account) = self.address(text) else { continue };
            if accounts.contains(&account) {
                self.error(text.span(), format!("{account} is named twice"), None);
            } else {
                accounts.push(account);
            }
        }
        accounts
    }

    pub(super) fn keeper(&mut self, raw: RawKeeper) -> KeeperConfig {
        let reports = raw.reports.as_deref().unwrap_or(Path::new(REPORTS));
        let console = raw.console.and_then(|console| self.console(&console));
        if let Some(key) = raw.heartbeat_key.as_ref().filter(|key| key.get_ref().needs_hand()) {
            let help = "a heartbeat goes out every few minutes, so its key has to sign by itself".to_owned();
            self.error(key.span(), "a Ledger cannot be the heartbeat's key", help);
        }
        let more_keys = self.more_keys(raw.key.as_ref(), raw.more_keys);
        let retention = self.duration(raw.retention.as_ref(), RETENTION);
        if let Some(text) = raw.retention.as_ref().filter(|_| retention < DAY) {
            let help = "what a watch has found is compared with what it found before: `1 day` or more".to_owned();
            self.error(text.span(), "`retention` is less than a day", help);
        }
        let stale_head = self.duration(raw.stale_head.as_ref(), STALE_HEAD);
        if let Some(text) = raw.stale_head.as_ref().filter(|_| stale_head < LEAST_STALE_HEAD) {
            let help =
                "one slow block is no chain that stands still: `10 s` or more, or leave it out for a minute".to_owned();
            self.error(text.span(), "`stale_head` is less than 10 seconds", help);
        }
        KeeperConfig {
            retention,
            stale_head,
            heartbeat_url: raw.heartbeat_url,
            console,
            evaluate: raw.evaluate,
            store: match raw.store {
                RawStore::File(path) => StorePlace::File(self.source.directory().join(path)),
                RawStore::Postgres(url) => StorePlace::Postgres(url),
            },
            reports: self.source.directory().join(reports),
            key: raw.key,
            more_keys,
            heartbeat_key: raw.heartbeat_key.map(Spanned::into_inner),
            quorum: QuorumConfig::default(),
        }
    }
}

impl Checker {
    /// The further keys, each another one: two transactions of one account wait for each other.
    fn more_keys(&mut self, key: Option<&Secret>, more: Vec<Spanned<Secret>>) -> Vec<Secret> {
        let mut seen: Vec<Secret> = key.cloned().into_iter().collect();
        for held in &more {
            if seen.contains(held.get_ref()) {
                let help =
                    "a further key helps when the first is jammed, so it has to be of another account".to_owned();
                self.error(held.span(), "this key is named already", help);
            }
            seen.push(held.get_ref().clone());
        }
        more.into_iter().map(Spanned::into_inner).collect()
    }

    /// Where the console listens: this machine only, unless `remote` says that it is meant.
    fn console(&mut self, raw: &RawConsole) -> Option<SocketAddr> {
        let Some(text) = &raw.listen else {
            return CONSOLE.parse().ok();
        };
        let Ok(address) = text.get_ref().parse::<SocketAddr>() else {
            let help = format!("such as \"{CONSOLE}\"");
            self.error(text.span(), "an IP address and a port are wanted", help);
            return None;
        };
        if !address.ip().is_loopback() && raw.remote != Some(true) {
            let help =
                "the console has no passwords: leave it on 127.0.0.1 behind a proxy that has, or set `remote = true`";
            self.error(
                text.span(),
                "the console would be open to other machines",
                help.to_owned(),
            );
        }
        Some(address)
    }
}
