//! Reads of the chain for the rule evaluator.

use crate::context::Seen;
use alloy_primitives::{Address, B256, U256};
use cordon_core::rule::{Context, ReadError, Reader};
use cordon_host::{layout, CallKind, Host};

/// Gas that a read may need beyond what its callee gets: the hook's own cost and the account access.
const READ_OVERHEAD: u64 = 10_000;

/// Reads through the VM. A read that lacks gas is not made: whoever chose the gas must not choose the verdict.
pub(crate) struct ChainReader<'h, H> {
    host: &'h mut H,
    /// Gas that must be left beyond what a read needs.
    reserve: u64,
    /// Gas needed and left at the first read that lacked gas.
    pub(crate) starved: Option<(u64, u64)>,
}

impl<'h, H: Host> ChainReader<'h, H> {
    /// A reader of the present state.
    pub(crate) fn new(host: &'h mut H) -> Self {
        Self::keeping(host, 0)
    }

    /// A reader of the present state that keeps so much gas.
    pub(crate) fn keeping(host: &'h mut H, reserve: u64) -> Self {
        Self {
            host,
            reserve,
            starved: None,
        }
    }
}

/// Gas that must be left for a call to get all of `gas`, after the 64th part that stays here.
#[must_use]
pub(crate) fn gas_needed(gas: u64) -> u64 {
    gas.saturating_add(gas / 63).saturating_add(READ_OVERHEAD)
}

impl<H: Host> Reader for ChainReader<'_, H> {
    const STATISTICS: bool = H::STATISTICS;

    fn call(&mut self, target: Address, calldata: &[u8], gas: u64, word: u16) -> Result<B256, ReadError> {
        let (needed, left) = (gas_needed(gas).saturating_add(self.reserve), self.host.gas_left());
        if left < needed {
            self.starved.get_or_insert((needed, left));
            return Err(ReadError::OutOfGas);
        }
        if !self.host.call(CallKind::Static, &target, calldata, gas) {
            return Err(ReadError::Reverted);
        }
        let mut answer = B256::ZERO;
        let offset = usize::from(word).saturating_mul(32);
        if self.host.return_data(offset, answer.as_mut_slice()) == answer.len() {
            return Ok(answer);
        }
        // Looked at last, because it costs as much as a cold account.
        Err(if self.host.code_len(&target) == 0 {
            ReadError::NoCode
        } else {
            ReadError::Short
        })
    }

    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        Ok(self.host.balance(&account))
    }

    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        Ok(self.host.code_hash(&account))
    }

    fn now(&self) -> u64 {
        self.host.now()
    }

    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        // What no condition does needs no code in a program that evaluates conditions alone.
        if !H::RULES {
            return Err(ReadError::NoCode);
        }
        Ok(self.host.load(key))
    }

    fn context(&self, what: Context) -> Result<U256, ReadError> {
        if !H::RULES {
            return Err(ReadError::NoCode);
        }
        let flow = |asset, out| layout::to_number(self.host.load_transient(&layout::flow(asset, out)));
        let seen = || Seen::unpack(self.host.load_transient(&layout::context()));
        Ok(match &what {
            Context::Entered(asset) => flow(asset, false),
            Context::Left(asset) => flow(asset, true),
            Context::Depth => U256::from(seen().depth),
            Context::RoundTrip => U256::from(u8::from(seen().is_round_trip())),
        })
    }
}
