//! `cordon check`.

use std::path::PathBuf;

use clap::Parser;
use cordon_client::config::{Problem, format_duration};
use cordon_client::{ActionSet, Class, Level, Spec};
use cordon_client::{CompiledConfig, Config, SetMeta, chain, deploy};

use crate::style::Style;

/// What to check.
#[derive(Parser)]
pub(crate) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "cordon.toml")]
    config: PathBuf,
    /// Ask the chain as well: its id, whether the contracts have code, and whether a deployed guard is as configured and can
    /// make its containment calls.
    #[arg(long)]
    online: bool,
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    let config = Config::load(&args.config)?;
    let compiled = config.compile()?;
    warn(&config, &compiled.warnings);
    print(&compiled, config.guard.is_declared);
    if args.online {
        let provider = chain::connect(&config.chain, None).await?;
        deploy::check_contracts(&provider, &config, &compiled).await?;
        println!("chain {}: every contract has code", config.chain.id);
        if let Some(guard) = config.guard.address {
            warn_moved(&deploy::moved_scopes(&provider, guard, &compiled).await?);
            deploy::verify_guard(&provider, guard, &config, &compiled, None).await?;
            deploy::check_containment(&provider, guard, &compiled).await?;
            println!("guard {guard}: as configured, and able to make each containment call");
        }
    }
    Ok(())
}

/// Prints warnings with their places to standard error.
pub(crate) fn warn(config: &Config, warnings: &[Problem]) {
    let label = Style::of_stderr().yellow("warning");
    for warning in warnings {
        let place = format!("{}:{}:{}", config.source.path().display(), warning.line, warning.column);
        let help = warning
            .help
            .as_ref()
            .map(|help| format!("; {help}"))
            .unwrap_or_default();
        eprintln!("{label}: {place}: {}{help}", warning.message);
    }
}

/// Warns of scopes whose number means another one once the rulebook is adopted.
pub(crate) fn warn_moved(moved: &[deploy::MovedScope]) {
    let label = Style::of_stderr().yellow("warning");
    for scope in moved {
        eprintln!("{label}: {scope}");
    }
    if !moved.is_empty() {
        eprintln!(
            "{label}: the contracts that call hooks name scopes by number, and so do levels, halts and containment calls: keep the order, and \
             append what is new. The guard refuses it (ScopeMoved) for a scope that is not Normal, and for any while a containment call is in force"
        );
    }
}

fn print(compiled: &CompiledConfig, has_guard: bool) {
    let style = Style::of_stdout();
    println!("{}", style.bold("rules"));
    for rule in &compiled.rules {
        let scope = compiled.scope_name(rule.scope).unwrap_or_default();
        let class = match (rule.class, rule.robust) {
            (Class::Hook, _) => "hook",
            (Class::Keeper, _) => "keeper",
            (_, true) => "state, robust",
            (_, false) => "state, spot",
        };
        let mut effects = Vec::new();
        if rule.level != Level::Normal {
            let verb = if rule.class == Class::Keeper {
                "contains by"
            } else {
                "trips"
            };
            effects.push(format!(
                "{verb} {} for {}",
                rule.level.name(),
                format_duration(rule.duration.into())
            ));
        }
        if !rule.check.is_empty() {
            let verb = if rule.shadow { "counts breaches in" } else { "reverts" };
            effects.push(format!("{verb} {}", names(rule.check)));
        }
        if effects.is_empty() {
            effects.push("is told".to_owned());
        }
        println!(
            "  {} {} [{scope}] {}: {class}; {}; {} read{}, at most {} gas",
            rule.index,
            style.bold(&rule.id),
            rule.severity,
            effects.join("; "),
            rule.reads,
            if rule.reads == 1 { "" } else { "s" },
            rule.gas_bound
        );
    }
    if !has_guard {
        println!("no [guard]: breaches are told, and nothing is raised");
        return;
    }
    if !compiled.streams.is_empty() {
        println!("{}", style.bold("streams (what the guard observes and stores)"));
    }
    for stream in &compiled.streams {
        let frozen = match stream.scope {
            0 => "any scope".to_owned(),
            scope => format!("`{}`", compiled.scope_name(scope).unwrap_or_default()),
        };
        println!(
            "  {} {}: {}, every {}; frozen while {frozen} is raised; for {}",
            stream.index,
            style.bold(&stream.reads.join(", ")),
            kept(&stream.spec),
            format_duration(stream.spec.spacing().into()),
            stream.rules.join(", ")
        );
    }
    println!("{}", style.bold("containment"));
    if compiled.containments.is_empty() {
        println!("  no calls: levels act through the hooks of the registered callers alone");
    }
    for call in &compiled.containments {
        let scope = compiled.scope_name(call.scope).unwrap_or_default();
        let closes = if call.closes.is_empty() {
            "closes nothing".to_owned()
        } else {
            format!("closes {}", names(call.closes))
        };
        let limit = match call.max_duration {
            0 => String::new(),
            seconds => format!(", for {} at most", format_duration(seconds.into())),
        };
        println!(
            "  {} {} [{scope}] from {}: {}; {closes}{limit}",
            call.index,
            style.bold(&call.id),
            call.level.name(),
            call.call
        );
    }
    if !compiled.sets.is_empty() {
        println!("{}", style.bold("containment sets"));
    }
    for set in &compiled.sets {
        println!("  {}", set_line(compiled, set));
    }
    if compiled.containments.len() > 1 {
        let most = match compiled.containment_transactions() {
            0 | 1 => "always one transaction".to_owned(),
            most => format!("one transaction, up to {most} when targets burn all the gas they may use"),
        };
        println!("  containing the whole protocol, and settling it: {most}");
    }
    println!(
        "rulebook: {} bytes, code hash {}",
        compiled.code.len(),
        compiled.code_hash()
    );
}

/// What a containment set raises, who can, and what was reviewed.
pub(crate) fn set_line(compiled: &CompiledConfig, set: &SetMeta) -> String {
    let orders: Vec<String> = set
        .orders
        .iter()
        .map(|order| {
            let scope = compiled.scope_name(order.scope).unwrap_or_default();
            let time = format_duration(order.duration.into());
            format!("{scope} {} for {time}", order.level.name())
        })
        .collect();
    format!(
        "{}: {}; by {}; reviewed {}",
        Style::of_stdout().bold(&set.id),
        orders.join(", "),
        set.within().join(", "),
        set.reviewed
    )
}

fn names(actions: ActionSet) -> String {
    actions
        .iter()
        .map(|action| action.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What is kept of a stream.
fn kept(spec: &Spec) -> String {
    match spec {
        Spec::Anchor(spec) => format!(
            "anchor, {} to {}, at most {} bps each time",
            spec.low.number(),
            spec.high.number(),
            spec.step
        ),
        Spec::Baseline(spec) => {
            let number = |sample| spec.value(sample, 0).magnitude;
            let (low, high) = (number(spec.low), number(spec.high));
            let (floor, roof) = (number(spec.floor), number(spec.roof));
            let warm = spec.warm_up();
            format!("statistics, mean {low} to {high}, deviation {floor} to {roof}, warm after {warm} observations")
        }
    }
}
