//! Reorganisations: other blocks in the place of the newest ones.
//!
//! The new blocks are built whole before the old ones are taken back, so that a request that fails changes nothing, and all of
//! it happens while nobody else may mine.

use std::sync::Arc;

use alloy::{
    primitives::{B256, Bytes},
    rpc::types::TransactionRequest,
};
use serde_json::Value;

use super::{
    Answer, Args, RpcError,
    calls::{self, Simulation},
    cheats::{check_count, small},
    transactions,
};
use crate::{
    chain::{Block, Tip},
    clock::Clock,
    config::{Print, TRANSACTION_GAS_CAP},
    evm::Session,
    node::{Event, Node, Snapshot},
    producer::{Built, Ground},
    state::{ChangeSet, Overlay, StateView},
    transaction::SignedTransaction,
};

/// How far the opcode BLOCKHASH reaches back.
const HASHES: usize = 256;

/// A transaction that a new block shall hold.
enum Asked {
    Signed(Arc<SignedTransaction>),
    Request(Box<TransactionRequest>),
}

impl Asked {
    fn parse(transaction: Value) -> Result<Self, RpcError> {
        if let Ok(raw) = serde_json::from_value::<Bytes>(transaction.clone()) {
            return Ok(Self::Signed(Arc::new(SignedTransaction::decode(&raw)?)));
        }
        serde_json::from_value(transaction)
            .map(|request| Self::Request(Box::new(request)))
            .map_err(|error| RpcError::Params(format!("neither raw transaction nor request: {error}")))
    }
}

/// Takes back `depth` blocks and mines as many others, with the given transactions in the blocks that they name.
pub(super) async fn reorg(node: Arc<Node>, args: Args) -> Answer {
    let (depth, asked) = parse(&args)?;
    node.exclusively(move |node| {
        let mut plan = Plan::new(node, depth)?;
        for block in 0..depth {
            let here = asked.iter().filter(|(_, target)| *target == block);
            plan.add_block(here.map(|(transaction, _)| transaction))?;
        }
        plan.carry_out();
        Ok(Value::Null)
    })
    .await
}

fn parse(args: &Args) -> Result<(u64, Vec<(Asked, u64)>), RpcError> {
    let (depth, pairs) = match args.raw(0) {
        Some(Value::Object(options)) => {
            let depth = options.get("depth").map(|value| small(value, "depth")).transpose()?;
            let pairs = options
                .get("tx_block_pairs")
                .or_else(|| options.get("txBlockPairs"))
                .cloned();
            (depth.unwrap_or(1), pairs)
        }
        _ => (args.u64(0, "depth")?, args.raw(1).cloned()),
    };
    check_count(depth)?;
    let pairs: Vec<(Value, u64)> = pairs
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| RpcError::Params(format!("pairs of transaction and block: {error}")))?
        .unwrap_or_default();
    if let Some((_, block)) = pairs.iter().find(|(_, block)| *block >= depth) {
        return Err(RpcError::Params(format!(
            "a transaction is for block {block} of the new ones, which are {depth}: the first is block 0"
        )));
    }
    let asked = pairs
        .into_iter()
        .map(|(value, block)| Ok((Asked::parse(value)?, block)));
    Ok((depth, asked.collect::<Result<_, RpcError>>()?))
}

/// The blocks that are to replace others.
struct Plan<'n> {
    node: &'n Node,
    /// The last block that stays.
    point: Snapshot,
    extra_data: Bytes,
    /// The clock as it will be.
    clock: Clock,
    /// The newest block of the plan.
    parent: Tip,
    root: B256,
    /// What all blocks of the plan change.
    changes: Arc<ChangeSet>,
    blocks: Vec<Built>,
}

impl<'n> Plan<'n> {
    fn new(node: &'n Node, depth: u64) -> Result<Self, RpcError> {
        let point = node.point_before(depth)?;
        let parent = node.chain.read().tip_of(point.number);
        let parent = parent.ok_or_else(|| RpcError::NotFound(format!("block {} does not exist", point.number)))?;
        let salt = node.cheats.read().extra_data.len();
        let mut clock = node.clock.lock().clone();
        clock.set(parent.timestamp);
        Ok(Self {
            node,
            root: point.root,
            point,
            // The new blocks differ from those they replace even where they hold the same.
            extra_data: vec![0x72; salt.saturating_add(1) % 32].into(),
            clock,
            parent,
            changes: Arc::default(),
            blocks: Vec::new(),
        })
    }

    /// State at the end of the plan's newest block.
    fn state(&self) -> Overlay {
        let view: StateView = self.node.view(self.point.version).after(self.changes.clone());
        let mut state = Overlay::new(view);
        for Built { block, .. } in self.blocks.iter().rev().take(HASHES) {
            state.set_block_hash(block.header.number, block.hash);
        }
        state
    }

