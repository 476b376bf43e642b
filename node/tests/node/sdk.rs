//! Contracts written with the Stylus SDK, as `scripts/build-contracts --example` makes them from `contracts/examples`.

use std::path::Path;

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes, U256, bytes, keccak256},
    providers::{DynProvider, Provider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    sol,
    sol_types::{SolCall, SolError, SolEvent, SolValue},
};
use cordon_node::{EngineChoice, NodeConfig, spawn};
use cordon_stylus::{code, genesis::STYLUS_DEPLOYER, precompile::ARB_WASM};

use crate::support::*;

sol! {
    function deploy(bytes bytecode, bytes initData, uint256 initValue, bytes32 salt) external payable returns (address);
    function activateProgram(address program) external payable returns (uint16 version, uint256 dataFee);
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
const ETHER: u64 = 1_000_000_000_000_000_000;

fn wasm(name: &str) -> Vec<u8> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/target/cordon");
    let path = programs.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|_| panic!("{}: run scripts/build-contracts --example", path.display()))
}

fn initialisation(owner: Address, number: u64) -> Bytes {
    let arguments = (owner, U256::from(number)).abi_encode_params();
    [&CONSTRUCTOR[..], &arguments].concat().into()
}

fn to(target: Address, input: impl Into<Bytes>) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(ALICE)
        .with_to(target)
        .with_input(input.into())
}

/// One chain on one engine, and the gas of all that was sent.
struct World {
    provider: DynProvider,
    gas: Vec<u64>,
}

impl World {
    async fn send(&mut self, request: TransactionRequest) -> TransactionReceipt {
        let receipt = send(&self.provider, request).await;
        self.gas.push(receipt.gas_used);
        receipt
    }

    async fn done(&mut self, target: Address, call: impl SolCall) -> TransactionReceipt {
        let receipt = self.send(to(target, call.abi_encode())).await;
        assert!(receipt.status());
        receipt
    }

    async fn ask<C: SolCall>(&self, target: Address, call: C) -> C::Return {
        let answer = self.provider.call(to(target, call.abi_encode())).await.unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    async fn refused<E: SolError>(&self, target: Address, call: impl SolCall) -> E {
        let error = self.provider.call(to(target, call.abi_encode())).await.unwrap_err();
        E::abi_decode(&error.as_error_resp().unwrap().as_revert_data().unwrap()).unwrap()
    }

    /// Deploys, activates and constructs by the published deployer.
    async fn deploy(&mut self, owner: Address, number: u64, value: u64, salt: u8) -> Address {
        let call = deployCall {
            bytecode: code::init_code(&code::compress(&wasm("example-kit")).unwrap()).into(),
            initData: initialisation(owner, number),
            initValue: U256::from(value),
            salt: [salt; 32].into(),
        };
        let request = to(STYLUS_DEPLOYER, call.abi_encode()).with_value(U256::from(ETHER));
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
    let error: Kit::NotOwner = world.refused(kit, Kit::handOverCall { to: ALICE }).await;
    assert_eq!(error.caller, ALICE, "a method of the composed part");

    let note = Kit::noteCall {
        kind: U256::from(8),
        text: "noted".to_owned(),
    };
    let receipt = world.done(kit, note).await;
    let event = Kit::Noted::decode_log(&receipt.logs()[0].inner).unwrap();
    assert_eq!((event.address, event.who, event.kind), (kit, ALICE, U256::from(8)));
    assert_eq!((event.value, event.text.as_str()), (U256::from(3), "noted"));
}

async fn calls_and_ether(world: &mut World, kit: Address, other: Address) {
    assert_eq!(world.ask(kit, Kit::askCall { other }).await, U256::from(77));
    let number = U256::from(9);
    world.done(kit, Kit::tellCall { other, number }).await;
    assert_eq!(world.ask(other, Kit::numberCall {}).await, number);

    let pass = to(kit, Kit::passCall { other }.abi_encode()).with_value(U256::from(6));
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

    let somebody = Address::repeat_byte(0x77);
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

    assert!(world.send(transfer(ALICE, kit, 3)).await.status());
    assert_eq!(
        world.ask(kit, Kit::receivedCall {}).await,
        U256::from(13),
        "10 when it was made"
    );
    let unknown = bytes!("deadbeef0102");
    assert_eq!(world.provider.call(to(kit, unknown.clone())).await.unwrap(), unknown);
    assert!(world.send(to(kit, unknown.clone())).await.status());
    assert_eq!(world.ask(kit, Kit::fallbackHashCall {}).await, keccak256(&unknown));
    let unpaid = to(kit, Kit::setNumberCall { number }.abi_encode()).with_value(U256::from(1));
    assert!(
        world.provider.call(unpaid).await.is_err(),
        "a method that takes no ether"
    );
}

/// Everything that the contract can do; answers the gas of every transaction.
async fn scenario(engine: EngineChoice) -> Vec<u64> {
    let node = spawn(NodeConfig {
        wasm_engine: engine,
        ..NodeConfig::default()
    })
    .await
    .unwrap();
    let mut world = World {
        provider: plain(&node.http_endpoint()),
        gas: Vec::new(),
    };
    let kit = world.deploy(BOB, 5, 10, 1).await;
    assert_eq!(world.ask(kit, Kit::ownerCall {}).await, BOB);
    assert_eq!(world.ask(kit, Kit::numberCall {}).await, U256::from(5));
    assert_eq!(world.ask(kit, Kit::receivedCall {}).await, U256::from(10));
    let again = to(kit, initialisation(ALICE, 6));
    assert!(world.provider.call(again).await.is_err(), "it is constructed once");
    storage_and_errors(&mut world, kit).await;
    let other = world.deploy(ALICE, 77, 0, 2).await;
    calls_and_ether(&mut world, kit, other).await;
    node.stop().await.unwrap();
    world.gas
}

#[tokio::test]
async fn an_sdk_contract_does_everything_on_either_engine_at_the_same_price() {
    let interpreted = scenario(EngineChoice::Wasmi).await;
    assert_eq!(interpreted, scenario(EngineChoice::Wasmtime).await);
    assert_eq!(interpreted.len(), 12);
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
    let node = fresh().await;
    let mut world = World {
        provider: plain(&node.http_endpoint()),
        gas: Vec::new(),
    };
    let wasm = wasm("example-kit-large");
    let stream = code::compress(&wasm).unwrap().split_off(4);
    assert!(stream.len() > 2 * 24_576, "it needs three accounts");
    let mut root = vec![0xef, 0xf0, 2, 0];
    root.extend_from_slice(&u32::try_from(wasm.len()).unwrap().to_be_bytes());
    let mut create = async |code: &[u8]| {
        let request = TransactionRequest::default()
            .with_from(ALICE)
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
    let receipt = world.send(to(ARB_WASM, call).with_value(U256::from(ETHER))).await;
    assert!(receipt.status());
    assert_eq!(world.ask(program, Kit::tableHashCall {}).await, keccak256(table()));
    world.done(program, Kit::setNumberCall { number: U256::from(1) }).await;
    assert_eq!(world.ask(program, Kit::numberCall {}).await, U256::from(1));
    node.stop().await.unwrap();
}
