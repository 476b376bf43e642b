//! The figures that were landed last, read from `docs/benchmarks.md`, and how far the present ones may be from them.

use std::collections::BTreeMap;
use std::path::Path;

use eyre::{OptionExt, WrapErr, ensure};

use super::ProgramFigures;

/// Where the figures stand, below the project's root.
pub const FILE: &str = "docs/benchmarks.md";
/// What writes them anew.
pub const COMMAND: &str = "scripts/bench gas";
/// By how much a figure may grow without its landed one: one part in this many.
pub const SLACK: u64 = 100;

/// The text of [`FILE`].
///
/// # Errors
/// When it cannot be read.
pub fn read(root: &Path) -> eyre::Result<String> {
    let path = root.join(FILE);
    std::fs::read_to_string(&path).wrap_err_with(|| path.display().to_string())
}

/// The rows of the table `## Programs`, by the program's name.
///
/// # Errors
/// When the table is not there, a row is not of five cells, or a cell is no number.
pub fn programs(text: &str) -> eyre::Result<BTreeMap<String, ProgramFigures>> {
    let mut found = BTreeMap::new();
    for row in rows(text, "## Programs")? {
        let [name, wasm, code, entry, cached] = row.as_slice() else {
            eyre::bail!("{FILE}: a row of `## Programs` has {} cells, not 5", row.len());
        };
        let figures = ProgramFigures {
            name: name.clone(),
            wasm: number(wasm)?,
            code: number(code)?,
            entry: number(entry)?,
            cached: number(cached)?,
        };
        found.insert(name.clone(), figures);
    }
    ensure!(!found.is_empty(), "{FILE} has no table of programs");
    Ok(found)
}

/// The gas of a response without the transaction's own price, from the table of targets: `target` is its first cell.
///
/// # Errors
/// When there is no such row.
pub fn response(text: &str, target: &str) -> eyre::Result<u64> {
    let row = text
        .lines()
        .filter_map(cells)
        .find(|row| row.first().is_some_and(|first| first == target))
        .ok_or_eyre(format!("{FILE} has no row `{target}`: run {COMMAND}"))?;
    // `56389, met`
    let last = row.last().ok_or_eyre("a row without cells")?;
    number(last.split(',').next().unwrap_or_default())
}

/// Whether a figure grew by more than the slack.
#[must_use]
pub const fn has_grown(landed: u64, now: u64) -> bool {
    now.saturating_mul(SLACK) > landed.saturating_mul(SLACK.saturating_add(1))
}

/// The rows of the first table below a heading, without its head.
fn rows(text: &str, heading: &str) -> eyre::Result<Vec<Vec<String>>> {
    let mut lines = text.lines().skip_while(|line| *line != heading).skip(1).peekable();
    ensure!(lines.peek().is_some(), "{FILE} has no section `{heading}`");
    let table = lines.skip_while(|line| !line.starts_with('|'));
    Ok(table.map_while(cells).skip(2).collect())
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(inner.split(" | ").map(|cell| cell.trim().to_owned()).collect())
}

fn number(cell: &str) -> eyre::Result<u64> {
    cell.trim()
        .parse()
        .wrap_err_with(|| format!("{FILE}: `{cell}` is no number"))
}
