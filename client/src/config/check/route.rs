//! Which channels an invariant or a watch is told through.

use super::super::schema::{OneOrMany, Text};
use super::super::source::suggest;
use super::super::{Audience, NotifyChannel, Severity};
use super::Checker;

/// What an invariant or a watch says about who is told.
pub(super) struct Route<'a> {
    pub(super) channels: Option<&'a OneOrMany>,
    pub(super) audience: Option<&'a Text>,
    pub(super) severity: Severity,
}

impl Checker {
    /// The channels that are meant: those that are named, and those of the audience that want the severity. Empty when
    /// nothing is said; `None` when something is wrong, which is reported.
    pub(super) fn route(&mut self, route: &Route<'_>, channels: &[NotifyChannel]) -> Option<Vec<String>> {
        let before = self.problems.len();
        let mut meant: Vec<String> = Vec::new();
        for text in route.channels.map(|raw| raw.0.as_slice()).unwrap_or_default() {
            let name = text.get_ref();
            if !channels.iter().any(|channel| channel.id == *name) {
                let help = suggest(name, channels.iter().map(|channel| channel.id.as_str()));
                self.error(text.span(), format!("unknown channel `{name}`"), help);
            } else if !meant.contains(name) {
                meant.push(name.clone());
            }
        }
        if let Some(text) = route.audience {
            let table = Audience::ALL.map(|audience| (audience.name(), audience));
            let audience = self.choice(text, "audience", &table)?;
            let serves = |channel: &&NotifyChannel| {
                channel.audience == audience && channel.severity.is_some_and(|least| route.severity <= least)
            };
            let found: Vec<&NotifyChannel> = channels.iter().filter(serves).collect();
            if found.is_empty() {
                let message = format!(
                    "no channel tells {} to the audience `{}`",
                    route.severity,
                    audience.name()
                );
                let help = "nobody would hear of it: add a [[notify]], or name `channels`".to_owned();
                self.error(text.span(), message, help);
            }
            for channel in found {
                if !meant.contains(&channel.id) {
                    meant.push(channel.id.clone());
                }
            }
        }
        (self.problems.len() == before).then_some(meant)
    }
}
