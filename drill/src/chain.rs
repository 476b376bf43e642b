//! One chain as the drill uses it: signed transactions with nonces kept here, receipts, typed calls.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::{BlockId, eip2718::Encodable2718},
    network::TransactionBuilder,
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, TxKind, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::{LocalSignerError, MnemonicBuilder, PrivateKeySigner, coins_bip39::English},
    sol_types::SolCall,
};
use url::Url;

use crate::{artifact::Artifact, cast, error::DrillError};

/// The test mnemonic that every development node funds.
pub(crate) const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Gas limit of a call unless said otherwise; generous, since hooks want a floor.
const CALL_GAS: u64 = 20_000_000;
/// Gas limit of a deployment.
const DEPLOY_GAS: u64 = 20_000_000;
/// How long a transaction may take to be mined.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(30);
/// How often a receipt is asked for.
const RECEIPT_POLL: Duration = Duration::from_millis(4);

/// Fee cap and tip that everybody pays: no scenario wins by outbidding, transactions are ordered by arrival.
const MAX_FEE: u128 = 20_000_000_000;
const TIP: u128 = 100_000_000;

/// A key of the drill's mnemonic and its next nonce on one chain.
#[derive(Debug)]
pub(crate) struct Account {
    signer: PrivateKeySigner,
    nonce: AtomicU64,
}

impl Account {
    pub(crate) fn address(&self) -> Address {
        self.signer.address()
    }
}

/// Keys of the cast, derived once: stretching the mnemonic is made to be slow.
static CAST: OnceLock<Vec<PrivateKeySigner>> = OnceLock::new();

/// The drill's account `index`.
pub(crate) fn signer(index: u32) -> Result<PrivateKeySigner, DrillError> {
    let known = match CAST.get() {
        Some(known) => known,
        None => {
            let derived = (0..cast::COUNT).map(derive).collect::<Result<_, _>>()?;
            CAST.get_or_init(|| derived)
        }
    };
    let at = usize::try_from(index).ok();
    at.and_then(|at| known.get(at))
        .cloned()
        .ok_or_else(|| DrillError::Signer {
            index,
            reason: format!("the cast has {} accounts", cast::COUNT),
        })
}

fn derive(index: u32) -> Result<PrivateKeySigner, DrillError> {
    let fail = |error: LocalSignerError| DrillError::Signer {
        index,
        reason: error.to_string(),
    };
    MnemonicBuilder::<English>::default()
        .phrase(MNEMONIC)
        .index(index)
        .map_err(fail)?
        .build()
        .map_err(fail)
}

/// A chain behind an HTTP endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    provider: DynProvider,
    chain_id: u64,
}

