//! What is tried when the keeper cannot contain by itself: a Safe, with its published bytecode, as a guardian.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use alloy::sol_types::{SolCall, SolEvent, SolStruct, eip712_domain};
use cordon_client::Config;
use cordon_client::guard::ICordonGuard;
use cordon_keeper::KeeperEvent;
use cordon_keeper::record::{AlarmKind, Incident};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::board::GAUGE;
use crate::world::{GAUGE_RULE, GOVERNOR, KEEPER, OTHER, Running, USER, World, key, until};

mod abi {
    #![allow(missing_docs, clippy::too_many_arguments)]

    alloy::sol! {
        interface ISafe {
            function setup(address[] calldata owners, uint256 threshold, address to, bytes calldata data, address handler, address token, uint256 payment, address receiver) external;
            function execTransaction(address to, uint256 value, bytes calldata data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address receiver, bytes calldata signatures) external payable returns (bool);
            function nonce() external view returns (uint256);
        }
        interface ISafeFactory {
            event ProxyCreation(address indexed proxy, address singleton);
            function createProxyWithNonce(address singleton, bytes calldata initializer, uint256 salt) external returns (address);
        }
        #[derive(Debug)]
        struct SafeTx {
            address to;
            uint256 value;
            bytes data;
            uint8 operation;
            uint256 safeTxGas;
            uint256 baseGas;
            uint256 gasPrice;
            address gasToken;
            address refundReceiver;
            uint256 nonce;
        }
    }
}

use abi::{ISafe, ISafeFactory, SafeTx};

pub(crate) const OWNERS: [u32; 2] = [OTHER, USER];

fn published(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = root
        .join("scripts/npm/node_modules/@safe-global/safe-contracts/build/artifacts/contracts")
        .join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let artifact: Value = serde_json::from_str(&text).unwrap();
    artifact["bytecode"]
        .as_str()
        .unwrap()
        .parse::<Bytes>()
        .unwrap()
        .to_vec()
}

pub(crate) async fn create(world: &World, code: Vec<u8>) -> Address {
    let tx = TransactionRequest::default()
        .with_from(key(USER).address())
        .with_deploy_code(code);
    let receipt = world
        .provider
        .send_transaction(tx)
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    receipt.contract_address.unwrap()
}

/// A Safe of two owners who both have to sign, which the governor makes a guardian.
pub(crate) async fn safe(world: &World) -> Address {
    let singleton = create(world, published("Safe.sol/Safe.json")).await;
    let factory = create(world, published("proxies/SafeProxyFactory.sol/SafeProxyFactory.json")).await;
    let initializer = ISafe::setupCall {
        owners: OWNERS.map(|owner| key(owner).address()).to_vec(),
        threshold: U256::from(2),
        to: Address::ZERO,
        data: Bytes::new(),
        handler: Address::ZERO,
        token: Address::ZERO,
        payment: U256::ZERO,
        receiver: Address::ZERO,
    };
    let call = ISafeFactory::createProxyWithNonceCall {
        singleton,
        initializer: initializer.abi_encode().into(),
        salt: U256::ONE,
    };
    let receipt = world.send(USER, factory, call.abi_encode()).await;
    let created = receipt.inner.logs().iter();
    let created = created.filter_map(|log| ISafeFactory::ProxyCreation::decode_log(&log.inner).ok());
    let safe = created.last().unwrap().proxy;
    let grant = ICordonGuard::setRoleCall {
        role: ICordonGuard::Role::Guardian,
        account: safe,
        granted: true,
    };
    world.send(GOVERNOR, world.guard, grant.abi_encode()).await;
    safe
}

/// How many transactions the Safe has executed.
pub(crate) async fn safe_nonce(world: &World, safe: Address) -> U256 {
    let request = TransactionRequest::default()
        .with_to(safe)
        .with_input(ISafe::nonceCall {}.abi_encode());
    let answer = world.provider.call(request).await.unwrap();
    ISafe::nonceCall::abi_decode_returns(&answer).unwrap()
}

fn safe_tx(to: Address, data: Bytes, nonce: u64) -> SafeTx {
    SafeTx {
        to,
        value: U256::ZERO,
        data,
        operation: 0,
        safeTxGas: U256::ZERO,
        baseGas: U256::ZERO,
        gasPrice: U256::ZERO,
        gasToken: Address::ZERO,
        refundReceiver: Address::ZERO,
        nonce: U256::from(nonce),
    }
}

