//! What an account holds, and whether it can pay.

use std::sync::PoisonError;

use alloy::primitives::U256;

use super::account::Account;
use super::deliver::Call;
use crate::chain::RpcError;

impl Account {
    /// Why it could not pay for a call at the fees of now; `None` when it could.
    pub(super) async fn shortfall(&self, call: &Call) -> Result<Option<String>, RpcError> {
        let from = self.address();
        let needed = U256::from(self.max_fee().await).saturating_mul(U256::from(call.gas));
        let held = self.look_at_balance().await?;
        Ok((held < needed).then(|| format!("{from} holds {held} wei and may need {needed} to pay for it")))
    }

    /// The same by what it held when that was asked last; nothing before.
    pub(super) async fn lacks(&self, call: &Call) -> Option<String> {
        let needed = U256::from(self.max_fee().await).saturating_mul(U256::from(call.gas));
        let held = self.balance().filter(|held| *held < needed)?;
        let from = self.address();
        Some(format!("{from} holds {held} wei and may need {needed} to pay for it"))
    }

    /// Asks the chain what it holds, in wei, and remembers the answer.
    pub(super) async fn look_at_balance(&self) -> Result<U256, RpcError> {
        let held = self.rpc().balance(self.address()).await?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(held)
    }

    /// What it held when that was asked last, in wei; `None` before.
    pub(crate) fn balance(&self) -> Option<U256> {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
