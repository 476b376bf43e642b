//! `cordon limiter status`.

use clap::Parser;
use cordon_client::Config;
use cordon_client::chain;
use cordon_client::config::format_duration;
use cordon_client::limiter::{LimitState, LimiterStatus, limiter_status};

use super::{Which, account, name};
use crate::style::Style;

/// Which limiter.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The block from which on the limiter's events are read, for endpoints that answer for few blocks only.
    #[arg(long, value_name = "BLOCK", default_value_t = 0)]
    from_block: u64,
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    let config = args.which.config.load()?;
    let limiter = account(&config, &args.which.limiter)?;
    let provider = chain::connect(&config.chain, None).await?;
    print(&limiter_status(&provider, limiter, args.from_block).await?, &config);
    Ok(())
}

fn print(status: &LimiterStatus, config: &Config) {
    let style = Style::of_stdout();
    println!("limiter   {}", style.bold(&status.limiter.to_string()));
    let same = match config.guard.address {
        Some(guard) if guard != status.guard => style.red("not the configured one"),
        Some(_) => style.green("as configured"),
        None => String::new(),
    };
    println!("guard     {} {same}", status.guard);
    println!("delay     {}", format_duration(status.delay.into()));
    println!("{}", style.bold("limits"));
    for limit in &status.limits {
        print_limit(limit, status.timestamp, config, style);
    }
    println!("{}", style.bold("in quarantine"));
    for item in &status.items {
        let due = match item.release_at.checked_sub(status.timestamp) {
            Some(left) if left > 0 => format!("due in {}", format_duration(left)),
            _ => style.yellow("due: anyone may release it"),
        };
        println!(
            "  {} {} units of {} from {} for {}, {due}",
            item.number,
            item.amount,
            name(config, item.asset),
            name(config, item.protocol),
            item.recipient
        );
    }
}

fn print_limit(state: &LimitState, now: u64, config: &Config, style: Style) {
    let of = format!(
        "  {} for {}, class {}:",
        name(config, state.asset),
        name(config, state.protocol),
        state.class
    );
    let limit = &state.limit;
    if limit.units == 0 {
        println!("{of} {}", style.yellow("taken away, everything leaves"));
        return;
    }
    let mut line = format!(
        "{of} {} units in {}, {} may leave now",
        limit.units,
        format_duration(limit.period.into()),
        state.available
    );
    if limit.share != 0 {
        line.push_str(&format!(", {} bps of what is there", limit.share));
    }
    let scope = config.guard.scopes.get(usize::from(limit.scope));
    line.push_str(&format!(", scope {}", scope.map_or("unknown", String::as_str)));
    for (marked, mark) in [(limit.rebasing, "rebasing"), (limit.elastic, "elastic")] {
        if marked {
            line.push_str(&format!(", {mark}"));
        }
    }
    println!("{line}");
    if state.hold != 0 {
        let until = format_duration(state.guardian_until.saturating_sub(now));
        let holders = [
            (state.guard_hold, "the guard".to_owned()),
            (state.guardian_hold, format!("guardians for {until}")),
            (state.governor_hold, "the governor".to_owned()),
        ];
        let by: Vec<String> = holders
            .into_iter()
            .filter(|(hold, _)| *hold != 0)
            .map(|(hold, who)| format!("{who} ({})", if hold == 1 { "a quarter" } else { "full" }))
            .collect();
        println!("      {} {}", style.red("held by"), by.join(", "));
    }
}
