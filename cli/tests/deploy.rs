//! Deployment against a real node with the real programs: what is put there, what is found again, what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::path::Path;
use std::process::Command;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::Provider;
use alloy::providers::ext::AnvilApi;
use common::{Chain, GOVERNOR, GUARDIAN, HEARTBEAT, PROTOCOL, artifacts};
use cordon_client::build::Artifacts;
use cordon_client::deploy::{
    Activation, GuardOptions, activation, data_fee, deploy_guard, deploy_program, seal, with_margin,
};
use cordon_client::operate::{self, Release};
use cordon_client::program::Program;
use cordon_client::{Action, Level, Matrix, Verdict};
use cordon_client::{CompiledConfig, Config, DeployError, chain, status};

struct Setup {
    chain: Chain,
    config: Config,
    compiled: CompiledConfig,
    artifacts: Artifacts,
}

async fn setup() -> Setup {
    let chain = Chain::start().await;
    let config = Config::load(chain.write_config(|text| text)).unwrap();
    let compiled = config.compile().unwrap();
    Setup {
        chain,
        config,
        compiled,
        artifacts: artifacts(),
    }
}

impl Setup {
    async fn deploy(&self) -> Result<Address, DeployError> {
        let Self {
            chain,
            config,
            compiled,
            artifacts,
        } = self;
        deploy_guard(
            &chain.provider,
            GOVERNOR,
            config,
            compiled,
            artifacts,
            GuardOptions::default(),
        )
        .await
        .map(|deployment| deployment.guard)
    }

    async fn seal(&self, guard: Address) -> Result<(), DeployError> {
        seal(&self.chain.provider, GOVERNOR, guard, &self.config, &self.compiled).await
    }

