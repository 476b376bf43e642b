//! The market's assets: tokens, two feeds each, the oracle, and their listing.

use std::path::Path;

use alloy::{
    primitives::{Address, Bytes, I256, U256},
    sol_types::SolConstructor,
};

use super::{
    super::{Builder, ray_percent},
    Asset,
    core::Core,
};
use crate::{
    abi::{
        IAaveOracle, IMintable, IPoolAddressesProvider, IPoolConfigurator, IPriceFeed, IRateStrategy, IReserveToken,
        InitReserveInput,
    },
    artifact::Artifact,
    cast,
    chain::{signer, units},
    error::DrillError,
};

/// What an asset is before it is deployed.
struct Listing {
    /// Name in `cordon.toml`.
    name: &'static str,
    long: &'static str,
    symbol: &'static str,
    decimals: u8,
    /// Price in whole dollars.
    dollars: u64,
}

const WETH: Listing = Listing {
    name: "weth",
    long: "Wrapped Ether",
    symbol: "WETH",
    decimals: 18,
    dollars: 2_000,
};
const WBTC: Listing = Listing {
    name: "wbtc",
    long: "Wrapped Bitcoin",
    symbol: "WBTC",
    decimals: 8,
    dollars: 60_000,
};
const USDC: Listing = Listing {
    name: "usdc",
    long: "USD Coin",
    symbol: "USDC",
    decimals: 6,
    dollars: 1,
};

/// Deploys tokens and feeds.
pub(super) async fn deploy(builder: &Builder<'_>, aave: &Path, ours: &Path) -> Result<[Asset; 3], DrillError> {
    Ok([
        deploy_one(builder, aave, ours, WETH).await?,
        deploy_one(builder, aave, ours, WBTC).await?,
        deploy_one(builder, aave, ours, USDC).await?,
    ])
}

async fn deploy_one(builder: &Builder<'_>, aave: &Path, ours: &Path, listing: Listing) -> Result<Asset, DrillError> {
    let Listing {
        name,
        long,
        symbol,
        decimals,
        dollars,
    } = listing;
    let arguments = IMintable::constructorCall {
        name: long.to_owned(),
        symbol: symbol.to_owned(),
        decimals,
    };
    let token = builder
        .deploy(
            &Artifact::hardhat(aave, "mocks/tokens/MintableERC20")?,
            arguments.abi_encode(),
        )
        .await?;
    let feed_code = Artifact::forge(ours, "PriceFeed")?;
    let mut feeds = [Address::ZERO; 2];
    for (feed, (operator, kind)) in feeds
        .iter_mut()
        .zip([(cast::FEED_OPERATOR, "market"), (cast::REFERENCE_OPERATOR, "reference")])
    {
        let arguments = IPriceFeed::constructorCall {
            description: format!("{symbol} / USD ({kind})"),
            answer: dollars_to_answer(dollars)?,
            owner: signer(operator)?.address(),
        };
        *feed = builder.deploy(&feed_code, arguments.abi_encode()).await?;
    }
    let [feed, reference] = feeds;
    Ok(Asset {
        name,
        symbol,
        decimals,
        dollars,
        token,
        feed,
        reference,
        supply_token: Address::ZERO,
        debt_token: Address::ZERO,
    })
}

/// A feed's answer for a price in whole dollars.
fn dollars_to_answer(dollars: u64) -> Result<I256, DrillError> {
    I256::try_from(units(dollars, 8)).map_err(|_| DrillError::OutOfRange {
        what: format!("a price of {dollars} dollars"),
    })
}

