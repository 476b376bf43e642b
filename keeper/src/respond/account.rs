//! A signing account with what it needs to sign at once: the next nonce as the chain has it, and fees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::consensus::TxEip1559;
use alloy::eips::BlockId;
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use tokio::sync::{Mutex, MutexGuard};

use super::deliver::Call;
use super::missing::Missing;
use super::nonces::Nonces;
use super::signer::KeySigner;
use crate::alarm::Alarms;
use crate::chain::{BlockRef, CallError, Newest, Rpc, RpcError};
use crate::record::{SentTransaction, Store};

/// Most wei per gas of a priority fee that a node suggests: no node can have us pay what it likes.
const TIP: u128 = 2_000_000_000;
/// Most wei per gas that it is raised to where a transaction waits: no chain with a sequencer asks for so much.
pub(super) const MOST_TIP: u128 = 16 * TIP;
/// What was signed ahead is used when it offers no more than this many times what is asked for now.
pub(super) const DEAR: u128 = 4;

/// Why an account cannot send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The key could not sign.
    #[error("the key of {account} could not sign: {reason}")]
    Sign {
        /// The account.
        account: Address,
        /// Why.
        reason: String,
    },
    /// The chain could not be asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// What the next transaction is signed with. Refreshed beside the hot path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Armed {
    /// The nonce that the chain wants next; `None` when it has to be asked for.
    pub nonce: Option<u64>,
    /// Base fee of the newest block, in wei per gas.
    pub base_fee: u128,
    /// Priority fee that the node suggests, in wei per gas.
    pub priority_fee: u128,
}

impl Armed {
    /// Most wei per gas to offer: room for the base fee to double.
    #[must_use]
    pub fn max_fee(&self) -> u128 {
        self.base_fee.saturating_mul(2).saturating_add(self.priority_fee)
    }
}

/// A key, its address, and what is at hand for signing. Cheap to clone; clones share the nonce.
#[derive(Debug, Clone)]
pub struct Account {
    signer: KeySigner,
    rpc: Rpc,
    pub(super) armed: Arc<Mutex<Armed>>,
    /// Held until a node has answered to a transaction, so that they reach it in the order of their nonces.
    turn: Arc<Mutex<()>>,
    pub(super) nonces: Nonces,
    /// How often the nonce at hand was given up: what was asked for before that must not bring it back.
    disarms: Arc<AtomicU64>,
    /// Calls that were signed ahead.
    ready: Arc<Mutex<Vec<(Call, SentTransaction)>>>,
    /// Number of the newest block that is known of.
    newest: Newest,
    /// What it held when that was asked last, in wei.
    pub(super) held: Arc<std::sync::Mutex<Option<U256>>>,
    /// Says whether it is this keeper's turn to send.
    turns: Option<Store>,
    /// Who tells people of a nonce that nobody fills.
    pub(super) missing: Missing,
}

/// What a transaction does, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) to: Address,
    pub(super) data: Bytes,
    pub(super) gas: u64,
    pub(super) nonce: u64,
    pub(super) max_fee: u128,
    pub(super) priority_fee: u128,
}

impl Account {
    /// An account that sends through `rpc`.
    #[must_use]
    pub fn new(signer: impl Into<KeySigner>, rpc: Rpc) -> Self {
        Self {
            signer: signer.into(),
            rpc,
            armed: Arc::default(),
            turn: Arc::default(),
            nonces: Nonces::default(),
            disarms: Arc::default(),
            ready: Arc::default(),
            newest: Newest::default(),
            held: Arc::default(),
            turns: None,
            missing: Missing::default(),
        }
    }

