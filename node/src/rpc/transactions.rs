//! Methods that send transactions.

use std::{sync::Arc, time::Duration};

use alloy::{
    consensus::Transaction as _,
    primitives::{Address, B256, Bytes, U256},
    rpc::types::TransactionRequest,
    signers::local::PrivateKeySigner,
};
use jsonrpsee::core::RegisterMethodError;
use revm::{context_interface::cfg::gas::calculate_initial_tx_gas_for_tx, state::AccountInfo};
use tokio::sync::broadcast;

use super::{Answer, Args, Module, RpcError, calls, method, render};
use crate::{
    chain::Tip,
    config::TRANSACTION_GAS_CAP,
    node::{Event, Node},
    transaction::SignedTransaction,
};

/// How long the `Sync` methods wait for the receipt when the client does not say.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of init code (EIP-3860).
const MAX_INIT_CODE: usize = 49_152;

pub(super) fn register(module: &mut Module) -> Result<(), RegisterMethodError> {
    method(module, &["eth_sendRawTransaction"], send_raw)?;
    method(module, &["eth_sendRawTransactionSync"], send_raw_sync)?;
    method(module, &["eth_sendTransaction"], send)?;
    method(module, &["eth_sendTransactionSync"], send_sync)?;
    method(module, &["eth_sendUnsignedTransaction"], send_unsigned)
}

async fn send_raw(node: Arc<Node>, args: Args) -> Answer {
    let raw: Bytes = args.required(0, "raw transaction")?;
    let transaction = SignedTransaction::decode(&raw)?;
    let hash = transaction.hash();
    submit(&node, transaction).await?;
    Ok(render::hash(hash))
}

async fn send_raw_sync(node: Arc<Node>, args: Args) -> Answer {
    let raw: Bytes = args.required(0, "raw transaction")?;
    let timeout = timeout(&args)?;
    let events = node.events.subscribe();
    let transaction = SignedTransaction::decode(&raw)?;
    let hash = transaction.hash();
    submit(&node, transaction).await?;
    wait(&node, hash, events, timeout).await
}

async fn send(node: Arc<Node>, args: Args) -> Answer {
    let hash = fill_and_submit(&node, args.required(0, "transaction")?, By::Holder).await?;
    Ok(render::hash(hash))
}

/// Sends in the name of any account, which need not be unlocked.
async fn send_unsigned(node: Arc<Node>, args: Args) -> Answer {
    let hash = fill_and_submit(&node, args.required(0, "transaction")?, By::Anyone).await?;
    Ok(render::hash(hash))
}

async fn send_sync(node: Arc<Node>, args: Args) -> Answer {
    let timeout = timeout(&args)?;
    let events = node.events.subscribe();
    let hash = fill_and_submit(&node, args.required(0, "transaction")?, By::Holder).await?;
    wait(&node, hash, events, timeout).await
}

fn timeout(args: &Args) -> Result<Duration, RpcError> {
    Ok(args
        .optional_u64(1, "timeout in milliseconds")?
        .map_or(SYNC_TIMEOUT, Duration::from_millis))
}

/// Waits until the transaction is in a block; answers its receipt.
async fn wait(node: &Node, hash: B256, mut events: broadcast::Receiver<Event>, timeout: Duration) -> Answer {
    let mined = async {
        loop {
            let found = node.chain.read().transaction(&hash);
            if let Some((block, index)) = found {
                return render::receipt(&block, index);
            }
            if let Err(broadcast::error::RecvError::Closed) = events.recv().await {
                return Err(RpcError::Internal("the node is stopping".to_owned()));
            }
        }
    };
    tokio::time::timeout(timeout, mined).await.unwrap_or_else(|_| {
        Err(RpcError::Rejected(format!(
            "transaction {hash} was not mined within {} ms",
            timeout.as_millis()
        )))
    })
}

/// Who may send in the name of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A client of the node where the account is unlocked: the node signs if it has the key.
    Holder,
    /// Anybody, and nothing is signed.
    Anyone,
}

