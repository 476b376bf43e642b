//! Wall-clock time for people. Latencies never come from here but from the monotonic clock.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, now. `CORDON_CLOCK_SKEW_MS` sets this clock wrong, for tests of a fleet.
#[must_use]
pub fn now_ms() -> i64 {
    static SKEW: OnceLock<i64> = OnceLock::new();
    let skew = *SKEW.get_or_init(|| {
        let text = std::env::var("CORDON_CLOCK_SKEW_MS").unwrap_or_default();
        text.parse().unwrap_or_default()
    });
    system_ms().saturating_add(skew)
}

fn system_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// `2026-11-20 23:59:59.123 UTC` for milliseconds since the Unix epoch; times before 1970 count as the epoch.
#[must_use]
pub fn utc_ms(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or_default();
    format!("{}.{:03} UTC", date_time(ms / 1_000), ms % 1_000)
}

/// `2026-11-20T23:59:59.123Z` (RFC 3339) for milliseconds since the Unix epoch.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or_default();
    format!("{}.{:03}Z", date_time(ms / 1_000).replace(' ', "T"), ms % 1_000)
}

/// `2026-11-20 23:59:59 UTC` for seconds since the Unix epoch.
#[must_use]
pub fn utc(seconds: u64) -> String {
    format!("{} UTC", date_time(seconds))
}

fn date_time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Gregorian date of a day counted from 1970-01-01, in eras of 400 years that begin on 1 March
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A duration as people say it: `45 s`, `12 min`, `1 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn spoken(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3_600),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N`
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_795_219_142, "2026-11-20 23:59:02 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
        assert_eq!(utc_ms(1_709_251_199_007), "2024-02-29 23:59:59.007 UTC");
    }

    #[test]
    fn durations_are_short() {
        let spoken: Vec<String> = [5, 60, 61, 3_600, 3_900, 90_000].into_iter().map(spoken).collect();
        assert_eq!(spoken, ["5 s", "1 min", "1 min 1 s", "1 h", "1 h 5 min", "1 d 1 h"]);
    }
}