impl Chain {
    /// Connects and learns the chain's id.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self, DrillError> {
        let url = Url::parse(endpoint).map_err(|error| DrillError::Answer {
            what: format!("endpoint {endpoint}"),
            target: Address::ZERO,
            reason: error.to_string(),
        })?;
        let provider = ProviderBuilder::new()
            .disable_recommended_fillers()
            .connect_http(url)
            .erased();
        let chain_id = provider
            .get_chain_id()
            .await
            .map_err(DrillError::rpc(format!("asking {endpoint} for its chain id")))?;
        Ok(Self { provider, chain_id })
    }

    /// The plain provider, for methods that have no helper here.
    pub(crate) const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// An account of the drill with its nonce as the chain has it now.
    pub(crate) async fn account(&self, index: u32) -> Result<Account, DrillError> {
        let signer = signer(index)?;
        let nonce = self
            .provider
            .get_transaction_count(signer.address())
            .await
            .map_err(DrillError::rpc("reading a nonce"))?;
        Ok(Account {
            signer,
            nonce: AtomicU64::new(nonce),
        })
    }

    /// Number of the newest block.
    pub(crate) async fn head(&self) -> Result<u64, DrillError> {
        self.provider
            .get_block_number()
            .await
            .map_err(DrillError::rpc("reading the head"))
    }

    /// Sends a call without waiting for it.
    pub(crate) async fn send<C: SolCall>(&self, from: &Account, to: Address, call: &C) -> Result<B256, DrillError> {
        self.send_raw(from, to, call.abi_encode().into(), C::SIGNATURE).await
    }

    /// Sends encoded calldata without waiting for it.
    pub(crate) async fn send_raw(
        &self,
        from: &Account,
        to: Address,
        calldata: Bytes,
        what: &str,
    ) -> Result<B256, DrillError> {
        self.send_paying(from, to, calldata, U256::ZERO, what).await
    }

    /// Sends encoded calldata with `value` wei without waiting for it.
    pub(crate) async fn send_paying(
        &self,
        from: &Account,
        to: Address,
        calldata: Bytes,
        value: U256,
        what: &str,
    ) -> Result<B256, DrillError> {
        let tx = TxEip1559 {
            gas_limit: CALL_GAS,
            to: TxKind::Call(to),
            input: calldata,
            value,
            ..TxEip1559::default()
        };
        self.broadcast(from, tx, what).await
    }

    /// Sends a call and waits until it is mined and has succeeded.
    pub(crate) async fn execute<C: SolCall>(
        &self,
        from: &Account,
        to: Address,
        call: &C,
    ) -> Result<TransactionReceipt, DrillError> {
        let hash = self.send(from, to, call).await?;
        self.succeeded(hash, C::SIGNATURE).await
    }

    /// Deploys a contract; `arguments` are its constructor's, encoded.
    pub(crate) async fn deploy(
        &self,
        from: &Account,
        artifact: &Artifact,
        libraries: &BTreeMap<String, Address>,
        arguments: &[u8],
    ) -> Result<Address, DrillError> {
        let hash = self
            .send_creation(from, artifact.creation(libraries, arguments)?)
            .await?;
        let receipt = self.succeeded(hash, "deployment").await?;
        receipt.contract_address.ok_or_else(|| DrillError::Answer {
            what: "the receipt of a deployment".to_owned(),
            target: Address::ZERO,
            reason: "it names no contract".to_owned(),
        })
    }

    /// Sends creation code without waiting for it.
    pub(crate) async fn send_creation(&self, from: &Account, code: Bytes) -> Result<B256, DrillError> {
        let tx = TxEip1559 {
            gas_limit: DEPLOY_GAS,
            to: TxKind::Create,
            input: code,
            ..TxEip1559::default()
        };
        self.broadcast(from, tx, "deployment").await
    }

    /// Fills in what all transactions have alike, signs and sends.
    async fn broadcast(&self, from: &Account, tx: TxEip1559, what: &str) -> Result<B256, DrillError> {
        let mut tx = TxEip1559 {
            chain_id: self.chain_id,
            nonce: from.nonce.fetch_add(1, Ordering::SeqCst),
            max_fee_per_gas: MAX_FEE,
            max_priority_fee_per_gas: TIP,
            ..tx
        };
        let signature = from
            .signer
            .sign_transaction_sync(&mut tx)
            .map_err(|error| DrillError::Signer {
                index: 0,
                reason: error.to_string(),
            })?;
        let raw = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
        let pending = self
            .provider
            .send_raw_transaction(&raw)
            .await
            .map_err(DrillError::rpc(format!("sending {what}")))?;
        Ok(*pending.tx_hash())
    }

    /// Waits until a transaction is mined, whatever became of it.
    pub(crate) async fn receipt(&self, hash: B256, what: &str) -> Result<TransactionReceipt, DrillError> {
        let start = Instant::now();
        loop {
            let found = self
                .provider
                .get_transaction_receipt(hash)
                .await
                .map_err(DrillError::rpc(format!("reading the receipt of {what}")))?;
            if let Some(receipt) = found {
                return Ok(receipt);
            }
            if start.elapsed() > RECEIPT_PATIENCE {
                return Err(DrillError::Timeout {
                    what: format!("mining {what} ({hash})"),
                    seconds: RECEIPT_PATIENCE.as_secs(),
                });
            }
            tokio::time::sleep(RECEIPT_POLL).await;
        }
    }

    /// Waits until a transaction is mined and makes its failure an error.
    pub(crate) async fn succeeded(&self, hash: B256, what: &str) -> Result<TransactionReceipt, DrillError> {
        let receipt = self.receipt(hash, what).await?;
        if receipt.status() {
            return Ok(receipt);
        }
        Err(DrillError::Reverted {
            what: what.to_owned(),
            hash,
            block: receipt.block_number.unwrap_or_default(),
        })
    }

    /// Reads at the newest block.
    pub(crate) async fn read<C: SolCall>(&self, target: Address, call: &C) -> Result<C::Return, DrillError> {
        self.read_at(target, call, BlockId::latest()).await
    }

    /// Reads at the end of `block`.
    pub(crate) async fn read_at<C: SolCall>(
        &self,
        target: Address,
        call: &C,
        block: BlockId,
    ) -> Result<C::Return, DrillError> {
        let request = TransactionRequest::default()
            .with_to(target)
            .with_input(call.abi_encode());
        let answer = self
            .provider
            .call(request)
            .block(block)
            .await
            .map_err(DrillError::rpc(format!("calling {} of {target}", C::SIGNATURE)))?;
        C::abi_decode_returns(&answer).map_err(|error| DrillError::Answer {
            what: C::SIGNATURE.to_owned(),
            target,
            reason: error.to_string(),
        })
    }

    /// Unix time of a block, in seconds.
    pub(crate) async fn timestamp(&self, block: u64) -> Result<u64, DrillError> {
        let found = self
            .provider
            .get_block_by_number(block.into())
            .await
            .map_err(DrillError::rpc("reading a block"))?;
        found
            .map(|block| block.header.timestamp)
            .ok_or_else(|| DrillError::OutOfRange {
                what: format!("block {block}"),
            })
    }

    /// Waits for the first block with at least this number.
    pub(crate) async fn reach(&self, block: u64) -> Result<u64, DrillError> {
        let start = Instant::now();
        loop {
            let head = self.head().await?;
            if head >= block {
                return Ok(head);
            }
            if start.elapsed() > RECEIPT_PATIENCE {
                return Err(DrillError::Timeout {
                    what: format!("block {block} (head is {head})"),
                    seconds: RECEIPT_PATIENCE.as_secs(),
                });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// `whole` units of a token with `decimals` decimals.
pub(crate) fn units(whole: u64, decimals: u8) -> U256 {
    U256::from(whole).saturating_mul(U256::from(10u64).saturating_pow(U256::from(decimals)))
}
