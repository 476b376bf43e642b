//! A real Aave v3 market, deployed from the compiled artifacts of `@aave/core-v3` in the order that Aave's own scripts use.

mod assets;
mod core;
mod positions;

use alloy::primitives::{Address, U256};

use super::Builder;
use crate::{
    abi::{IAaveProtocolDataProvider, IPool},
    chain::{Chain, units},
    error::DrillError,
    tools::Tools,
};

/// One asset of the market.
#[derive(Debug, Clone)]
pub(crate) struct Asset {
    /// Name in `cordon.toml`.
    pub(crate) name: &'static str,
    /// Ticker.
    pub(crate) symbol: &'static str,
    /// Decimals of the token.
    pub(crate) decimals: u8,
    /// Price at the start, whole dollars.
    pub(crate) dollars: u64,
    /// The token.
    pub(crate) token: Address,
    /// The market's own price feed, 8 decimals.
    pub(crate) feed: Address,
    /// The second feed, which moves independently, 8 decimals.
    pub(crate) reference: Address,
    /// What suppliers hold.
    pub(crate) supply_token: Address,
    /// What borrowers owe, at the variable rate. The stable rate is never enabled.
    pub(crate) debt_token: Address,
}

impl Asset {
    /// `whole` units.
    pub(crate) fn units(&self, whole: u64) -> U256 {
        units(whole, self.decimals)
    }
}

/// Addresses of the market.
#[derive(Debug, Clone)]
pub(crate) struct AaveMarket {
    pub(crate) acl: Address,
    pub(crate) pool: Address,
    pub(crate) configurator: Address,
    pub(crate) data: Address,
    pub(crate) oracle: Address,
    pub(crate) weth: Asset,
    pub(crate) wbtc: Asset,
    pub(crate) usdc: Asset,
}

impl AaveMarket {
    /// All assets, in the order in which they were listed.
    pub(crate) const fn assets(&self) -> [&Asset; 3] {
        [&self.weth, &self.wbtc, &self.usdc]
    }
}

/// WETH that the thief's fresh account owns.
pub(crate) const FRESH_WETH: u64 = 25;
/// Interest at the variable rate.
const VARIABLE: U256 = U256::from_limbs([2, 0, 0, 0]);

/// Deploys the market, lists three assets, lets suppliers supply and borrowers borrow.
pub(crate) async fn deploy(tools: &Tools, chain: &Chain) -> Result<AaveMarket, DrillError> {
    let aave = tools.aave_artifacts()?;
    let ours = tools.solidity_artifacts()?;
    let mut builder = Builder::new(chain).await?;
    let core = core::deploy(&mut builder, &aave).await?;
    let [mut weth, mut wbtc, mut usdc] = assets::deploy(&builder, &aave, &ours).await?;
    let oracle = assets::price(&builder, &aave, &core, &[&weth, &wbtc, &usdc]).await?;
    assets::list(&builder, &aave, &core, &[&weth, &wbtc, &usdc]).await?;
    for asset in [&mut weth, &mut wbtc, &mut usdc] {
        let call = IAaveProtocolDataProvider::getReserveTokensAddressesCall { asset: asset.token };
        let tokens = chain.read(core.data, &call).await?;
        asset.supply_token = tokens.aToken;
        asset.debt_token = tokens.variableDebt;
    }
    let market = AaveMarket {
        acl: core.acl,
        pool: core.pool,
        configurator: core.configurator,
        data: core.data,
        oracle,
        weth,
        wbtc,
        usdc,
    };
    positions::fund(&builder, &market).await?;
    positions::open(chain, &market).await?;
    Ok(market)
}

/// Supplies on one's own behalf.
pub(crate) fn supply_call(asset: &Asset, amount: U256, on_behalf: Address) -> IPool::supplyCall {
    IPool::supplyCall {
        asset: asset.token,
        amount,
        onBehalfOf: on_behalf,
        referralCode: 0,
    }
}

/// Borrows on one's own behalf at the variable rate.
pub(crate) fn borrow_call(asset: &Asset, amount: U256, on_behalf: Address) -> IPool::borrowCall {
    IPool::borrowCall {
        asset: asset.token,
        amount,
        rateMode: VARIABLE,
        referralCode: 0,
        onBehalfOf: on_behalf,
    }
}

/// Repays on somebody's behalf.
pub(crate) fn repay_call(asset: &Asset, amount: U256, on_behalf: Address) -> IPool::repayCall {
    IPool::repayCall {
        asset: asset.token,
        amount,
        rateMode: VARIABLE,
        onBehalfOf: on_behalf,
    }
}
