//! What an `[[invariant]]` has done about a breach: by the guard's hooks, by a trip, by the keeper; or nothing but telling people.

use cordon_core::action::ActionSet;
use cordon_core::bounds::{Actor, KEEPER, LEAST};
use cordon_core::level::Level;

use super::super::Respond;
use super::super::schema::RawInvariant;
use super::Checker;

/// What is done about a breach.
pub(super) struct Answer {
    /// Hooks that check the rule.
    pub(super) check: ActionSet,
    /// Whether they only count breaches.
    pub(super) shadow: bool,
    /// What a breach raises the scope to.
    pub(super) level: Option<Level>,
    /// For how many seconds.
    pub(super) duration: u32,
    /// What the keeper sends.
    pub(super) respond: Respond,
    /// Whether no guard has the rule.
    pub(super) keeper_only: bool,
}

impl Checker {
    /// What is done where there is a guard.
    pub(super) fn answer(&mut self, raw: &RawInvariant) -> Answer {
        let check = self.actions(&raw.check);
        let shadow = self.in_call(raw);
        self.hooked_to_repayment(raw, shadow);
        self.hooked_to_settlement(raw, shadow);
        let level = raw.level.as_ref().and_then(|text| self.level(text));
        let duration = self.trip_duration(raw);
        let keeper_only = self.keeper_only(raw);
        let respond = self.respond(raw, level, keeper_only);
        if let (Some(text), Some(Level::Halted), false) = (&raw.level, level, raw.robust) {
            let help =
                "assert `robust = true` when one transaction cannot move the rule's inputs; else use `ReduceOnly`";
            self.error(
                text.span(),
                "a spot rule raises a scope to ReduceOnly at most",
                help.to_owned(),
            );
        }
        Answer {
            check,
            shadow,
            level,
            duration,
            respond,
            keeper_only,
        }
    }

    /// Without a guard people are told, and what would do more is an error.
    pub(super) fn told(&mut self, raw: &RawInvariant) -> Answer {
        let texts = [
            ("check", raw.check.first()),
            ("in_call", raw.in_call.as_ref()),
            ("level", raw.level.as_ref()),
            ("duration", raw.duration.as_ref()),
            ("respond", raw.respond.as_ref()),
            (
                "held_by",
                raw.held_by.as_ref().filter(|text| text.get_ref() != "keeper"),
            ),
        ];
        for (key, text) in texts {
            let Some(text) = text else { continue };
            let help =
                "leave it out: without a guard a breach is told, as loudly as `severity` says, and nothing is raised";
            self.error(
                text.span(),
                format!("`{key}` needs the section [guard]"),
                help.to_owned(),
            );
        }
        Answer {
            check: ActionSet::EMPTY,
            shadow: false,
            level: None,
            duration: 0,
            respond: Respond::default(),
            keeper_only: true,
        }
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

    /// A breach refuses a settlement for as long as it lasts, unless the rule is tripped and its level governs in its stead: no spot rule's
    /// does, nor that of a rule which raises none. What expires meanwhile is lost to who could not settle.
    fn hooked_to_settlement(&mut self, raw: &RawInvariant, shadow: bool) {
        let Some(text) = raw.check.iter().find(|text| text.get_ref() == "Settle") else {
            return;
        };
        let is_tripped = raw.robust && raw.level.is_some();
        if !shadow && !is_tripped {
            let help = "leave `Settle` out of `check`, or count breaches only: in_call = \"shadow\"; or, when one transaction cannot move what it reads, robust = true and a `level`, so that a trip lets the exits pass";
            self.warn(
                text.span(),
                "whoever keeps this rule breached keeps others from settling, past their expiry too",
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
}
