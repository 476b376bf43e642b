//! Aave's own contracts: libraries, registry, roles, pool and configurator.

use std::path::Path;

use alloy::{primitives::Address, sol_types::SolConstructor};

use super::super::Builder;
use crate::{
    abi::{IACLManager, IAaveProtocolDataProvider, IPool, IPoolAddressesProvider, IPoolConfigurator},
    artifact::Artifact,
    cast,
    chain::signer,
    error::DrillError,
};

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

/// Where they are.
pub(super) struct Core {
    pub(super) provider: Address,
    pub(super) acl: Address,
    pub(super) pool: Address,
    pub(super) configurator: Address,
    pub(super) data: Address,
}

/// Deploys them. The admin owns the market; the thief-to-be may list assets.
pub(super) async fn deploy(builder: &mut Builder<'_>, aave: &Path) -> Result<Core, DrillError> {
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
    let thief = signer(cast::THIEF)?.address();
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