fn digest(world: &World, safe: Address, tx: &SafeTx) -> B256 {
    tx.eip712_signing_hash(&eip712_domain! { chain_id: world.node.chain_id(), verifying_contract: safe, })
}

fn confirmations(digest: B256, owners: &[u32]) -> Vec<Value> {
    owners
        .iter()
        .map(|owner| {
            let signature = key(*owner).sign_hash_sync(&digest).unwrap().as_bytes().to_vec();
            json!({ "owner": key(*owner).address(), "signature": Bytes::from(signature) })
        })
        .collect()
}

/// The file of a containment that these owners have signed.
pub(crate) fn signed_file(world: &World, safe: Address, nonce: u64, owners: &[u32]) -> String {
    let contain = ICordonGuard::containCall {
        scope: 1,
        level: ICordonGuard::Level::ReduceOnly,
        duration: 3_600,
        evidence: B256::ZERO,
    };
    let tx = safe_tx(world.guard, contain.abi_encode().into(), nonce);
    let digest = digest(world, safe, &tx);
    json!({
        "safe": safe, "to": tx.to, "value": "0", "data": tx.data, "operation": 0, "safeTxGas": 0, "baseGas": 0, "gasPrice": "0",
        "gasToken": Address::ZERO, "refundReceiver": Address::ZERO, "nonce": nonce, "safeTxHash": digest,
        "confirmations": confirmations(digest, owners),
    })
    .to_string()
}

/// A Safe Transaction Service that keeps what it is given.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<BTreeMap<String, Value>>>);

impl Service {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let service = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(service.clone().answer(socket));
            }
        });
        url
    }

    async fn answer(self, mut socket: TcpStream) {
        let mut read = Vec::new();
        let (head, body) = loop {
            if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        };
        let path = head.split(' ').nth(1).unwrap();
        let (status, answer) = if head.starts_with("POST") {
            assert!(
                path.starts_with("/api/v2/safes/0x") && path.ends_with("/multisig-transactions/"),
                "{path}"
            );
            let body: Value = serde_json::from_str(&body).unwrap();
            let hash = body["contractTransactionHash"].as_str().unwrap().to_owned();
            self.0.lock().unwrap().insert(hash, body);
            ("201 Created", String::new())
        } else {
            let hash = path.trim_end_matches('/').rsplit('/').next().unwrap();
            match self.0.lock().unwrap().get(hash) {
                Some(_) => ("200 OK", json!({ "safeTxHash": hash }).to_string()),
                None => ("404 Not Found", json!({ "detail": "Not found" }).to_string()),
            }
        };
        let length = answer.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
        );
        let _ = socket.write_all(answer.as_bytes()).await;
    }
}

/// A keeper with a fallback, whose own key cannot pay any more.
async fn broke(world: &mut World, fallback: &str) -> Running {
    let path = world.dir.path().join("cordon.toml");
    let text = std::fs::read_to_string(&path).unwrap() + fallback;
    std::fs::write(&path, text).unwrap();
    world.config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let mut options = world.options();
    options.deliver.deadline = Duration::from_secs(3);
    let keeper = world
        .keeper_at_head(options, world.store().await, World::signers())
        .await;
    world
        .rpc("anvil_setBalance", json!([key(KEEPER).address(), "0x0"]))
        .await;
    keeper
}

