//! What people read when a rule is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use common::{World, error, rule};
use cordon_core::rule::{Param, Type, compile, compile_call};
use std::fmt::Write as _;

/// Compares with the stored text, under the name of the test.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

fn listed(sources: &[&str], message: impl Fn(&str) -> String) -> String {
    sources.iter().fold(String::new(), |mut text, source| {
        writeln!(text, "{source}\n    {}", message(source)).unwrap();
        text
    })
}

#[test]
fn syntax() {
    snapshot(
        "syntax",
        &listed(
            &[
                "",
                "vault.totalAssets() >",
                "vault.totalAssets() >= 1 2",
                "vault.totalAssets( >= 1",
                "(vault.totalAssets() >= 1",
                "vault.totalAssets() = 1",
                "vault.paused() & vault.paused()",
                "1 < vault.totalAssets() < 5",
                "vault.totalAssets() % 2 == 0",
                "now > 5 fortnights",
                "now > 1e18ether",
                "now > 1.5",
                "now > 1e101",
                "vault.totalAssets() >= 0xff",
                "vault.totalAssets() >= 0xzz",
                "now > 115792089237316195423570985008687907853269984665640564039457584007913129639936",
                "vault.totalAssets() * 0.001 % > 1",
                "vault.totalAssets() >= [1, 2]",
                "vault.totalAssets() >= §",
                "vault. >= 1",
                "((((((((((((((((((((((((((((((((((((((((((((((((((now))))))))))))))))))))))))))))))))))))))))))))))))) > 1",
            ],
            error,
        ),
    );
}

#[test]
fn names() {
    snapshot(
        "names",
        &listed(
            &[
                "valt.totalAssets() >= 1",
                "vault.totalAsets() >= 1",
                "vault.zzz() >= 1",
                "usdc.balanceOf(valt) >= 1",
                "usdc.balanceOf() >= 1",
                "mim(vault.totalAssets(), 2) >= 1",
                "near(vault.totalAssets(), 5) ",
                "vault(5).totalAssets() >= 1",
                "vault(usdc) == usdc",
                "now.foo() >= 1",
                "now() >= 1",
                "min >= 1",
                "Vault.totalAssets() >= 1",
                "quux > 1",
                "data.getReserveConfigurationData(usdc).borowingEnabled",
                "data.getReserveConfigurationData(usdc)",
                "vault.totalAssets().foo >= 1",
                "vault.foo >= 1",
                "configurator.setPoolPause(true)",
                "vault.deposit(1, vault) >= 1",
                "vault.name() == 1",
            ],
            error,
        ),
    );
}

#[test]
fn kinds_and_classes() {
    snapshot(
        "kinds_and_classes",
        &listed(
            &[
                "vault.totalAssets()",
                "vault.asset()",
                "85 %",
                "true",
                "1 + 1 == 2",
                "vault.totalAssets() + true > 1",
                "!vault.totalAssets()",
                "-vault.paused() > 1",
                "vault.asset() >= usdc",
                "vault.asset() == 5",
                "vault.paused() == 1",
                "vault.totalAssets() && vault.paused()",
                "usdc.balanceOf(5) >= 1",
                "weth_ref.getRoundData(2e30).answer > 1",
                "weth_ref.getRoundData(-1).answer > 1",
                "vault.totalAssets() >= 85 %",
                "85 % * 85 % > vault.totalAssets()",
                "5 % / vault.totalAssets() > 1",
                "vault.totalAssets() / 0 > 1",
                "vault.totalAssets() > 1e77 * 1e77",
                "near(vault.totalAssets(), 5, 50)",
                "near(vault.totalAssets(), 5, 100 %)",
                "near(vault.asset(), usdc, 5 %)",
                "entry(5) == vault.totalAssets()",
                "entry(entry(vault.totalAssets())) == 1",
                "slot(vault, 5) == 1",
                "mean(vault.totalAssets()) > 5",
                "anchor(vault.totalAssets(), 10 s, 0, 9) > 5",
                "anchor(left(usdc), 10 min, 0, 9) > 5",
                "slot > 5",
            ],
            error,
        ),
    );
}

