//! Message templates of openzeppelin-monitor as templates of ours.

use std::fmt::Write;

use serde_json::Value;

/// Longest title and text that are carried over, in characters; a template may be so long, with the details behind it.
const LONGEST: usize = 3_900;
/// Stands where a value has no counterpart.
const GAP: &str = "…";

/// A text with what of it could not be said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Carried {
    text: String,
    /// Names of values that have no counterpart, each once.
    lost: Vec<String>,
}

/// The placeholder that says the same; `None` when there is none.
fn counterpart(name: &str) -> Option<&'static str> {
    match name {
        "monitor.name" => Some("{subject}"),
        "transaction.hash" => Some("{transaction}"),
        // All that was found, in one sentence.
        "events" | "functions" => Some("{text}"),
        _ => None,
    }
}

/// `${name}` there is `{name}` here.
fn carry(theirs: &str) -> Carried {
    let mut carried = Carried::default();
    let mut rest = theirs;
    while let Some((words, after)) = rest.split_once("${") {
        // What is not closed is text there too.
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        push_words(&mut carried.text, words);
        let name = name.trim();
        match counterpart(name) {
            Some(placeholder) => carried.text.push_str(placeholder),
            None => {
                carried.text.push_str(GAP);
                if !carried.lost.iter().any(|held| held == name) {
                    carried.lost.push(name.to_owned());
                }
            }
        }
        rest = behind;
    }
    push_words(&mut carried.text, rest);
    carried
}

/// Braces are written twice here.
fn push_words(out: &mut String, words: &str) {
    out.push_str(&words.replace('{', "{{").replace('}', "}}"));
}

/// A text as a TOML string that keeps its lines.
fn quoted_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(super::quoted).collect();
    // Each is in quotation marks: those between two lines go.
    lines.join("\n").replace("\"\n\"", "\\n")
}

/// The `[[template]]` that a trigger's message becomes for its channel, with what is to be said of it. It is for what watches find; all else is told
/// in the keeper's words.
pub(super) fn template(channel: &str, key: &str, config: &Value, notes: &mut Vec<String>) -> String {
    let written = |part: &str| {
        let text = config.get("message")?.get(part)?.as_str()?;
        (!text.trim().is_empty()).then(|| text.to_owned())
    };
    let (title, body) = (written("title"), written("body"));
    if title.is_none() && body.is_none() {
        return String::new();
    }
    let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > LONGEST);
    if long(&title) || long(&body) {
        notes.push(format!(
            "the message of the trigger `{key}` is longer than {LONGEST} characters: what is found is told in the keeper's words"
        ));
        return String::new();
    }
    let (title, mut body) = (title.map(|text| carry(&text)), body.map(|text| carry(&text)));
    let mut lost: Vec<String> = Vec::new();
    for name in title.iter().chain(&body).flat_map(|text| &text.lost) {
        if !lost.contains(name) {
            lost.push(name.clone());
        }
    }
    if !lost.is_empty() {
        let names: Vec<String> = lost.iter().map(|name| format!("`${{{name}}}`")).collect();
        notes.push(format!(
            "the message of the trigger `{key}` has no counterpart here for {}: \"{GAP}\" stands there, and all that was found behind it",
            names.join(", ")
        ));
        let body = body.get_or_insert_default();
        if !body.text.is_empty() {
            body.text.push_str("\n\n");
        }
        body.text.push_str("{details}");
    }
    let mut toml = format!(
        "\n[[template]]\nchannels = [{}]\non = [\"seen\"]\n",
        super::quoted(channel)
    );
    // Writing to a string cannot fail.
    if let Some(title) = title {
        let _ = writeln!(toml, "title = {}", super::quoted(&title.text));
    }
    if let Some(body) = body {
        let _ = writeln!(toml, "text = {}", quoted_lines(&body.text));
    }
    toml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(theirs: &str) -> (String, Vec<String>) {
        let Carried { text, lost } = carry(theirs);
        (text, lost)
    }

    #[test]
    fn values_that_are_here_too_are_carried_over_and_the_others_are_named() {
        for (theirs, ours, lost) in [
            (
                "${monitor.name}: ${ transaction.hash }",
                "{subject}: {transaction}",
                &[][..],
            ),
            ("${functions} and ${events}", "{text} and {text}", &[]),
            ("$5 {not ours} ${open", "$5 {{not ours}} ${{open", &[]),
            (
                "${events.0.args.value} of ${events.0.args.value}, ${transaction.from}",
                "… of …, …",
                &["events.0.args.value", "transaction.from"],
            ),
            ("${}", "…", &[""]),
        ] {
            let lost = lost.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(made(theirs), (ours.to_owned(), lost), "{theirs}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(quoted_lines("a \"b\"\n\n\\c\r\nd"), r#""a \"b\"\n\n\\c\nd""#);
    }
}
