//! A live chain with a real Aave market and nothing else, for benchmarks.

use alloy::primitives::Address;

use crate::{cast, chain::signer, error::DrillError, live::Live, progress::Silent, scenario::Scenario, tools::Tools};

/// Stock anvil with Aave v3 on it (three assets, suppliers, borrowers), idle. Dropping it stops it.
#[derive(Debug)]
pub struct Market {
    live: Live,
    /// Aave's pool.
    pub pool: Address,
    /// An account with collateral and debt.
    pub borrower: Address,
}

impl Market {
    /// Starts the chain and deploys the market.
    ///
    /// # Errors
    /// When anvil or Aave's artifacts are missing, or the deployment fails.
    pub async fn start(tools: &Tools) -> Result<Self, DrillError> {
        let live = Live::start(tools, &[Scenario::AaveOracle], &Silent).await?;
        // The scenario deploys the market, so it is there.
        let pool = live.aave.as_ref().map(|market| market.pool).unwrap_or_default();
        let borrower = signer(cast::BORROWERS.start)?.address();
        Ok(Self { live, pool, borrower })
    }

    /// HTTP endpoint of the chain.
    pub fn endpoint(&self) -> &str {
        self.live.endpoint()
    }

    /// Stops the chain and waits until its process is gone.
    pub async fn stop(self) {
        self.live.stop().await;
    }
}