fn story(incident: &Incident) -> Vec<&str> {
    let lines = incident.timeline.iter().filter(|line| line.kind == "fallback");
    lines.map(|line| line.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owners_have_signed_ahead_contains_when_the_keeper_cannot_pay() {
    let mut world = World::new(&GAUGE_RULE).await;
    let safe = safe(&world).await;
    std::fs::write(world.dir.path().join("old.json"), signed_file(&world, safe, 7, &OWNERS)).unwrap();
    std::fs::write(
        world.dir.path().join("one.json"),
        signed_file(&world, safe, 0, &[OTHER]),
    )
    .unwrap();
    std::fs::write(
        world.dir.path().join("good.json"),
        signed_file(&world, safe, 0, &OWNERS),
    )
    .unwrap();
    let fallback = format!(
        "[[fallback]]\nid = \"council\"\nscopes = [\"market\"]\nsafe = \"{safe}\"\ndeadline = \"5 seconds\"\nsigned = [\"old.json\", \"one.json\", \"good.json\"]\n"
    );
    let mut keeper = broke(&mut world, &fallback).await;
    world.set(GAUGE, 5_000).await;
    until("the Safe has contained", || async {
        world.level(1).await == ICordonGuard::Level::ReduceOnly
    })
    .await;
    until("the ladder is at its end", || async {
        story(&keeper.incident().await)
            .iter()
            .any(|line| line.contains("no more is needed"))
    })
    .await;
    let incident = keeper.incident().await;
    let story = story(&incident);
    assert_eq!(story.len(), 4, "{story:#?}");
    assert!(story[0].contains("has not worked within"), "{story:#?}");
    assert!(story[2].contains("good.json: executed in 0x"), "{story:#?}");
    assert_eq!(incident.state.name(), "contained");
    // What is signed is used up: the owners have to sign anew, and hear of it.
    let stale = |event: &KeeperEvent| matches!(event, KeeperEvent::Alarm { kind: AlarmKind::FallbackNotReady, text, .. } if text.contains("sign anew"));
    keeper.event("the alarm that nothing signed is left", stale).await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_signed_is_proposed_and_people_are_called() {
    let mut world = World::new(&GAUGE_RULE).await;
    let safe = safe(&world).await;
    let service = Service::default();
    let url = service.start().await;
    std::fs::write(
        world.dir.path().join("stale.json"),
        signed_file(&world, safe, 3, &OWNERS),
    )
    .unwrap();
    let fallback = format!(
        "[[fallback]]\nid = \"council\"\nsafe = \"{safe}\"\ndeadline = \"5 seconds\"\nsigned = \"stale.json\"\nservice = \"{url}\"\nfor = \"2 hours\"\n"
    );
    let mut keeper = broke(&mut world, &fallback).await;
    world.set(GAUGE, 5_000).await;
    let called = |event: &KeeperEvent| {
        matches!(
            event,
            KeeperEvent::Alarm {
                kind: AlarmKind::FallbackNotReady,
                ..
            }
        )
    };
    keeper.event("that what is signed would not work", called).await;
    until("people are called", || async {
        let alarms = keeper.store.alarms().await.unwrap();
        alarms
            .iter()
            .any(|alarm| alarm.kind == "not-contained" && alarm.cleared_ms.is_none())
    })
    .await;
    let held: Vec<Value> = service.0.lock().unwrap().values().cloned().collect();
    let [proposal] = held.as_slice() else {
        panic!("one proposal: {held:#?}")
    };
    let text = |key: &str| proposal[key].as_str().unwrap().to_owned();
    let tx = safe_tx(text("to").parse().unwrap(), text("data").parse().unwrap(), 0);
    let hash = digest(&world, safe, &tx);
    assert_eq!(text("contractTransactionHash").parse::<B256>().unwrap(), hash);
    assert_eq!(text("sender").parse::<Address>().unwrap(), key(KEEPER).address());
    let wanted = ICordonGuard::containCall::abi_decode(&tx.data).unwrap();
    assert_eq!((wanted.scope, wanted.duration, tx.to), (1, 7_200, world.guard));

    // The owners sign what was proposed, and one of them sends it.
    let mut by_owner: BTreeMap<Address, Vec<u8>> = BTreeMap::new();
    for owner in OWNERS {
        let signature = key(owner).sign_hash_sync(&hash).unwrap().as_bytes().to_vec();
        by_owner.insert(key(owner).address(), signature);
    }
    let call = ISafe::execTransactionCall {
        to: tx.to,
        value: tx.value,
        data: tx.data.clone(),
        operation: 0,
        safeTxGas: U256::ZERO,
        baseGas: U256::ZERO,
        gasPrice: U256::ZERO,
        gasToken: Address::ZERO,
        receiver: Address::ZERO,
        signatures: by_owner.into_values().flatten().collect::<Vec<u8>>().into(),
    };
    world.send(USER, safe, call.abi_encode()).await;
    assert_eq!(world.level(1).await, ICordonGuard::Level::ReduceOnly);
    until("people are told that it is contained", || async {
        let alarms = keeper.store.alarms().await.unwrap();
        alarms
            .iter()
            .any(|alarm| alarm.kind == "not-contained" && alarm.cleared_ms.is_some())
    })
    .await;
    let incident = keeper.incident().await;
    let story = story(&incident);
    let count = |word: &str| story.iter().filter(|line| line.contains(word)).count();
    assert_eq!(
        (
            count("proposal: done"),
            count("page: done"),
            count("signed transaction: failed")
        ),
        (1, 1, 1),
        "{story:#?}"
    );
    keeper.stop().await;
}
