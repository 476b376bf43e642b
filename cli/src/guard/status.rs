//! `cordon guard status`.

use clap::Parser;
use cordon_client::config::format_duration;
use cordon_client::status::{GuardStatus, RuleState, ScopeState};
use cordon_client::{CompiledConfig, chain, status};
use cordon_client::{HEARTBEAT_MAX_AGE, Int, Level, Verdict};

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
    for (name, account) in ["respond", "hooks", "recover", "admin", "contain"]
        .iter()
        .zip(status.accounts)
    {
        println!("{name:<9} {account}");
    }
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
    let same = match status.rulebook_hash == compiled.code_hash() {
        true => style.green("as configured"),
        false => style.red("not the configured one"),
    };
    println!("rulebook  {}, {same}", status.rulebook);
    println!("heartbeat {}", heartbeat(status, style));
    for (name, left) in status.programs {
        let state = match left {
            Some(seconds) => format!("active, expires in {} days", seconds / 86_400),
            None => style.red("not active"),
        };
        println!("{name:<9} {state}");
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
    println!("{}", style.bold("scopes"));
    for scope in &status.scopes {
        print_scope(scope, status.timestamp, compiled, style);
    }
}

fn verdict(rule: &RuleState, style: Style) -> String {
    let number = |int: &Int| format!("{}{}", if int.negative { "-" } else { "" }, int.magnitude);
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