    /// Signs a call with the next nonce and fees, unless a person would have to confirm it, a transaction is on its way or what was
    /// signed before will still do. Answers whether what is signed will do now.
    pub(super) async fn prepare(&self, call: &Call) -> Result<bool, AccountError> {
        if self.signer.needs_hand() {
            return Ok(false);
        }
        // Not kept: what contains does not wait for what is signed ahead.
        if !self.is_idle() {
            return Ok(false);
        }
        let (nonce, armed) = self.armed().await?;
        let draft = Draft {
            to: call.to,
            data: call.data.clone(),
            gas: call.gas,
            nonce,
            // The base fee may rise for a while before it has to be signed anew.
            max_fee: armed.max_fee().saturating_add(armed.max_fee() / 4),
            priority_fee: armed.priority_fee,
        };
        let wanted = Draft {
            max_fee: armed.max_fee(),
            ..draft.clone()
        };
        if self.take_ready(&wanted).await.is_some() {
            return Ok(true);
        }
        let signed = self.sign(&draft).await?;
        let mut ready = self.ready.lock().await;
        ready.retain(|(held, _)| held != call);
        ready.push((call.clone(), signed));
        Ok(true)
    }

    /// What was signed ahead for a draft: the same call and nonce, and no less than its fees, nor much more: they may have been a lie then.
    pub(super) async fn take_ready(&self, draft: &Draft) -> Option<SentTransaction> {
        let ready = self.ready.lock().await;
        let fits = |(call, signed): &&(Call, SentTransaction)| {
            call.to == draft.to
                && call.data == draft.data
                && call.gas == draft.gas
                && signed.nonce == draft.nonce
                && (draft.max_fee..=draft.max_fee.saturating_mul(DEAR)).contains(&signed.max_fee)
                && signed.priority_fee >= draft.priority_fee
        };
        ready.iter().find(fits).map(|(_, signed)| signed.clone())
    }

    /// Most wei per gas that a transaction would offer now.
    pub(super) async fn max_fee(&self) -> u128 {
        self.armed.lock().await.max_fee()
    }

    /// Priority fee that a transaction would offer now, in wei per gas.
    pub(super) async fn priority_fee(&self) -> u128 {
        self.armed.lock().await.priority_fee
    }

    /// The nonce of the next transaction; `None` when it has to be asked for.
    pub(super) async fn next_nonce(&self) -> Option<u64> {
        self.armed.lock().await.nonce
    }

    /// What a call would answer if it was sent now.
    pub(super) async fn rehearse(&self, call: &Call) -> Result<Bytes, CallError> {
        let Call { to, data, gas } = call;
        self.rpc
            .call(Some(self.address()), *to, data.clone(), Some(*gas), BlockId::latest())
            .await
    }

    /// The same, sending only while nobody else of the fleet that shares `store` can have the turn.
    #[must_use]
    pub fn only_in_turn(mut self, store: Store) -> Self {
        self.turns = Some(store);
        self
    }

    /// The same, telling people of a nonce that is missing and that nobody fills.
    #[must_use]
    pub(crate) fn telling(mut self, alarms: Alarms) -> Self {
        if self.needs_hand() {
            self.missing = Missing::by(alarms);
        }
        self
    }

    /// Whether it may send now.
    pub(super) fn may_send(&self) -> bool {
        self.turns.as_ref().is_none_or(Store::may_act)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// Whether a person confirms each signature.
    pub(crate) fn needs_hand(&self) -> bool {
        self.signer.needs_hand()
    }

    /// Whether somebody else is asked for each signature.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.signer.is_elsewhere()
    }

    /// Makes sure that its key can sign now. The error is a sentence without secrets.
    pub(super) async fn probe(&self) -> Result<(), String> {
        self.signer.probe(self.rpc.chain_id()).await
    }

    pub(super) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Waits until it is the caller's turn to send, and keeps others from sending until dropped.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether nothing is on its way, nor about to be sent.
    fn is_idle(&self) -> bool {
        self.turn.try_lock().is_ok() && self.nonces.is_idle()
    }

