//! What is asked of the chain, one request each.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log, TransactionReceipt, TransactionRequest};
use alloy::transports::{TransportError, TransportErrorKind, TransportResult};

use super::rpc::Rpc;
use super::{BlockRef, BlockSource, CallError, RpcError};

impl Rpc {
    /// The newest block.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn latest(&self) -> Result<BlockRef, RpcError> {
        let block = self
            .ask("eth_getBlockByNumber", |p| async move {
                p.get_block_by_number(BlockNumberOrTag::Latest).hashes().await
            })
            .await?;
        block
            .map(|block| self.block(&block.header))
            .ok_or(RpcError::Unreachable {
                method: "eth_getBlockByNumber",
                reason: "the node has no latest block".into(),
            })
    }

    /// Logs that match a filter.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        self.ask("eth_getLogs", |p| {
            let filter = filter.clone();
            async move { p.get_logs(&filter).await }
        })
        .await
    }

    /// Calls a contract on the state of a block. `from` matters only where the contract looks at its caller.
    ///
    /// # Errors
    /// [`CallError::Reverted`] with the revert data, or the RPC's failure.
    pub async fn call(
        &self,
        from: Option<Address>,
        to: Address,
        data: Bytes,
        gas: Option<u64>,
        block: BlockId,
    ) -> Result<Bytes, CallError> {
        let mut request = TransactionRequest::default().to(to).input(data.into());
        request.from = from;
        request.gas = gas;
        self.call_as(request, block).await
    }

    /// A word of a contract's storage.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn storage(&self, account: Address, slot: B256, block: BlockId) -> Result<U256, RpcError> {
        self.ask("eth_getStorageAt", |p| async move {
            p.get_storage_at(account, slot.into()).block_id(block).await
        })
        .await
    }

    /// What a contract's creation code answers, which is the code that the contract would have. Nothing is created.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub async fn create(&self, creation: Bytes, block: B256) -> Result<Bytes, CallError> {
        let mut request = TransactionRequest::default().input(creation.into());
        request.to = Some(TxKind::Create);
        self.call_as(request, block.into()).await
    }

    /// The newest block with this tag.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn tagged(&self, tag: BlockNumberOrTag) -> Result<Option<BlockRef>, RpcError> {
        let block = self
            .ask("eth_getBlockByNumber", |p| async move {
                p.get_block_by_number(tag).hashes().await
            })
            .await?;
        Ok(block.map(|block| self.block(&block.header)))
    }

    /// Calls as a transaction would, on the state of a block.
    ///
    /// # Errors
    /// As [`Rpc::call`].
    pub(super) async fn call_as(&self, request: TransactionRequest, block: BlockId) -> Result<Bytes, CallError> {
        let answer = self
            .ask_past_refusals("eth_call", |p| {
                let request = request.clone();
                async move {
                    match p.call(request).block(block).await {
                        Err(TransportError::ErrorResp(payload)) => match payload.as_revert_data() {
                            Some(data) => Ok(Err(data)),
                            // A revert without data: nodes agree on code 3 or on the message.
                            None if payload.code == 3 || payload.message.contains("revert") => Ok(Err(Bytes::new())),
                            None => Err(TransportError::ErrorResp(payload)),
                        },
                        other => other.map(Ok),
                    }
                }
            })
            .await?;
        answer.map_err(CallError::Reverted)
    }

    /// Balance in wei on the latest block.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn balance(&self, account: Address) -> Result<U256, RpcError> {
        self.ask("eth_getBalance", |p| async move { p.get_balance(account).await })
            .await
    }

    /// Whether the account has code on the latest block.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn has_code(&self, account: Address) -> Result<bool, RpcError> {
        Ok(!self
            .ask("eth_getCode", |p| async move { p.get_code_at(account).await })
            .await?
            .is_empty())
    }

    /// Priority fee that the node suggests, in wei per gas.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn priority_fee(&self) -> Result<u128, RpcError> {
        self.ask("eth_maxPriorityFeePerGas", |p| async move {
            p.get_max_priority_fee_per_gas().await
        })
        .await
    }

    /// Receipt of a transaction, `None` while it is not included.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, RpcError> {
        self.ask("eth_getTransactionReceipt", |p| async move {
            p.get_transaction_receipt(hash).await
        })
        .await
    }
}

impl Rpc {
    /// The block with this hash, as the endpoint says that is asked first.
    async fn of_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
        let block = self
            .ask("eth_getBlockByHash", |p| async move {
                only(p.get_block_by_hash(hash).hashes().await?, |block| {
                    block.header.hash == hash
                })
            })
            .await?;
        Ok(block.map(|block| self.block(&block.header)))
    }
}

/// The answer of one that was asked for a certain block, when it is that: any other is as good as none.
fn only<T>(block: Option<T>, is_it: impl FnOnce(&T) -> bool) -> TransportResult<Option<T>> {
    match block {
        Some(block) if !is_it(&block) => Err(TransportErrorKind::custom_str(
            "it answers with another block than it was asked for",
        )),
        block => Ok(block),
    }
}

impl BlockSource for Rpc {
    async fn by_hash(&self, hash: B256) -> Result<Option<BlockRef>, RpcError> {
        let found = self.of_hash(hash).await?;
        if found.is_some() {
            return Ok(found);
        }
        // One that is behind does not have what the others have.
        for other in self.apart().into_iter().skip(1) {
            if let Ok(Some(block)) = other.of_hash(hash).await {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    async fn by_number(&self, number: u64) -> Result<Option<BlockRef>, RpcError> {
        let tag = BlockNumberOrTag::Number(number);
        let block = self
            .ask("eth_getBlockByNumber", |p| async move {
                only(p.get_block_by_number(tag).hashes().await?, |block| {
                    block.header.number == number
                })
            })
            .await?;
        Ok(block.map(|block| self.block(&block.header)))
    }

    async fn by_numbers(&self, numbers: std::ops::Range<u64>) -> Vec<BlockRef> {
        match self.headers(numbers).await {
            Ok(blocks) => blocks,
            Err(error) => {
                tracing::debug!(%error, "headers could not be had at once; they are asked for one by one");
                Vec::new()
            }
        }
    }
}
