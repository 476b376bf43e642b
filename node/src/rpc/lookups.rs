//! More ways to find what other methods find too, and what does not exist here: uncles, blobs, mining hardware.

use std::sync::Arc;

use alloy::{
    eips::{BlockId, eip2718::Encodable2718},
    primitives::Address,
    rpc::types::{Bundle, StateContext, TransactionIndex, TransactionRequest, state::StateOverride},
};
use jsonrpsee::core::RegisterMethodError;
use serde_json::{Value, json};

use super::{
    Answer, Args, Module, RpcError,
    args::{data, quantity},
    calls::{self, Simulation},
    method, owner,
    owner::Owner,
    render, transactions,
};
use crate::{
    evm::Session,
    node::{Node, Place},
    state::Overlay,
    trace,
};

/// The most calls of one `eth_callMany`.
const MAX_CALLS: usize = 1_000;

/// Fields of a block that its header does not have.
const BODY: [&str; 5] = ["transactions", "uncles", "withdrawals", "size", "totalDifficulty"];

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(
        module,
        &["eth_getHeaderByNumber", "erigon_getHeaderByNumber"],
        |node, args| header(node, args, "eth_getBlockByNumber"),
    )?;
    method(module, &["eth_getHeaderByHash"], |node, args| {
        header(node, args, "eth_getBlockByHash")
    })?;
    method(module, &["eth_getRawTransactionByBlockNumberAndIndex"], |node, args| {
        raw_by_index(node, args, "eth_getRawTransactionByBlockNumberAndIndex")
    })?;
    method(module, &["eth_getRawTransactionByBlockHashAndIndex"], |node, args| {
        raw_by_index(node, args, "eth_getRawTransactionByBlockHashAndIndex")
    })?;
    method(module, &["eth_getTransactionBySenderAndNonce"], by_sender_and_nonce)?;
    method(module, &["eth_fillTransaction"], fill)?;
    method(module, &["eth_callMany"], call_many)?;
    method(
        module,
        &[
            "eth_getUncleCountByBlockNumber",
            "eth_getUncleCountByBlockHash",
            "eth_hashrate",
        ],
        |_, _| async { Ok(quantity(0u64)) },
    )?;
    method(
        module,
        &[
            "eth_getUncleByBlockNumberAndIndex",
            "eth_getUncleByBlockHashAndIndex",
            "anvil_getBlobByHash",
            "anvil_getBlobsByTransactionHash",
        ],
        |_, _| async { Ok(Value::Null) },
    )?;
    method(module, &["eth_coinbase"], |node, _| async move {
        Ok(json!(node.cheats.read().coinbase))
    })?;
    method(module, &["rpc_modules"], |_, _| async {
        let names = [
            "anvil", "cordon", "debug", "erigon", "eth", "evm", "hardhat", "net", "ots", "personal", "rpc", "tenderly",
            "trace", "txpool", "web3",
        ];
        let versions = names.iter().map(|name| ((*name).to_owned(), json!("1.0")));
        Ok(Value::Object(versions.collect()))
    })?;
    method(module, &["anvil_setChainId"], |node, args| async move {
        let wanted = args.u64(0, "chain id")?;
        if wanted == node.chain_id {
            return Ok(Value::Null);
        }
        Err(RpcError::Unsupported(format!(
            "the chain id stays {}: transactions that are signed for it would become invalid; start the node with --chain-id {wanted}",
            node.chain_id
        )))
    })
}

async fn header(node: Arc<Node>, args: Args, block_method: &str) -> Answer {
    let id: BlockId = args.block(0)?;
    let past = match owner::find_block(&node, id).await? {
        Some(Owner::Node(block)) => return render::header(&block),
        Some(Owner::Fork(past)) => past,
        None => return Ok(Value::Null),
    };
    // Not every endpoint knows headers, but every one knows blocks.
    let place = match id {
        BlockId::Number(_) => quantity(past.number()),
        BlockId::Hash(hash) => render::hash(hash.block_hash),
    };
    let mut block = past.request(block_method, vec![place, json!(false)]).await?;
    if let Some(fields) = block.as_object_mut() {
        fields.retain(|name, _| !BODY.contains(&name.as_str()));
    }
    Ok(block)
}

