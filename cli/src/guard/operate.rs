//! `cordon guard contain|release|settle|heartbeat`.

use alloy::primitives::{Address, B256};
use alloy::providers::DynProvider;
use clap::{Parser, ValueEnum};
use cordon_client::config::{format_duration, parse_duration};
use cordon_client::operate::{self, Release};
use cordon_client::{CompiledConfig, Config};
use cordon_core::Level;

use super::{ConfigArgs, deployed, scope};
use crate::key::KeyArgs;
use crate::style::Style;

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    /// Outflow and trade at a quarter of their limits.
    Throttled,
    /// Nothing that adds risk.
    #[value(alias = "ReduceOnly")]
    ReduceOnly,
    /// Only repayment and book-keeping.
    Halted,
}

/// What to contain.
#[derive(Parser)]
pub(crate) struct ContainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Name of the scope.
    scope: String,
    /// The level.
    #[arg(ignore_case = true)]
    level: Wanted,
    /// For how long, such as "15 minutes".
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: u32,
    /// Hash of what led to it, 32 bytes in hex.
    #[arg(long, value_name = "HEX", default_value_t = B256::ZERO, hide_default_value = true)]
    evidence: B256,
}

/// What to release.
#[derive(Parser)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Cancel the queued release instead.
    #[arg(long)]
    cancel: bool,
}

/// A scope and who acts on it.
#[derive(Parser)]
pub(crate) struct ScopeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Name of the scope.
    scope: String,
}

/// Who shows that it lives.
#[derive(Parser)]
pub(crate) struct HeartbeatArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
}

fn duration(text: &str) -> Result<u32, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// All that a call to the guard needs.
struct Session {
    config: Config,
    compiled: CompiledConfig,
    provider: DynProvider,
    from: Address,
    guard: Address,
}

async fn open(config: &ConfigArgs, key: &KeyArgs) -> eyre::Result<Session> {
    let config = config.load()?;
    let compiled = config.compile()?;
    let guard = deployed(&config)?;
    let (provider, from) = key.connect(&config.chain).await?;
    Ok(Session {
        config,
        compiled,
        provider,
        from,
        guard,
    })
}

impl Session {
    fn calls(&self, numbers: &[u16]) -> String {
        let id = |number: &u16| {
            self.compiled
                .containments
                .get(usize::from(*number))
                .map(|call| call.id.as_str())
        };
        numbers
            .iter()
            .map(|number| id(number).unwrap_or("unknown"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn print_calls(&self, what: &str, numbers: &[u16]) {
        if !numbers.is_empty() {
            println!("{what}: {}", self.calls(numbers));
        }
    }

    async fn until(&self, time: u64) -> eyre::Result<String> {
        let head = alloy::providers::Provider::get_block(&self.provider, alloy::eips::BlockId::latest()).await?;
        let now = head.map_or(time, |head| head.header.timestamp);
        Ok(format_duration(time.saturating_sub(now)))
    }
}

pub(crate) async fn contain(args: &ContainArgs) -> eyre::Result<()> {
    let session = open(&args.config, &args.key).await?;
    let scope = scope(&session.config, &args.scope)?;
    let level = match args.level {
        Wanted::Throttled => Level::Throttled,
        Wanted::ReduceOnly => Level::ReduceOnly,
        Wanted::Halted => Level::Halted,
    };
    let Session {
        provider, from, guard, ..
    } = &session;
    let done = operate::contain(provider, *from, *guard, scope, level, args.duration, args.evidence).await?;
    let left = session.until(done.expires_at).await?;
    println!(
        "scope {} is {} for {left}: incident {}, transaction {}",
        args.scope,
        level.name(),
        done.incident,
        done.transaction
    );
    session.print_calls("done", &done.applied);
    session.print_calls("not needed", &done.not_needed);
    if !done.failed.is_empty() {
        eyre::bail!("these containment calls failed: {}", session.calls(&done.failed));
    }
    Ok(())
}

pub(crate) async fn release(args: &ReleaseArgs) -> eyre::Result<()> {
    let session = open(&args.scope.config, &args.scope.key).await?;
    let name = &args.scope.scope;
    let scope = scope(&session.config, name)?;
    let Session {
        provider, from, guard, ..
    } = &session;
    if args.cancel {
        let transaction = operate::cancel_release(provider, *from, *guard, scope).await?;
        println!("the release of scope {name} is cancelled: transaction {transaction}");
        return Ok(());
    }
    match operate::release(provider, *from, *guard, scope).await? {
        Release::Queued(at) => println!(
            "the release of scope {name} is queued: run this again in {} to execute it",
            session.until(at).await?
        ),
        Release::Waiting(at) => {
            println!(
                "the release of scope {name} can be executed in {}",
                session.until(at).await?
            )
        }
        Release::Released => println!("scope {name} is released: {}", Style::of_stdout().green("Grace")),
    }
    Ok(())
}

pub(crate) async fn settle(args: &ScopeArgs) -> eyre::Result<()> {
    let session = open(&args.config, &args.key).await?;
    let scope = scope(&session.config, &args.scope)?;
    let (undone, failed) = operate::settle(&session.provider, session.from, session.guard, scope).await?;
    session.print_calls("undone", &undone);
    if !failed.is_empty() {
        eyre::bail!(
            "these containment calls could not be undone: {}",
            session.calls(&failed)
        );
    }
    println!("scope {} is settled", args.scope);
    Ok(())
}

pub(crate) async fn heartbeat(args: &HeartbeatArgs) -> eyre::Result<()> {
    let session = open(&args.config, &args.key).await?;
    let transaction = operate::heartbeat(&session.provider, session.from, session.guard).await?;
    println!("heartbeat: transaction {transaction}");
    Ok(())
}
