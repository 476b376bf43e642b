//! `[[fallback]]`.

use cordon_core::bounds::GUARDIAN;
use cordon_core::level::Level;
use url::Url;

use super::super::schema::{RawFallback, Text};
use super::super::{Fallback, SafeService};
use super::Checker;
use crate::config::format_duration;

/// Seconds that the keeper has by itself, unless given: several replacements of its transaction.
const DEADLINE: u32 = 30;
/// Seconds that each way has, unless given.
const PATIENCE: u32 = 120;
/// Seconds for which a proposal raises the level, unless given.
const DURATION: u32 = 14_400;
/// Times shorter than this leave the keeper no time for its own way.
const LEAST: u32 = 5;

impl Checker {
    pub(super) fn fallbacks(&mut self, raws: &[RawFallback], scopes: &[String]) -> Vec<Fallback> {
        self.ids("a fallback", raws.iter().map(|raw| &raw.id));
        raws.iter().filter_map(|raw| self.fallback(raw, scopes)).collect()
    }

    fn fallback(&mut self, raw: &RawFallback, scopes: &[String]) -> Option<Fallback> {
        let before = self.problems.len();
        let named = raw.scopes.iter().flat_map(|scopes| &scopes.0);
        let meant: Vec<Option<u8>> = named.map(|text| self.scope(text, scopes)).collect();
        let safe = self.address(&raw.safe);
        let deadline = self.some_time(raw.deadline.as_ref(), DEADLINE);
        let patience = self.some_time(raw.patience.as_ref(), PATIENCE);
        let signed: Vec<_> = raw
            .signed
            .iter()
            .flat_map(|files| &files.0)
            .map(|file| self.source.resolve(file.get_ref()))
            .collect();
        let proposal = raw.service.as_ref().and_then(|text| self.service(text, raw));
        for (text, key) in [
            (raw.service_key.as_ref().map(|key| key.span()), "service_key"),
            (raw.duration.as_ref().map(|text| text.span()), "for"),
        ] {
            if let (Some(span), None) = (text, &raw.service) {
                self.error(span, format!("`{key}` belongs to `service`"), None);
            }
        }
        if signed.is_empty() && raw.service.is_none() {
            let help = "signed = [\"pause.json\"], or service = \"https://api.safe.global/tx-service/arb1\"".to_owned();
            self.error(raw.id.span(), "a fallback needs `signed`, `service`, or both", help);
        }
        (self.problems.len() == before).then_some(Fallback {
            id: raw.id.get_ref().clone(),
            scopes: meant.into_iter().flatten().collect(),
            safe: safe?,
            deadline,
            patience,
            signed,
            proposal,
        })
    }

    fn some_time(&mut self, text: Option<&Text>, default: u32) -> u32 {
        let before = self.problems.len();
        let seconds = self.duration(text, default);
        if let Some(text) = text
            && seconds < LEAST
            && self.problems.len() == before
        {
            self.error(text.span(), format!("at least {LEAST} seconds are wanted"), None);
        }
        seconds
    }

    fn service(&mut self, text: &Text, raw: &RawFallback) -> Option<SafeService> {
        let fine = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.username().is_empty()
        };
        let Some(url) = Url::parse(text.get_ref()).ok().filter(fine) else {
            let help = "such as \"https://api.safe.global/tx-service/arb1\"".to_owned();
            self.error(text.span(), "the URL of a Safe Transaction Service is wanted", help);
            return None;
        };
        let duration = self.some_time(raw.duration.as_ref(), DURATION);
        let most = GUARDIAN.seconds(Level::Halted);
        if let Some(text) = &raw.duration
            && duration > most
        {
            let most = format_duration(u64::from(most));
            self.error(
                text.span(),
                format!("a guardian may hold a level for {most} at most"),
                None,
            );
        }
        Some(SafeService {
            url,
            key: raw.service_key.as_ref().map(|key| key.get_ref().clone()),
            duration,
        })
    }
}
