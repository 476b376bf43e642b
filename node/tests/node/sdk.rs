//! Contracts written with the Stylus SDK, as `scripts/build-contracts --example` makes them from `contracts/examples`.
//!
//! On a chain of their own, or on the one that `CORDON_STYLUS_RPC_URL` names, as the account of `CORDON_STYLUS_KEY`: a Nitro dev
//! node, say, which tells whether it and this node do the same.

use std::{fs::File, path::Path};

use alloy::{
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, Bytes, U256, bytes, keccak256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol,
    sol_types::{SolCall, SolError, SolEvent, SolValue},
};
use cordon_node::{EngineChoice, NodeConfig, NodeHandle, spawn};
use cordon_stylus::{
    code,
    genesis::STYLUS_DEPLOYER,
    precompile::{ARB_OWNER_PUBLIC, ARB_WASM},
};

use crate::support::*;

sol! {
    function deploy(bytes bytecode, bytes initData, uint256 initValue, bytes32 salt) external payable returns (address);
    function activateProgram(address program) external payable returns (uint16 version, uint256 dataFee);
    function getMaxStylusContractFragments() external view returns (uint8);
    event ContractDeployed(address deployedContract);

    interface Kit {
        event Noted(address indexed who, uint256 indexed kind, uint256 value, string text);
        error NotOwner(address caller);
        error TooMuch(uint256 have, uint256 want);
        function owner() external view returns (address);
        function handOver(address to) external;
        function number() external view returns (uint256);
        function setNumber(uint256 number) external;
        function store(uint256 seed, string text, uint8[] blob) external;
        function load(uint256 key)
            external
            view
            returns (bool, uint64, uint256, uint256, uint256, string, uint8[], uint8, uint256, bool);
        function shrink() external returns (uint256);
        function take(uint256 want) external returns (uint256);
        function note(uint256 kind, string text) external;
        function ask(address other) external view returns (uint256);
        function tell(address other, uint256 number) external;
        function pass(address other) external payable;
        function delegate(address code, uint8[] data) external returns (uint8[]);
        function send(address to, uint256 amount) external;
        function received() external view returns (uint256);
        function fallbackHash() external view returns (bytes32);
        function tableHash() external view returns (bytes32);
    }
}

/// `stylus_constructor()`, whatever the arguments are.
const CONSTRUCTOR: [u8; 4] = [0x55, 0x85, 0x25, 0x8d];
/// Wei that pay for an activation many times over; what is left comes back.
const FEE: u64 = 10_000_000_000_000_000;
/// The chain that the tests are to run on, and the key of an account there that has some ether.
const RPC_URL: &str = "CORDON_STYLUS_RPC_URL";
const RPC_KEY: &str = "CORDON_STYLUS_KEY";

fn wasm(name: &str) -> Vec<u8> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/target/cordon");
    let path = programs.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|_| panic!("{}: run scripts/build-contracts --example", path.display()))
}

fn initialisation(owner: Address, number: u64) -> Bytes {
    let arguments = (owner, U256::from(number)).abi_encode_params();
    [&CONSTRUCTOR[..], &arguments].concat().into()
}

/// Transactions of [`scenario`].
const TRANSACTIONS: usize = 12;

/// One chain, and the gas of all that was sent.
struct World {
    provider: DynProvider,
    /// Who sends everything.
    account: Address,
    /// The chain's node, unless it is somebody else's.
    node: Option<NodeHandle>,
    /// On a chain that somebody else runs tests go one after the other: they send as the same account.
    _turn: Option<File>,
    gas: Vec<u64>,
}

impl World {
    /// A chain of its own on one engine.
    async fn fresh(wasm_engine: EngineChoice) -> Self {
        let config = NodeConfig {
            wasm_engine,
            ..NodeConfig::default()
        };
        let node = spawn(config).await.unwrap();
        let world = Self::at(&node.http_endpoint(), KEY);
        Self {
            node: Some(node),
            ..world
        }
    }

    /// The chain that the environment names, if it names one.
    fn named() -> Option<Self> {
        let url = std::env::var(RPC_URL).ok()?;
        let key = std::env::var(RPC_KEY).unwrap_or_else(|_| KEY.to_owned());
        let turn = File::create(std::env::temp_dir().join("cordon-stylus-rpc.lock")).unwrap();
        turn.lock().unwrap();
        Some(Self {
            _turn: Some(turn),
            ..Self::at(&url, &key)
        })
    }

