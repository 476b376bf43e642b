//! NodeInterface: a contract that exists only for `eth_call`, through which Arbitrum's nodes answer questions about themselves.

use alloy::{
    primitives::{Address, Bytes, U256, address},
    rpc::types::TransactionRequest,
    sol_types::{SolCall, SolValue},
};

use self::abi::INodeInterface as Abi;
use super::{RpcError, calls};
use crate::{chain::Tip, node::Node};

/// Where it is.
const ADDRESS: Address = address!("00000000000000000000000000000000000000c8");

mod abi {
    #![allow(missing_docs, reason = "generated")]

    alloy::sol! {
        interface INodeInterface {
            function gasEstimateComponents(address to, bool contractCreation, bytes data) external payable
                returns (uint64 gasEstimate, uint64 gasEstimateForL1, uint256 baseFee, uint256 l1BaseFeeEstimate);
            function gasEstimateL1Component(address to, bool contractCreation, bytes data) external payable
                returns (uint64 gasEstimateForL1, uint256 baseFee, uint256 l1BaseFeeEstimate);
            function nitroGenesisBlock() external pure returns (uint256 number);
            function blockL1Num(uint64 l2BlockNum) external view returns (uint64 l1BlockNum);
            function l2BlockRangeForL1(uint64 blockNum) external view returns (uint64 firstBlock, uint64 lastBlock);
            function getL1Confirmations(bytes32 blockHash) external view returns (uint64 confirmations);
        }
    }
}

/// The answer when the call goes to NodeInterface. A question that it does not know reverts.
pub(super) fn answer(node: &Node, tip: &Tip, request: &TransactionRequest) -> Option<Result<Bytes, RpcError>> {
    if request.to.and_then(|to| to.into_to()) != Some(ADDRESS) {
        return None;
    }
    let input = request.input.input().cloned().unwrap_or_default();
    let reverted = || Err(RpcError::Revert(Bytes::new()));
    let Some(selector) = input.first_chunk::<4>() else {
        return Some(reverted());
    };
    let decoded = match *selector {
        Abi::gasEstimateComponentsCall::SELECTOR => Abi::gasEstimateComponentsCall::abi_decode(&input)
            .map(|call| estimate(node, tip, request, (call.to, call.contractCreation, call.data))),
        Abi::gasEstimateL1ComponentCall::SELECTOR => Abi::gasEstimateL1ComponentCall::abi_decode(&input)
            .map(|_| Ok((0u64, U256::from(tip.base_fee), U256::ZERO).abi_encode_params())),
        Abi::nitroGenesisBlockCall::SELECTOR => Ok(Ok(U256::ZERO.abi_encode())),
        Abi::blockL1NumCall::SELECTOR => {
            Abi::blockL1NumCall::abi_decode(&input).map(|call| l1_number(node, call.l2BlockNum))
        }
        Abi::l2BlockRangeForL1Call::SELECTOR => {
            Abi::l2BlockRangeForL1Call::abi_decode(&input).map(|call| range(node, call.blockNum))
        }
        Abi::getL1ConfirmationsCall::SELECTOR => Ok(Ok(0u64.abi_encode())),
        _ => return Some(reverted()),
    };
    Some(match decoded {
        Ok(answer) => answer.map(Bytes::from),
        Err(_) => reverted(),
    })
}

fn estimate(
    node: &Node,
    tip: &Tip,
    request: &TransactionRequest,
    (to, creation, data): (Address, bool, Bytes),
) -> Result<Vec<u8>, RpcError> {
    let inner = TransactionRequest {
        to: Some(if creation {
            alloy::primitives::TxKind::Create
        } else {
            to.into()
        }),
        input: data.into(),
        gas: None,
        ..request.clone()
    };
    let gas = calls::estimate_next(node, inner)?;
    Ok((gas, 0u64, U256::from(tip.base_fee), U256::ZERO).abi_encode_params())
}

fn l1_number(node: &Node, number: u64) -> Result<Vec<u8>, RpcError> {
    let tip = node.chain.read().tip_of(number);
    tip.map(|tip| tip.l1_number.abi_encode())
        .ok_or_else(|| RpcError::Revert(Bytes::new()))
}

/// First and last local block with this number of the layer below.
fn range(node: &Node, l1_number: u64) -> Result<Vec<u8>, RpcError> {
    let chain = node.chain.read();
    let all = chain.base().number..=chain.tip().number;
    let mut matching = all.filter(|number| chain.tip_of(*number).is_some_and(|tip| tip.l1_number == l1_number));
    let first = matching.next().ok_or_else(|| RpcError::Revert(Bytes::new()))?;
    let last = matching.next_back().unwrap_or(first);
    Ok((first, last).abi_encode_params())
}
