//! `cordon guard status`.

use clap::Parser;
use cordon_client::config::format_duration;
use cordon_client::status::{GuardStatus, RuleState, ScopeState, StreamState};
use cordon_client::{CompiledConfig, chain, status};
use cordon_client::{HEARTBEAT_MAX_AGE, Int, Level, Matrix, Stored, Verdict};

use super::{ConfigArgs, deployed};
use crate::style::Style;

/// Which guard.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    let config = args.config.load()?;
    let compiled = config.compile()?;
    let guard = deployed(&config)?;
    let provider = chain::connect(&config.chain, None).await?;
    print(&status(&provider, guard, &config, &compiled).await?, &compiled);
    Ok(())
}

fn print(status: &GuardStatus, compiled: &CompiledConfig) {
    let style = Style::of_stdout();
    println!(
        "guard     {} at block {}",
        style.bold(&status.guard.to_string()),
        status.block
    );
    let sealed = if status.is_sealed {
        style.green("sealed")
    } else {
        style.yellow("not sealed")
    };
    println!(
        "governor  {}, delay {}, {sealed}",
        status.governor,
        format_duration(status.governor_delay.into())
    );
    if !status.proposed_governor.is_zero() {
        println!(
            "          {} is proposed and has not accepted",
            status.proposed_governor
        );
    }
    print_matrix(status.matrix, style);
    let same = match status.rulebook_hash == compiled.code_hash() {
        true => style.green("as configured"),
        false => style.red("not the configured one"),
    };
    println!("rulebook  {}, {same}", status.rulebook);
    println!("heartbeat {}", heartbeat(status, style));
    for program in &status.programs {
        let state = match program.time_left {
            Some(seconds) => format!("active, expires in {} days", seconds / 86_400),
            None => style.red("not active"),
        };
        println!("{:<9} {} {state}", program.name, program.account);
    }
    println!("{}", style.bold("roles"));
    for (role, account, granted) in &status.roles {
        let state = if *granted {
            style.green("granted")
        } else {
            style.red("missing")
        };
        println!("  {:<10} {account} {state}", format!("{role:?}"));
    }
    if !status.rules.is_empty() {
        println!("{}", style.bold("rules without parameters"));
    }
    for rule in &status.rules {
        println!("  {} {}", rule.id, verdict(rule, style));
    }
    if !status.streams.is_empty() {
        println!("{}", style.bold("streams"));
    }
    for stream in &status.streams {
        print_stream(stream, status.timestamp, compiled, style);
    }
    println!("{}", style.bold("scopes"));
    for scope in &status.scopes {
        print_scope(scope, status.timestamp, compiled, style);
    }
}

/// What its levels close beyond the default, if anything.
fn print_matrix(matrix: Option<Matrix>, style: Style) {
    let Some(matrix) = matrix else {
        println!("levels    {}", style.red("close what this version does not know"));
        return;
    };
    for (level, actions) in matrix.beyond_default() {
        let names: Vec<_> = actions.iter().map(|action| action.name()).collect();
        println!("levels    {} closes {} too", level.name(), names.join(", "));
    }
}

fn verdict(rule: &RuleState, style: Style) -> String {
    match rule.verdict {
        Verdict::Holds => style.green("holds"),
        Verdict::Breached => {
            let operands = format!("observed {}, bound {}", number(&rule.observed), number(&rule.bound));
            format!("{} ({operands})", style.red("is breached"))
        }
        Verdict::Unknown => {
            let reason = rule
                .unknown
                .map_or_else(|| "no reason given".to_owned(), |unknown| unknown.to_string());
            format!("{} ({reason})", style.yellow("is unknown"))
        }
    }
}

/// A number with its sign.
pub(super) fn number(int: &Int) -> String {
    format!("{}{}", if int.negative { "-" } else { "" }, int.magnitude)
}

