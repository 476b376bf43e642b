//! Where things stand in the configuration file, and messages that point there.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Text of a configuration file and its path, for messages that name both.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: Arc<str>,
}

impl Source {
    /// A source that was read from `path`.
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Path of the file, as the user gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Directory that relative paths in the file refer to.
    pub fn directory(&self) -> &Path {
        self.path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }

    /// `path` as seen from the file's directory.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }

    /// A problem with the bytes `span` of the text.
    pub fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = self
            .text
            .get(line_start..)
            .and_then(|rest| rest.lines().next())
            .unwrap_or("");
        let column = before.get(line_start..).map_or(0, |part| part.chars().count());
        let width = self
            .text
            .get(span)
            .and_then(|marked| marked.lines().next())
            .map_or(1, |marked| marked.chars().count())
            .clamp(1, line_text.chars().count().saturating_sub(column).max(1));
        Problem {
            line: before.matches('\n').count() + 1,
            column: column + 1,
            width,
            excerpt: line_text.trim_end().to_owned(),
            message: message.into(),
            help: None,
            file: None,
        }
    }

    /// The span of the word at the `column`-th character (from 1) of the string value `value` that stands, quoted, at `span`. Falls back
    /// to the whole value when it was written with escapes, so that positions differ.
    pub(crate) fn inside(&self, span: Range<usize>, value: &str, column: usize) -> Range<usize> {
        let offset = self.text.get(span.clone()).and_then(|raw| raw.find(value));
        let within = value.char_indices().nth(column.saturating_sub(1));
        match (offset, within) {
            (Some(offset), Some((at, c))) => {
                // A whole word is marked, or the one character.
                let start = span.start + offset + at;
                let word = value.get(at..).map_or(0, |rest| {
                    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                        .unwrap_or(rest.len())
                });
                start..start + word.max(c.len_utf8())
            }
            // One past the end: "something is missing here".
            (Some(offset), None) => {
                let end = span.start + offset + value.len();
                end..end
            }
            (None, _) => span,
        }
    }
}

/// One thing that is wrong (or, as a warning, doubtful) at one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters that are concerned, at least 1.
    pub width: usize,
    /// The line itself.
    pub excerpt: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The file, when it is another one than the configuration's.
    pub file: Option<PathBuf>,
}

impl Problem {
    pub(super) fn set_file(&mut self, file: &Path) {
        self.file = Some(file.to_owned());
    }

    /// The same with advice; `None` changes nothing.
    pub fn with_help(mut self, help: impl Into<Option<String>>) -> Self {
        if let Some(help) = help.into() {
            self.help = Some(help);
        }
        self
    }

    /// The same with the marked part of the line made unreadable: it may be a key.
    pub(crate) fn redacted(mut self) -> Self {
        let marked = self.column - 1..self.column - 1 + self.width;
        self.excerpt = self
            .excerpt
            .chars()
            .enumerate()
            .map(|(i, c)| if marked.contains(&i) { '*' } else { c })
            .collect();
        self
    }

    fn render(&self, f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
        let gutter = self.line.to_string();
        let pad = " ".repeat(gutter.len());
        let path = self.file.as_deref().unwrap_or(path);
        writeln!(f, "{}:{}:{}: {}", path.display(), self.line, self.column, self.message)?;
        writeln!(f, " {pad} |")?;
        writeln!(f, " {gutter} | {}", self.excerpt)?;
        // Tabs before the mark stay tabs, so that it stands below what it marks.
        let indent: String = self
            .excerpt
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, " {pad} | {indent}{}", "^".repeat(self.width))?;
        if let Some(help) = &self.help {
            write!(f, "\n {pad} = {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Sorts `problems` by place.
    pub fn new(path: impl Into<PathBuf>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Self {
            path: path.into(),
            problems,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            problem.render(f, &self.path)?;
        }
        Ok(())
    }
}

/// The candidate that `name` most likely meant: the nearest in edits, when it is near at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            let length = candidate.chars().count().max(wanted.chars().count());
            // One edit turns any name of two letters into many others.
            length > 2 && *distance <= (length / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Advice for an unknown `name`: the nearest candidate, or the list of all when there are few.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(nearest) = nearest(name, candidates.clone()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    let all: Vec<String> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    (1..=12)
        .contains(&all.len())
        .then(|| format!("known: {}", all.join(", ")))
}
