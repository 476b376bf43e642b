//! Bindings of the guard's interface, made from the Solidity source that the contracts implement.

#![allow(missing_docs, clippy::indexing_slicing, clippy::too_many_arguments, unreachable_pub)]

use alloy::sol;

sol!(
    #[sol(rpc, all_derives)]
    "../contracts/solidity/src/ICordonGuard.sol"
);
