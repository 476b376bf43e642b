//! Words about what is usual: `mean`, `deviation`, `score`, `drift`, `lowest`, `highest` of a value that the guard observes.

use super::past::storable;
use super::words::STATISTICS;
use super::{Resolved, Resolver};
use crate::anchor::MAX_PERIOD;
use crate::baseline::{MAX_RATE, MAX_SAMPLE, MIN_RATE, MIN_SPACING, SIGMA, Spec, Statistic};
use crate::rule::compile::CompileError;
use crate::rule::names::suggestion;
use crate::rule::parse::{Expr, Node};
use crate::rule::term::{TermNode, build};
use crate::rule::value::Kind;
use crate::stream;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloy_primitives::U256;

/// Learning rate unless the rule says otherwise: 3 %, so that a hundred observations warm a stream up.
const RATE: u16 = 1_966;
/// Standard deviations that an observation counts for at most, in thousandths.
const CLIP: u16 = 4_000;
/// Slack of the CUSUM.
const SLACK: u16 = 500;
/// Most that a sum of the CUSUM comes to: the usual threshold.
const CAP: u16 = 8_000;
/// Window of the range, in seconds.
const WINDOW: u32 = 86_400;
/// Observations in a window, where the window is given.
const IN_WINDOW: u32 = 48;
/// The least deviation assumed is the bounds' distance by this power of two.
const FLOOR_SHIFT: u32 = 8;
/// The greatest deviation assumed is so many times the least.
const ROOF: u64 = 8;
/// Basis points of the whole.
const WHOLE: u32 = 10_000;

/// Named arguments, each of which may be used once.
pub(super) struct Options<'e> {
    given: Vec<(&'e str, &'e Expr)>,
}

impl<'e> Options<'e> {
    /// Splits the arguments of `name` in those by place and those by name.
    pub(super) fn split(name: &str, known: &[&str], args: &'e [Expr]) -> Result<(Vec<&'e Expr>, Self), CompileError> {
        let (mut placed, mut given) = (Vec::new(), Vec::<(&str, &Expr)>::new());
        for arg in args {
            let Node::Named(option, value) = &arg.node else {
                if !given.is_empty() {
                    let message = format!("arguments with a name come last: move this before `{name}`'s first one");
                    return Err(CompileError::at(arg.column, message));
                }
                placed.push(arg);
                continue;
            };
            if !known.contains(&option.as_str()) {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                let message = format!("`{name}` takes no `{option}:`{}", suggestion(option, &known));
                return Err(CompileError::at(arg.column, message));
            }
            if given.iter().any(|(other, _)| other == option) {
                return Err(CompileError::at(arg.column, format!("`{option}:` is given twice")));
            }
            given.push((option, value));
        }
        Ok((placed, Options { given }))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'e Expr> {
        self.given
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| *value)
    }
}

