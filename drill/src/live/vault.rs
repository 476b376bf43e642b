//! The vaults of ours: one for everyday traffic and a new, still empty one for the first-depositor attack.

use alloy::{
    primitives::{Address, I256, U256},
    sol_types::SolConstructor,
};

use super::{Batch, Builder};
use crate::{
    abi::{ICreditVault, IMintable, IPriceFeed},
    artifact::Artifact,
    cast,
    chain::{Chain, signer, units},
    error::DrillError,
    tools::Tools,
};

/// Decimals of the vaults' asset.
pub(crate) const DECIMALS: u8 = 6;
/// Its ticker.
pub(crate) const SYMBOL: &str = "TUSD";
/// What the thief puts into the attack, whole units; a victim's deposit of as much is lost entirely.
pub(crate) const DONATION: u64 = 250_000;

/// Scope of the busy vault in the guard.
const BUSY_SCOPE: u32 = 1;
/// Scope of the new vault in the guard.
const NEW_SCOPE: u32 = 2;

/// Addresses of the vaults.
#[derive(Debug, Clone)]
pub(crate) struct VaultMarket {
    /// The vaults' asset.
    pub(crate) token: Address,
    /// Quotes the loan books, 8 decimals.
    pub(crate) quote: Address,
    /// The vault with everyday traffic.
    pub(crate) busy: Address,
    /// The vault that nobody has used yet.
    pub(crate) new: Address,
    /// The attacker's contract, holding the thief's stake.
    pub(crate) inflator: Address,
}

/// Deploys token, quote, vaults and the attacker's contract, and funds everybody.
pub(crate) async fn deploy(tools: &Tools, chain: &Chain) -> Result<VaultMarket, DrillError> {
    let ours = tools.solidity_artifacts()?;
    let builder = Builder::new(chain).await?;
    let owner = builder.admin.address();
    let arguments = IMintable::constructorCall {
        name: "Test Dollar".to_owned(),
        symbol: SYMBOL.to_owned(),
        decimals: DECIMALS,
    };
    let token = builder
        .deploy(&Artifact::forge(&ours, "TestToken")?, arguments.abi_encode())
        .await?;
    let arguments = IPriceFeed::constructorCall {
        description: format!("loan book / {SYMBOL}"),
        answer: I256::unchecked_from(100_000_000),
        owner: signer(cast::FEED_OPERATOR)?.address(),
    };
    let quote = builder
        .deploy(&Artifact::forge(&ours, "PriceFeed")?, arguments.abi_encode())
        .await?;
    let vault = Artifact::forge(&ours, "CreditVault")?;
    let borrower = signer(cast::VAULT_BORROWER)?.address();
    let mut vaults = [Address::ZERO; 2];
    for (address, scope) in vaults.iter_mut().zip([BUSY_SCOPE, NEW_SCOPE]) {
        let scope = alloy::primitives::aliases::U24::from(scope);
        let arguments = ICreditVault::constructorCall {
            asset: token,
            quote,
            owner,
            borrower,
            scope,
        };
        *address = builder.deploy(&vault, arguments.abi_encode()).await?;
    }
    let [busy, new] = vaults;
    let thief = chain.account(cast::THIEF).await?;
    let inflator = chain
        .deploy(
            &thief,
            &Artifact::forge(&ours, "VaultInflator")?,
            &builder.libraries,
            &[],
        )
        .await?;
    let market = VaultMarket {
        token,
        quote,
        busy,
        new,
        inflator,
    };
    fund(&builder, &market).await?;
    Ok(market)
}

async fn fund(builder: &Builder<'_>, market: &VaultMarket) -> Result<(), DrillError> {
    let mut batch = Batch::new(builder.chain);
    let stake = units(DONATION, DECIMALS).saturating_add(U256::ONE);
    batch
        .send(
            &builder.admin,
            market.token,
            &IMintable::mintCall {
                account: market.inflator,
                amount: stake,
            },
        )
        .await?;
    for index in cast::SUPPLIERS
        .chain(cast::BORROWERS)
        .chain([cast::VICTIM, cast::VAULT_BORROWER])
    {
        let account = builder.chain.account(index).await?;
        let mint = IMintable::mintCall {
            account: account.address(),
            amount: units(2_000_000, DECIMALS),
        };
        batch.send(&builder.admin, market.token, &mint).await?;
        for spender in [market.busy, market.new] {
            batch
                .send(
                    &account,
                    market.token,
                    &IMintable::approveCall {
                        spender,
                        amount: U256::MAX,
                    },
                )
                .await?;
        }
    }
    batch.succeed().await
}
