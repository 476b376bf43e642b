//! Durations as people write them: `"15 minutes"`, `"2 days"`.

use super::source::suggest;

const UNITS: [(&[&str], u64); 5] = [
    (&["second", "seconds", "s"], 1),
    (&["minute", "minutes", "min"], 60),
    (&["hour", "hours", "h"], 3_600),
    (&["day", "days", "d"], 86_400),
    (&["week", "weeks", "w"], 604_800),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No leading whole number.
    #[error("`{0}` is no duration: write a whole number and a unit, such as \"15 minutes\"")]
    NoNumber(String),
    /// A number with a unit that is not known.
    #[error("unknown unit of time `{unit}`{}", .help.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// What may have been meant.
        help: Option<String>,
    },
    /// More than fits.
    #[error("`{0}` is longer than a duration can be (136 years)")]
    TooLong(String),
}

/// Seconds of a duration such as `"15 minutes"`, `"1 hour"`, `"90s"`; at most `u32::MAX`.
pub fn parse_duration(text: &str) -> Result<u32, DurationError> {
    let trimmed = text.trim();
    let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(digits_end);
    let unit = unit.trim();
    if digits.is_empty() || unit.is_empty() {
        return Err(DurationError::NoNumber(text.to_owned()));
    }
    let Some((_, seconds)) = UNITS.iter().find(|(names, _)| names.contains(&unit)) else {
        let long_names = ["seconds", "minutes", "hours", "days", "weeks"];
        return Err(DurationError::UnknownUnit {
            unit: unit.to_owned(),
            help: suggest(unit, long_names),
        });
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(*seconds))
        .and_then(|total| u32::try_from(total).ok())
        .ok_or_else(|| DurationError::TooLong(text.to_owned()))
}

/// The shortest exact way to write `seconds`: `"15 minutes"`, `"1 hour"`, `"90 seconds"`.
pub fn format_duration(seconds: u64) -> String {
    let (names, unit) = UNITS
        .iter()
        .rev()
        .find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .map_or((UNITS[0].0, 1), |(names, unit)| (*names, *unit));
    let count = seconds / unit;
    let name = if count == 1 { names.first() } else { names.get(1) };
    format!("{count} {}", name.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in [
            ("15 minutes", 900),
            ("1 hour", 3600),
            ("2 days", 172_800),
            ("90 seconds", 90),
        ] {
            assert_eq!(parse_duration(text), Ok(seconds));
            assert_eq!(format_duration(u64::from(seconds)), text);
        }
        assert_eq!(parse_duration("90s"), Ok(90));
        assert_eq!(parse_duration("1 w"), Ok(604_800));
        assert_eq!(format_duration(0), "0 seconds");
    }

    #[test]
    fn what_is_no_duration_says_why() {
        let message = |text: &str| parse_duration(text).map_err(|e| e.to_string());
        assert_eq!(
            message("15 minuts"),
            Err("unknown unit of time `minuts`; did you mean `minutes`?".into())
        );
        assert_eq!(
            message("soon"),
            Err("`soon` is no duration: write a whole number and a unit, such as \"15 minutes\"".into())
        );
        assert_eq!(
            message("15"),
            Err("`15` is no duration: write a whole number and a unit, such as \"15 minutes\"".into())
        );
        assert_eq!(
            message("9999999 weeks"),
            Err("`9999999 weeks` is longer than a duration can be (136 years)".into())
        );
    }
}
