//! Who holds what at the start.

use alloy::primitives::U256;

use super::{
    super::{Batch, Builder},
    AaveMarket, FRESH_WETH, borrow_call, supply_call,
};
use crate::{
    abi::IMintable,
    cast,
    chain::{Chain, signer},
    error::DrillError,
};

/// WETH that a borrower starts with as collateral.
const BORROWER_WETH: u64 = 50;
/// Mints what everybody brings along.
pub(super) async fn fund(builder: &Builder<'_>, market: &AaveMarket) -> Result<(), DrillError> {
    let mut batch = Batch::new(builder.chain);
    let honest = cast::SUPPLIERS.chain(cast::BORROWERS).chain([cast::LIQUIDATOR]);
    for index in honest {
        let account = signer(index)?.address();
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
    let account = signer(cast::FRESH)?.address();
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
pub(super) async fn open(chain: &Chain, market: &AaveMarket) -> Result<(), DrillError> {
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