    async fn nonce(&self) -> u64 {
        self.chain.provider.get_transaction_count(GOVERNOR).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_deployed_tried_sealed_and_operated() {
    let setup = setup().await;
    let provider = &setup.chain.provider;
    let guard = setup.deploy().await.unwrap();

    // Without its role in the protocol the guard could not pause: sealing says so, by the call's name.
    let refusal = setup.seal(guard).await.unwrap_err().to_string();
    assert!(refusal.contains("`pause`: pool.setPaused(true): reverted"), "{refusal}");
    assert!(
        !status(provider, guard, &setup.config, &setup.compiled)
            .await
            .unwrap()
            .is_sealed
    );

    setup.chain.grant(guard).await;
    setup.seal(guard).await.unwrap();
    assert!(!setup.chain.paused().await, "a simulation changes nothing");

    let state = status(provider, guard, &setup.config, &setup.compiled).await.unwrap();
    assert!(state.is_sealed);
    assert_eq!(state.governor, GOVERNOR);
    assert_eq!(state.rulebook_hash, setup.compiled.code_hash());
    assert!(state.roles.iter().all(|(_, _, granted)| *granted), "{:?}", state.roles);
    assert_eq!(state.roles.len(), 3);
    assert!(
        state
            .programs
            .iter()
            .all(|program| program.time_left.is_some_and(|seconds| seconds > 364 * 86_400))
    );
    assert_eq!(state.scopes[0].level, Level::Normal);
    assert_eq!(state.rules.len(), 1);
    assert_eq!(
        (state.rules[0].id.as_str(), state.rules[0].verdict),
        ("little-ether", Verdict::Holds)
    );

    // Again: everything is found, nothing is sent.
    let nonce = setup.nonce().await;
    assert_eq!(setup.deploy().await.unwrap(), guard);
    setup.seal(guard).await.unwrap();
    assert_eq!(setup.nonce().await, nonce);

    operate::heartbeat(provider, HEARTBEAT, guard).await.unwrap();
    let done = operate::contain(provider, GUARDIAN, guard, 0, Level::Halted, 900, B256::ZERO)
        .await
        .unwrap();
    assert_eq!((done.incident, done.applied.as_slice()), (1, [0u16].as_slice()));
    assert!(setup.chain.paused().await);
    let state = status(provider, guard, &setup.config, &setup.compiled).await.unwrap();
    assert_eq!((state.scopes[0].level, state.scopes[0].incident), (Level::Halted, 1));
    assert_eq!(state.scopes[0].applied, [0]);
    assert!(state.last_heartbeat > 0);

    let Release::Queued(at) = operate::release(provider, GUARDIAN, guard, 0).await.unwrap() else {
        panic!("queued first")
    };
    assert_eq!(
        operate::release(provider, GUARDIAN, guard, 0).await.unwrap(),
        Release::Waiting(at)
    );
    provider.anvil_set_next_block_timestamp(at + 1).await.unwrap();
    provider.anvil_mine(Some(1), None).await.unwrap();
    assert_eq!(
        operate::release(provider, GUARDIAN, guard, 0).await.unwrap(),
        Release::Released
    );
    assert!(!setup.chain.paused().await, "what the guard did is undone");
    assert_eq!(
        status(provider, guard, &setup.config, &setup.compiled)
            .await
            .unwrap()
            .scopes[0]
            .level,
        Level::Grace
    );

    // What a role does not allow is an error with the guard's own words.
    let refusal = operate::contain(provider, HEARTBEAT, guard, 0, Level::Halted, 900, B256::ZERO)
        .await
        .unwrap_err();
    assert!(refusal.to_string().contains("MissingRole"), "{refusal}");
    setup.chain.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_governor_is_proposed_and_a_sealed_guard_wants_announcements() {
    let mut setup = setup().await;
    let other = Address::repeat_byte(0x77);
    setup.config.guard.governor = Some(other);
    let Setup {
        chain,
        config,
        compiled,
        artifacts,
    } = &setup;
    let options = GuardOptions::default();
    let deployment = deploy_guard(&chain.provider, GOVERNOR, config, compiled, artifacts, options)
        .await
        .unwrap();
    assert_eq!(deployment.proposed_governor, other);
    chain.grant(deployment.guard).await;
    setup.seal(deployment.guard).await.unwrap();

    let text = std::fs::read_to_string(setup.config.source.path()).unwrap();
    let changed = Config::parse(&text.replace("5e18", "6e18"), "cordon.toml").unwrap();
    let Setup { chain, artifacts, .. } = &setup;
    let compiled = changed.compile().unwrap();
    let refusal = deploy_guard(&chain.provider, GOVERNOR, &changed, &compiled, artifacts, options)
        .await
        .unwrap_err();
    assert!(
        matches!(&refusal, DeployError::Sealed { guard, .. } if *guard == deployment.guard),
        "{refusal}"
    );
    let state = status(&chain.provider, deployment.guard, &setup.config, &setup.compiled)
        .await
        .unwrap();
    assert_eq!(state.rulebook_hash, setup.compiled.code_hash(), "nothing has changed");
}

/// The rules of a sealed guard change: announced, taken back by a guardian, announced again, made after the delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_guard_s_change_is_announced_taken_back_and_made() {
    let setup = setup().await;
    let guard = setup.deploy().await.unwrap();
    setup.chain.grant(guard).await;
    setup.seal(guard).await.unwrap();
    let path = setup.chain.write_config(|text| {
        text.replace("5e18", "6e18")
            .replace("[guard]\n", &format!("[guard]\naddress = \"{guard}\"\n"))
    });
    let changed = Config::load(&path).unwrap();
    let compiled = changed.compile().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let cordon = |from: Address, rest: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cordon"))
            .args(["guard"])
            .args(rest)
            .args(["--config", path.to_str().unwrap(), "--unlocked", &from.to_string()])
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&told).into_owned())
    };
    let deploy = |more: &[&str]| {
        cordon(
            GOVERNOR,
            &[&["deploy", "--root", root.to_str().unwrap()], more].concat(),
        )
    };
    let (done, told) = deploy(&[]);
    assert!(!done && told.contains("needs an announcement"), "{told}");
    let (done, told) = deploy(&["--announce"]);
    assert!(done && told.contains("announced: adopting the rulebook"), "{told}");
    let hash = told
        .split_once("action hash ")
        .unwrap()
        .1
        .split(')')
        .next()
        .unwrap()
        .to_owned();
    // Again: nothing new, and nothing that stands in the way of other changes.
    let (done, told) = deploy(&["--announce"]);
    assert!(
        done && told.contains("announced before: adopting the rulebook"),
        "{told}"
    );
    let (done, told) = cordon(GUARDIAN, &["cancel", &hash]);
    assert!(done && told.contains("is taken back"), "{told}");
    let (done, told) = cordon(GUARDIAN, &["cancel", &hash]);
    assert!(!done && told.contains("NotAnnounced"), "{told}");
    let (done, told) = deploy(&["--announce"]);
    assert!(done && told.contains(&hash), "{told}");
    let provider = &setup.chain.provider;
    provider
        .anvil_increase_time(changed.guard.governor_delay.into())
        .await
        .unwrap();
    provider.anvil_mine(Some(1), None).await.unwrap();
    let (done, told) = deploy(&[]);
    assert!(done, "{told}");
    let state = status(provider, guard, &changed, &compiled).await.unwrap();
    assert_eq!(state.rulebook_hash, compiled.code_hash());
}

