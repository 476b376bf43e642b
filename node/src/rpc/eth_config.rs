//! What rules the chain has, as EIP-7910 tells it.

use std::{collections::BTreeMap, sync::Arc};

use alloy::{
    eips::{
        eip7840::BlobParams,
        eip7910::{EthConfig, EthForkConfig, SystemContract},
    },
    primitives::{Address, Bytes},
};
use cordon_stylus::precompile;
use jsonrpsee::core::RegisterMethodError;
use revm::precompile::{PrecompileSpecId, Precompiles};

use super::{Answer, Args, Module, method};
use crate::node::Node;

/// Names of Arbitrum's precompiles, in the form that EIP-7910 has for Ethereum's.
const ARBITRUM: [(&str, Address); 9] = [
    ("ARB_SYS", precompile::ARB_SYS),
    ("ARB_INFO", precompile::ARB_INFO),
    ("ARB_OWNER_PUBLIC", precompile::ARB_OWNER_PUBLIC),
    ("ARB_GAS_INFO", precompile::ARB_GAS_INFO),
    ("ARB_AGGREGATOR", precompile::ARB_AGGREGATOR),
    ("ARB_OWNER", precompile::ARB_OWNER),
    ("ARB_WASM", precompile::ARB_WASM),
    ("ARB_WASM_CACHE", precompile::ARB_WASM_CACHE),
    ("ARB_DEBUG", precompile::ARB_DEBUG),
];

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_config"], config)
}

async fn config(node: Arc<Node>, _: Args) -> Answer {
    node.reading(|node| {
        let state = node.head_view();
        // System contracts are what the chain has of them: a fresh one has none.
        let candidates = SystemContract::cancun().into_iter().chain(SystemContract::prague(None));
        let mut system_contracts = BTreeMap::new();
        for (contract, address) in candidates {
            if !state.account(address)?.is_empty_code_hash() {
                system_contracts.insert(contract, address);
            }
        }
        let spec = PrecompileSpecId::from_spec_id(node.config.hardfork.spec());
        let ethereum = Precompiles::new(spec).inner().values();
        let ethereum = ethereum.map(|precompile| (precompile.id().name().to_owned(), *precompile.address()));
        let arbitrum = ARBITRUM.map(|(name, address)| (name.to_owned(), address));
        let current = EthForkConfig {
            // The rules hold from the first block on.
            activation_time: 0,
            // There are no blobs.
            blob_schedule: BlobParams {
                target_blob_count: 0,
                max_blob_count: 0,
                max_blobs_per_tx: 0,
                ..BlobParams::cancun()
            },
            chain_id: node.chain_id,
            // No peer asks which fork this is.
            fork_id: Bytes::from_static(&[0; 4]),
            precompiles: ethereum.chain(arbitrum).collect(),
            system_contracts,
        };
        Ok(serde_json::to_value(EthConfig {
            current,
            next: None,
            last: None,
        })?)
    })
    .await
}
