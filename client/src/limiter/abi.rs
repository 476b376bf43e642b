//! Bindings of the limiter's interface, made from the Solidity source that the program implements.

#![allow(missing_docs, clippy::indexing_slicing, clippy::too_many_arguments, unreachable_pub)]

use alloy::sol;

sol!(
    #[sol(rpc, all_derives)]
    "../contracts/solidity/src/ICordonLimiter.sol"
);
