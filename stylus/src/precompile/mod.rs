//! Arbitrum's precompiled contracts.

use alloy_primitives::{Address, address};
use revm::context::Cfg;
use revm::context_interface::ContextTr;
use revm::handler::{EthPrecompiles, PrecompileProvider};
use revm::interpreter::{CallInputs, InterpreterResult};
use revm::primitives::AddressSet;
use revm::primitives::hardfork::SpecId;

/// The Arbitrum precompiles that exist here.
pub const ADDRESSES: [Address; 6] = [
    address!("0000000000000000000000000000000000000064"),
    address!("0000000000000000000000000000000000000065"),
    address!("000000000000000000000000000000000000006b"),
    address!("000000000000000000000000000000000000006c"),
    address!("0000000000000000000000000000000000000071"),
    address!("0000000000000000000000000000000000000072"),
];

/// Ethereum's precompiles and Arbitrum's.
#[derive(Clone, Debug)]
pub struct ArbPrecompiles {
    ethereum: EthPrecompiles,
    warm: AddressSet,
}

impl ArbPrecompiles {
    /// The precompiles of `spec`, and Arbitrum's.
    #[must_use]
    pub fn new(spec: SpecId) -> Self {
        let ethereum = EthPrecompiles::new(spec);
        let mut warm = ethereum.warm_addresses().clone();
        warm.extend(ADDRESSES);
        Self { ethereum, warm }
    }
}

impl<CTX> PrecompileProvider<CTX> for ArbPrecompiles
where
    CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>,
{
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        let changed = PrecompileProvider::<CTX>::set_spec(&mut self.ethereum, spec);
        if changed {
            self.warm.clone_from(self.ethereum.warm_addresses());
            self.warm.extend(ADDRESSES);
        }
        changed
    }

    fn run(&mut self, context: &mut CTX, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        self.ethereum.run(context, inputs)
    }

    fn warm_addresses(&self) -> &AddressSet {
        &self.warm
    }
}
