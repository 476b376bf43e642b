//! `cordon limiter set|remove|hold|cancel|release`.

use alloy::primitives::{Address, B256};
use alloy::providers::DynProvider;
use alloy::sol_types::SolCall;
use clap::{Parser, ValueEnum};
use cordon_client::Config;
use cordon_client::limiter::{self, Governed, ICordonLimiter};

use super::deploy::duration;
use super::{Which, account, name};
use crate::guard::scope;
use crate::key::KeyArgs;

/// Which limit, and who changes it.
#[derive(clap::Args)]
struct LimitArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    key: KeyArgs,
    /// The protected contract: an address, or its name in [contracts].
    protocol: String,
    /// The asset: an address, its name in [contracts], or "native".
    asset: String,
    /// The account class.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    class: u8,
    /// Announce the call instead of making it. What loosens can be done once the guard is sealed only after its governor's delay; run the
    /// same again without this then, within 14 days.
    #[arg(long)]
    announce: bool,
}

/// A limit's numbers.
#[derive(Parser)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    limit: LimitArgs,
    /// Most units of the asset that leave within the period, such as 250000e6.
    #[arg(long, value_name = "UNITS", value_parser = units)]
    units: u128,
    /// The period, such as "1 day".
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    period: u32,
    /// And at most this share of what the contract holds, in basis points; 0: the units alone.
    #[arg(long, value_name = "BPS", default_value_t = 0)]
    share: u16,
    /// Name of the scope whose incidents concern the asset.
    #[arg(long, value_name = "SCOPE")]
    scope: String,
    /// The asset's balances move by themselves.
    #[arg(long)]
    rebasing: bool,
    /// Inflows give their account credit for one to two periods, not only within the transaction.
    #[arg(long)]
    elastic: bool,
}

/// Which limit.
#[derive(Parser)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    limit: LimitArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    /// The limit applies; a guardian's hold ends 15 minutes later.
    None,
    /// A quarter of the limit applies.
    Quarter,
    /// Everything goes through quarantine.
    Full,
}

/// How tightly.
#[derive(Parser)]
pub(crate) struct HoldArgs {
    #[command(flatten)]
    limit: LimitArgs,
    /// How tightly.
    #[arg(ignore_case = true)]
    hold: Wanted,
}

/// Which announcement.
#[derive(Parser)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    key: KeyArgs,
    /// Hash of the announced call.
    hash: B256,
}

/// Which item.
#[derive(Parser)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    key: KeyArgs,
    /// Number of the item.
    item: u64,
}

/// A number of units: digits, with `_` between them and a power of ten behind them.
fn units(text: &str) -> Result<u128, String> {
    let wrong = || format!("`{text}` is no number of units below 2^128, such as 250000e6");
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let number: u128 = digits.replace('_', "").parse().map_err(|_| wrong())?;
    let power: u32 = power.parse().map_err(|_| wrong())?;
    10u128
        .checked_pow(power)
        .and_then(|scale| number.checked_mul(scale))
        .ok_or_else(wrong)
}

/// All that a call of the limiter needs.
struct Session {
    config: Config,
    provider: DynProvider,
    from: Address,
    limiter: Address,
}

impl Which {
    async fn connect(&self, key: &KeyArgs) -> eyre::Result<Session> {
        let config = self.config.load()?;
        let limiter = account(&config, &self.limiter)?;
        let (provider, from) = key.connect(&config.chain).await?;
        Ok(Session {
            config,
            provider,
            from,
            limiter,
        })
    }
}

impl LimitArgs {
    /// Makes or announces the call that `calldata` gives for protocol and asset.
    async fn govern(
        &self,
        what: &str,
        calldata: impl FnOnce(&Config, Address, Address) -> eyre::Result<Vec<u8>>,
    ) -> eyre::Result<()> {
        let session = self.which.connect(&self.key).await?;
        let Session {
            config,
            provider,
            from,
            limiter,
        } = &session;
        let (protocol, asset) = (account(config, &self.protocol)?, account(config, &self.asset)?);
        let calldata = calldata(config, protocol, asset)?;
        let whole = format!(
            "{what} of {} for {}, class {}",
            name(config, asset),
            name(config, protocol),
            self.class
        );
        match limiter::govern(provider, *from, *limiter, &whole, calldata, self.announce).await? {
            Governed::Done(transaction) => println!("{whole}: transaction {transaction}"),
            Governed::Announced {
                action_hash,
                executable_at,
            } => println!(
                "{whole} is announced: from Unix time {executable_at} on, for 14 days (action hash {action_hash})"
            ),
        }
        Ok(())
    }
}

pub(crate) async fn set(args: &SetArgs) -> eyre::Result<()> {
    let call = |config: &Config, protocol, asset| {
        let call = ICordonLimiter::setLimitCall {
            protocol,
            asset,
            class: args.limit.class,
            limit: ICordonLimiter::Limit {
                units: args.units,
                period: args.period,
                share: args.share,
                scope: scope(config, &args.scope)?,
                rebasing: args.rebasing,
                elastic: args.elastic,
            },
        };
        Ok(call.abi_encode())
    };
    args.limit.govern("the limit", call).await
}

pub(crate) async fn remove(args: &RemoveArgs) -> eyre::Result<()> {
    let call = |_: &Config, protocol, asset| {
        let class = args.limit.class;
        Ok(ICordonLimiter::removeLimitCall { protocol, asset, class }.abi_encode())
    };
    args.limit.govern("the end of the limit", call).await
}

pub(crate) async fn hold(args: &HoldArgs) -> eyre::Result<()> {
    let hold = match args.hold {
        Wanted::None => ICordonLimiter::Hold::None,
        Wanted::Quarter => ICordonLimiter::Hold::Quarter,
        Wanted::Full => ICordonLimiter::Hold::Full,
    };
    let call = |_: &Config, protocol, asset| {
        let call = ICordonLimiter::setHoldCall {
            protocol,
            asset,
            class: args.limit.class,
            hold,
        };
        Ok(call.abi_encode())
    };
    args.limit.govern("the hold on the limit", call).await
}

pub(crate) async fn cancel(args: &CancelArgs) -> eyre::Result<()> {
    let session = args.which.connect(&args.key).await?;
    let transaction = limiter::cancel_announcement(&session.provider, session.from, session.limiter, args.hash).await?;
    println!("the announcement {} is cancelled: transaction {transaction}", args.hash);
    Ok(())
}

pub(crate) async fn release(args: &ReleaseArgs) -> eyre::Result<()> {
    let session = args.which.connect(&args.key).await?;
    let (to, units) = limiter::release(&session.provider, session.from, session.limiter, args.item).await?;
    println!("item {}: {units} units to {}", args.item, name(&session.config, to));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn units_are_whole_numbers() {
        assert_eq!(units("250000e6"), Ok(250_000_000_000));
        assert_eq!(units("1_000"), Ok(1_000));
        assert_eq!(units("0"), Ok(0));
        for wrong in ["", "1.5e18", "-1", "1e39", "1e", "e6", "0x10"] {
            assert!(units(wrong).is_err_and(|error| error.contains(wrong)), "{wrong}");
        }
    }
}