/// Completes a request, signs it where that is due, and adds it to the pool.
async fn fill_and_admit(
    node: &Arc<Node>,
    request: TransactionRequest,
    by: By,
) -> Result<Arc<SignedTransaction>, RpcError> {
    if by == By::Anyone && request.from.is_none() {
        return Err(RpcError::Params(
            "`from` is missing: in whose name is the transaction sent?".to_owned(),
        ));
    }
    let (request, sender) = fill(node, request, by, calls::gas_to_send).await?;
    let fixed_nonce = request.nonce.is_some();
    node.reading_account(sender, move |node| {
        let key = signing_key(node, &sender).filter(|_| by == By::Holder);
        let signed = |nonce| {
            let request = TransactionRequest {
                nonce: Some(nonce),
                ..request.clone()
            };
            SignedTransaction::from_request(request, sender, key)
        };
        let first = signed(request.nonce.unwrap_or(node.nonce(sender)?))?;
        check(node, &first, fixed_nonce)?;
        // Nonce and place in the pool are taken under one lock: requests that race get different nonces.
        let mut pool = node.pool.lock();
        let nonce = if fixed_nonce {
            first.nonce()
        } else {
            pool.next_nonce(&sender, node.nonce(sender)?)
        };
        let transaction = Arc::new(if nonce == first.nonce() { first } else { signed(nonce)? });
        pool.add(transaction.clone())?;
        Ok(transaction)
    })
    .await
}

/// As [`fill_and_admit`], and mines it if that is the way of the node.
async fn fill_and_submit(node: &Arc<Node>, request: TransactionRequest, by: By) -> Result<B256, RpcError> {
    let transaction = fill_and_admit(node, request, by).await?;
    let hash = transaction.hash();
    announce(node, transaction).await?;
    Ok(hash)
}

pub(super) fn signing_key<'a>(node: &'a Node, sender: &Address) -> Option<&'a PrivateKeySigner> {
    node.accounts.keys.get(sender)
}

/// Adds what a request leaves out, except the nonce; `gas` tells how much it needs.
async fn fill(
    node: &Arc<Node>,
    request: TransactionRequest,
    by: By,
    gas: fn(&Node, TransactionRequest) -> Result<u64, RpcError>,
) -> Result<(TransactionRequest, Address), RpcError> {
    let (mut request, sender) = match by {
        By::Holder => identify(node, request)?,
        By::Anyone => identify_as(node, request, |_| true)?,
    };
    if request.gas.is_none() {
        let call = request.clone();
        request.gas = Some(node.reading(move |node| gas(node, call)).await?);
    }
    price(node, &mut request, node.next_tip().base_fee);
    Ok((request, sender))
}

/// Adds sender, receiver and chain to a request of an unlocked account.
pub(super) fn identify(node: &Node, request: TransactionRequest) -> Result<(TransactionRequest, Address), RpcError> {
    identify_as(node, request, |sender| node.unlocked(sender))
}

fn identify_as(
    node: &Node,
    mut request: TransactionRequest,
    may_send: impl Fn(&Address) -> bool,
) -> Result<(TransactionRequest, Address), RpcError> {
    let sender = match request.from.or_else(|| node.accounts.order.first().copied()) {
        Some(sender) if may_send(&sender) => sender,
        Some(sender) => {
            return Err(RpcError::Rejected(format!(
                "no signer for account {sender}: it is no development account; anvil_impersonateAccount unlocks it"
            )));
        }
        None => {
            return Err(RpcError::Params(
                "`from` is missing and the node has no accounts".to_owned(),
            ));
        }
    };
    request.from = Some(sender);
    if let Some(chain_id) = request.chain_id.replace(node.chain_id)
        && chain_id != node.chain_id
    {
        return Err(RpcError::Params(format!(
            "chain id {chain_id} of the transaction is not {}",
            node.chain_id
        )));
    }
    if request.to.is_none() {
        request.to = Some(alloy::primitives::TxKind::Create);
    }
    request.normalize_input();
    Ok((request, sender))
}

/// Adds what a request offers for a place in a block with this base fee, in wei per gas.
pub(super) fn price(node: &Node, request: &mut TransactionRequest, base_fee: u64) {
    if request.gas_price.is_none() {
        let tip = request.max_priority_fee_per_gas.unwrap_or_default();
        request.max_priority_fee_per_gas = Some(tip);
        request
            .max_fee_per_gas
            .get_or_insert_with(|| node.gas_price_at(base_fee).saturating_add(tip));
    }
    request.value.get_or_insert(U256::ZERO);
    request.transaction_type = None;
}

/// Checks a signed transaction and adds it to the pool.
async fn admit(node: &Arc<Node>, transaction: SignedTransaction) -> Result<Arc<SignedTransaction>, RpcError> {
    node.reading_account(transaction.sender, move |node| {
        check(node, &transaction, true)?;
        let transaction = Arc::new(transaction);
        node.pool.lock().add(transaction.clone())?;
        Ok(transaction)
    })
    .await
}

/// Admits a signed transaction, and mines it if that is the way of the node.
async fn submit(node: &Arc<Node>, transaction: SignedTransaction) -> Result<(), RpcError> {
    let transaction = admit(node, transaction).await?;
    announce(node, transaction).await
}

