//! `cordon guard observe`, and what `cordon guard status` tells of streams.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy::primitives::U256;
use alloy::providers::ext::AnvilApi;
use common::{Chain, run};

/// An anchor and statistics of the same value.
const RULES: &str = r#"
[[invariant]]
id = "ether-anchored"
scope = "protocol"
rule = "eth(pool) <= anchor(eth(pool), 1 min, 1e18, 10e18) * 2"
robust = true
level = "Halted"

[[invariant]]
id = "ether-usual"
scope = "protocol"
rule = "score(eth(pool), 1 min, 0, 10e18, rate: 12.5 %, floor: 1e17) <= 6 sigma"
robust = true
level = "Halted"
"#;

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_observed_and_shown() {
    let chain = Chain::start().await;
    let balance = U256::from(4_000_000_000_000_000_000_u64);
    chain
        .provider
        .anvil_set_balance(common::PROTOCOL, balance)
        .await
        .unwrap();
    let path = chain.write_config(|text| text + RULES);
    let config = path.to_str().unwrap();
    let governor = common::GOVERNOR.to_string();
    let checked = text(&["check", "--config", config]);
    assert!(
        checked.contains("anchor, 1000000000000000000 to 10000000000000000000, at most 1000 bps each time"),
        "{checked}"
    );
    assert!(
        checked.contains("deviation 100000000000000000 to 800000000000000000")
            && checked.contains("warm after 24 observations"),
        "{checked}"
    );
    chain.deploy_guard(&path).await;
    let status = || text(&["guard", "status", "--config", config]);
    let observe = || text(&["guard", "observe", "--config", config, "--unlocked", &governor]);
    let before = status();
    assert_eq!(before.matches("never observed").count(), 2, "{before}");
    assert!(
        before.contains("next observation due now: `cordon guard observe`"),
        "{before}"
    );
    let first = observe();
    assert!(
        first.contains("0 eth: observed 4000000000000000000; it counts once another one agrees, 1 minute later"),
        "{first}"
    );
    assert!(first.contains("1 eth: observed 4000000000000000000"), "{first}");
    let again = observe();
    assert!(
        again.contains("0 eth: 4000000000000000000 counts once an observation agrees, in ")
            && again.contains("1 eth: due in"),
        "{again}"
    );
    assert!(status().contains("eth: begins"), "{}", status());
    assert!(!again.contains("transaction"), "{again}");
    for count in 0..24 {
        chain.provider.anvil_increase_time(60).await.unwrap();
        chain.provider.anvil_mine(Some(1), None).await.unwrap();
        if count == 12 {
            let halfway = status();
            assert!(halfway.contains("12 of 24 observations to be warm"), "{halfway}");
            assert!(halfway.contains("anchor 4000000000000000000, "), "{halfway}");
        }
        assert_eq!(observe().matches("observed 4000000000000000000").count(), 2);
    }
    let after = status();
    assert_eq!(after.matches("eth: known").count(), 2, "{after}");
    assert!(after.contains("warm; mean 4000000000000000000, "), "{after}");
    assert!(
        after.contains("drift 0.000 up and 0.000 down (sigma)") && after.contains("next observation due in"),
        "{after}"
    );
    text(&[
        "guard",
        "contain",
        "protocol",
        "halted",
        "--for",
        "15 minutes",
        "--config",
        config,
        "--unlocked",
        &common::GUARDIAN.to_string(),
    ]);
    let frozen = observe();
    assert_eq!(
        frozen.matches("frozen while `protocol` is raised").count(),
        2,
        "{frozen}"
    );
    assert!(status().contains("frozen while `protocol` is raised"));
    chain.node.stop().await.unwrap();
}

/// Whoever observes first must not be a stranger: sealing makes the first observation, and is refused without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_sealed_only_once_its_streams_have_begun() {
    let chain = Chain::start().await;
    let path = chain.write_config(|text| text + RULES);
    let config = path.to_str().unwrap();
    let deploy = |more: &[&str]| common::deploy(&path, more);
    let first = deploy(&["--no-seal", "--write"]);
    let told = String::from_utf8(first.stderr).unwrap();
    assert!(
        told.contains("stream 0 (eth) was never observed") && told.contains("Until then `ether-anchored` is Unknown"),
        "{told}"
    );
    let guard = cordon_client::Config::load(&path).unwrap().guard.address.unwrap();
    chain.grant(guard).await;

    // A pool without any ether: the bounds of the rule begin at one.
    let refused = deploy(&[]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(
        told.contains("0 eth: its value is not within 1000000000000000000 and 10000000000000000000"),
        "{told}"
    );
    let status = || text(&["guard", "status", "--config", config]);
    assert!(status().contains("not sealed"), "{}", status());

    let balance = U256::from(4_000_000_000_000_000_000_u64);
    chain
        .provider
        .anvil_set_balance(common::PROTOCOL, balance)
        .await
        .unwrap();
    let done = deploy(&[]);
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{told}");
    assert!(
        told.contains("stream 0 (eth) has begun; rules can compare with it in "),
        "{told}"
    );
    assert!(
        !status().contains("not sealed") && status().contains("eth: begins"),
        "{}",
        status()
    );
    chain.node.stop().await.unwrap();
}
