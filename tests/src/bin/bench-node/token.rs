//! An ERC-20 token on a node, and signed transfers of it.

use std::path::Path;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::primitives::{Address, Bytes, TxKind, U256, hex};
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use alloy::sol;
use alloy::sol_types::{SolCall, SolConstructor};
use eyre::{OptionExt, WrapErr, ensure};
use serde_json::{Value, json};

use crate::client::{Client, hash, request};

sol! {
    #[allow(missing_docs)]
    contract MintableERC20 {
        constructor(string memory name, string memory symbol, uint8 decimals);
        function mint(address account, uint256 value) public returns (bool);
        function transfer(address to, uint256 amount) external returns (bool);
    }
}

/// Accounts that send.
pub(crate) const SENDERS: u32 = 16;
/// Gas limit of a transfer.
const TRANSFER_GAS: u64 = 100_000;
/// Wei per gas that every transfer offers; far above any base fee here.
const MAX_FEE: u128 = 100_000_000_000;

/// The token, with a balance for each sender.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) address: Address,
    pub(crate) senders: Vec<PrivateKeySigner>,
    chain_id: u64,
}

impl Token {
    /// Deploys Aave's test token and mints for every sender. Sender 0 has the nonce 17 afterwards, the others 0.
    pub(crate) async fn deploy(client: &Client, root: &Path) -> eyre::Result<Self> {
        let senders = (0..SENDERS).map(signer).collect::<eyre::Result<Vec<_>>>()?;
        let admin = senders.first().ok_or_eyre("there are no senders")?.address();
        let arguments = MintableERC20::constructorCall {
            name: "Bench".to_owned(),
            symbol: "BENCH".to_owned(),
            decimals: 18,
        };
        let mut code = creation_code(root)?;
        code.extend(arguments.abi_encode());
        let creation = json!([{ "from": admin, "data": hex::encode_prefixed(code), "gas": "0x4c4b40" }]);
        let sent = hash(&client.call("eth_sendTransaction", creation).await?)?;
        client.call("evm_mine", json!([])).await?;
        let receipt = client.receipt(sent).await?;
        let address = receipt.get("contractAddress").and_then(Value::as_str);
        let address: Address = address.ok_or_eyre("the token was not created")?.parse()?;
        for sender in &senders {
            let mint = MintableERC20::mintCall {
                account: sender.address(),
                value: U256::from(u128::MAX),
            };
            let sent = client.send(admin, address, &mint.abi_encode().into()).await?;
            client.call("evm_mine", json!([])).await?;
            let receipt = client.receipt(sent).await?;
            ensure!(
                receipt.get("status") == Some(&json!("0x1")),
                "minting failed: {receipt}"
            );
        }
        let chain_id = client.number("eth_chainId", json!([])).await?;
        Ok(Self {
            address,
            senders,
            chain_id,
        })
    }

    /// The call that moves one unit.
    pub(crate) fn transfer() -> Bytes {
        let call = MintableERC20::transferCall {
            to: Address::repeat_byte(0x42),
            amount: U256::ONE,
        };
        call.abi_encode().into()
    }

    /// Requests that send `count` signed transfers of one sender, from its nonce on.
    pub(crate) async fn signed(&self, client: &Client, sender: usize, count: u64) -> eyre::Result<Vec<String>> {
        let key = self.senders.get(sender).ok_or_eyre("no such sender")?;
        let first = client
            .number("eth_getTransactionCount", json!([key.address(), "latest"]))
            .await?;
        let requests = (first..first.saturating_add(count)).map(|nonce| {
            let mut transaction = TxEip1559 {
                chain_id: self.chain_id,
                nonce,
                gas_limit: TRANSFER_GAS,
                max_fee_per_gas: MAX_FEE,
                max_priority_fee_per_gas: 1,
                to: TxKind::Call(self.address),
                input: Self::transfer(),
                ..TxEip1559::default()
            };
            let signature = key.sign_transaction_sync(&mut transaction)?;
            let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
            Ok(request("eth_sendRawTransaction", &json!([hex::encode_prefixed(raw)])))
        });
        requests.collect()
    }
}

/// A development account, of either node.
pub(crate) fn signer(index: u32) -> eyre::Result<PrivateKeySigner> {
    let builder = MnemonicBuilder::<English>::default().phrase(cordon_node::DEFAULT_MNEMONIC);
    Ok(builder.index(index)?.build()?)
}

fn creation_code(root: &Path) -> eyre::Result<Vec<u8>> {
    let folder = "scripts/npm/node_modules/@aave/core-v3/artifacts/contracts/mocks/tokens";
    let path = root.join(folder).join("MintableERC20.sol/MintableERC20.json");
    let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("{}: run scripts/setup", path.display()))?;
    let artifact: Value = serde_json::from_str(&text)?;
    let code = artifact.get("bytecode").and_then(Value::as_str);
    Ok(hex::decode(code.ok_or_eyre("the artifact has no code")?)?)
}