    fn at(url: &str, key: &str) -> Self {
        let key: PrivateKeySigner = key.parse().unwrap();
        let account = key.address();
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(key))
            .connect_http(url.parse().unwrap())
            .erased();
        Self {
            provider,
            account,
            node: None,
            _turn: None,
            gas: Vec::new(),
        }
    }

    async fn end(self) -> Vec<u64> {
        if let Some(node) = self.node {
            node.stop().await.unwrap();
        }
        self.gas
    }

    fn to(&self, target: Address, input: impl Into<Bytes>) -> TransactionRequest {
        TransactionRequest::default()
            .with_from(self.account)
            .with_to(target)
            .with_input(input.into())
    }

    async fn send(&mut self, request: TransactionRequest) -> TransactionReceipt {
        let pending = self.provider.send_transaction(request).await.unwrap();
        let receipt = pending.get_receipt().await.unwrap();
        self.gas.push(receipt.gas_used);
        receipt
    }

    async fn done(&mut self, target: Address, call: impl SolCall) -> TransactionReceipt {
        let receipt = self.send(self.to(target, call.abi_encode())).await;
        assert!(receipt.status());
        receipt
    }

    async fn ask<C: SolCall>(&self, target: Address, call: C) -> C::Return {
        let answer = self.provider.call(self.to(target, call.abi_encode())).await.unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    async fn refused<E: SolError>(&self, target: Address, call: impl SolCall) -> E {
        let error = self
            .provider
            .call(self.to(target, call.abi_encode()))
            .await
            .unwrap_err();
        E::abi_decode(&error.as_error_resp().unwrap().as_revert_data().unwrap()).unwrap()
    }

    /// Deploys, activates and constructs by the published deployer.
    async fn deploy(&mut self, owner: Address, number: u64, value: u64) -> Address {
        // The salt must be new to the chain, and the same in both runs on chains of their own.
        let sent = self.provider.get_transaction_count(self.account).await.unwrap();
        let call = deployCall {
            bytecode: code::init_code(&code::compress(&wasm("example-kit")).unwrap()).into(),
            initData: initialisation(owner, number),
            initValue: U256::from(value),
            salt: keccak256((self.account, U256::from(sent)).abi_encode()),
        };
        let request = self
            .to(STYLUS_DEPLOYER, call.abi_encode())
            .with_value(U256::from(FEE + value));
        let receipt = self.send(request).await;
        assert!(receipt.status());
        let mut logs = receipt.logs().iter();
        let deployed = logs.find_map(|log| ContractDeployed::decode_log(&log.inner).ok());
        deployed.unwrap().deployedContract
    }
}

async fn storage_and_errors(world: &mut World, kit: Address) {
    let blob = vec![7; 100];
    let store = Kit::storeCall {
        seed: U256::from(11),
        text: "a text of more than thirty-one bytes, so that it needs slots of its own".to_owned(),
        blob: blob.clone(),
    };
    let text = store.text.clone();
    world.done(kit, store).await;
    let loaded = world.ask(kit, Kit::loadCall { key: U256::from(11) }).await;
    assert_eq!((loaded._0, loaded._1, loaded._2), (true, 7, U256::from(11)));
    assert_eq!((loaded._3, loaded._4), (U256::from(2), U256::from(12)));
    assert_eq!((loaded._5, loaded._6, loaded._7), (text, blob, 9));
    assert_eq!((loaded._8, loaded._9), (U256::from(1) << 128, true));
    world.done(kit, Kit::shrinkCall {}).await;
    let loaded = world.ask(kit, Kit::loadCall { key: U256::from(12) }).await;
    assert_eq!(
        (loaded._3, loaded._4, loaded._9),
        (U256::from(1), U256::from(11), false)
    );

    let want = U256::from(100);
    let error: Kit::TooMuch = world.refused(kit, Kit::takeCall { want }).await;
    assert_eq!((error.have, error.want), (U256::from(5), want));
    world.done(kit, Kit::takeCall { want: U256::from(2) }).await;
    assert_eq!(world.ask(kit, Kit::numberCall {}).await, U256::from(3));
    let error: Kit::NotOwner = world.refused(kit, Kit::handOverCall { to: world.account }).await;
    assert_eq!(error.caller, world.account, "a method of the composed part");

    let note = Kit::noteCall {
        kind: U256::from(8),
        text: "noted".to_owned(),
    };
    let receipt = world.done(kit, note).await;
    let event = Kit::Noted::decode_log(&receipt.logs()[0].inner).unwrap();
    assert_eq!(
        (event.address, event.who, event.kind),
        (kit, world.account, U256::from(8))
    );
    assert_eq!((event.value, event.text.as_str()), (U256::from(3), "noted"));
}