/// Tells subscribers of a transaction in the pool, and mines it if that is the way of the node.
async fn announce(node: &Arc<Node>, transaction: Arc<SignedTransaction>) -> Result<(), RpcError> {
    let hash = transaction.hash();
    // Nobody may be listening.
    let _ = node.events.send(Event::Pending(transaction));
    if node.automine() {
        node.mine_added(hash).await?;
    }
    Ok(())
}

/// Refuses what could never be mined. A nonce that the node chooses may be taken meanwhile, and is chosen again.
fn check(node: &Node, transaction: &SignedTransaction, fixed_nonce: bool) -> Result<(), RpcError> {
    let account = node.head_view().account(transaction.sender)?;
    check_for(node, transaction, &node.next_tip(), &account, fixed_nonce)
}

/// As [`check`], for the block described by `next` before which the sender's account is `account`.
pub(super) fn check_for(
    node: &Node,
    transaction: &SignedTransaction,
    next: &Tip,
    account: &AccountInfo,
    fixed_nonce: bool,
) -> Result<(), RpcError> {
    let envelope = &transaction.envelope;
    if let Some(chain_id) = envelope.chain_id().filter(|chain_id| *chain_id != node.chain_id) {
        return Err(RpcError::Rejected(format!(
            "invalid chain id: transaction has {chain_id}, this is {}",
            node.chain_id
        )));
    }
    let gas = envelope.gas_limit().min(TRANSACTION_GAS_CAP);
    if gas > next.gas_limit && !node.config.disable_block_gas_limit {
        return Err(RpcError::Rejected(format!(
            "exceeds block gas limit: {gas} of {}",
            next.gas_limit
        )));
    }
    let max_init_code = node
        .config
        .code_size_limit
        .map_or(MAX_INIT_CODE, |limit| limit.saturating_mul(2));
    if envelope.kind().is_create() && envelope.input().len() > max_init_code {
        return Err(RpcError::Rejected(format!(
            "max initcode size exceeded: {} bytes, at most {max_init_code}",
            envelope.input().len()
        )));
    }
    let intrinsic =
        calculate_initial_tx_gas_for_tx(transaction.to_env(TRANSACTION_GAS_CAP), node.config.hardfork.spec());
    // Arbitrum has no floor by calldata (EIP-7623).
    let needed = intrinsic.initial_total_gas();
    if gas < needed {
        return Err(RpcError::Rejected(format!(
            "intrinsic gas too low: have {gas}, want {needed}"
        )));
    }
    check_fee(node, transaction, next.base_fee)?;
    if fixed_nonce && transaction.nonce() < account.nonce {
        return Err(invalid(format!(
            "nonce too low: next nonce {}, tx nonce {}",
            account.nonce,
            transaction.nonce()
        )));
    }
    let cost = transaction.max_cost();
    if account.balance < cost {
        return Err(invalid(format!(
            "insufficient funds for gas * price + value: address {} have {} want {cost}",
            transaction.sender, account.balance
        )));
    }
    Ok(())
}

/// Refuses a transaction that the state does not allow, with anvil's code.
fn invalid(message: String) -> RpcError {
    RpcError::Coded { code: -32_003, message }
}

fn check_fee(node: &Node, transaction: &SignedTransaction, base_fee: u64) -> Result<(), RpcError> {
    let max_fee = transaction.max_fee();
    if transaction
        .envelope
        .max_priority_fee_per_gas()
        .is_some_and(|tip| tip > max_fee)
    {
        return Err(RpcError::Rejected(
            "max priority fee per gas higher than max fee per gas".to_owned(),
        ));
    }
    let floor = node.cheats.read().min_gas_price;
    if max_fee < floor {
        return Err(RpcError::Rejected(format!(
            "transaction underpriced: {max_fee} wei per gas offered, {floor} wanted"
        )));
    }
    if node.automine() && max_fee < u128::from(base_fee) {
        return Err(RpcError::Rejected(format!(
            "max fee per gas less than block base fee: maxFeePerGas {max_fee}, baseFee {base_fee}"
        )));
    }
    Ok(())
}

/// The transaction that a request would become if it were sent now; signed if the node has the key.
pub(super) async fn complete(node: &Arc<Node>, request: TransactionRequest) -> Result<SignedTransaction, RpcError> {
    let (mut request, sender) = fill(node, request, By::Holder, calls::estimate_next).await?;
    if request.nonce.is_none() {
        request.nonce = Some(node.reading(move |node| node.nonce(sender)).await?);
    }
    Ok(SignedTransaction::from_request(
        request,
        sender,
        signing_key(node, &sender),
    )?)
}