#[test]
fn parameters_and_parts() {
    let account = || Param {
        name: "account".into(),
        ty: Type::Address,
    };
    let message = |source: &str, params: &[Param], lets: &[(&str, &str)]| {
        let lets: Vec<_> = lets
            .iter()
            .map(|(name, part)| (name.to_string(), part.to_string()))
            .collect();
        compile(source, params, &lets, &World).unwrap_err().to_string()
    };
    let bytes = Param {
        name: "data_".into(),
        ty: Type::parse("bytes"),
    };
    let lines = [
        message("vault.totalAssets() >= 1", &[account()], &[]),
        message("acount.x() >= 1", &[account()], &[]),
        message("account.totalAssets() >= 1", &[account()], &[]),
        message("entry(pool.debtOf(account)) >= 1", &[account()], &[]),
        message("vault.totalAssets() >= 1", &[account(), account()], &[]),
        message("vault.totalAssets() >= 1", &[bytes], &[]),
        message("vault.totalAssets() >= 1", &vec![account(); 5], &[]),
        message("dept >= 1", &[account()], &[("debt", "pool.debtOf(account)")]),
        message("debt >= 1", &[], &[("debt", "pool.debtOf(weth) + mxa(1, 2)")]),
        message("debt >= 1", &[], &[("vault", "1")]),
        message("a >= 1", &[], &[("a", "b + 1"), ("b", "1")]),
        message("l * l > 5", &[], &[("l", "5 %")]),
    ];
    snapshot("parameters_and_parts", &lines.join("\n"));
}

#[test]
fn size() {
    let doubled: Vec<(String, String)> = (1..14)
        .map(|i| (format!("x{i}"), format!("x{} + x{}", i - 1, i - 1)))
        .collect();
    let mut lets = vec![("x0".to_string(), "vault.totalAssets()".to_string())];
    lets.extend(doubled);
    let doubling = compile("x13 > 5", &[], &lets, &World).unwrap_err().to_string();
    let many: Vec<String> = (0..40).map(|i| format!("vault.convertToAssets({i}) > 1")).collect();
    let long = "vault.totalAssets() > 1 && ".repeat(200) + "true";
    let costly: Vec<String> = (0..60)
        .map(|i| format!("({i}e60 + vault.totalAssets()) / 3 > 1"))
        .collect();
    let lines = [
        doubling,
        error(&many.join(" && ")),
        error(&long),
        error(&costly.join(" || ")),
    ];
    snapshot("size", &lines.join("\n"));
}

#[test]
fn containment_calls() {
    let message = |source: &str| match compile_call(source, &World) {
        Ok(_) => panic!("{source} compiles"),
        Err(error) => error.to_string(),
    };
    snapshot(
        "containment_calls",
        &listed(
            &[
                "configurator",
                "configurator.setPoolPause(1)",
                "configurator.setPoolPause()",
                "configurator.setPolPause(true)",
                "configurater.setPoolPause(true)",
                "configurator(usdc).setPoolPause(true)",
                "configurator.setPoolPause(vault.paused())",
                "configurator.setCap(256, 0)",
                "configurator.setCap(0, 32768)",
                "oracle.setAssetSources(weth, [weth_feed])",
                "oracle.setAssetSources([weth], [5])",
                "oracle.setAssetSources([[weth]], [weth_feed])",
                "vault.totalAssets()",
            ],
            message,
        ),
    );
}

#[test]
fn warnings() {
    let message = |source: &str| match rule(source).warnings {
        warnings if warnings.is_empty() => "nothing to say".to_string(),
        warnings => warnings.join("\n    "),
    };
    snapshot(
        "warnings",
        &listed(
            &[
                "usdc.balanceOf(vault) == vault.totalAssets()",
                "eth(vault) != vault.totalAssets()",
                "usdc.balanceOf(vault) == 0 || vault.totalAssets() >= 1",
                "pair.getReserves().reserve0 >= 5",
                "pair.slot0().tick >= 5",
                "vault.totalAssets() > vault.totalSupply()",
                "vault.totalSupply() == 0 || vault.totalAssets() > vault.totalSupply()",
                "vault.totalAssets() * 1e18 / vault.totalSupply() >= 1e18",
                "vault.totalSupply() == 0 || vault.totalAssets() * 1e18 / vault.totalSupply() >= 1e18",
                "vault.totalAssets() / vault.totalSupply() * 5 >= 5",
                "vault.totalAssets() / 1000 * 5 >= vault.totalSupply()",
                "vault.totalAssets() >= vault.totalAssets()",
                "oracle.getAssetPrice(weth) > 0",
                "oracle.getSourceOfAsset(weth) == weth_feed",
                "near(vault.totalAssets(), vault.totalAssets(), 5 %)",
                "vault.totalAssets() >= entry(usdc.balanceOf(vault) / vault.totalSupply())",
            ],
            message,
        ),
    );
}
