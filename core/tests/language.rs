//! What rules mean: compiled from text, evaluated over given readings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{B256, U256};
use common::{Chain, World, address, rule, run, selector, u};
use cordon_core::rule::{
    Class, Inputs, Int, Param, Program, ReadError, Type, Unknown, Value, Verdict, compile, compile_call, evaluate,
    evaluate_value,
};

const BACKED: &str = "usdc.balanceOf(vault) + vault.totalBorrows() >= vault.totalAssets()";

fn backed(held: u64, lent: u64, owed: u64) -> Chain {
    let mut chain = Chain::default();
    chain
        .set("usdc", "balanceOf(address)", &[u(held)])
        .set("vault", "totalBorrows()", &[u(lent)])
        .set("vault", "totalAssets()", &[u(owed)]);
    chain
}

#[test]
fn a_bound_holds_or_is_breached_and_says_by_how_much() {
    let compiled = rule(BACKED);
    assert_eq!((compiled.class, compiled.reads, compiled.spot), (Class::State, 3, true));
    assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
    let mut chain = backed(60, 40, 100);
    assert_eq!(run(&compiled, &mut chain).verdict, Verdict::Holds);
    let (target, calldata, gas, word) = chain.calls[0].clone();
    assert_eq!((target, gas, word), (address("usdc"), 300_000, 0));
    assert_eq!(calldata[..4], selector("balanceOf(address)"));
    assert_eq!(calldata[4..], address("vault").into_word()[..]);
    let breached = run(&compiled, &mut backed(60, 39, 100));
    assert_eq!(breached.verdict, Verdict::Breached);
    assert_eq!((breached.observed, breached.bound), (Int::from(99), Int::from(100)));
}

#[test]
fn a_read_that_fails_is_unknown_with_its_reason() {
    let compiled = rule(BACKED);
    let cases = [
        (ReadError::Reverted, Unknown::Reverted),
        (ReadError::Short, Unknown::ShortAnswer),
        (ReadError::NoCode, Unknown::NoCode),
        (ReadError::OutOfGas, Unknown::OutOfGas),
        (ReadError::Unavailable, Unknown::Unavailable),
    ];
    for (error, reason) in cases {
        let mut chain = backed(60, 40, 100);
        chain.fail("vault", "totalAssets()", error);
        let evaluation = run(&compiled, &mut chain);
        assert_eq!(
            (evaluation.verdict, evaluation.reason),
            (Verdict::Unknown, reason.code())
        );
    }
    let mut chain = backed(60, 40, 100);
    chain.set("usdc", "balanceOf(address)", &[U256::MAX]);
    assert_eq!(run(&compiled, &mut chain).reason, Unknown::Overflow.code());
}

#[test]
fn the_rules_of_the_plan_compile_and_decide() {
    let near = rule("near(oracle.getAssetPrice(weth), weth_ref.latestAnswer(), 15 %)");
    let mut chain = Chain::default();
    chain
        .set("oracle", "getAssetPrice(address)", &[u(3000)])
        .set("weth_ref", "latestAnswer()", &[u(2760)]);
    assert_eq!(run(&near, &mut chain).verdict, Verdict::Holds);
    chain.set("oracle", "getAssetPrice(address)", &[u(300_000)]);
    let breached = run(&near, &mut chain);
    assert_eq!(
        (breached.verdict, breached.observed, breached.bound),
        (Verdict::Breached, Int::from(300_000), Int::from(2760))
    );
    chain.set("weth_ref", "latestAnswer()", &[U256::MAX]);
    let negative = run(&near, &mut chain);
    assert_eq!(
        (negative.verdict, negative.bound),
        (Verdict::Breached, Int::new(true, u(1)))
    );

    let sourced = rule("oracle.getSourceOfAsset(weth) == weth_feed");
    let mut chain = Chain::default();
    chain.set(
        "oracle",
        "getSourceOfAsset(address)",
        &[U256::from_be_bytes(address("weth_feed").into_word().0)],
    );
    assert_eq!(run(&sourced, &mut chain).verdict, Verdict::Holds);

    let closed = rule("!data.getReserveConfigurationData(usdc).borrowingEnabled");
    let mut chain = Chain::default();
    chain.set(
        "data",
        "getReserveConfigurationData(address)",
        &[u(6), u(8000), u(1), u(1)],
    );
    assert_eq!(run(&closed, &mut chain).verdict, Verdict::Breached);
    assert_eq!(chain.calls[0].3, 2);
    chain.set(
        "data",
        "getReserveConfigurationData(address)",
        &[u(6), u(8000), u(2), u(1)],
    );
    assert_eq!(run(&closed, &mut chain).reason, Unknown::BadAnswer.code());
}

fn solvent() -> (cordon_core::rule::Compiled, Chain) {
    let params = [Param {
        name: "account".into(),
        ty: Type::Address,
    }];
    let lets = [
        ("debt".to_string(), "pool.debtOf(account)".to_string()),
        ("collateral".to_string(), "pool.collateralOf(account)".to_string()),
    ];
    let compiled = compile("debt < 1000e8 || collateral * 95 % >= debt", &params, &lets, &World).unwrap();
    (compiled, Chain::default())
}

