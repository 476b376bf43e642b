//! Expressions of openzeppelin-monitor in the rule language.

/// Why an expression has no counterpart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untranslated {
    #[error("`{0}` on texts has no counterpart in the rule language")]
    Operator(String),
    #[error("the text \"{0}\" is neither a number, an address nor bytes")]
    Text(String),
    #[error("`{0}` is no value of one word")]
    Path(String),
    #[error("`{0}` is not understood")]
    Token(String),
}

/// Translates. `name` says what a value is called here; `None` when there is no such value.
pub(super) fn translate(text: &str, name: impl Fn(&str) -> Option<String>) -> Result<String, Untranslated> {
    let mut out: Vec<String> = Vec::new();
    for token in tokens(text)? {
        let upper = token.to_ascii_uppercase();
        out.push(match upper.as_str() {
            "AND" => "&&".to_owned(),
            "OR" => "||".to_owned(),
            "TRUE" | "FALSE" => token.to_ascii_lowercase(),
            "CONTAINS" | "STARTS_WITH" | "ENDS_WITH" => return Err(Untranslated::Operator(token)),
            _ if "()=!<>".contains(token.chars().next().unwrap_or('?')) => token,
            _ if token.starts_with(['"', '\'']) => {
                let inner = token.trim_matches(['"', '\'']);
                if is_number(inner) {
                    inner.to_owned()
                } else {
                    return Err(Untranslated::Text(inner.to_owned()));
                }
            }
            _ if is_number(&token) => token,
            _ => name(&token).ok_or(Untranslated::Path(token))?,
        });
    }
    Ok(out.join(" ").replace("( ", "(").replace(" )", ")"))
}

/// The parts that an expression joins with AND, or itself when there is nothing but one part, or an OR that is not in brackets.
pub(super) fn conjuncts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut begin, mut quote) = (0_i32, 0_usize, None);
    let mut word = 0_usize;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        if quote.is_some() || matches!(c, '"' | '\'') {
            quote = match quote {
                None => Some(c),
                Some(open) if open == c => None,
                held => held,
            };
            word = at.saturating_add(c.len_utf8());
            continue;
        }
        if c.is_ascii_alphanumeric() || "_-$.[]".contains(c) {
            continue;
        }
        let held = text.get(word..at).unwrap_or_default();
        if depth == 0 && held.eq_ignore_ascii_case("or") {
            return vec![text];
        }
        if depth == 0 && held.eq_ignore_ascii_case("and") {
            parts.push(text.get(begin..word).unwrap_or_default().trim());
            begin = at;
        }
        depth = depth
            .saturating_add(i32::from(c == '('))
            .saturating_sub(i32::from(c == ')'));
        word = at.saturating_add(c.len_utf8());
    }
    parts.push(text.get(begin..).unwrap_or_default().trim());
    parts
}

/// Whether it is written alike here: a whole number, or bytes in hex (an address among them).
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match digits.strip_prefix("0x") {
        Some(hex) => !hex.is_empty() && hex.chars().all(|c| c.is_ascii_hexdigit()),
        None => !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()),
    }
}

fn tokens(text: &str) -> Result<Vec<String>, Untranslated> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => 1,
            '=' | '!' | '<' | '>' => {
                let long = rest.get(1..2) == Some("=");
                if matches!(first, '=' | '!') && !long {
                    return Err(Untranslated::Token(first.to_string()));
                }
                if long { 2 } else { 1 }
            }
            '"' | '\'' => {
                let body = rest.get(1..).unwrap_or_default();
                let end = body.find(first).ok_or_else(|| Untranslated::Token(rest.to_owned()))?;
                end + 2
            }
            c if c.is_ascii_alphanumeric() || "_-$.".contains(c) => rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || "_-$.[]".contains(c)))
                .unwrap_or(rest.len()),
            c => return Err(Untranslated::Token(c.to_string())),
        };
        let (token, after) = rest
            .split_at_checked(length)
            .ok_or_else(|| Untranslated::Token(rest.to_owned()))?;
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn made(text: &str) -> Result<String, String> {
        let name = |name: &str| ["value", "to", "from"].contains(&name).then(|| format!("tx_{name}"));
        translate(text, name).map_err(|error| error.to_string())
    }

    #[test]
    fn expressions_say_the_same_here() {
        for (theirs, ours) in [
            ("value > 10000", "tx_value > 10000"),
            (
                "value>=1 AND (to == '0xAb' OR from != \"0x01\")",
                "tx_value >= 1 && (tx_to == 0xAb || tx_from != 0x01)",
            ),
            ("value == '7' or value < -3", "tx_value == 7 || tx_value < -3"),
        ] {
            assert_eq!(made(theirs).unwrap(), ours);
        }
    }

    #[test]
    fn what_is_joined_with_and_comes_apart() {
        for (text, parts) in [
            ("value > 1", &["value > 1"][..]),
            (
                "value > 1 AND (to == 0x1 OR from == 0x2)and memo contains 'x AND (y'",
                &["value > 1", "(to == 0x1 OR from == 0x2)", "memo contains 'x AND (y'"],
            ),
            (
                "value > 1 AND to == 0x1 OR from == 0x2",
                &["value > 1 AND to == 0x1 OR from == 0x2"],
            ),
            ("brand == 1 AND order == 2", &["brand == 1", "order == 2"]),
        ] {
            assert_eq!(conjuncts(text), parts, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_named() {
        for (theirs, reason) in [
            (
                "to contains 'abc'",
                "`contains` on texts has no counterpart in the rule language",
            ),
            (
                "to == 'alice'",
                "the text \"alice\" is neither a number, an address nor bytes",
            ),
            ("args.list[0] > 1", "`args.list[0]` is no value of one word"),
            ("value = 1", "`=` is not understood"),
            ("value > 1 && to == 0x1", "`&` is not understood"),
            ("value > '1", "`'1` is not understood"),
        ] {
            assert_eq!(made(theirs).unwrap_err(), reason);
        }
    }
}
