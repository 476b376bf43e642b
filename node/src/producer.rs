//! Makes blocks, and takes them back.

use std::{collections::HashSet, sync::Arc};

use alloy::primitives::{Address, B256};

use crate::{
    chain::{Block, Tip},
    config::TRANSACTION_GAS_CAP,
    evm::{ExecutionError, Session},
    node::{Event, Mining, Node, Snapshot},
    rpc::RpcError,
    seal::{Executed, seal},
    state::{ChangeSet, Overlay},
    trace,
    transaction::SignedTransaction,
};

/// A block before it is part of the chain.
pub(crate) struct Built {
    pub(crate) block: Block,
    changes: ChangeSet,
    /// Transactions that can never be mined as they are, with the reason.
    invalid: Vec<(B256, String)>,
    /// The first failure to read the state, if any; the transaction stays in the pool.
    failure: Option<String>,
}

impl Built {
    /// Why a transaction is not in the block, if any is not.
    pub(crate) fn failure(&self) -> Option<&str> {
        let invalid = self.invalid.first().map(|(_, reason)| reason.as_str());
        self.failure.as_deref().or(invalid)
    }
}

impl Node {
    /// Mines one block with what the pool has ready. The caller is the only one that changes the chain.
    pub(crate) fn mine(&self, timestamp: Option<u64>) -> Result<Arc<Block>, RpcError> {
        let tip = self.tip();
        let timestamp = match timestamp {
            Some(timestamp) => timestamp.max(tip.timestamp),
            None => self.clock.lock().take(tip.timestamp),
        };
        let built = self.build_printing(&tip, timestamp, self.config.print_traces)?;
        self.cheats.write().next_base_fee = None;
        Ok(self.commit(built))
    }

    /// Mines blocks until nothing in the pool is ready, each with what fits. Answers the failure that kept a transaction out.
    pub(crate) fn mine_ready(&self) -> Result<(), RpcError> {
        loop {
            let tip = self.tip();
            let peeked = self.clock.lock().peek(tip.timestamp);
            let ready = self.ready(&self.tip_after(&tip, peeked))?;
            if ready.is_empty() {
                return Ok(());
            }
            let timestamp = self.clock.lock().take(tip.timestamp);
            let print = self.config.print_traces;
            let built = self.build_of(&tip, self.tip_after(&tip, timestamp), ready, print)?;
            if built.block.transactions.is_empty() && built.invalid.is_empty() {
                return Err(RpcError::Internal(
                    built
                        .failure
                        .unwrap_or_else(|| "no transaction fits a block".to_owned()),
                ));
            }
            if built.block.transactions.is_empty() {
                self.drop_invalid(&built.invalid);
                continue;
            }
            self.cheats.write().next_base_fee = None;
            self.commit(built);
        }
    }

    fn ready(&self, next: &Tip) -> Result<Vec<Arc<SignedTransaction>>, RpcError> {
        let view = self.head_view();
        let mut failure = None;
        let nonce_of = |sender: Address| match view.account(sender) {
            Ok(info) => info.nonce,
            Err(error) => {
                failure = Some(error);
                u64::MAX
            }
        };
        let ready = self.pool.lock().ready(nonce_of, next.base_fee, next.gas_limit);
        match failure {
            Some(error) if ready.is_empty() => Err(error.into()),
            _ => Ok(ready),
        }
    }

    /// Builds the block after `tip` from the pool without changing anything.
    pub(crate) fn build(&self, tip: &Tip, timestamp: u64) -> Result<Built, RpcError> {
        self.build_printing(tip, timestamp, false)
    }

    /// As [`build`](Self::build), and prints the calls of each transaction if `print` asks for it.
    fn build_printing(&self, tip: &Tip, timestamp: u64, print: bool) -> Result<Built, RpcError> {
        let next = self.tip_after(tip, timestamp);
        let ready = self.ready(&next)?;
        self.build_of(tip, next, ready, print)
    }

    /// Builds the block described by `next` after `tip` from these transactions without changing anything; with `print` their
    /// calls are printed.
    pub(crate) fn build_of(
        &self,
        tip: &Tip,
        next: Tip,
        ready: Vec<Arc<SignedTransaction>>,
        print: bool,
    ) -> Result<Built, RpcError> {
        let mut overlay = Overlay::new(self.head_view());
        let executed = self.run_all(&mut overlay, &next, ready, print);
        let changes = overlay.into_changes();
        let root = self.store.read().root_after(&changes);
        let block = seal(tip, &next, &executed, root, self.cheats.read().extra_data.clone());
        let Executed {
            transactions,
            receipts,
            invalid,
            failure,
            ..
        } = executed;
        let block = Block {
            hash: block.hash_slow(),
            header: block,
            l1_number: next.l1_number,
            transactions,
            receipts,
        };
        Ok(Built {
            block,
            changes,
            invalid,
            failure,
        })
    }

    fn run_all(&self, overlay: &mut Overlay, next: &Tip, ready: Vec<Arc<SignedTransaction>>, print: bool) -> Executed {
        let env = self.env(next);
        let mut session = Session::new(&env);
        let mut executed = Executed::default();
        // When one transaction of a sender is left out, those after it cannot be mined either.
        let mut skipped = HashSet::new();
        for transaction in ready {
            if skipped.contains(&transaction.sender) {
                continue;
            }
            let tx = transaction.to_env(TRANSACTION_GAS_CAP);
            let unlimited = self.config.disable_block_gas_limit && executed.gas_used == 0;
            if executed.gas_used.saturating_add(tx.gas_limit) > next.gas_limit && !unlimited {
                skipped.insert(transaction.sender);
                continue;
            }
            let outcome = if print {
                let title = format!("transaction {}", transaction.hash());
                trace::run_and_print(&mut session, overlay, tx, &title, &self.names)
            } else {
                session.execute(overlay, tx)
            };
            match outcome {
                Ok(outcome) => {
                    overlay.commit(outcome.state);
                    executed.add(transaction, outcome.result, next.base_fee);
                }
                Err(ExecutionError::Invalid(reason)) => {
                    skipped.insert(transaction.sender);
                    executed.invalid.push((transaction.hash(), reason.to_string()));
                }
                Err(error) => {
                    skipped.insert(transaction.sender);
                    executed.failure.get_or_insert(error.to_string());
                }
            }
        }
        executed
    }

