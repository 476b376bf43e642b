//! What the guard's hooks and the limiter cost a Stylus program that embeds them.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::SolCall;
use cordon_client::build::Artifacts;
use cordon_client::deploy::deploy_program;
use cordon_client::program::Program;
use eyre::OptionExt;
use serde_json::Value;

use super::targets::{EMBEDDED_HOOKS, EMBEDDED_OUTFLOW};
use super::world::{Bench, GOVERNOR, key};

sol! {
    #[allow(missing_docs)]
    interface Till {
        function bind(address guard) external;
        function withdraw(uint256 amount) external;
        function deposit(uint256 amount) external;
        function measure() external returns (uint256);
        function measureOutflow(uint256 amount) external returns (uint256);
    }
}

/// Ink of one unit of gas.
const INK: u64 = 10_000;
/// Gas of a word of storage that the transaction has not touched.
const COLD_WORD: u64 = 2_100;

impl Bench {
    /// The till of `contracts/examples/embedded`, measured by itself: each figure is that of a call of its own, with cold storage.
    /// Answers the gas of the hooks, and that of an outflow.
    pub(super) async fn embedded(&self) -> eyre::Result<(u64, u64)> {
        let program = Program::load(&Artifacts::directory(&self.root).join("example-embedded.bin"))?;
        let till = deploy_program(&self.provider, key(GOVERNOR)?.address(), &program).await?;
        self.send(GOVERNOR, till, Till::bindCall { guard: self.guard }.abi_encode())
            .await?;
        let amount = U256::from(100);
        self.send(GOVERNOR, till, Till::depositCall { amount }.abi_encode())
            .await?;
        self.send(GOVERNOR, till, Till::withdrawCall { amount }.abi_encode())
            .await?;
        let hooks = self.told(till, Till::measureCall {}.abi_encode()).await?;
        let outflow = self
            .told(till, Till::measureOutflowCall { amount }.abi_encode())
            .await?;
        println!(
            "Embedded in a Rust protocol (`contracts/examples/embedded`), in its own frame, without a call, all Normal, storage cold; what is \
             written is paid for:\n"
        );
        println!("| operation | gas | target |");
        println!("| --- | ---: | --- |");
        for (name, gas, target) in [
            ("`enter` + `exit`", hooks, EMBEDDED_HOOKS),
            ("`limit::outflow` within the limit", outflow, EMBEDDED_OUTFLOW),
        ] {
            let met = if gas > target { "missed" } else { "met" };
            println!("| {name} | {gas} | {target}, {met} |");
        }
        self.embedded_budget(till, hooks).await?;
        Ok((hooks, outflow))
    }

    /// Where the gas of the embedded hooks goes: the host calls between the two looks at the gas that is left.
    async fn embedded_budget(&self, till: Address, total: u64) -> eyre::Result<()> {
        let receipt = self.send(GOVERNOR, till, Till::measureCall {}.abi_encode()).await?;
        let steps = self.host_calls(receipt.transaction_hash).await?;
        let is_look = |step: &&Value| step.get("name").and_then(Value::as_str) == Some("evm_gas_left");
        let [first, last] = [
            steps.iter().position(|step| is_look(&step)),
            steps.iter().rposition(|step| is_look(&step)),
        ];
        let (first, last) = first.zip(last).ok_or_eyre("the till did not look at its gas")?;
        let between = steps.get(first.saturating_add(1)..last).unwrap_or_default();
        let (mut loads, mut other, mut calls) = (0_u64, 0_u64, 0_u64);
        for step in between {
            let ink = |name: &str| step.get(name).and_then(Value::as_u64).ok_or_eyre("a step without ink");
            let spent = ink("startInk")?.saturating_sub(ink("endInk")?);
            if step.get("name").and_then(Value::as_str) == Some("storage_load_bytes32") {
                loads = loads.saturating_add(spent);
            } else {
                other = other.saturating_add(spent);
                calls = calls.saturating_add(1);
            }
        }
        let (loads, other) = (loads / INK, other / INK);
        println!("\nWhere the gas of the embedded `enter` and `exit` goes:\n");
        println!("| line | gas |\n| --- | ---: |");
        println!("| `enter`: the word of all levels, cold | {COLD_WORD} |");
        println!(
            "| `enter`: the VM's cache of that word, the host call | {} |",
            loads.saturating_sub(COLD_WORD)
        );
        println!("| other host calls ({calls}) | {other} |");
        println!("| `exit`: host calls | none |");
        println!(
            "| instructions of `enter`, `exit` and their caller, and the look at the gas that measures them (the rest) | {} |",
            total.saturating_sub(loads).saturating_sub(other)
        );
        println!("| together | {total} |\n");
        Ok(())
    }

    /// The number that a function answers.
    async fn told(&self, to: Address, input: Vec<u8>) -> eyre::Result<u64> {
        let request = TransactionRequest::default().with_to(to).with_input(input);
        let answer = self.provider.call(request).await?;
        Ok(U256::try_from_be_slice(&answer).unwrap_or_default().try_into()?)
    }
}
