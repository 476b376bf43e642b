//! The `cordon` command from outside: exit codes, messages, clean ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use alloy::providers::Provider;
use common::{Chain, cordon, deploy, failure, run};

#[test]
fn wrong_usage_has_its_own_exit_code() {
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["gaurd", "status"]).status.code(), Some(2));
    assert_eq!(run(&["node", "--fork-block-number", "7"]).status.code(), Some(2));
    assert_eq!(run(&["node", "--block-time", "0"]).status.code(), Some(2));
    assert_eq!(
        run(&["guard", "contain", "protocol", "halted"]).status.code(),
        Some(2),
        "a duration is needed"
    );
}

#[test]
fn check_shows_what_a_configuration_means() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cordon.toml");
    std::fs::write(&path, common::config("http://127.0.0.1:1", 31337)).unwrap();
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "little-ether [protocol] P2: state, robust; trips Halted for 1 hour",
        "pool.setPaused(true)",
        "code hash 0x",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }

    let wrong = common::config("http://127.0.0.1:1", 31337).replace("eth(pool)", "eth(pol)");
    std::fs::write(&path, wrong).unwrap();
    let message = failure(&run(&["check", "--config", path.to_str().unwrap()]));
    assert!(
        message.contains("cordon.toml:23:13: ") && message.contains("did you mean `pool`?"),
        "{message}"
    );

    let message = failure(&run(&["check", "--config", "/nowhere/cordon.toml"]));
    assert!(
        message.contains("cannot read the configuration /nowhere/cordon.toml"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn guard_commands_fail_with_a_reason() {
    let chain = Chain::start().await;
    let path = chain.write_config(|text| text);
    let config = path.to_str().unwrap();

    let message = failure(&run(&["guard", "status", "--config", config]));
    assert!(message.contains("`address` is missing in [guard]"), "{message}");

    let folder = chain.folder().join("programs");
    std::fs::create_dir(&folder).unwrap();
    let deploy = [
        "guard",
        "deploy",
        "--config",
        config,
        "--artifacts",
        folder.to_str().unwrap(),
    ];
    let message = failure(&run(&deploy));
    assert!(
        message.contains("gate.bin") && message.contains("cordon guard build"),
        "{message}"
    );
    std::fs::write(folder.join("gate.bin"), "#!/bin/sh").unwrap();
    let message = failure(&run(&deploy));
    assert!(
        message.contains("is no Stylus program: it begins with 23212f62"),
        "{message}"
    );

    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let programs = root.join("contracts/target/cordon");
    let deploy = [
        "guard",
        "deploy",
        "--config",
        config,
        "--artifacts",
        programs.to_str().unwrap(),
    ];
    let message = failure(&run(&deploy));
    assert!(
        message.contains("the environment variable CORDON_KEY is not set"),
        "{message}"
    );
    let message = failure(&cordon(&deploy).env("CORDON_KEY", "0x1234").output().unwrap());
    assert!(
        message.contains("CORDON_KEY holds no private key") && !message.contains("1234"),
        "{message}"
    );

    let stranger =
        chain.write_config(|text| text.replace("[guard]", &format!("[guard]\naddress = \"{}\"", common::PROTOCOL)));
    let stranger = stranger.to_str().unwrap();
    let message = failure(&run(&[
        "guard",
        "settle",
        "market",
        "--config",
        stranger,
        "--unlocked",
        &common::GUARDIAN.to_string(),
    ]));
    assert!(
        message.contains("unknown scope `market`; known: `protocol`"),
        "{message}"
    );
    let message = failure(&run(&["guard", "status", "--config", stranger]));
    assert!(message.contains("reading the guard's"), "{message}");
    let message = failure(&run(&["keeper", "check", "--config", stranger]));
    assert!(
        message.contains("the environment variable CORDON_KEEPER_KEY is not set"),
        "{message}"
    );
    chain.node.stop().await.unwrap();
    let message = failure(&run(&["guard", "status", "--config", stranger]));
    assert!(message.contains("does not answer"), "{message}");
}

/// Reviewed beforehand.
const SET: &str = r#"
[[containment_set]]
id = "stop"
reviewed = "0x0707070707070707070707070707070707070707070707070707070707070707"
contain = [{ scope = "protocol", level = "Halted", for = "10 minutes" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_command_deploys_and_operates_a_guard() {
    let chain = Chain::start().await;
    let path = chain.write_config(|text| text + SET);
    let config = path.to_str().unwrap();
    let guardian = common::GUARDIAN.to_string();
    let first = deploy(&path, &["--no-seal", "--write"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let written = cordon_client::Config::load(&path).unwrap();
    let guard = written.guard.address.expect("the address was written");

    let message = failure(&deploy(&path, &[]));
    assert!(message.contains("cannot carry out every containment call"), "{message}");
    chain.grant(guard).await;
    let sealed = deploy(&path, &[]);
    assert!(
        String::from_utf8_lossy(&sealed.stdout).contains("\nsealed\n"),
        "{sealed:?}"
    );

    let list = run(&["guard", "set", "list", "--config", config]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(
        text.contains("stop: protocol Halted for 10 minutes; by keeper, guardian, governor; reviewed 0x0707"),
        "{list:?}"
    );
    let rehearsal = run(&["guard", "set", "rehearse", "--config", config]);
    let text = String::from_utf8_lossy(&rehearsal.stdout).into_owned();
    assert!(text.contains("stop: works (pause)"), "{rehearsal:?}");
    let set = |name| {
        let who = ["--config", config, "--unlocked", &guardian];
        run(&[&["guard", "set", "contain", name][..], &who].concat())
    };
    let message = failure(&set("stopp"));
    assert!(
        message.contains("unknown containment set `stopp`; did you mean `stop`?"),
        "{message}"
    );
    assert!(!chain.paused().await);
    let output = set("stop");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("scope protocol is Halted for 10 minutes: incident 1") && text.contains("done: pause"),
        "{output:?}"
    );
    assert!(chain.paused().await);

    let halt = [
        "guard",
        "contain",
        "protocol",
        "halted",
        "--for",
        "15 minutes",
        "--config",
        config,
        "--unlocked",
        &guardian,
    ];
    let output = run(&halt);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("scope protocol stays Halted for 15 minutes: incident 1"),
        "{output:?}"
    );
    // What holds already is said as it is, not as it was asked for.
    let less = [
        "guard",
        "contain",
        "protocol",
        "halted",
        "--for",
        "1 minute",
        "--config",
        config,
        "--unlocked",
        &guardian,
    ];
    let output = run(&less);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("scope protocol is Halted for ")
            && text.contains(" already: ")
            && text.contains("changed nothing"),
        "{output:?}"
    );
    let status = run(&["guard", "status", "--config", config]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        text.contains("Halted") && text.contains("in force: pause") && text.contains("as configured"),
        "{text}"
    );
    let online = run(&["check", "--online", "--config", config]);
    assert!(String::from_utf8_lossy(&online.stdout).contains("as configured, and able to make each containment call"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_is_checked_trips_and_ends_when_told() {
    let chain = Chain::start().await;
    let path = chain.write_config(|text| text);
    let config = path.to_str().unwrap();
    let keeper = |what: &str| common::keeper(what, &path);
    let message = failure(&keeper("check").output().unwrap());
    assert!(message.contains("deploy one with `cordon guard deploy`"), "{message}");
    chain.deploy_guard(&path).await;

    let output = keeper("check").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        !chain.folder().join("cordon.db").exists(),
        "a check leaves nothing behind"
    );
    let told = String::from_utf8(output.stdout).unwrap();
    for line in [
        format!("key of {}, in this process: signs", common::KEEPER),
        format!("heartbeat_key of {}, in this process: signs", common::HEARTBEAT),
    ] {
        assert!(told.contains(&line), "{told}");
    }
    keys_elsewhere_are_tried(&path, &keeper);

    let (mut running, lines) = Running::start(&mut keeper("run"));
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.next().unwrap().contains("serves guard"));
    chain.endow(common::PROTOCOL).await;
    let told: Vec<String> = lines
        .by_ref()
        .take_while(|line| !line.contains("scope protocol is Halted"))
        .collect();
    assert!(
        told.iter().any(|line| line.contains("little-ether is breached")),
        "{told:?}"
    );
    assert!(chain.paused().await);
    assert_eq!(running.end("-INT"), Some(0));
    what_other_rules_would_have_told(&chain, config).await;
}

/// `keeper replay` over what has just happened, against rules without the one that was breached.
async fn what_other_rules_would_have_told(chain: &Chain, config: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    let other = chain.folder().join("other.toml");
    // The same rule under another name: the one alert goes, the other comes.
    std::fs::write(&other, text.replace("\"little-ether\"", "\"renamed\"")).unwrap();
    let to = chain.provider.get_block_number().await.unwrap().to_string();
    let other = other.to_str().unwrap();
    let output = run(&[
        "keeper",
        "replay",
        "--config",
        config,
        "--json",
        "--from",
        "1",
        "--to",
        &to,
        "--against",
        other,
    ]);
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |id: &str, side: &str| {
        let held = lines
            .iter()
            .filter(|line| line["id"] == id && line["kind"] == "decided" && line["side"] == side);
        held.count()
    };
    assert_eq!(
        (of("little-ether", "removed"), of("renamed", "added")),
        (1, 1),
        "{lines:#?}"
    );
    let summary = lines.last().unwrap();
    assert_eq!(summary["summary"], true);
    assert_eq!(
        (summary["added"].as_u64(), summary["removed"].as_u64()),
        (Some(1), Some(1))
    );
}

/// A service that does not answer, and a holder that this build does not know, are told of before they are needed.
fn keys_elsewhere_are_tried(path: &std::path::Path, keeper: &dyn Fn(&str) -> Command) {
    let text = std::fs::read_to_string(path).unwrap();
    let with = |key: &str| {
        let text = text.replace("key = { env = \"CORDON_KEEPER_KEY\" }", &format!("key = {key}"));
        std::fs::write(path, text).unwrap();
        keeper("check")
            .env("SIGNER", "http://127.0.0.1:1/token")
            .output()
            .unwrap()
    };
    let service = format!(
        "{{ web3signer = {{ env = \"SIGNER\" }}, address = \"{}\" }}",
        common::KEEPER
    );
    let output = with(&service);
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        told.contains("with a signing service: cannot sign: the signing service does not answer"),
        "{told}"
    );
    let message = failure(&output);
    assert!(
        message.contains("1 of 2 keys cannot sign") && !message.contains("token"),
        "{message}"
    );
    if !cfg!(feature = "aws-kms") {
        let message = failure(&with("{ aws_kms = \"alias/keeper\" }"));
        assert!(
            message.contains("AWS KMS key alias/keeper") && message.contains("--features aws-kms"),
            "{message}"
        );
    }
    std::fs::write(path, text).unwrap();
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> (Self, Lines<BufReader<ChildStdout>>) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Self(child), lines)
    }

    /// Sends a signal and returns the exit code.
    fn end(&mut self, signal: &str) -> Option<i32> {
        let told = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node in a process of its own, and its first lines up to the endpoint.
fn node(arguments: &[&str]) -> (Running, String) {
    let (mut running, mut lines) = Running::start(&mut cordon(&[&["node"], arguments].concat()));
    let mut text = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.starts_with("Listening on ") {
            return (running, text);
        }
    }
    let mut stderr = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    panic!("the node ended: {text}{stderr}");
}

#[test]
fn a_node_announces_itself_and_ends_when_told() {
    let (mut node, text) = node(&["--port", "0", "--accounts", "2", "--chain-id", "42161"]);
    assert!(
        text.contains("(0) 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 (10000 ETH)"),
        "{text}"
    );
    assert!(
        text.contains("(1) 0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
        "{text}"
    );
    assert!(text.contains("Chain ID\n==================\n42161\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");

    let address = text
        .lines()
        .last()
        .unwrap()
        .trim_start_matches("Listening on ")
        .to_owned();
    let port = address.rsplit(':').next().unwrap();
    let message = failure(&run(&["node", "--port", port]));
    assert!(message.contains(port) && message.contains("in use"), "{message}");

    assert_eq!(node.end("-INT"), Some(0));
}

#[test]
fn the_keys_of_a_phrase_of_ones_own_are_not_shown() {
    let phrase = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    let (mut node, text) = node(&["--port", "0", "--mnemonic", phrase]);
    assert!(!text.contains("Private Keys") && !text.contains("winner"), "{text}");
    assert_eq!(node.end("-TERM"), Some(0));
}