    fn drop_invalid(&self, invalid: &[(B256, String)]) {
        let mut pool = self.pool.lock();
        for (hash, reason) in invalid {
            tracing::warn!(%hash, reason, "transaction dropped: it cannot be mined");
            pool.remove(hash);
        }
    }

    pub(crate) fn commit(&self, built: Built) -> Arc<Block> {
        let Built {
            block,
            changes,
            invalid,
            failure,
        } = built;
        if let Some(failure) = failure {
            tracing::warn!(
                number = block.header.number,
                failure,
                "a transaction was left for a later block"
            );
        }
        let number = block.header.number;
        let block = Arc::new(block);
        {
            let mut store = self.store.write();
            store.commit(number, changes);
            store.set_block_hash(number, block.hash);
            let oldest = number.saturating_sub(self.config.history);
            store.prune(
                oldest,
                self.snapshots
                    .lock()
                    .taken
                    .values()
                    .map(|snapshot| snapshot.version)
                    .min(),
            );
            let mut chain = self.chain.write();
            chain.push(block.clone());
            if let Some(old) = self.config.transaction_blocks.and_then(|kept| number.checked_sub(kept)) {
                chain.forget_transactions(old);
            }
        }
        self.drop_invalid(&invalid);
        {
            let mut pool = self.pool.lock();
            for transaction in &block.transactions {
                pool.prune(&transaction.sender, transaction.nonce().saturating_add(1));
            }
        }
        if !self.config.silent {
            tracing::info!(number, hash = %block.hash, transactions = block.transactions.len(), "block mined");
        }
        // Nobody may be listening.
        let _ = self.events.send(Event::Head(block.clone()));
        block
    }

    /// Notes the present point and answers its id.
    pub(crate) fn snapshot(&self) -> u64 {
        let tip = self.tip();
        let store = self.store.read();
        let mut snapshots = self.snapshots.lock();
        let id = snapshots.next;
        snapshots.next = id.saturating_add(1);
        let snapshot = Snapshot {
            number: tip.number,
            hash: tip.hash,
            version: store.head(),
            root: store.root(),
        };
        snapshots.taken.insert(id, snapshot);
        id
    }

    /// Goes back to a snapshot; false when there is none with this id. It and all later ones are used up.
    pub(crate) fn revert(&self, id: u64) -> bool {
        let snapshot = {
            let mut snapshots = self.snapshots.lock();
            let Some(snapshot) = snapshots.taken.get(&id).cloned() else {
                return false;
            };
            snapshots.taken.split_off(&id);
            snapshot
        };
        self.go_back(&snapshot);
        self.pool.lock().clear();
        true
    }

    /// Mines until a transaction that was added is in a block, unless it cannot be or another request has mined it meanwhile.
    pub(crate) async fn mine_added(self: &Arc<Self>, hash: B256) -> Result<(), RpcError> {
        let guard = self.lock().await?;
        if !self.pool.lock().contains(&hash) {
            return Ok(());
        }
        self.run_locked(guard, Self::mine_ready).await
    }

    /// Takes back the newest `depth` blocks; answers them, oldest first.
    pub(crate) fn rollback(&self, depth: u64) -> Result<Vec<Arc<Block>>, RpcError> {
        let tip = self.tip();
        let target = tip.number.checked_sub(depth);
        let base = self.chain.read().base().number;
        let Some(number) = target.filter(|number| *number >= base) else {
            return Err(RpcError::Params(format!(
                "cannot go back {depth} blocks: the chain of this node starts at block {base}, its head is {}",
                tip.number
            )));
        };
        let (hash, root) = {
            let chain = self.chain.read();
            let root = chain.by_number(number).map(|block| block.header.state_root);
            (
                chain.tip_of(number).map(|tip| tip.hash),
                root.unwrap_or(chain.base().hash),
            )
        };
        let version = self.store.read().version_of_block(number);
        let (Some(hash), Some(version)) = (hash, version) else {
            return Err(RpcError::Rejected(format!(
                "cannot go back to block {number}: its state is no longer held"
            )));
        };
        let dropped = self.go_back(&Snapshot {
            number,
            hash,
            version,
            root,
        });
        self.snapshots
            .lock()
            .taken
            .retain(|_, snapshot| snapshot.version <= version);
        Ok(dropped)
    }

    fn go_back(&self, to: &Snapshot) -> Vec<Arc<Block>> {
        let mut store = self.store.write();
        store.revert(to.number, to.version, to.root);
        let mut chain = self.chain.write();
        let dropped = chain.truncate(to.number);
        self.clock.lock().set(chain.tip().timestamp);
        for block in dropped.iter().rev() {
            // Nobody may be listening.
            let _ = self.events.send(Event::Removed(block.clone()));
        }
        dropped
    }

    /// Whether a transaction is mined as it comes.
    pub(crate) fn automine(&self) -> bool {
        matches!(*self.mining.borrow(), Mining::Auto | Mining::Mixed(_))
    }
}