#[test]
fn a_witness_is_read_and_shared_parts_are_read_once() {
    let (compiled, mut chain) = solvent();
    chain.set("pool", "debtOf(address)", &[u(100_000_000_000)]).set(
        "pool",
        "collateralOf(address)",
        &[u(105_200_000_000)],
    );
    let program = Program::decode(&compiled.program).unwrap();
    assert_eq!((compiled.reads, program.locals(), program.params()), (2, 1, 1));
    let account = address("usdc").into_word();
    let inputs = Inputs {
        params: &[account],
        entries: &[],
    };
    let breached = evaluate(&program, &inputs, &mut chain);
    assert_eq!(
        (breached.verdict, breached.observed),
        (Verdict::Breached, Int::from(99_940_000_000))
    );
    assert_eq!(chain.calls.len(), 2);
    assert_eq!(chain.calls[0].1[4..], account[..]);

    chain
        .set("pool", "debtOf(address)", &[u(999)])
        .fail("pool", "collateralOf(address)", ReadError::Reverted);
    let small = evaluate(&program, &inputs, &mut chain);
    assert_eq!(
        small.verdict,
        Verdict::Holds,
        "the right side is not read when the left decides"
    );

    for params in [&[][..], &[B256::repeat_byte(1)][..]] {
        let evaluation = evaluate(&program, &Inputs { params, entries: &[] }, &mut chain);
        assert_eq!(evaluation.reason, Unknown::BadWitness.code());
    }
}

#[test]
fn entry_makes_a_hook_rule() {
    let compiled = rule(
        "vault.totalSupply() == 0 || near(vault.convertToAssets(1e18), entry(vault.convertToAssets(1e18)), 50 bps)",
    );
    assert_eq!((compiled.class, compiled.entries.len()), (Class::Hook, 1));
    assert_eq!(compiled.class_reason, Some(("entry".into(), 63)));
    assert!(compiled.warnings.is_empty(), "{:?}", compiled.warnings);
    let mut chain = Chain::default();
    chain
        .set("vault", "totalSupply()", &[u(5)])
        .set("vault", "convertToAssets(uint256)", &[u(1_000_000)]);
    let entry = evaluate_value(
        &Program::decode(&compiled.entries[0]).unwrap(),
        &Inputs::default(),
        &mut chain,
    )
    .unwrap();
    assert_eq!(entry, Value::Int(Int::from(1_000_000)));
    let program = Program::decode(&compiled.program).unwrap();
    for (price, verdict) in [
        (1_005_000, Verdict::Holds),
        (1_005_026, Verdict::Breached),
        (995_000, Verdict::Holds),
        (994_999, Verdict::Breached),
    ] {
        chain.set("vault", "convertToAssets(uint256)", &[u(price)]);
        let inputs = Inputs {
            params: &[],
            entries: &[entry],
        };
        assert_eq!(evaluate(&program, &inputs, &mut chain).verdict, verdict, "{price}");
    }
    assert_eq!(
        evaluate(&program, &Inputs::default(), &mut chain).reason,
        Unknown::NoEntry.code()
    );
}

/// Value of a constant expression, by way of a rule that compares it with something read.
fn computed(expression: &str) -> Int {
    let compiled = rule(&format!("vault.totalAssets() == ({expression})"));
    let mut chain = Chain::default();
    chain.set("vault", "totalAssets()", &[u(0)]);
    run(&compiled, &mut chain).bound
}

#[test]
fn numbers_units_and_rounding() {
    let cases: [(&str, i128); 21] = [
        ("1e18", 1_000_000_000_000_000_000),
        ("1.5e3", 1500),
        ("1_000", 1000),
        ("1200e-2", 12),
        ("6 hours", 21_600),
        ("10 min", 600),
        ("2 days + 1 week", 777_600),
        ("1.5 gwei", 1_500_000_000),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("199 * 85 %", 169),
        ("85 % * 199", 169),
        ("-199 * 85 %", -169),
        ("170 / 85 %", 200),
        ("1000 * 50 bps", 5),
        ("1000 * 0.5 %", 5),
        ("2 - 3 - 4", -5),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * -4", -20),
        ("min(3, -4, 5) + max(1, 2) + abs(-9)", 7),
    ];
    for (expression, value) in cases.iter() {
        let magnitude = U256::from(value.unsigned_abs());
        assert_eq!(computed(expression), Int::new(*value < 0, magnitude), "{expression}");
    }
}

