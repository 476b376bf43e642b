//! `cordon guard set …`: containment sets, which were reviewed before they are needed.

use alloy::primitives::B256;
use clap::{Parser, Subcommand};
use cordon_client::config::suggest;
use cordon_client::{CompiledConfig, SetMeta, chain, operate};

use super::operate::Plan;
use super::{ConfigArgs, deployed};
use crate::check::set_line;
use crate::key::KeyArgs;
use crate::style::Style;

/// What to do with containment sets.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the sets of the configuration: what each raises, who can, and the hash of what was reviewed. Reads no chain.
    List(ListArgs),
    /// Have the guard make all containment calls of a set, or of every set, and undo them, in a call that changes nothing.
    Rehearse(RehearseArgs),
    /// Raise every scope of a set to its level, in one transaction: within the account's bounds and budget, or not at all.
    Contain(ContainArgs),
}

/// Which configuration.
#[derive(Parser)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which set.
#[derive(Parser)]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Name of the set; every set unless given.
    set: Option<String>,
}

/// Which set, and who acts.
#[derive(Parser)]
pub(crate) struct ContainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Name of the set.
    set: String,
    /// Hash of what led to it, 32 bytes in hex.
    #[arg(long, value_name = "HEX", default_value_t = B256::ZERO, hide_default_value = true)]
    evidence: B256,
}

pub(crate) async fn run(command: &Command) -> eyre::Result<()> {
    match command {
        Command::List(args) => list(args),
        Command::Rehearse(args) => rehearse(args).await,
        Command::Contain(args) => contain(args).await,
    }
}

fn list(args: &ListArgs) -> eyre::Result<()> {
    let compiled = args.config.load()?.compile()?;
    if compiled.sets.is_empty() {
        println!("no containment sets: add [[containment_set]] to the configuration");
    }
    for set in &compiled.sets {
        println!("{}", set_line(&compiled, set));
    }
    Ok(())
}

async fn rehearse(args: &RehearseArgs) -> eyre::Result<()> {
    let config = args.config.load()?;
    let compiled = config.compile()?;
    let sets = match &args.set {
        Some(name) => std::slice::from_ref(named(&compiled, name)?),
        None => &compiled.sets,
    };
    let guard = deployed(&config)?;
    let provider = chain::connect(&config.chain, None).await?;
    operate::check_guard(&provider, guard).await?;
    let style = Style::of_stdout();
    let mut failing = Vec::new();
    for set in sets {
        let outcome = operate::rehearse_set(&provider, guard, set).await?;
        let calls = |numbers: &[u16]| -> Vec<&str> {
            let id = |number: &u16| {
                compiled
                    .containments
                    .get(usize::from(*number))
                    .map(|call| call.id.as_str())
            };
            numbers.iter().map(|number| id(number).unwrap_or("unknown")).collect()
        };
        let state = if outcome.failing.is_empty() {
            style.green("works")
        } else {
            failing.push(set.id.as_str());
            style.red(&format!("would fail: {}", calls(&outcome.failing).join(", ")))
        };
        let runs = match outcome.calls.as_slice() {
            [] => "no call: its levels act through hooks".to_owned(),
            numbers => calls(numbers).join(", "),
        };
        println!("{}: {state} ({runs})", style.bold(&set.id));
    }
    eyre::ensure!(
        failing.is_empty(),
        "these sets would not have their effect: {}; the guard may lack a role, or a window may have closed",
        failing.join(", ")
    );
    Ok(())
}

async fn contain(args: &ContainArgs) -> eyre::Result<()> {
    let plan = Plan::load(&args.config)?;
    let set = named(&plan.compiled, &args.set)?.clone();
    let session = plan.connect(&args.key).await?;
    session.same_rulebook()?;
    let done = operate::contain_set(&session.provider, session.from, session.guard, &set, args.evidence).await?;
    for (scope, of) in &done {
        let name = session.compiled.scope_name(*scope).unwrap_or_default();
        session.report_level(name, of).await?;
    }
    match done.first() {
        Some((_, of)) => session.report_calls(of),
        None => Ok(()),
    }
}

/// The set of that name.
fn named<'a>(compiled: &'a CompiledConfig, name: &str) -> eyre::Result<&'a SetMeta> {
    compiled.set(name).ok_or_else(|| {
        let help = suggest(name, compiled.sets.iter().map(|set| set.id.as_str()));
        eyre::eyre!(
            "unknown containment set `{name}`{}",
            help.map(|help| format!("; {help}")).unwrap_or_default()
        )
    })
}