/// Deploys the oracle, with the market's own feeds as its sources.
pub(super) async fn price(
    builder: &Builder<'_>,
    aave: &Path,
    core: &Core,
    assets: &[&Asset],
) -> Result<Address, DrillError> {
    let arguments = IAaveOracle::constructorCall {
        provider: core.provider,
        assets: assets.iter().map(|asset| asset.token).collect(),
        sources: assets.iter().map(|asset| asset.feed).collect(),
        fallback_: Address::ZERO,
        baseCurrency: Address::ZERO,
        baseUnit: units(1, 8),
    };
    let oracle = builder
        .deploy(&Artifact::hardhat(aave, "misc/AaveOracle")?, arguments.abi_encode())
        .await?;
    builder
        .execute(core.provider, &IPoolAddressesProvider::setPriceOracleCall { oracle })
        .await?;
    Ok(oracle)
}

/// Lists the assets, all of them as collateral and for borrowing at the variable rate.
pub(super) async fn list(builder: &Builder<'_>, aave: &Path, core: &Core, assets: &[&Asset]) -> Result<(), DrillError> {
    let of_pool = IReserveToken::constructorCall { pool: core.pool }.abi_encode();
    let mut tokens = [Address::ZERO; 3];
    for (token, name) in tokens
        .iter_mut()
        .zip(["AToken", "StableDebtToken", "VariableDebtToken"])
    {
        *token = builder
            .deploy(
                &Artifact::hardhat(aave, &format!("protocol/tokenization/{name}"))?,
                of_pool.clone(),
            )
            .await?;
    }
    let rates = IRateStrategy::constructorCall {
        provider: core.provider,
        optimal: ray_percent(80),
        base: U256::ZERO,
        slope1: ray_percent(4),
        slope2: ray_percent(60),
        stableSlope1: ray_percent(1),
        stableSlope2: ray_percent(60),
        stableOffset: ray_percent(1),
        stableExcess: ray_percent(8),
        optimalStableRatio: ray_percent(20),
    };
    let strategy = builder
        .deploy(
            &Artifact::hardhat(aave, "protocol/pool/DefaultReserveInterestRateStrategy")?,
            rates.abi_encode(),
        )
        .await?;
    let input = assets
        .iter()
        .map(|asset| reserve_input(asset, tokens, strategy, builder.admin.address()))
        .collect();
    builder
        .execute(core.configurator, &IPoolConfigurator::initReservesCall { input })
        .await?;
    for asset in assets {
        let (asset, enabled) = (asset.token, true);
        let [ltv, threshold, bonus, factor] = [8_000u64, 8_500, 10_500, 1_000].map(U256::from);
        let collateral = IPoolConfigurator::configureReserveAsCollateralCall {
            asset,
            ltv,
            threshold,
            bonus,
        };
        builder.execute(core.configurator, &collateral).await?;
        builder
            .execute(
                core.configurator,
                &IPoolConfigurator::setReserveBorrowingCall { asset, enabled },
            )
            .await?;
        builder
            .execute(
                core.configurator,
                &IPoolConfigurator::setReserveFlashLoaningCall { asset, enabled },
            )
            .await?;
        builder
            .execute(
                core.configurator,
                &IPoolConfigurator::setReserveFactorCall { asset, factor },
            )
            .await?;
    }
    Ok(())
}

fn reserve_input(asset: &Asset, tokens: [Address; 3], strategy: Address, treasury: Address) -> InitReserveInput {
    let [a_token, stable_debt, variable_debt] = tokens;
    let symbol = asset.symbol;
    InitReserveInput {
        aTokenImpl: a_token,
        stableDebtTokenImpl: stable_debt,
        variableDebtTokenImpl: variable_debt,
        underlyingAssetDecimals: asset.decimals,
        interestRateStrategyAddress: strategy,
        underlyingAsset: asset.token,
        treasury,
        incentivesController: Address::ZERO,
        aTokenName: format!("Aave {symbol}"),
        aTokenSymbol: format!("a{symbol}"),
        variableDebtTokenName: format!("Aave variable debt {symbol}"),
        variableDebtTokenSymbol: format!("variableDebt{symbol}"),
        stableDebtTokenName: format!("Aave stable debt {symbol}"),
        stableDebtTokenSymbol: format!("stableDebt{symbol}"),
        params: Bytes::from_static(&[0x10]),
    }
}
