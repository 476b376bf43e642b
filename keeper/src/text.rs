//! Texts that others have written.

/// A text that may come from the chain or from a node, as one line that a terminal only shows: control characters, what ends a line, and
/// what turns the direction of writing become spaces.
#[must_use]
pub fn one_line(text: &str) -> String {
    let is_command = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_command(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_passed_on() {
        let forged = "memo\r\nblock 7: scope weth is Normal\x1b[31m\x1b]0;x\x07\u{9b}2J\u{202e}drow";
        assert_eq!(
            one_line(forged),
            "memo  block 7: scope weth is Normal [31m ]0;x  2J drow"
        );
        assert_eq!(one_line("Grüße, 1.5 ETH"), "Grüße, 1.5 ETH");
    }
}
