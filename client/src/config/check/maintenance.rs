//! `[[maintenance]]`.

use std::collections::BTreeSet;

use super::super::schema::{OneOrMany, RawInvariant, RawMaintenance, RawWatch, Text};
use super::super::source::suggest;
use super::super::watch::Maintenance;
use super::Checker;

/// An invariant may be silent for so many seconds: what protects nothing is forgotten easily.
const SILENT: u64 = 24 * 3_600;

impl Checker {
    pub(super) fn maintenance(
        &mut self,
        raws: &[RawMaintenance],
        watches: &[RawWatch],
        invariants: &[RawInvariant],
    ) -> Vec<Maintenance> {
        let watches: BTreeSet<&str> = watches.iter().map(|watch| watch.id.get_ref().as_str()).collect();
        let rules: BTreeSet<&str> = invariants.iter().map(|rule| rule.id.get_ref().as_str()).collect();
        raws.iter()
            .filter_map(|raw| {
                let (from, to) = (self.time(&raw.from), self.time(&raw.to));
                let named = self.named("watch", raw.watches.as_ref(), &watches);
                let silent = self.named("invariant", raw.invariants.as_ref(), &rules);
                let (from, to) = (from?, to?);
                if from >= to {
                    self.error(raw.to.span(), "the maintenance ends before it begins", None);
                    return None;
                }
                if !silent.is_empty() && to.saturating_sub(from) > SILENT {
                    let help = "write several, each for the day on which it is needed".to_owned();
                    self.error(raw.to.span(), "an invariant is silent for 24 hours at most", help);
                }
                Some(Maintenance {
                    from,
                    to,
                    watches: named,
                    invariants: silent,
                    reason: raw.reason.get_ref().clone(),
                })
            })
            .collect()
    }

    fn named(&mut self, what: &str, raw: Option<&OneOrMany>, known: &BTreeSet<&str>) -> Vec<String> {
        let texts = raw.map(|raw| raw.0.as_slice()).unwrap_or_default();
        for text in texts {
            if !known.contains(text.get_ref().as_str()) {
                let help = suggest(text.get_ref(), known.iter().copied());
                self.error(text.span(), format!("unknown {what} `{}`", text.get_ref()), help);
            }
        }
        texts.iter().map(|text| text.get_ref().clone()).collect()
    }

    fn time(&mut self, text: &Text) -> Option<u64> {
        let time = unix_seconds(text.get_ref());
        if time.is_none() {
            let help = "in UTC, such as \"2026-11-21T08:00:00Z\"".to_owned();
            self.error(text.span(), format!("`{}` is no time", text.get_ref()), help);
        }
        time
    }
}

/// Unix seconds of `YYYY-MM-DDTHH:MM:SSZ`.
fn unix_seconds(text: &str) -> Option<u64> {
    let parsed: toml::value::Datetime = text.parse().ok()?;
    let (date, time) = (parsed.date?, parsed.time?);
    if parsed.offset != Some(toml::value::Offset::Z) || date.year < 1970 {
        return None;
    }
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days from civil.
    let (month, day) = (u64::from(date.month), u64::from(date.day));
    let year = u64::from(date.year).checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month.checked_sub(3)? } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let seconds = u64::from(time.hour) * 3_600 + u64::from(time.minute) * 60 + u64::from(time.second);
    days.checked_mul(86_400)?.checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // `date -u -d TEXT +%s`
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T23:59:59Z", Some(1_709_251_199)),
            ("2026-11-20T23:59:02Z", Some(1_795_219_142)),
            ("2026-11-20T23:59:02+01:00", None),
            ("2026-11-20", None),
            ("soon", None),
        ] {
            assert_eq!(unix_seconds(text), seconds, "{text}");
        }
    }
}
