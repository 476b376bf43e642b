//! `cordon guard trip|contain|retry|release|settle|cancel|heartbeat`.

use alloy::primitives::{Address, B256};
use alloy::providers::DynProvider;
use clap::{Parser, ValueEnum};
use cordon_client::Level;
use cordon_client::config::{format_duration, parse_duration, suggest};
use cordon_client::operate::{self, Change, Contained, Release};
use cordon_client::{CompiledConfig, Config, RuleMeta};

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

/// Which rule, and for whom.
#[derive(Parser)]
pub(crate) struct TripArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Name of the rule.
    rule: String,
    /// Values of the rule's parameters, such as an account.
    witness: Vec<String>,
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

/// Which announcement, and who takes it back.
#[derive(Parser)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// Its action hash, as `cordon guard deploy --announce` or the event `Announced` names it.
    hash: B256,
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
pub(super) struct Session {
    config: Config,
    pub(super) compiled: CompiledConfig,
    pub(super) provider: DynProvider,
    pub(super) from: Address,
    pub(super) guard: Address,
    /// Code hash of the rulebook that the guard goes by.
    rulebook: B256,
}

/// What the configuration says, before anybody is asked.
pub(super) struct Plan {
    config: Config,
    pub(super) compiled: CompiledConfig,
    guard: Address,
}

impl Plan {
    pub(super) fn load(config: &ConfigArgs) -> eyre::Result<Self> {
        let config = config.load()?;
        let compiled = config.compile()?;
        let guard = deployed(&config)?;
        Ok(Self {
            config,
            compiled,
            guard,
        })
    }

    fn scope(&self, name: &str) -> eyre::Result<u8> {
        scope(&self.config, name)
    }

    /// Connects, and makes sure that a guard is there before anything is sent.
    pub(super) async fn connect(self, key: &KeyArgs) -> eyre::Result<Session> {
        let (provider, from) = key.connect(&self.config.chain).await?;
        let rulebook = operate::check_guard(&provider, self.guard).await?;
        Ok(Session {
            config: self.config,
            compiled: self.compiled,
            provider,
            from,
            guard: self.guard,
            rulebook,
        })
    }
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

    /// Says what became of containment calls; some that failed are an error.
    pub(super) fn report_calls(&self, done: &Contained) -> eyre::Result<()> {
        self.print_calls("done", &done.applied);
        self.print_calls("not needed", &done.not_needed);
        if !done.failed.is_empty() {
            eyre::bail!(
                "these containment calls failed: {}; `cordon guard retry` runs them again",
                self.calls(&done.failed)
            );
        }
        Ok(())
    }

    /// An error when the guard goes by other rules than the configuration: a rule's number would mean another one.
    pub(super) fn same_rulebook(&self) -> eyre::Result<()> {
        eyre::ensure!(
            self.rulebook == self.compiled.code_hash(),
            "the guard {} goes by the rulebook with code hash {}, {} compiles to {}: a rule's number or a set's name may mean something \
             else there; use the file that the guard was deployed with",
            self.guard,
            self.rulebook,
            self.config.source.path().display(),
            self.compiled.code_hash()
        );
        Ok(())
    }

    /// Says how the scope stands after `done`.
    pub(super) async fn report_level(&self, scope: &str, done: &Contained) -> eyre::Result<()> {
        let left = self.until(done.expires_at).await?;
        let (level, incident, transaction) = (done.level.name(), done.incident, done.transaction);
        match done.change {
            Change::Raised => {
                println!("scope {scope} is {level} for {left}: incident {incident}, transaction {transaction}");
            }
            Change::Extended => {
                println!("scope {scope} stays {level} for {left}: incident {incident}, transaction {transaction}");
            }
            Change::Observed => println!(
                "transaction {transaction}: no level was raised; a spot rule's first breach is only recorded: repeat this after 2 s"
            ),
            Change::Nothing => {
                println!("scope {scope} is {level} for {left} already: transaction {transaction} changed nothing")
            }
        }
        Ok(())
    }

