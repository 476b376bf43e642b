//! The live chain: stock anvil with real protocols on it, set up and then idle.

mod aave;
mod book;
mod process;
mod vault;

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, U256},
    sol_types::SolCall,
};

use self::process::AnvilProcess;
pub(crate) use self::{
    aave::{AaveMarket, Asset, FRESH_WETH, borrow_call, repay_call, supply_call},
    book::Book,
    vault::{DECIMALS as VAULT_DECIMALS, DONATION, SYMBOL as VAULT_SYMBOL, VaultMarket},
};
use crate::{
    artifact::Artifact,
    cast,
    chain::{Account, Chain},
    error::DrillError,
    play::{
        Play, bridge::ForgedMessage, lending::EmptyMarket, options::DoubleExercise, pool::Reentrancy,
        safe::SafeMasterCopy, safe_patient::SafePatientThief, timelock::TimelockTakeover,
    },
    progress::Progress,
    scenario::Scenario,
    tools::Tools,
};

/// Tokens that everybody gets in scenarios of our own tokens, whole units.
pub(crate) const MINT: u64 = 2_000_000;

/// Chain id of the live chain: Arbitrum One, because that is where a guard lives.
pub(crate) const CHAIN_ID: u64 = 42161;

/// How often the chain is started before its failure is the drill's. Once in some hundred starts on a busy machine, anvil 1.7.1 holds
/// back a transaction for ever as if its predecessor was missing.
const ATTEMPTS: usize = 3;

/// A live chain and what was deployed on it.
#[derive(Debug)]
pub(crate) struct Live {
    process: AnvilProcess,
    /// The Aave market, when a scenario asked for it.
    pub(crate) aave: Option<AaveMarket>,
    /// The vaults, when a scenario asked for them.
    pub(crate) vault: Option<VaultMarket>,
    /// What the other scenarios deployed, by their names.
    books: BTreeMap<&'static str, Book>,
    /// The block that every fork starts from.
    pub(crate) fork_block: u64,
}

/// What `scenarios` deployed.
struct Population {
    aave: Option<AaveMarket>,
    vault: Option<VaultMarket>,
    books: BTreeMap<&'static str, Book>,
    fork_block: u64,
}

impl Live {
    /// Starts the chain and deploys what `scenarios` need.
    pub(crate) async fn start(
        tools: &Tools,
        scenarios: &[Scenario],
        progress: &dyn Progress,
    ) -> Result<Self, DrillError> {
        for _ in 1..ATTEMPTS {
            match Self::start_once(tools, scenarios, progress).await {
                Err(DrillError::Timeout { what, seconds }) => {
                    progress.step(&format!(
                        "{what} took more than {seconds} s: starting the live chain again"
                    ));
                }
                ended => return ended,
            }
        }
        Self::start_once(tools, scenarios, progress).await
    }

    async fn start_once(tools: &Tools, scenarios: &[Scenario], progress: &dyn Progress) -> Result<Self, DrillError> {
        progress.step("starting the live chain (anvil, chain id 42161)");
        let process = AnvilProcess::start(&tools.anvil, CHAIN_ID, cast::COUNT).await?;
        match populate(tools, process.endpoint(), scenarios, progress).await {
            Ok(population) => Ok(Self {
                process,
                aave: population.aave,
                vault: population.vault,
                books: population.books,
                fork_block: population.fork_block,
            }),
            Err(error) => {
                process.stop().await;
                Err(error)
            }
        }
    }

    /// What `scenario` deployed.
    pub(crate) fn book(&self, scenario: Scenario) -> Result<&Book, DrillError> {
        let scenario = scenario.name();
        self.books.get(scenario).ok_or(DrillError::NotDeployed { scenario })
    }

    /// HTTP endpoint of the chain.
    pub(crate) fn endpoint(&self) -> &str {
        self.process.endpoint()
    }

    /// Stops the chain and waits until its process is gone.
    pub(crate) async fn stop(self) {
        self.process.stop().await;
    }
}

async fn populate(
    tools: &Tools,
    endpoint: &str,
    scenarios: &[Scenario],
    progress: &dyn Progress,
) -> Result<Population, DrillError> {
    let chain = Chain::connect(endpoint).await?;
    let mut aave = None;
    let mut vault = None;
    if scenarios.contains(&Scenario::AaveOracle) {
        progress.step("deploying Aave v3 (real bytecode of @aave/core-v3) with suppliers and borrowers");
        aave = Some(aave::deploy(tools, &chain).await?);
    }
    if scenarios.contains(&Scenario::VaultInflation) {
        progress.step("deploying the ERC-4626 vaults");
        vault = Some(vault::deploy(tools, &chain).await?);
    }
    let mut books = BTreeMap::new();
    for scenario in scenarios {
        if let Some(book) = deploy(tools, &chain, *scenario, progress).await? {
            books.insert(scenario.name(), book);
        }
    }
    Ok(Population {
        aave,
        vault,
        books,
        fork_block: chain.head().await?,
    })
}

/// Deploys a scenario that keeps its addresses in a book.
async fn deploy(
    tools: &Tools,
    chain: &Chain,
    scenario: Scenario,
    progress: &dyn Progress,
) -> Result<Option<Book>, DrillError> {
    let builder = Builder::new(chain).await?;
    progress.step(&format!("deploying what {scenario} needs"));
    Ok(Some(match scenario {
        Scenario::AaveOracle | Scenario::VaultInflation => return Ok(None),
        Scenario::SafeMasterCopy => SafeMasterCopy::deploy(tools, &builder).await?,
        Scenario::SafePatientThief => SafePatientThief::deploy(tools, &builder).await?,
        Scenario::TimelockTakeover => TimelockTakeover::deploy(tools, &builder).await?,
        Scenario::EmptyMarket => EmptyMarket::deploy(tools, &builder).await?,
        Scenario::DoubleExercise => DoubleExercise::deploy(tools, &builder).await?,
        Scenario::Reentrancy => Reentrancy::deploy(tools, &builder).await?,
        Scenario::ForgedMessage => ForgedMessage::deploy(tools, &builder).await?,
    }))
}

