//! Help with misspelt names.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The candidate nearest to `name`, when it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(name.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of a message about an unknown name: the nearest one, or else those there are.
#[must_use]
pub fn suggestion(name: &str, candidates: &[String]) -> String {
    const SHOWN: usize = 8;
    if let Some(near) = nearest(name, candidates.iter().map(String::as_str)) {
        return format!("; did you mean `{near}`?");
    }
    if candidates.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = candidates.iter().take(SHOWN).map(String::as_str).collect();
    let more = if candidates.len() > SHOWN { ", …" } else { "" };
    format!("; known are {}{more}", shown.join(", "))
}
