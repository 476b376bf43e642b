//! Every flag of anvil is taken, or refused by its name.

use std::path::Path;
use std::process::{Command, Output};

use crate::{node, tool};

/// What stands for a folder in which nothing can be made, by nobody: a file.
const NOWHERE: &str = "NOWHERE";

/// Values with which each flag of anvil is tried; `None`: a switch.
fn sample(flag: &str) -> Option<Option<&'static str>> {
    let hash = "0x0101010101010101010101010101010101010101010101010101010101010101";
    Some(match flag {
        "accounts" => Some("2"),
        "block-time" => Some("0.5"),
        "balance" | "slots-in-an-epoch" | "transaction-block-keeper" | "number" | "prune-history" => Some("7"),
        "hardfork" => Some("cancun"),
        "derivation-path" => Some("m/44'/60'/1'/0/"),
        "ipc" => Some("NOWHERE/socket"),
        "threads" | "max-persisted-states" | "retries" | "mnemonic-seed-unsafe" => Some("2"),
        "mnemonic" => Some("test test test test test test test test test test test junk"),
        "mnemonic-random" => Some("12"),
        "max-transactions" | "timestamp" | "memory-limit" | "code-size-limit" | "gas-price" => Some("100000"),
        "block-base-fee-per-gas" | "compute-units-per-second" | "timeout" | "fork-retry-backoff" => Some("1000"),
        "gas-limit" => Some("40000000"),
        "order" => Some("fifo"),
        "port" => Some("0"),
        "host" => Some("127.0.0.1"),
        "allow-origin" => Some("http://localhost"),
        "cache-path" | "dump-state" | "state" => Some("NOWHERE/folder"),
        "init" | "load-state" => Some("NOWHERE/file"),
        "state-interval" => Some("60"),
        "color" => Some("never"),
        "fork-url" => Some("http://127.0.0.1:1"),
        "fork-block-number" => Some("-3"),
        "fork-chain-id" | "chain-id" => Some("42161"),
        "fork-header" => Some("X-Key: value"),
        "fork-transaction-hash" => Some(hash),
        "network" => Some("ethereum"),
        "no-mining"
        | "mixed-mining"
        | "preserve-historical-states"
        | "md"
        | "quiet"
        | "verbosity"
        | "no-cors"
        | "no-request-size-limit"
        | "no-rate-limit"
        | "no-storage-caching"
        | "disable-block-gas-limit"
        | "disable-code-size-limit"
        | "disable-min-priority-fee"
        | "enable-tx-gas-limit"
        | "auto-impersonate"
        | "disable-console-log"
        | "disable-default-create2-deployer"
        | "print-traces"
        | "steps-tracing"
        | "disable-pool-balance-checks"
        | "json"
        | "celo" => None,
        _ => return None,
    })
}

/// The long flags that anvil's help names.
fn flags_of_anvil() -> Vec<String> {
    let help = Command::new(tool("anvil")).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    let named = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let long = match line.split_once(", --") {
            Some((short, long)) if short.len() == 2 && short.starts_with('-') => long,
            _ => line.strip_prefix("--")?,
        };
        Some(long.split([' ', '.', '[']).next()?.to_owned())
    });
    named
        .filter(|flag| !["help", "version", "config-out"].contains(&flag.as_str()))
        .collect()
}

/// Runs a node with one flag up to the point where it has started, and lets it fail there: at `nowhere`.
fn started_with(flag: &str, value: Option<&str>, nowhere: &Path) -> Output {
    let nowhere = nowhere.to_str().unwrap();
    let mut command = node(&["--config-out", &format!("{nowhere}/config.json")]);
    if flag != "port" {
        command.args(["--port", "0"]);
    }
    match flag {
        "fork-url" => drop(command.args(["--retries", "0"])),
        "retries" | "timeout" | "no-rate-limit" => drop(command.args(["--fork-url", "http://127.0.0.1:1"])),
        "mixed-mining" => drop(command.args(["--block-time", "1"])),
        "state-interval" => drop(command.args(["--dump-state", &format!("{nowhere}/folder")])),
        _ if flag.starts_with("fork-") || flag == "compute-units-per-second" => {
            command.args(["--fork-url", "http://127.0.0.1:1", "--retries", "0"]);
        }
        _ => {}
    }
    command.arg(format!("--{flag}"));
    command.args(value.map(|value| value.replace(NOWHERE, nowhere)));
    command.output().unwrap()
}

#[test]
fn every_flag_of_anvil_is_taken_or_refused_by_name() {
    let flags = flags_of_anvil();
    assert!(flags.len() > 60, "anvil's help was not understood: {flags:?}");
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("file");
    std::fs::write(&nowhere, "").unwrap();
    let shown = nowhere.to_str().unwrap();
    let mut refused = Vec::new();
    for flag in &flags {
        let value = sample(flag).unwrap_or_else(|| panic!("anvil has a flag that nobody thought of: --{flag}"));
        let output = started_with(flag, value, &nowhere);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        // 2: the command was written wrongly. 1: it ran into the end prepared for it, or refuses the flag.
        assert_eq!(output.status.code(), Some(1), "--{flag}: {message}");
        if message.contains(&format!("--{flag}")) {
            refused.push(flag.as_str());
        } else {
            let expected = ["--config-out", "does not answer", shown];
            assert!(
                expected.iter().any(|part| message.contains(part)),
                "--{flag}: {message}"
            );
        }
    }
    assert_eq!(refused, ["json", "disable-pool-balance-checks", "celo"]);
    for network in ["optimism", "tempo"] {
        let output = started_with("network", Some(network), &nowhere);
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("--network"),
            "{network}"
        );
    }
}
