//! Makes blocks, and takes them back.

use std::{collections::HashSet, sync::Arc};

use alloy::primitives::{Address, B256, Bytes};

use crate::{
    chain::{Block, Tip},
    config::{Print, TRANSACTION_GAS_CAP},
    evm::{ExecutionError, Session},
    node::{Event, Mining, Node, Snapshot},
    rpc::RpcError,
    seal::{Executed, seal},
    state::{ChangeSet, Overlay, Version},
    trace,
    transaction::SignedTransaction,
};

/// What a block is built on.
pub(crate) struct Ground {
    pub(crate) parent: Tip,
    /// Commitment to the state.
    pub(crate) root: B256,
    /// What `state` lies over.
    pub(crate) version: Version,
    pub(crate) state: Overlay,
    pub(crate) extra_data: Bytes,
}

/// A block before it is part of the chain.
pub(crate) struct Built {
    pub(crate) block: Block,
    pub(crate) changes: ChangeSet,
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

    /// The first failure to read the state, if any.
    pub(crate) fn state_failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

impl Node {
    /// Mines one block with what the pool has ready. The caller is the only one that changes the chain.
    pub(crate) fn mine(&self, timestamp: Option<u64>) -> Result<Arc<Block>, RpcError> {
        let ground = self.ground();
        let parent = ground.parent.timestamp;
        let timestamp = match timestamp {
            Some(timestamp) => timestamp.max(parent),
            None => self.clock.lock().take(parent),
        };
        let next = self.tip_after(&ground.parent, timestamp);
        let ready = self.ready(&ground.state, &next)?;
        let built = self.build_on(ground, next, ready, self.config.print());
        self.cheats.write().next_base_fee = None;
        Ok(self.commit(built))
    }

    /// Mines blocks until nothing in the pool is ready, each with what fits. Answers the failure that kept a transaction out.
    pub(crate) fn mine_ready(&self) -> Result<(), RpcError> {
        loop {
            let ground = self.ground();
            let parent = ground.parent.timestamp;
            let peeked = self.clock.lock().peek(parent);
            let ready = self.ready(&ground.state, &self.tip_after(&ground.parent, peeked))?;
            if ready.is_empty() {
                return Ok(());
            }
            let timestamp = self.clock.lock().take(parent);
            let next = self.tip_after(&ground.parent, timestamp);
            let built = self.build_on(ground, next, ready, self.config.print());
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

    /// What the next block builds on: the head and the newest state.
    pub(crate) fn ground(&self) -> Ground {
        // Head and state change together under the store's lock.
        let (parent, root, version) = {
            let store = self.store.read();
            (self.tip(), store.root(), store.head())
        };
        Ground {
            parent,
            root,
            version,
            state: Overlay::new(self.view(version)),
            extra_data: self.cheats.read().extra_data.clone(),
        }
    }

    /// What the pool has for the block described by `next` on top of `state`.
    pub(crate) fn ready(&self, state: &Overlay, next: &Tip) -> Result<Vec<Arc<SignedTransaction>>, RpcError> {
        let mut failure = None;
        let nonce_of = |sender: Address| match state.account(sender) {
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

    /// Builds the block described by `next` from these transactions without changing anything; with `print` their calls are
    /// printed.
    pub(crate) fn build_on(
        &self,
        ground: Ground,
        next: Tip,
        ready: Vec<Arc<SignedTransaction>>,
        print: Print,
    ) -> Built {
        let Ground {
            parent,
            root,
            state: mut overlay,
            extra_data,
            ..
        } = ground;
        let executed = self.run_all(&mut overlay, &next, ready, print);
        let changes = overlay.into_changes();
        let block = seal(&parent, &next, &executed, changes.root_after(root), extra_data);
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
        Built {
            block,
            changes,
            invalid,
            failure,
        }
    }

    fn run_all(&self, overlay: &mut Overlay, next: &Tip, ready: Vec<Arc<SignedTransaction>>, print: Print) -> Executed {
        let env = self.env(next);
        let mut session = Session::new(&env).with_console(print == Print::Console);
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
            let outcome = if print == Print::Tree {
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
        Ok(self.rollback_to(&self.point_before(depth)?))
    }

    /// Where the chain stands without its newest `depth` blocks.
    pub(crate) fn point_before(&self, depth: u64) -> Result<Snapshot, RpcError> {
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
        Ok(Snapshot {
            number,
            hash,
            version,
            root,
        })
    }

    /// Takes back the blocks after `point`, which [`point_before`](Self::point_before) found, and the snapshots taken since;
    /// answers the blocks, oldest first.
    pub(crate) fn rollback_to(&self, point: &Snapshot) -> Vec<Arc<Block>> {
        let dropped = self.go_back(point);
        self.snapshots
            .lock()
            .taken
            .retain(|_, snapshot| snapshot.version <= point.version);
        dropped
    }

    fn go_back(&self, to: &Snapshot) -> Vec<Arc<Block>> {
        // Whoever holds the filters may read the chain.
        let mut filters = self.filters.lock();
        let mut store = self.store.write();
        store.revert(to.number, to.version, to.root);
        let mut chain = self.chain.write();
        let dropped = chain.truncate(to.number);
        self.clock.lock().set(chain.tip().timestamp);
        filters.take_back(&dropped);
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
