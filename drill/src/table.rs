//! The table at the end: plain text, or coloured for a terminal.

use std::fmt::Write as _;

use crate::outcome::{Detector, Outcome, Run};

const HEADINGS: [&str; 12] = [
    "scenario",
    "bytecode",
    "k",
    "order",
    "loss unguarded",
    "loss guarded",
    "saved",
    "caught by",
    "blocks",
    "ms",
    "benign",
    "blocked",
];

/// Colours of a terminal; none of them when the output goes elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// No escape codes at all.
    Plain,
    /// ANSI colours.
    Colour,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    None,
    Head,
    Good,
    Bad,
}

struct Cell {
    text: String,
    tone: Tone,
}

impl Style {
    fn paint(self, text: &str, tone: Tone) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) | (_, Tone::None) => return text.to_owned(),
            (_, Tone::Head) => "1",
            (_, Tone::Good) => "32",
            (_, Tone::Bad) => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// One row per run of every drill. `blocks` and `ms` count from the first bad block to the containing one, the milliseconds by
/// their arrival; a run in which the hook refused the attack inside the transaction has none.
#[must_use]
pub fn table(outcomes: &[Outcome], style: Style) -> String {
    let mut rows = vec![HEADINGS.map(|heading| Cell {
        text: heading.to_owned(),
        tone: Tone::Head,
    })];
    for outcome in outcomes {
        rows.extend(outcome.runs.iter().map(|run| row(outcome, run)));
    }
    let mut widths = [0usize; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let padding = " ".repeat(width - cell.text.chars().count());
            // Writing to a string cannot fail.
            let _ = write!(line, "{}{padding}  ", style.paint(&cell.text, cell.tone));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(outcome: &Outcome, run: &Run) -> [Cell; HEADINGS.len()] {
    let plain = |text: String| Cell { text, tone: Tone::None };
    let judged = |text: String, good: bool| Cell {
        text,
        tone: if good { Tone::Good } else { Tone::Bad },
    };
    let share = |bps: u64| format!("{}.{:02} %", bps / 100, bps % 100);
    let loss = |loss: &crate::loss::Loss| format!("{loss} ({})", share(loss.share_bps()));
    let blocks = run
        .contained_block
        .map(|block| block.saturating_sub(run.first_bad_block));
    [
        plain(outcome.scenario.to_owned()),
        plain(if outcome.real_bytecode { "real" } else { "ours" }.to_owned()),
        plain(run.attacker_delay_blocks.to_string()),
        plain(run.order.name().to_owned()),
        judged(loss(&run.loss_unguarded), false),
        judged(loss(&run.loss_guarded), run.loss_guarded.amount().is_zero()),
        judged(share(run.saved_bps), run.saved_bps == 10_000),
        judged(run.detected_by.name().to_owned(), run.detected_by != Detector::None),
        judged(
            blocks.map_or_else(|| "-".to_owned(), |blocks| blocks.to_string()),
            blocks.is_some_and(|blocks| blocks <= 1),
        ),
        plain(
            run.contained_ms
                .map_or_else(|| "-".to_owned(), |millis| millis.to_string()),
        ),
        plain(run.benign_txs.to_string()),
        judged(run.benign_blocked.to_string(), run.benign_blocked == 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::kept;

    #[test]
    fn plain_tables_have_no_escape_codes_and_aligned_columns() {
        let text = table(&[kept()], Style::Plain);
        let expected = "\
scenario     bytecode  k  order        loss unguarded                  loss guarded         saved     caught by  blocks  ms   benign  blocked
aave-oracle  real      2  guard-first  3,655,042.00 USDC (25.46 %)  0.00 USDC (0.00 %)  100.00 %  keeper     1       256  373     0
";
        let squeeze = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(squeeze(&text), squeeze(expected));
        assert!(!text.contains('\u{1b}'));
        let starts: Vec<Option<usize>> = text
            .lines()
            .map(|line| line.find("keeper").or(line.find("caught by")))
            .collect();
        assert!(starts.windows(2).all(|pair| pair.first() == pair.last()), "{starts:?}");
    }

    #[test]
    fn colours_only_paint() {
        let coloured = table(&[kept()], Style::Colour);
        let mut bare = coloured;
        for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, table(&[kept()], Style::Plain));
    }
}
