//! A till that embeds the guard's hooks: an SDK contract whose functions ask in their own frame whether they may act. The tests close
//! it by a guard, and measure what the hooks cost.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs)] // what the SDK's macros generate

extern crate alloc;

use alloc::{vec, vec::Vec};

use cordon_core::{limiter::Limit, Action};
use cordon_embed::{bind, enter, exit, level_of, limit, set_level, Guarded, Outcome, Refusal};
use cordon_host::{Host, Stylus};
use stylus_sdk::{
    alloy_primitives::{Address, U256},
    prelude::*,
};

sol_storage! {
    /// Credits, and their sum.
    #[entrypoint]
    pub struct Till {
        mapping(address => uint256) credits;
        uint256 total;
    }
}

/// The till's scope in its guard.
const TILL: [u8; 3] = [1, 0, 0];
/// What may leave the till in a day.
const UNITS: u128 = 1_000_000;
const DAY: u32 = 86_400;
/// The till's rule: nobody's credit is more than the sum of all.
const BACKED: u16 = 1;

#[public]
impl Till {
    /// Names the guard, and limits what may leave: the first call after deployment.
    pub fn bind(&mut self, guard: Address) -> Result<(), Vec<u8>> {
        let mut host = Stylus::default();
        bind(&mut host, guard).map_err(Refusal::into_data)?;
        let limit = Limit::new(UNITS, DAY, 0).map_err(|_| Vec::new())?;
        limit::set_limit(&mut host, &Address::ZERO, &limit);
        Ok(())
    }

    /// Sets the level of a scope: only the guard.
    pub fn set_level(&mut self, scope: u8, level: u8) -> Result<(), Vec<u8>> {
        set_level(&mut Stylus::default(), scope, level).map_err(Refusal::into_data)
    }

    /// The level that holds in a scope.
    pub fn level_of(&self, scope: u8) -> u8 {
        level_of(&Stylus::default(), scope)
    }

    /// Puts in.
    pub fn deposit(&mut self, amount: U256) -> Result<(), Vec<u8>> {
        self.change(Action::Deposit, amount, |credit| credit.checked_add(amount))
    }

    /// Takes out.
    pub fn withdraw(&mut self, amount: U256) -> Result<(), Vec<u8>> {
        self.change(Action::Withdraw, amount, |credit| credit.checked_sub(amount))
    }

    /// Pays back, which no level closes.
    pub fn repay(&mut self, amount: U256) -> Result<(), Vec<u8>> {
        self.change(Action::Repay, amount, |credit| credit.checked_add(amount))
    }

    /// Gas of `enter` and `exit` around nothing.
    pub fn measure(&mut self) -> Result<U256, Vec<u8>> {
        let host = Stylus::default();
        let before = host.gas_left();
        let call = enter(&host, TILL, Action::Withdraw).map_err(Refusal::into_data)?;
        exit(call, [Outcome::at_most(1, BACKED, U256::ZERO, U256::ZERO)]).map_err(Refusal::into_data)?;
        Ok(U256::from(before.saturating_sub(host.gas_left())))
    }

    /// Gas of an outflow within the limit, what it writes included.
    pub fn measure_outflow(&mut self, amount: U256) -> Result<U256, Vec<u8>> {
        let mut host = Stylus::default();
        let call = enter(&host, TILL, Action::Withdraw).map_err(Refusal::into_data)?;
        let before = host.gas_left();
        Self::limited(&call, amount)?;
        host.flush(false);
        let after = host.gas_left();
        exit(call, []).map_err(Refusal::into_data)?;
        Ok(U256::from(before.saturating_sub(after)))
    }
}

impl Till {
    /// Takes an outflow out of the limit; more than fits is refused.
    fn limited(call: &Guarded, amount: U256) -> Result<(), Vec<u8>> {
        let amount = u128::try_from(amount).map_err(|_| Vec::new())?;
        let passed = limit::outflow(&mut Stylus::default(), call, &Address::ZERO, amount, None);
        if passed < amount {
            return Err(Vec::new());
        }
        Ok(())
    }

    /// A guarded change of the caller's credit.
    fn change(&mut self, action: Action, amount: U256, to: impl Fn(U256) -> Option<U256>) -> Result<(), Vec<u8>> {
        let call = enter(&Stylus::default(), TILL, action).map_err(Refusal::into_data)?;
        if matches!(action, Action::Withdraw) {
            Self::limited(&call, amount)?;
        }
        let account = self.vm().msg_sender();
        let before = self.credits.get(account);
        let after = to(before).ok_or_else(Vec::new)?;
        self.credits.setter(account).set(after);
        let total = self.total.get().wrapping_add(after).wrapping_sub(before);
        self.total.set(total);
        exit(call, [Outcome::at_most(1, BACKED, after, total)]).map_err(Refusal::into_data)
    }
}