    /// Asks the chain for nonce and fees again and again, unless a transaction is on its way.
    pub async fn stay_armed(&self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            if self.is_idle()
                && let Err(error) = self.refresh().await
            {
                tracing::warn!(account = %self.address(), %error, "nonce and fees could not be refreshed");
            }
        }
    }

    /// Takes over what a new head says: its number and base fee.
    pub async fn note_head(&self, head: &BlockRef) {
        self.newest.note(head.number);
        self.armed.lock().await.base_fee = u128::from(head.base_fee);
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest.number()
    }

    /// Asks the chain for nonce and fees.
    ///
    /// # Errors
    /// See [`RpcError`]. A node without `eth_maxPriorityFeePerGas` counts as one that suggests nothing.
    pub async fn refresh(&self) -> Result<Armed, RpcError> {
        let (newest, asked) = (self.newest(), Instant::now());
        let disarms = self.disarms.load(Ordering::Relaxed);
        let (counts, priority, fees) = futures::future::join3(
            self.rpc.counts(self.address(), newest),
            self.rpc.priority_fee(),
            self.rpc.base_fees(newest),
        )
        .await;
        let (counts, base_fee) = (counts?, u128::from(fees?.agreed));
        let priority = match priority {
            Ok(fee) => fee,
            Err(RpcError::Refused { .. }) => 0,
            Err(error) => return Err(error),
        };
        let fresh = Armed {
            // Meanwhile one of ours may have been included, however long the answers took.
            nonce: Some(self.nonces.at_least(counts.agreed, asked)),
            base_fee,
            priority_fee: priority.min(TIP),
        };
        let mut held = self.armed.lock().await;
        *held = Armed {
            // Or the nonce given up: whoever needs it next asks again.
            nonce: fresh.nonce.filter(|_| self.disarms.load(Ordering::Relaxed) == disarms),
            ..fresh
        };
        Ok(fresh)
    }

    /// What the next transaction would be signed with, asked for when it is not at hand.
    pub(super) async fn armed(&self) -> Result<(u64, Armed), RpcError> {
        let armed = *self.armed.lock().await;
        match armed.nonce {
            Some(nonce) => Ok((nonce, armed)),
            None => {
                let armed = self.refresh().await?;
                Ok((armed.nonce.unwrap_or_default(), armed))
            }
        }
    }

    /// The transaction with `nonce` was included: the chain wants the next one, or a later one.
    pub(super) async fn used(&self, nonce: u64) {
        self.nonces.note_used(nonce, Instant::now());
        let mut armed = self.armed.lock().await;
        // What was disarmed meanwhile is asked for.
        armed.nonce = armed.nonce.map(|held| held.max(nonce.saturating_add(1)));
        drop(armed);
        self.missing.clear(self.address()).await;
    }

    /// Blocks were taken back, and transactions of ours may have been in them: the chain is asked next time.
    pub async fn note_reverted(&self) {
        self.nonces.forget_used();
        self.newest.forget();
        self.disarm().await;
    }

    /// The nonce at hand may be wrong: the chain is asked next time.
    pub(crate) async fn disarm(&self) {
        let mut armed = self.armed.lock().await;
        self.disarms.fetch_add(1, Ordering::Relaxed);
        armed.nonce = None;
    }

    /// The signature of a hash. The error is a sentence without secrets.
    pub(super) async fn sign_hash(&self, hash: B256) -> Result<Bytes, String> {
        self.signer.sign_hash(&hash).await
    }

    pub(super) async fn sign(&self, draft: &Draft) -> Result<SentTransaction, AccountError> {
        let tx = TxEip1559 {
            chain_id: self.rpc.chain_id(),
            nonce: draft.nonce,
            gas_limit: draft.gas,
            max_fee_per_gas: draft.max_fee,
            max_priority_fee_per_gas: draft.priority_fee.min(draft.max_fee),
            to: TxKind::Call(draft.to),
            value: U256::ZERO,
            access_list: alloy::eips::eip2930::AccessList::default(),
            input: draft.data.clone(),
        };
        let envelope = self.signer.sign(tx).await.map_err(|reason| AccountError::Sign {
            account: self.address(),
            reason,
        })?;
        Ok(SentTransaction {
            hash: *envelope.tx_hash(),
            sender: self.address(),
            nonce: draft.nonce,
            raw: envelope.encoded_2718().into(),
            max_fee: draft.max_fee,
            priority_fee: draft.priority_fee.min(draft.max_fee),
        })
    }
}
