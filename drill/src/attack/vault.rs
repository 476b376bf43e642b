//! The first-depositor attack: the thief takes the first share of the new vault and donates before the victim's deposit.

use alloy::primitives::U256;

use super::{Attack, Landed};
use crate::{
    abi::{ICreditVault, IVaultInflator},
    cast,
    chain::units,
    error::DrillError,
    fork::Fork,
    live::{DONATION, VAULT_DECIMALS, VaultMarket},
};

const INFLATION: &str = "the inflation of the vault";

/// What the victim deposits: as much as the thief donates, which rounds down to no share at all.
pub(crate) fn victims_deposit() -> U256 {
    units(DONATION, VAULT_DECIMALS)
}

/// Inflates the vault, lets the victim deposit `delay` blocks later, and cashes out.
pub(crate) async fn strike(fork: &Fork, market: &VaultMarket, delay: u64) -> Result<Attack, DrillError> {
    let thief = fork.account(cast::THIEF)?;
    let victim = fork.account(cast::VICTIM)?;
    let vault = market.new;
    let deposit = ICreditVault::depositCall {
        assets: victims_deposit(),
        receiver: victim.address(),
    };
    fork.next_block().await?;
    let inflating = fork
        .chain
        .send(thief, market.inflator, &IVaultInflator::inflateCall { vault })
        .await?;
    if delay > 0 {
        let first_bad = Landed::try_from(&fork.mined(inflating, INFLATION).await?)?.block;
        fork.until(first_bad + delay - 1).await?;
    }
    let depositing = fork.chain.send(victim, vault, &deposit).await?;
    let taking = fork.mined(depositing, "the victim's deposit").await?;
    let change = fork.chain.succeeded(inflating, INFLATION).await?;
    let cash_out = fork
        .chain
        .send(thief, market.inflator, &IVaultInflator::cashOutCall { vault })
        .await?;
    // Whether the thief gets out is nobody's loss: under the guard it is only the own stake.
    fork.mined(cash_out, "the thief's exit").await?;
    Ok(Attack {
        change: Landed::try_from(&change)?,
        taking: Landed::try_from(&taking)?,
    })
}
