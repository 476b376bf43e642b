//! The tree of calls as text.

use std::fmt::Write;

use alloy::primitives::{Bytes, hex};
use cordon_stylus::hooks::{HostCall, Stop};
use revm::interpreter::InstructionResult;

use super::{
    Entry, Frame, FrameKind,
    console::{self, CONSOLE},
    names::{Names, show_bytes},
};

/// The most lines of one tree; what follows is counted.
const MAX_LINES: usize = 20_000;

/// The call tree of a transaction, one line for each call, log, printed line and end of a call.
pub(crate) fn print(frame: &Frame, names: &Names) -> String {
    let mut printer = Printer {
        names,
        text: String::new(),
        lines: 0,
    };
    printer.line("  ", &head(frame, names));
    printer.body(frame, "    ");
    if printer.lines > MAX_LINES {
        let more = printer.lines.saturating_sub(MAX_LINES);
        // Writing to a string cannot fail.
        let _ = writeln!(printer.text, "  … {more} more lines");
    }
    printer.text
}

struct Printer<'n> {
    names: &'n Names,
    text: String,
    lines: usize,
}

impl Printer<'_> {
    fn line(&mut self, indent: &str, line: &str) {
        self.lines = self.lines.saturating_add(1);
        if self.lines <= MAX_LINES {
            self.text.extend([indent, line, "\n"]);
        }
    }

    /// What happened in a frame, and how it ended.
    fn body(&mut self, frame: &Frame, indent: &str) {
        for entry in &frame.entries {
            match entry {
                Entry::Frame(nested) => self.nested(nested, indent),
                Entry::Host(_, Some(nested)) => self.nested(nested, indent),
                Entry::Host(call, None) => {
                    if let Some(line) = host(call) {
                        self.line(indent, &format!("├─ {line}"));
                    }
                }
                Entry::Log(log) => {
                    let event = self.names.event(log).unwrap_or_else(|| raw_event(log));
                    self.line(indent, &format!("├─ emit {event}"));
                }
                Entry::SelfDestruct(target) => self.line(indent, &format!("├─ selfdestruct to {target}")),
                Entry::Entered { .. } | Entry::Returned { .. } => {}
            }
        }
        self.line(indent, &format!("└─ ← {}", end(frame, self.names)));
    }

    fn nested(&mut self, frame: &Frame, indent: &str) {
        if frame.to == CONSOLE
            && let Some(text) = console::text(&frame.input)
        {
            for line in text.lines() {
                self.line(indent, &format!("├─ console.log: {line}"));
            }
            return;
        }
        self.line(indent, &format!("├─ {}", head(frame, self.names)));
        self.body(frame, &format!("{indent}│   "));
    }
}

/// What a frame is: its cost, whom it calls, with what.
fn head(frame: &Frame, names: &Names) -> String {
    let cost = match frame.ink {
        Some((start, end)) => format!("[{} gas, {} ink]", frame.gas_used, start.saturating_sub(end)),
        None => format!("[{} gas]", frame.gas_used),
    };
    if frame.kind.is_create() {
        let value = value(frame);
        return format!(
            "{cost} new {}{value} with {} bytes of init code",
            frame.to,
            frame.input.len()
        );
    }
    let called = names.call(&frame.input).unwrap_or_else(|| raw_call(&frame.input));
    let kind = match frame.kind {
        FrameKind::DelegateCall => " [delegatecall]",
        FrameKind::StaticCall => " [staticcall]",
        FrameKind::CallCode => " [callcode]",
        FrameKind::Call | FrameKind::Create | FrameKind::Create2 => "",
    };
    let machine = if frame.ink.is_some() { " wasm" } else { "" };
    format!("{cost}{machine} {}{}::{called}{kind}", frame.to, value(frame))
}

fn value(frame: &Frame) -> String {
    if frame.value.is_zero() {
        String::new()
    } else {
        format!("{{value: {}}}", frame.value)
    }
}

fn raw_call(input: &Bytes) -> String {
    match input.split_first_chunk::<4>() {
        None if input.is_empty() => "()".to_owned(),
        None => format!("({})", show_bytes(input)),
        Some((selector, rest)) => format!("{}({})", hex::encode(selector), show_bytes(rest)),
    }
}

fn raw_event(log: &alloy::primitives::Log) -> String {
    let topics: Vec<_> = log.topics().iter().map(ToString::to_string).collect();
    format!("({}) {}", topics.join(", "), show_bytes(&log.data.data))
}

/// How a frame ended.
fn end(frame: &Frame, names: &Names) -> String {
    let Some(result) = &frame.result else {
        return "[unfinished]".to_owned();
    };
    let output = frame.output();
    if frame.succeeded() {
        if frame.kind.is_create() {
            return format!("[Return] {} bytes of code", output.len());
        }
        let returned = names
            .returned(&frame.input, &output)
            .unwrap_or_else(|| show_bytes(&output));
        let ended = if result.result == InstructionResult::Stop {
            "[Stop]"
        } else {
            "[Return]"
        };
        return if output.is_empty() {
            ended.to_owned()
        } else {
            format!("{ended} {returned}")
        };
    }
    let why = frame
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    if result.result != InstructionResult::Revert {
        return format!("[{:?}]{why}", result.result);
    }
    match names.revert(&output) {
        Some(reason) => format!("[Revert] {reason}{why}"),
        None if output.is_empty() => format!("[Revert]{why}"),
        None => format!("[Revert] {}{why}", show_bytes(&output)),
    }
}

/// What a program printed, or why a host call ended it; other host calls have no line.
fn host(call: &HostCall) -> Option<String> {
    let signature = call.hook.signature();
    if signature.module == "console" {
        return Some(format!("console: {}", String::from_utf8_lossy(&call.args)));
    }
    match call.stop {
        Some(Stop::Failure(reason)) => Some(format!("{} fails: {reason}", signature.name)),
        Some(Stop::OutOfInk) => Some(format!("{} runs out of ink", signature.name)),
        Some(Stop::Exit(_)) | None => None,
    }
}
