//! A service that signs (web3signer and others that speak `eth_signTransaction`), which in its turn may keep the key in a vault or
//! a hardware module.

use std::fmt;
use std::time::Duration;

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, Bytes, hex};
use cordon_client::config::SecretText;
use serde_json::{Value, json};

/// How long a service may take to sign.
const DEADLINE: Duration = Duration::from_secs(3);
/// More than any signed call of ours.
const LONGEST: usize = 1 << 20;

/// A service that signs for one account.
#[derive(Clone)]
pub struct RemoteSigner {
    url: SecretText,
    address: Address,
    client: reqwest::Client,
}

impl fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteSigner({})", self.address)
    }
}

impl RemoteSigner {
    /// The service at `url` (JSON-RPC over HTTP), for the account `address`. Nothing is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: SecretText, address: Address) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { url, address, client })
    }

    /// The account that it signs for.
    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// The signed transaction. The error is a sentence without secrets.
    pub(super) async fn sign(&self, tx: TxEip1559) -> Result<TxEnvelope, String> {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_signTransaction", "params": [self.question(&tx)] });
        let request = self.client.post(self.url.expose()).json(&body);
        // The error's own text holds the URL.
        let said = |error: reqwest::Error| format!("the signing service does not answer: {}", error.without_url());
        let answer = request.send().await.map_err(said)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(said)?;
        if bytes.len() > LONGEST {
            return Err("the signing service's answer is too long".to_owned());
        }
        let answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| format!("the signing service answers {status} without JSON"))?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message: String = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("no reason given")
                .chars()
                .take(200)
                .collect();
            return Err(format!("the signing service refuses: {message}"));
        }
        // web3signer answers the bytes, geth and clef an object that holds them.
        let raw = answer.get("result").and_then(|result| {
            let object = result.get("raw").and_then(Value::as_str);
            result.as_str().or(object)
        });
        let raw: Bytes = raw
            .and_then(|text| hex::decode(text).ok())
            .ok_or("the signing service answers no signed bytes")?
            .into();
        self.check(&raw, &tx)
    }

    fn question(&self, tx: &TxEip1559) -> Value {
        json!({
            "from": self.address,
            "to": tx.to.to(),
            "gas": format!("{:#x}", tx.gas_limit),
            "maxFeePerGas": format!("{:#x}", tx.max_fee_per_gas),
            "maxPriorityFeePerGas": format!("{:#x}", tx.max_priority_fee_per_gas),
            "value": "0x0",
            "data": tx.input,
            "input": tx.input,
            "nonce": format!("{:#x}", tx.nonce),
            "chainId": format!("{:#x}", tx.chain_id),
            "type": "0x2",
        })
    }

    /// What came back must be what was asked for, signed by the account: a service that was taken over signs nothing else
    /// through us.
    fn check(&self, raw: &[u8], asked: &TxEip1559) -> Result<TxEnvelope, String> {
        let envelope = TxEnvelope::decode_2718_exact(raw).map_err(|_| "the signing service answers no transaction")?;
        let TxEnvelope::Eip1559(signed) = &envelope else {
            return Err("the signing service answers a transaction of another type".to_owned());
        };
        if signed.tx() != asked {
            return Err("the signing service has changed the transaction".to_owned());
        }
        match envelope.recover_signer() {
            Ok(signer) if signer == self.address => Ok(envelope),
            Ok(signer) => Err(format!("the signing service signs with the key of {signer}")),
            Err(_) => Err("the signing service answers an invalid signature".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::sync::Arc;

    use alloy::consensus::SignableTransaction;
    use alloy::eips::eip2718::Encodable2718;
    use alloy::primitives::{TxKind, U256};
    use alloy::signers::SignerSync;
    use alloy::signers::local::PrivateKeySigner;
    use axum::extract::State;
    use axum::{Json, Router};

    use super::super::KeySigner;
    use super::*;

    /// How a service answers.
    #[derive(Clone, Copy, Debug)]
    enum Manner {
        Web3signer,
        Geth,
        Refuses,
        SignsAnother,
        HasAnotherKey,
        SaysNothing,
    }

    fn key() -> PrivateKeySigner {
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
            .parse()
            .unwrap()
    }

    fn transaction() -> TxEip1559 {
        TxEip1559 {
            chain_id: 42_161,
            nonce: 7,
            gas_limit: 1_000_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(Address::repeat_byte(0x77)),
            value: U256::ZERO,
            access_list: Default::default(),
            input: Bytes::from_static(b"trip"),
        }
    }

    /// Signs what it is asked to, as the JSON says, or does not.
    async fn answer(State(manner): State<Arc<Manner>>, Json(question): Json<Value>) -> Json<Value> {
        let asked = &question["params"][0];
        let number = |name: &str| {
            let text = asked[name].as_str().unwrap();
            u128::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
        };
        let mut tx = TxEip1559 {
            chain_id: u64::try_from(number("chainId")).unwrap(),
            nonce: u64::try_from(number("nonce")).unwrap(),
            gas_limit: u64::try_from(number("gas")).unwrap(),
            max_fee_per_gas: number("maxFeePerGas"),
            max_priority_fee_per_gas: number("maxPriorityFeePerGas"),
            to: TxKind::Call(asked["to"].as_str().unwrap().parse().unwrap()),
            value: U256::ZERO,
            access_list: Default::default(),
            input: asked["data"].as_str().unwrap().parse().unwrap(),
        };
        assert_eq!(
            asked["from"].as_str().unwrap().parse::<Address>().unwrap(),
            key().address()
        );
        let mut signer = key();
        match *manner {
            Manner::SignsAnother => tx.to = TxKind::Call(Address::repeat_byte(0x66)),
            Manner::HasAnotherKey => signer = PrivateKeySigner::random(),
            _ => {}
        }
        let signature = signer.sign_hash_sync(&tx.signature_hash()).unwrap();
        let raw = hex::encode_prefixed(TxEnvelope::from(tx.into_signed(signature)).encoded_2718());
        Json(match *manner {
            Manner::Geth => json!({ "jsonrpc": "2.0", "id": 1, "result": { "raw": raw, "tx": {} } }),
            Manner::Refuses => json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "locked" } }),
            Manner::SaysNothing => json!({ "jsonrpc": "2.0", "id": 1, "result": null }),
            _ => json!({ "jsonrpc": "2.0", "id": 1, "result": raw }),
        })
    }

    async fn sign(manner: Manner) -> Result<TxEnvelope, String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token-of-the-service", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::new(manner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let signer = RemoteSigner::new(SecretText::new(url), key().address()).unwrap();
        let result = KeySigner::Remote(signer).sign(transaction()).await;
        server.abort();
        result
    }

    #[tokio::test]
    async fn a_service_signs_what_a_key_at_hand_would() {
        let own = KeySigner::from(key()).sign(transaction()).await.unwrap();
        for manner in [Manner::Web3signer, Manner::Geth] {
            let signed = sign(manner).await.unwrap();
            assert_eq!(signed.encoded_2718(), own.encoded_2718(), "{manner:?}");
        }
    }

    #[tokio::test]
    async fn a_service_that_was_taken_over_signs_nothing_else_through_us() {
        for (manner, why) in [
            (Manner::Refuses, "refuses: locked"),
            (Manner::SignsAnother, "has changed the transaction"),
            (Manner::HasAnotherKey, "signs with the key of"),
            (Manner::SaysNothing, "answers no signed bytes"),
        ] {
            let error = sign(manner).await.unwrap_err();
            assert!(error.contains(why), "{manner:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_service_that_cannot_be_reached_is_told_of_without_its_url() {
        let url = SecretText::new("http://127.0.0.1:1/token-of-the-service");
        let signer = RemoteSigner::new(url, key().address()).unwrap();
        assert!(!format!("{signer:?}").contains("token"));
        let error = KeySigner::Remote(signer).sign(transaction()).await.unwrap_err();
        assert!(error.contains("does not answer") && !error.contains("token"), "{error}");
    }
}