async fn calls_and_ether(world: &mut World, kit: Address, other: Address) {
    assert_eq!(world.ask(kit, Kit::askCall { other }).await, U256::from(77));
    let number = U256::from(9);
    world.done(kit, Kit::tellCall { other, number }).await;
    assert_eq!(world.ask(other, Kit::numberCall {}).await, number);

    let pass = world
        .to(kit, Kit::passCall { other }.abi_encode())
        .with_value(U256::from(6));
    assert!(world.send(pass).await.status());
    assert_eq!(world.ask(other, Kit::receivedCall {}).await, U256::from(6));
    assert_eq!(world.provider.get_balance(other).await.unwrap(), U256::from(6));

    let data = Kit::setNumberCall {
        number: U256::from(123),
    }
    .abi_encode();
    world.done(kit, Kit::delegateCall { code: other, data }).await;
    assert_eq!(world.ask(kit, Kit::numberCall {}).await, U256::from(123));
    assert_eq!(
        world.ask(other, Kit::numberCall {}).await,
        number,
        "the code's own storage is as it was"
    );

    let somebody = Address::from_word(keccak256(kit));
    world
        .done(
            kit,
            Kit::sendCall {
                to: somebody,
                amount: U256::from(4),
            },
        )
        .await;
    assert_eq!(world.provider.get_balance(somebody).await.unwrap(), U256::from(4));

    let gift = world.to(kit, Bytes::new()).with_value(U256::from(3));
    assert!(world.send(gift).await.status());
    assert_eq!(
        world.ask(kit, Kit::receivedCall {}).await,
        U256::from(13),
        "10 when it was made"
    );
    let unknown = bytes!("deadbeef0102");
    assert_eq!(
        world.provider.call(world.to(kit, unknown.clone())).await.unwrap(),
        unknown
    );
    assert!(world.send(world.to(kit, unknown.clone())).await.status());
    assert_eq!(world.ask(kit, Kit::fallbackHashCall {}).await, keccak256(&unknown));
    let unpaid = world
        .to(kit, Kit::setNumberCall { number }.abi_encode())
        .with_value(U256::from(1));
    assert!(
        world.provider.call(unpaid).await.is_err(),
        "a method that takes no ether"
    );
}

/// Everything that the contract can do; answers the gas of every transaction.
async fn scenario(mut world: World) -> Vec<u64> {
    let owner = Address::repeat_byte(0xb0);
    let kit = world.deploy(owner, 5, 10).await;
    assert_eq!(world.ask(kit, Kit::ownerCall {}).await, owner);
    assert_eq!(world.ask(kit, Kit::numberCall {}).await, U256::from(5));
    assert_eq!(world.ask(kit, Kit::receivedCall {}).await, U256::from(10));
    let again = world.to(kit, initialisation(ALICE, 6));
    assert!(world.provider.call(again).await.is_err(), "it is constructed once");
    storage_and_errors(&mut world, kit).await;
    let other = world.deploy(world.account, 77, 0).await;
    calls_and_ether(&mut world, kit, other).await;
    world.end().await
}

#[tokio::test]
async fn an_sdk_contract_does_everything_on_either_engine_at_the_same_price() {
    if let Some(world) = World::named() {
        assert_eq!(scenario(world).await.len(), TRANSACTIONS);
        return;
    }
    let interpreted = scenario(World::fresh(EngineChoice::Wasmi).await).await;
    assert_eq!(interpreted, scenario(World::fresh(EngineChoice::Wasmtime).await).await);
    assert_eq!(interpreted.len(), TRANSACTIONS);
}

/// The table that makes the program large: the high bytes of a xorshift generator.
fn table() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..40 << 10).map(byte).collect()
}

#[tokio::test]
async fn a_large_sdk_contract_runs_from_fragments() {
    let mut world = match World::named() {
        Some(world) => world,
        None => World::fresh(EngineChoice::Auto).await,
    };
    let asked = world.to(ARB_OWNER_PUBLIC, getMaxStylusContractFragmentsCall {}.abi_encode());
    let most = world.provider.call(asked).await.unwrap_or_default();
    if world.node.is_none() && most.last().is_none_or(|most| *most < 3) {
        println!("the chain that {RPC_URL} names has no fragments (ArbOS 60)");
        return;
    }
    let wasm = wasm("example-kit-large");
    let stream = code::compress(&wasm).unwrap().split_off(4);
    assert!(stream.len() > 2 * 24_576, "it needs three accounts");
    let mut root = vec![0xef, 0xf0, 2, 0];
    root.extend_from_slice(&u32::try_from(wasm.len()).unwrap().to_be_bytes());
    let mut create = async |code: &[u8]| {
        let request = TransactionRequest::default()
            .with_from(world.account)
            .with_deploy_code(code::init_code(code));
        let receipt = world.send(request).await;
        assert!(receipt.status());
        receipt.contract_address.unwrap()
    };
    for part in stream.chunks(24_573) {
        let fragment = create(&[&[0xef, 0xf0, 1][..], part].concat()).await;
        root.extend_from_slice(fragment.as_slice());
    }
    let program = create(&root).await;
    let call = activateProgramCall { program }.abi_encode();
    let activation = world.to(ARB_WASM, call).with_value(U256::from(FEE));
    let receipt = world.send(activation).await;
    assert!(receipt.status());
    assert_eq!(world.ask(program, Kit::tableHashCall {}).await, keccak256(table()));
    world.done(program, Kit::setNumberCall { number: U256::from(1) }).await;
    assert_eq!(world.ask(program, Kit::numberCall {}).await, U256::from(1));
    world.end().await;
}