impl Resolver<'_> {
    pub(super) fn statistic(&mut self, column: usize, name: &str, what: Statistic, args: &[Expr]) -> Resolved {
        let other = if what.is_of_range() { "spacing" } else { "window" };
        let known = ["rate", "floor", "roof", "clip", "slack", "cap", other];
        let (placed, options) = Options::split(name, &known, args)?;
        let [value, time, low, high] = placed.as_slice() else {
            let message = format!(
                "`{name}` takes a value, a time, the least and the greatest mean, as in `{name}(x, 10 min, 500e8, 9000e8)`, then options by \
                 name; {} given",
                placed.len()
            );
            return Err(CompileError::at(column, message));
        };
        let observed = self.of_kind(value, Kind::Int, &format!("`{name}`"))?;
        storable(&observed, name).map_err(|message| CompileError::at(value.column, message))?;
        let (spacing, window) = self.times(what, time, &options)?;
        let spec = self.bounds(low, high, &options)?;
        let spec = Spec {
            rate: options.get("rate").map_or(Ok(RATE), |rate| self.rate(rate))?,
            clip: self.sigmas(&options, "clip", CLIP)?,
            slack: self.sigmas(&options, "slack", SLACK)?,
            cap: self.sigmas(&options, "cap", CAP)?,
            spacing,
            window,
            ..spec
        };
        spec.check()
            .map_err(|error| CompileError::at(column, format!("`{name}` cannot learn like this: {error}")))?;
        let id = self.stream(stream::Spec::Baseline(spec), &observed)?;
        let judged = what.judges().then_some(observed);
        Ok(build(TermNode::Statistic(what, id, spec, judged), Kind::Int))
    }

    /// Seconds between observations, and those of a window. The time that a word is about is its second argument.
    fn times(&mut self, what: Statistic, time: &Expr, options: &Options<'_>) -> Result<(u16, u32), CompileError> {
        let longest = u32::from(u16::MAX);
        let (least, most) = (u32::from(MIN_SPACING), MAX_PERIOD);
        let spacing = "the time between two observations is a constant from 1 minute to 18 hours";
        let range = "the window is a constant from the time between two observations to 4 weeks";
        let (spacing, window) = if what.is_of_range() {
            let window = self.seconds(time, least..=most, range)?;
            let usual = (window / IN_WINDOW).max(least).min(longest);
            let given = options
                .get("spacing")
                .map(|given| self.seconds(given, least..=longest.min(window), spacing));
            (given.unwrap_or(Ok(usual))?, window)
        } else {
            let spacing = self.seconds(time, least..=longest, spacing)?;
            let given = options
                .get("window")
                .map(|given| self.seconds(given, spacing..=most, range));
            (spacing, given.unwrap_or(Ok(WINDOW))?)
        };
        Ok((u16::try_from(spacing).unwrap_or(u16::MAX), window))
    }

    fn seconds(
        &mut self,
        given: &Expr,
        within: core::ops::RangeInclusive<u32>,
        message: &str,
    ) -> Result<u32, CompileError> {
        let seconds = self.amount(given, message)?;
        u32::try_from(seconds)
            .ok()
            .filter(|seconds| within.contains(seconds))
            .ok_or_else(|| CompileError::at(given.column, message))
    }

    /// A constant that is not negative.
    fn amount(&mut self, given: &Expr, message: &str) -> Result<U256, CompileError> {
        let constant = self.value(given)?.constant_int();
        constant
            .filter(|number| !number.negative)
            .map(|number| number.magnitude)
            .ok_or_else(|| CompileError::at(given.column, message))
    }

    /// Hard bounds of the mean and of the deviation, scaled so that samples have 48 bits.
    fn bounds(&mut self, low: &Expr, high: &Expr, options: &Options<'_>) -> Result<Spec, CompileError> {
        let least = self.amount(
            low,
            "the least mean is a constant of at least 0 (add one to a value that can be negative)",
        )?;
        let message = "the greatest mean is a constant of at most 240 bits, more than the least";
        let most = self.amount(high, message)?;
        if most <= least || most.bit_len() > 240 {
            return Err(CompileError::at(high.column, message));
        }
        let shift = most.bit_len().saturating_sub(48);
        let sample = |number: U256| u64::try_from(number >> shift).unwrap_or(u64::MAX).min(MAX_SAMPLE);
        let (low, high) = (sample(least), sample(most));
        let mut limit = |name, usual: u64, least: u64| match options.get(name) {
            None => Ok(usual),
            Some(given) => {
                let message = "a deviation is a constant; the `floor:` is at least 1 and at most the `roof:`";
                let number = sample(self.amount(given, message)?);
                let good = number >= least;
                good.then_some(number)
                    .ok_or_else(|| CompileError::at(given.column, message))
            }
        };
        let floor = limit("floor", (high.saturating_sub(low) >> FLOOR_SHIFT).max(1), 1)?;
        let roof = limit("roof", floor.saturating_mul(ROOF).min(MAX_SAMPLE), floor)?;
        Ok(Spec {
            shift: u8::try_from(shift).unwrap_or(u8::MAX),
            low,
            high,
            floor,
            roof,
            rate: 0,
            clip: 0,
            slack: 0,
            cap: 0,
            spacing: 0,
            window: 0,
        })
    }

    /// A share as a learning rate.
    fn rate(&mut self, given: &Expr) -> Result<u16, CompileError> {
        let share = match self.any(given)?.node {
            TermNode::Ratio(share) => Some(share),
            _ => None,
        };
        let rate = share.and_then(|share| share.checked_mul(1 << 16)?.checked_add(WHOLE / 2)?.checked_div(WHOLE));
        rate.and_then(|rate| u16::try_from(rate).ok())
            .filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate))
            .ok_or_else(|| {
                CompileError::at(
                    given.column,
                    "the `rate:` of learning is a share from 0.1 % to 12.5 %, as in `rate: 3 %`",
                )
            })
    }

    /// A number of standard deviations.
    fn sigmas(&mut self, options: &Options<'_>, name: &str, usual: u16) -> Result<u16, CompileError> {
        let Some(given) = options.get(name) else {
            return Ok(usual);
        };
        let least = if name == "clip" { SIGMA } else { 0 };
        let message = format!(
            "`{name}:` is a constant number of deviations up to 65, as in `{name}: {} sigma`",
            usual / 1_000
        );
        let number = self.amount(given, &message)?;
        u16::try_from(number)
            .ok()
            .filter(|number| u32::from(*number) >= least)
            .ok_or_else(|| CompileError::at(given.column, message))
    }
}

/// The statistic of this name.
pub(super) fn statistic_of(name: &str) -> Option<Statistic> {
    STATISTICS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, what)| *what)
}