/// A sealed guard's levels close more, and its delay is longer, at once; less and shorter when that was announced, under the old delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_guard_s_matrix_and_delay_follow_the_configuration() {
    const HOUR: u64 = 3600;
    let setup = setup().await;
    let guard = setup.deploy().await.unwrap();
    setup.chain.grant(guard).await;
    setup.seal(guard).await.unwrap();
    let provider = &setup.chain.provider;
    let apply = async |more: &str, announces| {
        let path = setup
            .chain
            .write_config(|text| text.replace("[guard]\n", &format!("[guard]\naddress = \"{guard}\"\n{more}")));
        let config = Config::load(&path).unwrap();
        let compiled = config.compile().unwrap();
        let options = GuardOptions {
            announces,
            ..GuardOptions::default()
        };
        deploy_guard(provider, GOVERNOR, &config, &compiled, &setup.artifacts, options).await
    };
    let told = async || {
        let state = status(provider, guard, &setup.config, &setup.compiled).await.unwrap();
        (state.matrix.unwrap(), state.governor_delay)
    };
    let stricter = Matrix::DEFAULT.closing(Level::Throttled, Action::Increase).unwrap();
    let tight = "stricter = { Throttled = [\"Increase\"] }\ngovernor_delay = \"4 days\"\n";
    let done = apply(tight, false).await.unwrap();
    assert!(done.announced.is_empty());
    assert_eq!(told().await, (stricter, 96 * 3600));
    // Back to the default, and to two days.
    let refused = apply("", false).await.unwrap_err();
    assert!(
        matches!(&refused, DeployError::Sealed { change, .. } if change.contains("levels close")),
        "{refused}"
    );
    let waiting = apply("", true).await.unwrap();
    let changes: Vec<_> = waiting.announced.iter().map(|of| of.change.as_str()).collect();
    assert_eq!(
        changes,
        [
            "changing what the levels close",
            "changing the governor's delay from 4 days to 2 days"
        ]
    );
    assert_eq!(told().await, (stricter, 96 * 3600), "nothing has changed yet");
    for (wait, made) in [(95 * HOUR, false), (HOUR, true)] {
        provider.anvil_increase_time(wait).await.unwrap();
        provider.anvil_mine(Some(1), None).await.unwrap();
        let done = apply("", false).await.unwrap();
        assert_eq!(done.announced.is_empty(), made);
    }
    assert_eq!(told().await, (Matrix::DEFAULT, 48 * 3600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_changes_its_number_is_warned_of_and_refused_while_it_is_contained() {
    let chain = Chain::start().await;
    let named = |scopes: &'static str| {
        move |text: String| {
            text.replace(
                "scopes = [\"protocol\"]",
                &format!("scopes = {scopes}\ncallers = [\"pool\"]"),
            )
        }
    };
    let path = chain.write_config(named(r#"["protocol", "vault", "m2"]"#));
    let deploy = || common::deploy(&path, &["--no-seal", "--write"]);
    let first = deploy();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let guard = Config::load(&path).unwrap().guard.address.unwrap();
    let with_guard =
        |scopes| move |text: String| named(scopes)(text).replace("[guard]", &format!("[guard]\naddress = \"{guard}\""));
    let adopted = || async {
        let guard = cordon_client::guard::ICordonGuard::new(guard, &chain.provider);
        guard.rulebook().call().await.unwrap().codeHash
    };

    chain.write_config(with_guard(r#"["protocol", "m2", "vault"]"#));
    chain.grant(guard).await;
    operate::contain(&chain.provider, GUARDIAN, guard, 1, Level::Halted, 900, B256::ZERO)
        .await
        .unwrap();
    let before = adopted().await;
    let told = common::failure(&deploy());
    assert!(
        told.contains("scope 1, `vault`, becomes scope 2, and 1 becomes `m2`")
            && told.contains("scope 2, `m2`, becomes scope 1, and 2 becomes `vault`"),
        "{told}"
    );
    assert!(told.contains("ScopeMoved { scope: 1 }"), "{told}");
    assert_eq!(adopted().await, before);

    // Appending is no change of what there was, and moves no level.
    chain.write_config(with_guard(r#"["protocol", "vault", "m2", "m3"]"#));
    let done = deploy();
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && !told.contains("warning: scope"), "{told}");
    assert_ne!(adopted().await, before);
    chain.provider.anvil_increase_time(86_400).await.unwrap();
    chain.provider.anvil_mine(Some(1), None).await.unwrap();
    operate::settle(&chain.provider, GUARDIAN, guard, 1).await.unwrap();
    chain.write_config(with_guard(r#"["protocol", "renamed"]"#));
    let done = deploy();
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(
        done.status.success()
            && told.contains("scope 1 is gone, or has another name, and 1 becomes `renamed`")
            && told.contains("scope 3 is gone, or has another name, and 3 becomes no scope"),
        "{told}"
    );
    chain.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_changes_nothing() {
    let setup = setup().await;
    let Setup { chain, artifacts, .. } = &setup;
    let provider = &chain.provider;
    let nonce = setup.nonce().await;
    let attempt = async |edit: &dyn Fn(String) -> String, artifacts: &Artifacts| {
        let config = Config::load(chain.write_config(edit)).unwrap();
        let compiled = config.compile().unwrap();
        let options = GuardOptions::default();
        deploy_guard(provider, GOVERNOR, &config, &compiled, artifacts, options)
            .await
            .unwrap_err()
            .to_string()
    };

    let nobody = Address::repeat_byte(0x66);
    let message = attempt(
        &|text| text.replace(&PROTOCOL.to_string(), &nobody.to_string()),
        artifacts,
    )
    .await;
    assert!(
        message.starts_with(&format!("no code at `pool` ({nobody})")),
        "{message}"
    );

    let message = attempt(
        &|text| text.replace(&format!("governor = \"{GOVERNOR}\"\n"), ""),
        artifacts,
    )
    .await;
    assert!(message.contains("`governor` is missing"), "{message}");

    // Exports the entry point, but imports what no chain has.
    let alien = r#"(module (import "env" "alien" (func)) (memory (export "memory") 1 1)
        (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#;
    let alien = Program::new("respond", wat::parse_str(alien).unwrap()).unwrap();
    let mut broken = artifacts.clone();
    broken.behind_the_gate[0] = alien;
    let message = attempt(&|text| text, &broken).await;
    assert!(
        message.starts_with("the chain does not accept the program respond: "),
        "{message}"
    );

    assert_eq!(setup.nonce().await, nonce, "no transaction was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_created_and_activated_once() {
    let chain = Chain::start().await;
    let provider = &chain.provider;
    let text = r#"(module (memory (export "memory") 1 1)
        (func (export "user_entrypoint") (param i32) (result i32) i32.const 0))"#;
    let program = Program::new("small", wat::parse_str(text).unwrap()).unwrap();
    assert_eq!(
        activation(provider, program.code_hash()).await.unwrap(),
        Activation::Never
    );
    let fee = data_fee(provider, &program).await.unwrap();
    assert!(fee > U256::ZERO && with_margin(fee) == fee + fee / U256::from(5));

    let first = deploy_program(provider, GOVERNOR, &program).await.unwrap();
    assert_eq!(
        keccak256(provider.get_code_at(first).await.unwrap()),
        program.code_hash()
    );
    assert_eq!(
        activation(provider, program.code_hash()).await.unwrap(),
        Activation::Active
    );
    let before = provider.get_transaction_count(GOVERNOR).await.unwrap();
    let second = deploy_program(provider, GOVERNOR, &program).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(
        provider.get_transaction_count(GOVERNOR).await.unwrap(),
        before + 1,
        "created, and active already"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_down_or_of_another_chain_are_named() {
    let node = Chain::start().await;
    let config = |endpoint: &str, id| {
        Config::parse(&common::config(endpoint, id), "cordon.toml")
            .unwrap()
            .chain
    };
    let endpoint = node.node.http_endpoint();
    let wrong = chain::connect(&config(&endpoint, 1), None)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        wrong,
        format!("the endpoint {endpoint} is of chain 31337, the configuration is for chain 1")
    );

    node.node.stop().await.unwrap();
    let secret = format!("{endpoint}/v2/secret-key");
    let down = chain::connect(&config(&secret, 31337), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        down.starts_with(&format!("the endpoint {endpoint} does not answer")),
        "{down}"
    );
    assert!(!down.contains("secret-key"), "{down}");
}