fn print_stream(stream: &StreamState, now: u64, compiled: &CompiledConfig, style: Style) {
    let stored = &stream.stored;
    let known = match (stored.is_known(now), stored.observed_at()) {
        (true, _) => style.green("known"),
        (false, 0) => style.yellow("never observed: these rules are Unknown, and whoever observes first begins"),
        (false, _) if stored.candidate().is_some() => style.yellow("begins"),
        (false, _) => style.yellow("not known yet, or too old"),
    };
    println!("  {} {}: {known}", stream.index, stream.reads.join(", "));
    if stored.observed_at() > 0 {
        println!("      {}", learnt(stored, now));
    }
    let (age, due) = (now.saturating_sub(stored.observed_at()), stored.due());
    let observed = match stored.observed_at() {
        0 => String::new(),
        _ => format!("observed {} ago, ", format_duration(age)),
    };
    let next = match (stream.frozen_by, due.saturating_sub(now)) {
        (None, _) if stored.candidate().is_some() => begins(stored, now),
        (Some(scope), _) => style.yellow(&format!(
            "frozen while `{}` is raised",
            compiled.scope_name(scope).unwrap_or_default()
        )),
        (None, 0) => "next observation due now: `cordon guard observe`".to_owned(),
        (None, left) => format!("next observation due in {}", format_duration(left)),
    };
    println!("      {observed}{next}");
}

/// What the beginning of an anchor waits for.
pub(super) fn begins(stored: &Stored, now: u64) -> String {
    let (value, at) = stored.candidate().unwrap_or_default();
    let when = match at.saturating_sub(now) {
        0 => "now".to_owned(),
        left => format!("in {}", format_duration(left)),
    };
    let value = number(&value);
    format!("{value} counts once an observation agrees, {when}; one that contradicts it takes its place at any time")
}

/// What is stored of a stream, in a line.
fn learnt(stored: &Stored, now: u64) -> String {
    match stored {
        Stored::Anchor(_, anchor) if anchor.since > 0 => format!(
            "anchor {}, {} old; then {}",
            number(&anchor.stored()),
            format_duration(now.saturating_sub(anchor.since)),
            number(&anchor.fresh())
        ),
        Stored::Anchor(_, anchor) => format!("no anchor yet; then {}", number(&anchor.fresh())),
        Stored::Baseline(spec, baseline) => {
            let sigma = |sum: u16| format!("{}.{:03}", sum / 1_000, sum % 1_000);
            let (up, down) = baseline.sums();
            let range = baseline.range(spec, now).map_or_else(
                || "none in the window".to_owned(),
                |(low, high)| format!("{} to {}", number(&spec.value(low, 0)), number(&spec.value(high, 0))),
            );
            let warm = match (baseline.count(), spec.warm_up()) {
                (count, wanted) if count >= wanted => "warm".to_owned(),
                (count, wanted) => format!("{count} of {wanted} observations to be warm"),
            };
            format!(
                "{warm}; mean {}, deviation {}, drift {} up and {} down (sigma), range {range}",
                number(&baseline.mean(spec)),
                number(&baseline.deviation(spec)),
                sigma(up),
                sigma(down)
            )
        }
    }
}

fn heartbeat(status: &GuardStatus, style: Style) -> String {
    if status.last_heartbeat == 0 {
        return style.yellow("none yet");
    }
    let age = status.timestamp.saturating_sub(status.last_heartbeat);
    let text = format!("{} ago", format_duration(age));
    if age > HEARTBEAT_MAX_AGE {
        style.red(&format!("{text}: the keeper has no power"))
    } else {
        text
    }
}

fn print_scope(scope: &ScopeState, now: u64, compiled: &CompiledConfig, style: Style) {
    let level = match scope.level {
        Level::Normal => style.green("Normal"),
        level => style.red(level.name()),
    };
    let mut line = format!("  {} {:<12} {level}", scope.id, scope.name);
    if scope.level != Level::Normal {
        let left = format_duration(scope.expires_at.saturating_sub(now));
        line.push_str(&format!(", steps down in {left}, incident {}", scope.incident));
    }
    if scope.release_at != 0 {
        let left = format_duration(scope.release_at.saturating_sub(now));
        line.push_str(&format!(", release can be executed in {left}"));
    }
    println!("{line}");
    for call in &scope.applied {
        let id = compiled
            .containments
            .get(usize::from(*call))
            .map_or("unknown", |meta| meta.id.as_str());
        println!("      in force: {id}");
    }
}
