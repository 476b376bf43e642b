//! Arbitrum's precompiled contracts, as far as programs and their tools need them.

mod abi;
mod arb_aggregator;
mod arb_debug;
mod arb_gas_info;
mod arb_info;
mod arb_owner;
mod arb_owner_public;
mod arb_sys;
mod arb_wasm;
mod arb_wasm_cache;
mod call;

use std::collections::HashMap;

use alloy_primitives::{Address, address};
use revm::Database;
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, InterpreterResult};
use revm::primitives::AddressSet;
use revm::primitives::hardfork::SpecId;

use crate::evm::StylusContext;
use call::Lookup;

/// ArbSys: L2 block numbers, messages to L1.
pub const ARB_SYS: Address = address!("0000000000000000000000000000000000000064");
/// ArbInfo: balances and code.
pub const ARB_INFO: Address = address!("0000000000000000000000000000000000000065");
/// ArbOwnerPublic: the chain's owners and settings.
pub const ARB_OWNER_PUBLIC: Address = address!("000000000000000000000000000000000000006b");
/// ArbGasInfo: prices.
pub const ARB_GAS_INFO: Address = address!("000000000000000000000000000000000000006c");
/// ArbAggregator: who posts batches.
pub const ARB_AGGREGATOR: Address = address!("000000000000000000000000000000000000006d");
/// ArbOwner: what the chain's owners change.
pub const ARB_OWNER: Address = address!("0000000000000000000000000000000000000070");
/// ArbWasm: activation and parameters of Stylus.
pub const ARB_WASM: Address = address!("0000000000000000000000000000000000000071");
/// ArbWasmCache: which programs are cached.
pub const ARB_WASM_CACHE: Address = address!("0000000000000000000000000000000000000072");
/// ArbDebug: helps on debug chains.
pub const ARB_DEBUG: Address = address!("00000000000000000000000000000000000000ff");

/// The Arbitrum precompiles that exist here.
pub const ADDRESSES: [Address; 9] = [
    ARB_SYS,
    ARB_INFO,
    ARB_OWNER_PUBLIC,
    ARB_GAS_INFO,
    ARB_AGGREGATOR,
    ARB_OWNER,
    ARB_WASM,
    ARB_WASM_CACHE,
    ARB_DEBUG,
];

/// Ethereum's precompile that recovers the signer of a hash.
const ECRECOVER: Address = address!("0000000000000000000000000000000000000001");

/// Accounts by the signature (r, s, v) that [`StylusEvm::accept_signatures`](crate::StylusEvm::accept_signatures) takes as theirs.
pub type Signatures = HashMap<[u8; 65], Address>;

/// Ethereum's precompiles and Arbitrum's.
#[derive(Clone, Debug)]
pub struct ArbPrecompiles {
    ethereum: EthPrecompiles,
    warm: AddressSet,
}

impl ArbPrecompiles {
    /// The precompiles of `spec`, and Arbitrum's.
    pub fn new(spec: SpecId) -> Self {
        let ethereum = EthPrecompiles::new(spec);
        let mut warm = ethereum.warm_addresses().clone();
        warm.extend(ADDRESSES);
        Self { ethereum, warm }
    }
}

/// The account that is to be answered for the signature in the input of ECRECOVER, if there is one.
fn accepted<DB: Database>(context: &StylusContext<DB>, inputs: &CallInputs) -> Option<Address> {
    let signatures = context.chain.signatures.as_ref()?;
    if inputs.bytecode_address != ECRECOVER {
        return None;
    }
    let input = inputs.input.bytes(context);
    let mut signature = [0u8; 65];
    let (signed, v) = signature.split_at_mut_checked(64)?;
    signed.copy_from_slice(input.get(64..128)?);
    v.copy_from_slice(input.get(63..64)?);
    signatures.get(&signature).copied()
}

fn methods<DB: Database>(address: &Address) -> Option<Lookup<DB>> {
    match *address {
        ARB_SYS => Some(arb_sys::method),
        ARB_INFO => Some(arb_info::method),
        ARB_OWNER_PUBLIC => Some(arb_owner_public::method),
        ARB_GAS_INFO => Some(arb_gas_info::method),
        ARB_AGGREGATOR => Some(arb_aggregator::method),
        ARB_WASM => Some(arb_wasm::method),
        ARB_WASM_CACHE => Some(arb_wasm_cache::method),
        ARB_OWNER => Some(arb_owner::method),
        ARB_DEBUG => Some(arb_debug::method),
        _ => None,
    }
}

impl<DB: Database> PrecompileProvider<StylusContext<DB>> for ArbPrecompiles {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let changed = PrecompileProvider::<StylusContext<DB>>::set_spec(&mut self.ethereum, spec);
        if changed {
            self.warm.clone_from(self.ethereum.warm_addresses());
            self.warm.extend(ADDRESSES);
        }
        changed
    }

    fn run(
        &mut self,
        context: &mut StylusContext<DB>,
        inputs: &CallInputs,
    ) -> Result<Option<InterpreterResult>, String> {
        match methods(&inputs.bytecode_address) {
            Some(lookup) => call::execute(context, inputs, lookup),
            None => {
                let mut result = self.ethereum.run(context, inputs)?;
                if let Some(result) = result.as_mut().filter(|result| result.result.is_ok())
                    && let Some(signer) = accepted(context, inputs)
                {
                    result.output = signer.into_word().into();
                }
                Ok(result)
            }
        }
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}
