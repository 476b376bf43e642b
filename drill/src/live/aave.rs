//! A real Aave v3 market, deployed from the compiled artifacts of `@aave/core-v3` in the order that Aave's own scripts use.

use std::path::Path;

use alloy::{
    primitives::{Address, Bytes, I256, U256},
    sol_types::SolConstructor,
};

use super::{Batch, Builder, ray_percent};
use crate::{
    abi::{
        IACLManager, IAaveOracle, IAaveProtocolDataProvider, IMintable, IPool, IPoolAddressesProvider,
        IPoolConfigurator, IPriceFeed, IRateStrategy, IReserveToken, InitReserveInput,
    },
    artifact::Artifact,
    cast,
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

/// WETH that a borrower starts with as collateral.
const BORROWER_WETH: u64 = 50;
/// WETH that the thief's fresh account owns.
pub(crate) const FRESH_WETH: u64 = 25;
/// Interest at the variable rate.
const VARIABLE: U256 = U256::from_limbs([2, 0, 0, 0]);

/// Libraries without links of their own; FlashLoanLogic follows, because it links BorrowLogic.
const LIBRARIES: [&str; 7] = [
    "BorrowLogic",
    "BridgeLogic",
    "EModeLogic",
    "LiquidationLogic",
    "SupplyLogic",
    "PoolLogic",
    "ConfiguratorLogic",
];

struct Core {
    provider: Address,
    acl: Address,
    pool: Address,
    configurator: Address,
    data: Address,
}

/// Deploys the market, lists three assets, lets suppliers supply and borrowers borrow.
pub(crate) async fn deploy(tools: &Tools, chain: &Chain) -> Result<AaveMarket, DrillError> {
    let aave = tools.aave_artifacts()?;
    let ours = tools.solidity_artifacts()?;
    let mut builder = Builder::new(chain).await?;
    let core = deploy_core(&mut builder, &aave).await?;
    let mut weth = list_token(&builder, &aave, &ours, "weth", "Wrapped Ether", "WETH", 18, 2_000).await?;
    let mut wbtc = list_token(&builder, &aave, &ours, "wbtc", "Wrapped Bitcoin", "WBTC", 8, 60_000).await?;
    let mut usdc = list_token(&builder, &aave, &ours, "usdc", "USD Coin", "USDC", 6, 1).await?;
    let oracle = deploy_oracle(&builder, &aave, &core, &[&weth, &wbtc, &usdc]).await?;
    init_reserves(&builder, &aave, &core, &[&weth, &wbtc, &usdc]).await?;
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
    fund(&builder, &market).await?;
    open_positions(chain, &market).await?;
    Ok(market)
}

async fn deploy_core(builder: &mut Builder<'_>, aave: &Path) -> Result<Core, DrillError> {
    for name in LIBRARIES.into_iter().chain(["FlashLoanLogic"]) {
        let library = Artifact::hardhat(aave, &format!("protocol/libraries/logic/{name}"))?;
        let address = builder.deploy(&library, Vec::new()).await?;
        builder.libraries.insert(name.to_owned(), address);
    }
    let admin = builder.admin.address();
    let arguments = IPoolAddressesProvider::constructorCall {
        marketId: "Cordon drill".to_owned(),
        owner: admin,
    };
    let provider = builder
        .deploy(
            &Artifact::hardhat(aave, "protocol/configuration/PoolAddressesProvider")?,
            arguments.abi_encode(),
        )
        .await?;
    builder
        .execute(provider, &IPoolAddressesProvider::setACLAdminCall { admin })
        .await?;
    let acl = builder
        .deploy(
            &Artifact::hardhat(aave, "protocol/configuration/ACLManager")?,
            IACLManager::constructorCall { provider }.abi_encode(),
        )
        .await?;
    builder
        .execute(provider, &IPoolAddressesProvider::setACLManagerCall { manager: acl })
        .await?;
    builder
        .execute(acl, &IACLManager::addPoolAdminCall { account: admin })
        .await?;
    let thief = crate::chain::signer(cast::THIEF)?.address();
    builder
        .execute(acl, &IACLManager::addAssetListingAdminCall { account: thief })
        .await?;
    let (pool, configurator) = deploy_pool(builder, aave, provider).await?;
    let data = builder
        .deploy(
            &Artifact::hardhat(aave, "misc/AaveProtocolDataProvider")?,
            IAaveProtocolDataProvider::constructorCall { provider }.abi_encode(),
        )
        .await?;
    builder
        .execute(
            provider,
            &IPoolAddressesProvider::setPoolDataProviderCall { provider: data },
        )
        .await?;
    Ok(Core {
        provider,
        acl,
        pool,
        configurator,
        data,
    })
}

/// Implementations are initialised too, so that nobody else can; the proxies are the provider's.
async fn deploy_pool(builder: &Builder<'_>, aave: &Path, provider: Address) -> Result<(Address, Address), DrillError> {
    let pool = builder
        .deploy(
            &Artifact::hardhat(aave, "protocol/pool/Pool")?,
            IPool::constructorCall { provider }.abi_encode(),
        )
        .await?;
    builder.execute(pool, &IPool::initializeCall { provider }).await?;
    let configurator = builder
        .deploy(&Artifact::hardhat(aave, "protocol/pool/PoolConfigurator")?, Vec::new())
        .await?;
    builder
        .execute(configurator, &IPoolConfigurator::initializeCall { provider })
        .await?;
    builder
        .execute(
            provider,
            &IPoolAddressesProvider::setPoolImplCall { implementation: pool },
        )
        .await?;
    builder
        .execute(
            provider,
            &IPoolAddressesProvider::setPoolConfiguratorImplCall {
                implementation: configurator,
            },
        )
        .await?;
    let pool = builder
        .chain
        .read(provider, &IPoolAddressesProvider::getPoolCall {})
        .await?;
    let configurator = builder
        .chain
        .read(provider, &IPoolAddressesProvider::getPoolConfiguratorCall {})
        .await?;
    Ok((pool, configurator))
}

#[expect(clippy::too_many_arguments, reason = "one row of the table of assets")]
async fn list_token(
    builder: &Builder<'_>,
    aave: &Path,
    ours: &Path,
    name: &'static str,
    long: &str,
    symbol: &'static str,
    decimals: u8,
    dollars: u64,
) -> Result<Asset, DrillError> {
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
            owner: crate::chain::signer(operator)?.address(),
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

async fn deploy_oracle(
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

async fn init_reserves(builder: &Builder<'_>, aave: &Path, core: &Core, assets: &[&Asset]) -> Result<(), DrillError> {
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

/// Mints what everybody brings along.
async fn fund(builder: &Builder<'_>, market: &AaveMarket) -> Result<(), DrillError> {
    let mut batch = Batch::new(builder.chain);
    let honest = cast::SUPPLIERS.chain(cast::BORROWERS).chain([cast::LIQUIDATOR]);
    for index in honest {
        let account = crate::chain::signer(index)?.address();
        for (asset, whole) in [(&market.weth, 1_000), (&market.wbtc, 20), (&market.usdc, 2_000_000)] {
            batch
                .send(
                    &builder.admin,
                    asset.token,
                    &IMintable::mintCall {
                        account,
                        amount: asset.units(whole),
                    },
                )
                .await?;
        }
    }
    let account = crate::chain::signer(cast::FRESH)?.address();
    let amount = market.weth.units(FRESH_WETH);
    batch
        .send(
            &builder.admin,
            market.weth.token,
            &IMintable::mintCall { account, amount },
        )
        .await?;
    batch.succeed().await
}

/// Suppliers supply every asset; borrowers supply WETH and borrow between 40 and 75 % of it in USDC.
async fn open_positions(chain: &Chain, market: &AaveMarket) -> Result<(), DrillError> {
    let mut supplies = Batch::new(chain);
    let mut borrowers = Vec::new();
    for index in cast::SUPPLIERS.chain(cast::BORROWERS).chain([cast::LIQUIDATOR]) {
        let account = chain.account(index).await?;
        for asset in market.assets() {
            let approve = IMintable::approveCall {
                spender: market.pool,
                amount: U256::MAX,
            };
            supplies.send(&account, asset.token, &approve).await?;
        }
        let mut supply = Vec::new();
        if cast::SUPPLIERS.contains(&index) {
            supply = vec![(&market.weth, 300), (&market.wbtc, 8), (&market.usdc, 1_000_000)];
        } else if cast::BORROWERS.contains(&index) {
            supply = vec![(&market.weth, BORROWER_WETH)];
        }
        for (asset, whole) in supply {
            let call = supply_call(asset, asset.units(whole), account.address());
            supplies.send(&account, market.pool, &call).await?;
        }
        if cast::BORROWERS.contains(&index) {
            borrowers.push(account);
        }
    }
    supplies.succeed().await?;
    let mut borrows = Batch::new(chain);
    for (account, step) in borrowers.iter().zip(0u64..) {
        let amount = market.usdc.units(40_000 + step * 2_000);
        borrows
            .send(
                account,
                market.pool,
                &borrow_call(&market.usdc, amount, account.address()),
            )
            .await?;
    }
    borrows.succeed().await
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