    async fn until(&self, time: u64) -> eyre::Result<String> {
        let head = alloy::providers::Provider::get_block(&self.provider, alloy::eips::BlockId::latest()).await?;
        let now = head.map_or(time, |head| head.header.timestamp);
        Ok(format_duration(time.saturating_sub(now)))
    }
}

pub(crate) async fn contain(args: &ContainArgs) -> eyre::Result<()> {
    let plan = Plan::load(&args.config)?;
    let scope = plan.scope(&args.scope)?;
    let session = plan.connect(&args.key).await?;
    let level = match args.level {
        Wanted::Throttled => Level::Throttled,
        Wanted::ReduceOnly => Level::ReduceOnly,
        Wanted::Halted => Level::Halted,
    };
    let Session {
        provider, from, guard, ..
    } = &session;
    let done = operate::contain(provider, *from, *guard, scope, level, args.duration, args.evidence).await?;
    session.report_level(&args.scope, &done).await?;
    session.report_calls(&done)
}

pub(crate) async fn trip(args: &TripArgs) -> eyre::Result<()> {
    let plan = Plan::load(&args.config)?;
    let rule = plan.compiled.rule(&args.rule).cloned().ok_or_else(|| {
        let help = suggest(&args.rule, plan.compiled.rules.iter().map(|rule| rule.id.as_str()));
        eyre::eyre!(
            "unknown rule `{}`{}",
            args.rule,
            help.map(|help| format!("; {help}")).unwrap_or_default()
        )
    })?;
    let witness = witness(&rule, &args.witness)?;
    let session = plan.connect(&args.key).await?;
    session.same_rulebook()?;
    let done = operate::trip(&session.provider, session.from, session.guard, &rule, witness).await?;
    let scope = session.compiled.scope_name(rule.scope).unwrap_or_default();
    session.report_level(scope, &done).await?;
    session.report_calls(&done)
}

/// The values of the rule's parameters as words.
fn witness(rule: &RuleMeta, values: &[String]) -> eyre::Result<Vec<B256>> {
    if values.len() != rule.params.len() {
        let wanted: Vec<String> = rule
            .params
            .iter()
            .map(|param| format!("{}: {}", param.name, param.ty))
            .collect();
        eyre::bail!(
            "the rule `{}` takes {} values ({}), given: {}",
            rule.id,
            wanted.len(),
            wanted.join(", "),
            values.len()
        );
    }
    values
        .iter()
        .zip(&rule.params)
        .map(|(text, param)| {
            param
                .word(text)
                .ok_or_else(|| eyre::eyre!("`{text}` is no {} ({})", param.ty, param.name))
        })
        .collect()
}

pub(crate) async fn retry(args: &ScopeArgs) -> eyre::Result<()> {
    let plan = Plan::load(&args.config)?;
    let scope = plan.scope(&args.scope)?;
    let session = plan.connect(&args.key).await?;
    let done = operate::retry(&session.provider, session.from, session.guard, scope).await?;
    println!("transaction {}", done.transaction);
    session.report_calls(&done)
}

pub(crate) async fn release(args: &ReleaseArgs) -> eyre::Result<()> {
    let plan = Plan::load(&args.scope.config)?;
    let name = &args.scope.scope;
    let scope = plan.scope(name)?;
    let session = plan.connect(&args.scope.key).await?;
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
    let plan = Plan::load(&args.config)?;
    let scope = plan.scope(&args.scope)?;
    let session = plan.connect(&args.key).await?;
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

pub(crate) async fn cancel(args: &CancelArgs) -> eyre::Result<()> {
    let session = Plan::load(&args.config)?.connect(&args.key).await?;
    let transaction = operate::cancel_announcement(&session.provider, session.from, session.guard, args.hash).await?;
    println!(
        "the announcement {} is taken back: transaction {transaction}",
        args.hash
    );
    Ok(())
}

pub(crate) async fn heartbeat(args: &HeartbeatArgs) -> eyre::Result<()> {
    let session = Plan::load(&args.config)?.connect(&args.key).await?;
    let transaction = operate::heartbeat(&session.provider, session.from, session.guard).await?;
    println!("heartbeat: transaction {transaction}");
    Ok(())
}
