//! What the drills on protocols of our own have alike.

use alloy::{
    eips::BlockId,
    primitives::{Address, U256, aliases::U24},
    providers::Provider,
    sol_types::{SolCall, SolConstructor},
};

use super::Holding;
use crate::{
    abi::{IGuardable, IMintable},
    artifact::Artifact,
    cast,
    chain::{signer, units},
    error::DrillError,
    fork::Fork,
    live::{Batch, Book, Builder, MINT},
    stage::Grant,
    tools::Tools,
};

/// Decimals of the drills' dollar.
pub(super) const DECIMALS: u8 = 6;
/// The protocol's scope in the guard.
pub(super) const SCOPE: U24 = U24::from_limbs([1]);
/// Waves of honest traffic; with one transaction of everybody in each they make more than 300.
pub(super) const WAVES: u64 = 14;

/// Everybody who uses a protocol honestly, with a number.
pub(super) fn people() -> impl Iterator<Item = (u64, u32)> {
    (0u64..).zip(cast::SUPPLIERS.chain(cast::BORROWERS))
}

/// `whole` dollars.
pub(super) fn dollars(whole: u64) -> U256 {
    units(whole, DECIMALS)
}

/// A thousandth of an ether, times `count`.
pub(super) fn finney(count: u64) -> U256 {
    units(count, 15)
}

/// Deploys the drills' dollar, or another token of its kind.
pub(super) async fn token(tools: &Tools, builder: &Builder<'_>, symbol: &str) -> Result<Address, DrillError> {
    let arguments = IMintable::constructorCall {
        name: format!("Test {symbol}"),
        symbol: symbol.to_owned(),
        decimals: DECIMALS,
    };
    let artifact = Artifact::forge(&tools.solidity_artifacts()?, "TestToken")?;
    builder.deploy(&artifact, arguments.abi_encode()).await
}

/// Deploys a contract of ours.
pub(super) async fn contract(
    tools: &Tools,
    builder: &Builder<'_>,
    name: &str,
    arguments: Vec<u8>,
) -> Result<Address, DrillError> {
    let artifact = Artifact::forge(&tools.solidity_artifacts()?, name)?;
    builder.deploy(&artifact, arguments).await
}

/// Deploys, as the thief, the attacker's contract `name` in the source file `source`.
pub(super) async fn weapon(
    tools: &Tools,
    builder: &Builder<'_>,
    source: &str,
    name: &str,
) -> Result<Address, DrillError> {
    let thief = builder.chain.account(cast::THIEF).await?;
    let artifact = Artifact::forge_in(&tools.solidity_artifacts()?, source, name)?;
    builder
        .chain
        .deploy(&thief, &artifact, &std::collections::BTreeMap::new(), &[])
        .await
}

/// Gives everybody of `accounts` the drill's usual amount of `token`, with an allowance for `spender`.
pub(super) async fn endow(
    builder: &Builder<'_>,
    token: Address,
    spender: Address,
    accounts: impl Iterator<Item = u32>,
) -> Result<(), DrillError> {
    let mut batch = Batch::new(builder.chain);
    for index in accounts {
        let (account, amount) = (signer(index)?.address(), dollars(MINT));
        let mint = IMintable::mintCall { account, amount };
        batch.send(&builder.admin, token, &mint).await?;
        let owner = builder.chain.account(index).await?;
        let amount = U256::MAX;
        batch
            .send(&owner, token, &IMintable::approveCall { spender, amount })
            .await?;
    }
    batch.succeed().await
}

/// The owner switches the hooks of the contract called `name` on.
pub(super) fn hooks(book: &Book, name: &'static str, guard: Address) -> Result<Vec<Grant>, DrillError> {
    Ok(vec![Grant {
        target: book.get(name)?,
        calldata: IGuardable::setGuardCall { guard }.abi_encode().into(),
        what: "naming the guard to the protocol",
    }])
}

/// What an account has in a token.
pub(super) async fn tokens(
    fork: &Fork,
    asset: &'static str,
    token: Address,
    account: Address,
    at: BlockId,
) -> Result<Holding, DrillError> {
    let amount = fork
        .chain
        .read_at(token, &IMintable::balanceOfCall { account }, at)
        .await?;
    Ok(Holding {
        asset,
        decimals: DECIMALS,
        amount,
    })
}

/// What an account has in ether.
pub(super) async fn ether(fork: &Fork, account: Address, at: BlockId) -> Result<Holding, DrillError> {
    let balance = fork.chain.provider().get_balance(account).block_id(at);
    Ok(Holding {
        asset: "ETH",
        decimals: 18,
        amount: balance.await.map_err(DrillError::rpc("reading a balance"))?,
    })
}