/// Deploys contracts of one account and remembers libraries to link.
pub(crate) struct Builder<'a> {
    /// The live chain.
    pub(crate) chain: &'a Chain,
    /// Who deploys, and owns what is deployed.
    pub(crate) admin: Account,
    libraries: BTreeMap<String, Address>,
}

impl<'a> Builder<'a> {
    async fn new(chain: &'a Chain) -> Result<Self, DrillError> {
        Ok(Self {
            chain,
            admin: chain.account(cast::ADMIN).await?,
            libraries: BTreeMap::new(),
        })
    }

    /// Deploys a contract; `arguments` are its constructor's, encoded.
    pub(crate) async fn deploy(&self, artifact: &Artifact, arguments: Vec<u8>) -> Result<Address, DrillError> {
        self.chain
            .deploy(&self.admin, artifact, &self.libraries, &arguments)
            .await
    }

    /// A call of the admin that succeeds.
    pub(crate) async fn execute<C: SolCall>(&self, to: Address, call: &C) -> Result<(), DrillError> {
        self.chain.execute(&self.admin, to, call).await.map(drop)
    }
}

/// Transactions that were sent and must all succeed.
pub(crate) struct Batch<'a> {
    chain: &'a Chain,
    sent: Vec<(B256, &'static str)>,
}

impl<'a> Batch<'a> {
    pub(crate) const fn new(chain: &'a Chain) -> Self {
        Self {
            chain,
            sent: Vec::new(),
        }
    }

    pub(crate) async fn send<C: SolCall>(&mut self, from: &Account, to: Address, call: &C) -> Result<(), DrillError> {
        let hash = self.chain.send(from, to, call).await?;
        self.sent.push((hash, C::SIGNATURE));
        Ok(())
    }

    /// Waits for all; the first that failed is the error.
    pub(crate) async fn succeed(self) -> Result<(), DrillError> {
        for (hash, what) in self.sent {
            self.chain.succeeded(hash, what).await?;
        }
        Ok(())
    }
}

/// A ray, Aave's unit of rates, times `percent` / 100.
fn ray_percent(percent: u64) -> U256 {
    U256::from(percent).saturating_mul(U256::from(10u64).saturating_pow(U256::from(25u64)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::{
        abi::{IACLManager, ICreditVault, IMintable, IPool},
        chain::signer,
        progress::Silent,
    };

    async fn started(scenarios: &[Scenario]) -> (Live, Chain) {
        let tools = Tools::discover(None, None).unwrap();
        let live = Live::start(&tools, scenarios, &Silent).await.unwrap();
        let chain = Chain::connect(live.endpoint()).await.unwrap();
        (live, chain)
    }

    #[tokio::test]
    async fn the_aave_market_stands_and_the_thief_can_only_list_assets() {
        let (live, chain) = started(&[Scenario::AaveOracle]).await;
        let market = live.aave.clone().unwrap();
        let thief = signer(cast::THIEF).unwrap().address();
        assert!(
            chain
                .read(market.acl, &IACLManager::isAssetListingAdminCall { account: thief })
                .await
                .unwrap()
        );
        assert!(
            !chain
                .read(market.acl, &IACLManager::isPoolAdminCall { account: thief })
                .await
                .unwrap()
        );
        assert!(
            !chain
                .read(market.acl, &IACLManager::isRiskAdminCall { account: thief })
                .await
                .unwrap()
        );
        assert!(
            !chain
                .read(market.acl, &IACLManager::isEmergencyAdminCall { account: thief })
                .await
                .unwrap()
        );
        let user = signer(cast::BORROWERS.start).unwrap().address();
        let position = chain
            .read(market.pool, &IPool::getUserAccountDataCall { user })
            .await
            .unwrap();
        assert_eq!(position.collateral, crate::chain::units(100_000, 8));
        assert!(position.debt >= crate::chain::units(40_000, 8), "{}", position.debt);
        assert_eq!(chain.head().await.unwrap(), live.fork_block);
        live.stop().await;
    }

    #[tokio::test]
    async fn the_new_vault_is_empty_and_unguarded() {
        let (live, chain) = started(&[Scenario::VaultInflation]).await;
        let market = live.vault.clone().unwrap();
        assert!(
            chain
                .read(market.new, &ICreditVault::totalSupplyCall {})
                .await
                .unwrap()
                .is_zero()
        );
        let stake = chain
            .read(
                market.token,
                &IMintable::balanceOfCall {
                    account: market.inflator,
                },
            )
            .await
            .unwrap();
        assert_eq!(stake, crate::chain::units(DONATION, VAULT_DECIMALS) + U256::ONE);
        live.stop().await;
    }

    #[tokio::test]
    async fn a_stopped_chain_is_gone() {
        let (live, _chain) = started(&[]).await;
        let endpoint = live.endpoint().to_owned();
        live.stop().await;
        assert!(Chain::connect(&endpoint).await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_chain_is_gone_too() {
        let (live, _chain) = started(&[]).await;
        let endpoint = live.endpoint().to_owned();
        drop(live);
        for _ in 0..100 {
            if Chain::connect(&endpoint).await.is_err() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        unreachable!("the chain outlived its owner");
    }
}