#[test]
fn products_are_full_width() {
    let compiled = rule("vault.totalAssets() * vault.totalSupply() / vault.totalBorrows() >= 1");
    let mut chain = Chain::default();
    chain
        .set("vault", "totalAssets()", &[U256::MAX])
        .set("vault", "totalSupply()", &[U256::MAX])
        .set("vault", "totalBorrows()", &[U256::MAX]);
    let held = run(&compiled, &mut chain);
    assert_eq!((held.verdict, held.observed), (Verdict::Holds, Int::from(U256::MAX)));
    chain.set("vault", "totalBorrows()", &[U256::MAX - u(1)]);
    assert_eq!(run(&compiled, &mut chain).reason, Unknown::Overflow.code());
    chain.set("vault", "totalBorrows()", &[u(0)]);
    assert_eq!(run(&compiled, &mut chain).reason, Unknown::DivisionByZero.code());
}

#[test]
fn a_boolean_that_was_read_is_not_explained_by_an_earlier_comparison() {
    let compiled = rule("vault.totalAssets() >= 1 && vault.paused()");
    let mut chain = Chain::default();
    chain
        .set("vault", "totalAssets()", &[u(7)])
        .set("vault", "paused()", &[u(0)]);
    let breached = run(&compiled, &mut chain);
    assert_eq!(
        (breached.verdict, breached.observed, breached.bound),
        (Verdict::Breached, Int::ZERO, Int::ZERO)
    );
}

#[test]
fn balances_code_time_and_contracts_at_other_addresses() {
    let compiled = rule(
        "eth(vault) >= 5 && codehash(vault) != codehash(usdc) && now >= 100 && usdc(vault.asset()).decimals() == 6",
    );
    let mut chain = Chain {
        now: 100,
        ..Chain::default()
    };
    chain.balances.insert(address("vault"), u(5));
    chain
        .set(
            "vault",
            "asset()",
            &[U256::from_be_bytes(address("weth").into_word().0)],
        )
        .set("weth", "decimals()", &[u(6)]);
    assert_eq!(run(&compiled, &mut chain).verdict, Verdict::Holds);
    chain.set("weth", "decimals()", &[u(256)]);
    assert_eq!(run(&compiled, &mut chain).reason, Unknown::BadAnswer.code());
}

#[test]
fn containment_calls_are_encoded_as_the_abi_says() {
    let call = compile_call("oracle.setAssetSources([weth], [weth_feed])", &World).unwrap();
    let word = |value: u64| B256::from(u(value)).to_vec();
    let mut wanted = selector("setAssetSources(address[],address[])").to_vec();
    for part in [
        word(64),
        word(128),
        word(1),
        address("weth").into_word().to_vec(),
        word(1),
        address("weth_feed").into_word().to_vec(),
    ] {
        wanted.extend(part);
    }
    assert_eq!((call.target, call.calldata), (address("oracle"), wanted));
    let call = compile_call("configurator.setCap(2 * 100, -3)", &World).unwrap();
    let mut wanted = selector("setCap(uint8,int16)").to_vec();
    wanted.extend(word(200));
    wanted.extend(B256::from(U256::MAX - u(2)));
    assert_eq!(call.calldata, wanted);
}

/// DESIGN 3.1: the rule demands a minimum, so that dust proves nothing.
#[test]
fn a_rule_that_dust_can_prove_is_a_warning() {
    let params = [Param {
        name: "account".into(),
        ty: Type::Address,
    }];
    let warned = |source: &str| {
        let warnings = compile(source, &params, &[], &World).unwrap().warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("dust can prove a breach"))
    };
    let healthy = "eth(account) * 85 % >= usdc.balanceOf(account)";
    assert!(warned(healthy));
    assert!(!warned(&format!("usdc.balanceOf(account) < 1000e6 || {healthy}")));
    assert!(!warned(&format!("{healthy} || usdc.balanceOf(account) <= 1000e6")));
    // One comparison with zero asks for no size, and neither does one of something else.
    assert!(warned(&format!("usdc.balanceOf(account) == 0 || {healthy}")));
    assert!(warned(&format!("vault.totalAssets() < 1000e6 || {healthy}")));
    assert!(!warned(&format!("1000e6 > usdc.balanceOf(account) || {healthy}")));
    assert!(!warned(&format!("!(usdc.balanceOf(account) >= 1000e6) || {healthy}")));
    // What breaches a ceiling is no dust; what breaches a floor may be.
    assert!(!warned("usdc.balanceOf(account) <= 1000e6"));
    assert!(warned("usdc.balanceOf(account) >= 1000e6"));
    assert!(warned("near(eth(account), usdc.balanceOf(account), 1 %)"));
    // Nothing is weighed.
    assert!(!warned("oracle.getSourceOfAsset(account) == weth_feed"));
}

#[test]
fn a_part_that_nothing_uses_is_a_warning() {
    let lets = [("a", "vault.totalAssets()"), ("b", "a + 1"), ("c", "5")]
        .map(|(name, part)| (name.to_string(), part.to_string()));
    let compiled = compile("vault.totalSupply() <= b", &[], &lets, &World).unwrap();
    assert_eq!(compiled.warnings, ["the part `c` is not used: use it or leave it out"]);
}
