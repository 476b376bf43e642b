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

use crate::world::{Bench, GOVERNOR, key};

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

/// Gas of `enter` and `exit`, and of an outflow.
const HOOKS: u64 = 6_000;
const OUTFLOW: u64 = 7_400;

impl Bench {
    /// The till of `contracts/examples/embedded`, measured by itself: each figure is that of a call of its own, with cold storage.
    pub(crate) async fn embedded(&self) -> eyre::Result<()> {
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
            ("`enter` + `exit`", hooks, HOOKS),
            ("`limit::outflow` within the limit", outflow, OUTFLOW),
        ] {
            let met = if gas > target { "missed" } else { "met" };
            println!("| {name} | {gas} | {target}, {met} |");
        }
        println!();
        Ok(())
    }

    /// The number that a function answers.
    async fn told(&self, to: Address, input: Vec<u8>) -> eyre::Result<u64> {
        let request = TransactionRequest::default().with_to(to).with_input(input);
        let answer = self.provider.call(request).await?;
        Ok(U256::try_from_be_slice(&answer).unwrap_or_default().try_into()?)
    }
}
