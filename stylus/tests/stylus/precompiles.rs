//! Arbitrum's precompiles beside ArbWasm.

use alloy_primitives::{Address, Bytes, TxKind, U256, address, hex, keccak256};
use cordon_stylus::BlockContext;
use cordon_stylus::precompile::{
    ADDRESSES, ARB_AGGREGATOR, ARB_GAS_INFO, ARB_INFO, ARB_OWNER_PUBLIC, ARB_SYS, ARB_WASM, ARB_WASM_CACHE,
};
use revm::context::result::ExecutionResult;

use crate::common::{Chain, SENDER, entry, intrinsic};

const PROGRAM: Address = Address::with_last_byte(0x99);
const EVM: Address = Address::with_last_byte(0x43);

pub(crate) fn with_args(selector: [u8; 4], args: &[U256]) -> Vec<u8> {
    let words = args.iter().flat_map(|arg| arg.to_be_bytes::<32>());
    selector.into_iter().chain(words).collect()
}

pub(crate) fn account(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

pub(crate) fn words(output: &Bytes) -> Vec<U256> {
    output.chunks(32).map(U256::from_be_slice).collect()
}

pub(crate) fn ask(chain: &mut Chain, precompile: Address, data: &[u8]) -> Vec<U256> {
    let outcome = chain.send(precompile, data);
    assert!(outcome.success(), "{}: {outcome:?}", hex::encode(data));
    words(&outcome.output())
}

#[test]
fn arb_sys_knows_the_l2_chain() {
    let mut chain = Chain {
        block: BlockContext::new(700),
        ..Chain::default()
    };
    let mut sys = |data: &[u8]| ask(&mut chain, ARB_SYS, data);
    assert_eq!(
        sys(&hex!("a3b1b31d")),
        [U256::from(700)],
        "arbBlockNumber is the L2 height"
    );
    assert_eq!(sys(&hex!("d127f54a")), [U256::from(412_346)]);
    assert_eq!(sys(&hex!("051038f2")), [U256::from(115)]);
    assert_eq!(sys(&hex!("08bd624c")), [U256::ONE], "isTopLevelCall");
    let alias = sys(&with_args(
        hex!("4dbbd506"),
        &[account(Address::repeat_byte(0xff)), U256::ZERO],
    ));
    assert_eq!(
        alias,
        [account(Address::from(hex!("1111000000000000000000000000000000001110")))],
        "it wraps"
    );
    let block_hash = |number: u64| with_args(hex!("2b407a82"), &[U256::from(number)]);
    assert_eq!(sys(&block_hash(699)).len(), 1);
    for unknown in [700, 443, 5000] {
        let outcome = chain.send(ARB_SYS, &block_hash(unknown));
        assert_eq!(outcome.output()[..4], hex!("d5dc642d"), "InvalidBlockNumber");
    }
}

#[test]
fn arb_sys_knows_the_callers_caller() {
    let mut chain = Chain::default();
    // Passes its calldata on to ArbSys and answers what that answers.
    chain.set_code(
        EVM,
        &hex!("36600060003760006000366000600060645af1503d600060003e3d6000f3"),
    );
    assert_eq!(ask(&mut chain, EVM, &hex!("d74523b3")), [account(SENDER)]);
    assert_eq!(
        ask(&mut chain, EVM, &hex!("08bd624c")),
        [U256::ONE],
        "a contract that the sender calls is top level"
    );
    assert_eq!(ask(&mut chain, ARB_SYS, &hex!("d74523b3")), [U256::ZERO]);
}

#[test]
fn messages_to_l1_burn_their_value() {
    let mut chain = Chain::default();
    let data = with_args(hex!("25e16063"), &[account(EVM)]);
    let before = chain.balance(Address::ZERO);
    let outcome = chain.send_with(TxKind::Call(ARB_SYS), &data, U256::from(500), 1_000_000);
    assert!(outcome.success(), "{outcome:?}");
    assert_eq!(chain.balance(Address::ZERO) - before, U256::from(500));
    let log = &outcome.result.logs()[0];
    assert_eq!(
        log.topics()[..2],
        [
            hex!("3e7aafa77dbf186b7fd488006beff893744caa3c4f6f299e8a709fa2087374fc").into(),
            EVM.into_word()
        ]
    );
    assert_eq!(words(&log.data.data)[4], U256::from(500));
}

#[test]
fn arb_info_reads_accounts() {
    let mut chain = Chain::default();
    chain.set_code(EVM, b"\xfecode");
    chain.set_balance(EVM, U256::from(77));
    assert_eq!(
        ask(&mut chain, ARB_INFO, &with_args(hex!("f8b2cb4f"), &[account(EVM)])),
        [U256::from(77)]
    );
    let code = chain
        .send(ARB_INFO, &with_args(hex!("7e105ce2"), &[account(EVM)]))
        .output();
    assert_eq!(
        (words(&code)[..2].to_vec(), &code[64..69]),
        (vec![U256::from(32), U256::from(5)], &b"\xfecode"[..])
    );
}

/// The methods that answer numbers of a new chain: signature, gas of what they read (a word of the state 800, the parameters of Stylus
/// 100), and what a chain of ArbOS 60 answers at 0.1 gwei.
#[rustfmt::skip]
const ANSWERS: [(Address, &str, u64, &[u64]); 42] = [
    (ARB_SYS, "arbChainID()", 0, &[412_346]),
    (ARB_SYS, "arbOSVersion()", 0, &[115]),
    (ARB_SYS, "getStorageGasAvailable()", 0, &[0]),
    (ARB_SYS, "isTopLevelCall()", 0, &[1]),
    (ARB_SYS, "wasMyCallersAddressAliased()", 0, &[0]),
    (ARB_GAS_INFO, "getPricesInWei()", 1600, &[0, 0, 2_000_000_000_000, 100_000_000, 0, 100_000_000]),
    (ARB_GAS_INFO, "getPricesInArbGas()", 800, &[0, 0, 20_000]),
    (ARB_GAS_INFO, "getGasAccountingParams()", 1600, &[7_000_000, 32_000_000, 32_000_000]),
    (ARB_GAS_INFO, "getMaxTxGasLimit()", 800, &[32_000_000]),
    (ARB_GAS_INFO, "getMaxBlockGasLimit()", 800, &[32_000_000]),
    (ARB_GAS_INFO, "getMinimumGasPrice()", 800, &[100_000_000]),
    (ARB_GAS_INFO, "getL1BaseFeeEstimate()", 800, &[0]),
    (ARB_GAS_INFO, "getL1GasPriceEstimate()", 800, &[0]),
    (ARB_GAS_INFO, "getL1BaseFeeEstimateInertia()", 800, &[10]),
    (ARB_GAS_INFO, "getCurrentTxL1GasFees()", 0, &[0]),
    (ARB_GAS_INFO, "getGasBacklog()", 800, &[0]),
    (ARB_GAS_INFO, "getPricingInertia()", 800, &[102]),
    (ARB_GAS_INFO, "getGasBacklogTolerance()", 800, &[10]),
    (ARB_GAS_INFO, "getPerBatchGasCharge()", 800, &[210_000]),
    (ARB_GAS_INFO, "getL1RewardRate()", 800, &[10]),
    (ARB_GAS_INFO, "getL1RewardRecipient()", 800, &[0]),
    (ARB_GAS_INFO, "getL1PricingSurplus()", 2400, &[0]),
    (ARB_GAS_INFO, "getL1FeesAvailable()", 800, &[0]),
    (ARB_OWNER_PUBLIC, "getNetworkFeeAccount()", 800, &[0]),
    (ARB_OWNER_PUBLIC, "getInfraFeeAccount()", 800, &[0]),
    (ARB_OWNER_PUBLIC, "getBrotliCompressionLevel()", 800, &[1]),
    (ARB_OWNER_PUBLIC, "getScheduledUpgrade()", 1600, &[0, 0]),
    (ARB_OWNER_PUBLIC, "getMaxStylusContractFragments()", 100, &[4]),
    (ARB_OWNER_PUBLIC, "isCalldataPriceIncreaseEnabled()", 800, &[0]),
    (ARB_OWNER_PUBLIC, "getParentGasFloorPerToken()", 800, &[0]),
    (ARB_OWNER_PUBLIC, "getNativeTokenManagementFrom()", 800, &[0]),
    (ARB_OWNER_PUBLIC, "getCollectTips()", 800, &[0]),
    (ARB_WASM, "stylusVersion()", 100, &[3]),
    (ARB_WASM, "inkPrice()", 100, &[10_000]),
    (ARB_WASM, "maxStackDepth()", 100, &[22_000]),
    (ARB_WASM, "freePages()", 100, &[2]),
    (ARB_WASM, "pageGas()", 100, &[1_000]),
    (ARB_WASM, "pageRamp()", 100, &[620_674_314]),
    (ARB_WASM, "pageLimit()", 100, &[128]),
    (ARB_WASM, "minInitGas()", 100, &[8_832, 352]),
    (ARB_WASM, "expiryDays()", 100, &[365]),
    (ARB_WASM_CACHE, "allCacheManagers()", 800, &[32, 0]),
];

/// Gas of a transaction that calls a method which is not pure: 3 for each word of arguments and answer, 800 to open the state, and
/// what the method reads or does.
fn gas(data: &[u8], own: u64, output: &[u8]) -> u64 {
    let words = data.len().saturating_sub(4).div_ceil(32) + output.len().div_ceil(32);
    intrinsic(data) + 3 * words as u64 + 800 + own
}

#[test]
fn methods_with_arguments_cost_what_they_read() {
    let mut chain = Chain::default();
    chain.install(PROGRAM, &entry("i32.const 0"));
    chain.set_code(EVM, &[0x5b; 65]);
    let program = account(PROGRAM);
    let hash = chain.install(PROGRAM, &entry("i32.const 0")).code_hash;
    let hash = U256::from_be_bytes(hash.0);
    for (precompile, signature, argument, own) in [
        (ARB_INFO, "getBalance(address)", program, 700),
        (ARB_INFO, "getCode(address)", account(EVM), 2_100 + 3 * 3),
        (ARB_OWNER_PUBLIC, "isChainOwner(address)", program, 800),
        (ARB_WASM, "codehashVersion(bytes32)", hash, 100 + 800),
        (ARB_WASM, "codehashAsmSize(bytes32)", hash, 100 + 800),
        (ARB_WASM, "programVersion(address)", program, 2_600 + 100 + 800),
        (ARB_WASM, "programInitGas(address)", program, 2_600 + 100 + 800),
        (ARB_WASM, "programMemoryFootprint(address)", program, 2_600 + 100 + 800),
        (ARB_WASM, "programTimeLeft(address)", program, 2_600 + 100 + 800),
        (ARB_WASM_CACHE, "isCacheManager(address)", program, 800),
        (ARB_WASM_CACHE, "codehashIsCached(bytes32)", hash, 800),
        (ARB_AGGREGATOR, "getPreferredAggregator(address)", program, 0),
    ] {
        let data = with_args(keccak256(signature)[..4].try_into().unwrap(), &[argument]);
        let outcome = chain.send(precompile, &data);
        assert!(outcome.success(), "{signature}: {outcome:?}");
        assert_eq!(outcome.gas(), gas(&data, own, &outcome.output()), "{signature}");
    }
}

#[test]
fn a_new_chain_answers_what_was_published() {
    let mut chain = Chain::default();
    for (precompile, signature, reads, expected) in ANSWERS {
        let selector = &keccak256(signature)[..4];
        let expected: Vec<_> = expected.iter().copied().map(U256::from).collect();
        let outcome = chain.send(precompile, selector);
        assert_eq!(words(&outcome.output()), expected, "{signature}");
        assert_eq!(outcome.gas(), gas(selector, reads, &outcome.output()), "{signature}");
    }
    let poster = address!("A4B000000000000000000073657175656e636572");
    let preferred = [
        &keccak256("getPreferredAggregator(address)")[..4],
        SENDER.into_word().as_slice(),
    ]
    .concat();
    assert_eq!(
        ask(&mut chain, ARB_AGGREGATOR, &preferred),
        [account(poster), U256::ONE]
    );
    let default = &keccak256("getDefaultAggregator()")[..4];
    assert_eq!(ask(&mut chain, ARB_AGGREGATOR, default), [account(poster)]);
}

#[test]
fn every_precompile_has_code_that_nobody_runs() {
    let mut chain = Chain::default();
    for precompile in ADDRESSES {
        let code = chain.db.load_account(precompile).unwrap().info.code.clone().unwrap();
        assert_eq!(code.original_bytes()[..], [0xfe], "{precompile}");
    }
}

#[test]
fn owners_and_prices() {
    let mut chain = Chain::default();
    assert_eq!(
        ask(&mut chain, ARB_OWNER_PUBLIC, &hex!("e5a7f893")),
        [U256::from(4)],
        "fragments"
    );
    assert_eq!(
        ask(&mut chain, ARB_OWNER_PUBLIC, &hex!("516b4e0f")),
        [U256::from(32), U256::ZERO],
        "no owners"
    );
    let is_owner = with_args(hex!("26ef7f68"), &[account(SENDER)]);
    assert_eq!(ask(&mut chain, ARB_OWNER_PUBLIC, &is_owner), [U256::ZERO]);
    let fee = 100_000_000_u64;
    let prices = ask(&mut chain, ARB_GAS_INFO, &hex!("41b247a8"));
    assert_eq!(prices, [0, 0, 20_000 * fee, fee, 0, fee].map(U256::from));
    assert_eq!(ask(&mut chain, ARB_GAS_INFO, &hex!("f918379a")), [U256::from(fee)]);
    assert_eq!(
        ask(&mut chain, ARB_GAS_INFO, &hex!("aae1cd4c")),
        [U256::from(32_000_000)]
    );
}

#[test]
fn arguments_are_checked() {
    let mut chain = Chain::default();
    // Too short, and an address with dirt above it.
    for data in [hex!("f8b2cb4f").to_vec(), with_args(hex!("f8b2cb4f"), &[U256::MAX])] {
        let outcome = chain.send_with(TxKind::Call(ARB_INFO), &data, U256::ZERO, 100_000);
        assert!(matches!(outcome.result, ExecutionResult::Revert { .. }), "{outcome:?}");
        assert_eq!(outcome.gas(), 100_000);
    }
}

#[test]
fn programs_call_precompiles_of_both_kinds() {
    let mut chain = Chain::default();
    chain.install(
        PROGRAM,
        &entry(
            "(call $read_args (i32.const 0))
             (drop (call $static (i32.const 0) (i32.const 20) (i32.sub (local.get $len) (i32.const 20)) (i64.const -1) (i32.const 8000)))
             (drop (call $read_return_data (i32.const 4096) (i32.const 0) (i32.const 32)))
             (call $write_result (i32.const 4096) (i32.const 32)) i32.const 0",
        ),
    );
    let mut through = |precompile: Address, data: &[u8]| {
        words(&chain.send(PROGRAM, &[precompile.as_slice(), data].concat()).output())
    };
    assert_eq!(through(ARB_SYS, &hex!("051038f2")), [U256::from(115)]);
    let sha256 = U256::from_be_bytes(hex!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert_eq!(through(Address::with_last_byte(2), &[]), [sha256]);
    assert_eq!(
        through(Address::with_last_byte(4), keccak256(b"").as_slice()),
        [U256::from_be_bytes(keccak256(b"").0)]
    );
}

#[test]
fn without_arbos_the_addresses_are_plain_accounts() {
    let mut chain = Chain::new(0);
    let outcome = chain.send(Address::with_last_byte(0x64), &hex!("051038f2"));
    assert!(!outcome.success(), "0xfe is an invalid opcode: {outcome:?}");
}
