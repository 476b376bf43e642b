//! What a transaction pays for its gas, and to whom: Arbitrum takes the base fee and no tip.

use alloy::{
    consensus::TxType,
    primitives::{Address, U256},
};
use cordon_stylus::arbos::{ROOT_INFRA_FEE_ACCOUNT, ROOT_NETWORK_FEE_ACCOUNT, STATE_ADDRESS, Space};
use revm::{
    DatabaseRef,
    context::{BlockEnv, TxEnv},
    context_interface::result::ResultAndState,
    state::{Account, AccountInfo},
};

use crate::{
    chain::MIN_BASE_FEE,
    state::{Overlay, StateError},
};

/// The transaction as Arbitrum runs it: whatever it offers, each gas costs the base fee. Its sender must still be able to pay what it
/// offers. A call that offers less than the base fee, as only calls may, stays as it is.
pub(crate) fn without_tip(mut tx: TxEnv, block: &BlockEnv, chain_id: u64) -> TxEnv {
    if tx.gas_price > u128::from(block.basefee) {
        // Only later types have a price besides the most that is paid.
        if tx.tx_type < TxType::Eip1559 as u8 {
            tx.tx_type = TxType::Eip1559 as u8;
            tx.chain_id.get_or_insert(chain_id);
        }
        tx.gas_priority_fee = Some(0);
    }
    tx
}

/// The accounts that gas is paid to, as they were before a transaction.
#[derive(Debug, Default)]
pub(crate) struct Receivers(Vec<Receiver>);

#[derive(Debug)]
struct Receiver {
    address: Address,
    info: AccountInfo,
    /// Wei per gas.
    share: u64,
}

impl Receivers {
    /// Those of a transaction, by the state of ArbOS: the infrastructure's account gets up to the least base fee there can be, the
    /// network's account the rest. What would go to an account that is not set is burnt.
    pub(crate) fn of(database: &Overlay, tx: &TxEnv, block: &BlockEnv) -> Result<Self, StateError> {
        let price = block.basefee;
        if price == 0 || tx.gas_price < u128::from(price) {
            return Ok(Self::default());
        }
        let account = |key| -> Result<Address, StateError> {
            let word = database.storage_ref(STATE_ADDRESS, Space::Root.word(key))?;
            Ok(Address::from_word(word.into()))
        };
        let (infra, network) = (account(ROOT_INFRA_FEE_ACCOUNT)?, account(ROOT_NETWORK_FEE_ACCOUNT)?);
        let least = if infra.is_zero() { 0 } else { price.min(MIN_BASE_FEE) };
        let shares = [(infra, least), (network, price.saturating_sub(least))];
        let mut receivers = Vec::new();
        for (address, share) in shares {
            if share > 0 && !address.is_zero() {
                let info = database.account(address)?;
                receivers.push(Receiver { address, info, share });
            }
        }
        Ok(Self(receivers))
    }

    /// Gives them what the transaction has paid.
    pub(crate) fn credit(self, outcome: &mut ResultAndState) {
        let gas = U256::from(outcome.result.tx_gas_used());
        for Receiver { address, info, share } in self.0 {
            let account = outcome.state.entry(address).or_insert_with(|| Account::from(info));
            account.info.balance = account
                .info
                .balance
                .saturating_add(gas.saturating_mul(U256::from(share)));
            account.mark_touch();
        }
    }
}