    /// Builds the next block with these transactions and no others.
    fn add_block<'t>(&mut self, asked: impl Iterator<Item = &'t Asked>) -> Result<(), RpcError> {
        let timestamp = self.clock.take(self.parent.timestamp);
        let mut next = self.node.tip_after(&self.parent, timestamp);
        if !self.blocks.is_empty() {
            // A base fee that was set is for one block.
            next.base_fee = self.parent.next_base_fee(self.node.least_base_fee);
        }
        let transactions = self.sign(&next, asked)?;
        let wanted = transactions.len();
        let ground = Ground {
            parent: self.parent.clone(),
            root: self.root,
            version: self.point.version,
            state: self.state(),
            extra_data: self.extra_data.clone(),
        };
        let built = self.node.build_on(ground, next, transactions, Print::Nothing);
        if built.block.transactions.len() != wanted {
            return Err(RpcError::Rejected(match built.failure() {
                Some(reason) => format!("a transaction cannot be mined: {reason}"),
                None => format!("the {wanted} transactions for one block do not fit it"),
            }));
        }
        if !built.changes.is_empty() {
            Arc::make_mut(&mut self.changes).extend(&built.changes);
        }
        self.parent = built.block.tip();
        self.root = built.block.header.state_root;
        self.blocks.push(built);
        Ok(())
    }

    /// Completes and signs the transactions of the block described by `next`, each on the state that those before it leave.
    fn sign<'t>(
        &self,
        next: &Tip,
        asked: impl Iterator<Item = &'t Asked>,
    ) -> Result<Vec<Arc<SignedTransaction>>, RpcError> {
        let node = self.node;
        let env = node.env(next);
        let mut session = Session::new(&env);
        let mut signed = Vec::new();
        let mut asked = asked.peekable();
        if asked.peek().is_none() {
            return Ok(signed);
        }
        let mut state = self.state();
        for transaction in asked {
            let transaction = match transaction {
                Asked::Signed(transaction) => transaction.clone(),
                Asked::Request(request) => Arc::new(complete(node, next, &state, (**request).clone())?),
            };
            let account = state.account(transaction.sender)?;
            transactions::check_for(node, &transaction, next, &account, true)?;
            let outcome = session.execute(&mut state, transaction.to_env(TRANSACTION_GAS_CAP))?;
            state.commit(outcome.state);
            signed.push(transaction);
        }
        Ok(signed)
    }

    /// Puts the blocks in the place of those after the point. Nothing can fail any more.
    fn carry_out(self) {
        let node = self.node;
        let dropped = node.rollback_to(&self.point);
        let mut cheats = node.cheats.write();
        cheats.extra_data = self.extra_data;
        if !self.blocks.is_empty() {
            cheats.next_base_fee = None;
        }
        drop(cheats);
        *node.clock.lock() = self.clock;
        for built in self.blocks {
            node.commit(built);
        }
        put_back(node, &dropped);
    }
}

/// The transaction that a request becomes in the block described by `next`, on top of `state`.
fn complete(
    node: &Node,
    next: &Tip,
    state: &Overlay,
    request: TransactionRequest,
) -> Result<SignedTransaction, RpcError> {
    let (mut request, sender) = transactions::identify(node, request)?;
    if request.gas.is_none() {
        let simulation = Simulation::on(node, next, state.clone(), request.clone(), None, None)?;
        request.gas = Some(calls::estimate(&simulation)?);
    }
    transactions::price(node, &mut request, next.base_fee);
    if request.nonce.is_none() {
        request.nonce = Some(state.account(sender)?.nonce);
    }
    let key = transactions::signing_key(node, &sender);
    Ok(SignedTransaction::from_request(request, sender, key)?)
}

/// The transactions of dropped blocks wait for a block again, unless the new blocks hold them or another with their nonce.
fn put_back(node: &Node, dropped: &[Arc<Block>]) {
    for transaction in dropped.iter().flat_map(|block| &block.transactions) {
        // Where the account cannot be read now the next block finds out.
        let passed = node
            .nonce(transaction.sender)
            .is_ok_and(|nonce| nonce > transaction.nonce());
        if passed {
            continue;
        }
        match node.pool.lock().add(transaction.clone()) {
            Ok(()) => {
                // Nobody may be listening.
                let _ = node.events.send(Event::Pending(transaction.clone()));
            }
            Err(reason) => {
                tracing::warn!(hash = %transaction.hash(), %reason, "a transaction of a dropped block does not wait again");
            }
        }
    }
}