async fn raw_by_index(node: Arc<Node>, args: Args, name: &'static str) -> Answer {
    let id: BlockId = args.block(0)?;
    let index = usize::try_from(args.u64(1, "index")?).unwrap_or(usize::MAX);
    match owner::find_block(&node, id).await? {
        Some(Owner::Node(block)) => Ok(block
            .transactions
            .get(index)
            .map_or(Value::Null, |transaction| data(&transaction.envelope.encoded_2718()))),
        Some(Owner::Fork(past)) => past.request_at(name, args.into_values(), 0).await,
        None => Ok(Value::Null),
    }
}

/// Looks through the blocks of this node, newest first, and the pool.
async fn by_sender_and_nonce(node: Arc<Node>, args: Args) -> Answer {
    let sender: Address = args.required(0, "sender")?;
    let nonce = args.u64(1, "nonce")?;
    node.reading(move |node| {
        let (first, head) = {
            let chain = node.chain.read();
            (chain.first(), chain.tip().number)
        };
        for number in (first..=head).rev() {
            let Some(block) = node.chain.read().by_number(number) else {
                continue;
            };
            let mut transactions = block.transactions.iter().enumerate();
            if let Some((index, transaction)) =
                transactions.find(|(_, transaction)| transaction.sender == sender && transaction.nonce() == nonce)
            {
                return Ok(serde_json::to_value(render::mined(&block, index, transaction))?);
            }
        }
        let waiting = node.pool.lock().content(|_| 0);
        let mut waiting = waiting.iter().map(|(transaction, _)| transaction);
        let found = waiting.find(|transaction| transaction.sender == sender && transaction.nonce() == nonce);
        Ok(json!(found.map(|transaction| render::pending(transaction))))
    })
    .await
}

async fn fill(node: Arc<Node>, args: Args) -> Answer {
    let request: TransactionRequest = args.required(0, "transaction")?;
    let transaction = transactions::complete(&node, request).await?;
    Ok(json!({
        "raw": data(&transaction.envelope.encoded_2718()),
        "tx": transaction.envelope,
    }))
}

async fn call_many(node: Arc<Node>, args: Args) -> Answer {
    let bundles: Vec<Bundle> = args.required(0, "bundles")?;
    let context: StateContext = args.optional(1, "state context")?.unwrap_or_default();
    let overrides: Option<StateOverride> = args.optional(2, "state overrides")?;
    let count: usize = bundles.iter().map(|bundle| bundle.transactions.len()).sum();
    if count > MAX_CALLS {
        return Err(RpcError::Params(format!(
            "{count} calls are too many for one request; at most {MAX_CALLS}"
        )));
    }
    let id = context.block_number;
    match node.place(id).await? {
        Place::Upstream(past) => past.request_at("eth_callMany", args.into_values(), 1).await,
        Place::Local { tip, state } => {
            node.reading(move |node| {
                let mut overlay = match context.transaction_index {
                    Some(TransactionIndex::Index(index)) => trace::state_inside(node, id, index)?,
                    Some(TransactionIndex::All) | None => Overlay::new(state),
                };
                if let Some(overrides) = overrides {
                    calls::apply_state_overrides(&mut overlay, overrides)?;
                }
                let mut answers = Vec::new();
                for bundle in bundles {
                    let mut values = Vec::new();
                    for request in bundle.transactions {
                        let block = bundle.block_override.clone();
                        let mut simulation = Simulation::on(node, &tip, overlay, request, None, block)?;
                        let outcome = Session::new(&simulation.env).execute(&mut simulation.overlay, simulation.tx)?;
                        overlay = simulation.overlay;
                        overlay.commit(outcome.state);
                        values.push(match calls::output(outcome.result) {
                            Ok(output) => json!({ "value": output }),
                            Err(RpcError::Revert(data)) => json!({ "error": node.names.revert_message(&data) }),
                            Err(error) => json!({ "error": error.to_string() }),
                        });
                    }
                    answers.push(Value::Array(values));
                }
                Ok(Value::Array(answers))
            })
            .await
        }
    }
}
