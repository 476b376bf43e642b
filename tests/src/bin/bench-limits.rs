//! The limiter's figures in `docs/benchmarks.md`, next to the same hot path written in Solidity; `scripts/bench` runs it.
//!
//! Prints Markdown. Each figure is what one call costs its Solidity caller, measured by the caller, in a block of its own.

use std::path::Path;

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::coins_bip39::English;
use alloy::signers::local::{MnemonicBuilder, PrivateKeySigner};
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use cordon_client::build::Artifacts;
use cordon_client::deploy::deploy_at_fixed_address;
use cordon_client::precompiles::ARB_WASM;
use cordon_client::program::Program;
use cordon_node::NodeConfig;
use cordon_tests::bench::targets::LIMITER;
use eyre::{OptionExt, WrapErr, ensure};

sol! {
    #[allow(missing_docs)]
    interface Limiter {
        struct Limit { uint128 units; uint32 period; uint16 share; uint8 scope; bool rebasing; bool elastic; }
        function initialize(address guard, uint32 delay) external;
        function setLimit(address protocol, address asset, uint8 class, Limit calldata limit) external;
        function set(address protocol, address asset, uint8 class, uint64 units, uint24 period) external;
    }

    #[allow(missing_docs)]
    interface Treasury {
        event Measured(uint256 gas);
        function measureOutflow(address asset, uint8 class, address account, uint256 amount) external;
        function measureInflow(address asset, uint8 class, address account, uint256 amount) external;
    }

    #[allow(missing_docs)]
    interface EntryCost {
        function programInitGas(address program) external view returns (uint64 gas, uint64 gasWhenCached);
    }
}

const DAY: u32 = 86_400;
/// Units of each call, and of the limits: nothing is ever quarantined here.
const AMOUNT: u64 = 5;
const UNITS: u64 = 1_000_000;

struct Bench {
    provider: DynProvider,
    from: Address,
    asset: Address,
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or_eyre("the project has no root")?
        .to_owned();
    let node = cordon_node::spawn(NodeConfig {
        silent: true,
        ..NodeConfig::default()
    })
    .await?;
    let key: PrivateKeySigner = MnemonicBuilder::<English>::default()
        .phrase(cordon_node::DEFAULT_MNEMONIC)
        .index(0)?
        .build()?;
    let bench = Bench {
        from: key.address(),
        provider: ProviderBuilder::new()
            .wallet(EthereumWallet::from(key))
            .connect_http(node.http_endpoint().parse()?)
            .erased(),
        asset: Address::repeat_byte(0xaa),
    };
    bench.run(&root).await?;
    node.stop().await?;
    Ok(())
}

impl Bench {
    async fn run(&self, root: &Path) -> eyre::Result<()> {
        let program = Program::load(&Artifacts::directory(root).join("limiter.bin"))?;
        let guard = self.create(root, "BucketLimiter", "GovernorStub", &[]).await?;
        let init = Limiter::initializeCall { guard, delay: DAY };
        let salt = B256::with_last_byte(1);
        let (limiter, _) =
            deploy_at_fixed_address(&self.provider, self.from, &program, init.abi_encode().into(), salt).await?;
        let peer = self.create(root, "BucketLimiter", "BucketLimiter", &[]).await?;
        let ours = self
            .create(root, "LimitedTreasury", "LimitedTreasury", &limiter.abi_encode())
            .await?;
        let theirs = self
            .create(root, "LimitedTreasury", "LimitedTreasury", &peer.abi_encode())
            .await?;
        let limit = |elastic| Limiter::setLimitCall {
            protocol: ours,
            asset: self.asset,
            class: 0,
            limit: Limiter::Limit {
                units: UNITS.into(),
                period: DAY,
                share: 0,
                scope: 0,
                rebasing: false,
                elastic,
            },
        };
        self.send(limiter, limit(false).abi_encode()).await?;
        let set = Limiter::setCall {
            protocol: theirs,
            asset: self.asset,
            class: 0,
            units: UNITS,
            period: DAY.try_into()?,
        };
        self.send(peer, set.abi_encode()).await?;

        let call = EntryCost::programInitGasCall { program: limiter }.abi_encode();
        let request = TransactionRequest::default().with_to(ARB_WASM).with_input(call);
        let entry = EntryCost::programInitGasCall::abi_decode_returns(&self.provider.call(request).await?)?;
        println!("## Limiter\n");
        println!(
            "What one call costs its Solidity caller (accounts cold, the limit in use). The program is in the table at the top; the target is \
             for the program cached.\n"
        );
        println!("| operation | gas, program cached | target | not cached | the same in Solidity |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        let saved = entry.gas.saturating_sub(entry.gasWhenCached);
        let row = |name: &str, gas: u64, peer: Option<u64>| {
            let cached = gas.saturating_sub(saved);
            let met = match cached.checked_sub(LIMITER) {
                None | Some(0) => "met".to_owned(),
                Some(above) => format!("missed by {above}"),
            };
            let peer = peer.map(|gas| gas.to_string()).unwrap_or_default();
            println!("| {name} | {cached} | {LIMITER}, {met} | {gas} | {peer} |");
        };
        let (outflow, inflow) = self.pair(ours).await?;
        let (their_outflow, their_inflow) = self.pair(theirs).await?;
        row("`outflow` within the limit", outflow, Some(their_outflow));
        row("`inflow`, credit within the transaction", inflow, Some(their_inflow));
        self.send(limiter, limit(true).abi_encode()).await?;
        let (outflow, inflow) = self.pair(ours).await?;
        row("`outflow` on elastic credit", outflow, None);
        row("`inflow`, elastic credit", inflow, None);
        println!(
            "\nElastic credit is a word for each account, beside the limit's own: 2,100 gas to read it and, where credit within the transaction \
             is transient, 2,900 to write it. Nothing short of keeping less than an account's own credit makes that cheaper.\n"
        );
        println!(
            "For comparison, published or measured by others: ERC-7265's packed buffer as a library in the same contract 7,400 in and \
             7,500 out; its reference breaker 28,600 to 103,600 in and 43,400 to 82,900 out. The program's own work in `outflow`, without the call \
             to it, is asserted to stay within 7,400 by the tests."
        );
        Ok(())
    }

    /// Second call of each sort, whose words are in use already.
    async fn pair(&self, treasury: Address) -> eyre::Result<(u64, u64)> {
        let inflow = Treasury::measureInflowCall {
            asset: self.asset,
            class: 0,
            account: self.from,
            amount: U256::from(AMOUNT),
        };
        let outflow = Treasury::measureOutflowCall {
            asset: self.asset,
            class: 0,
            account: self.from,
            amount: U256::from(AMOUNT),
        };
        self.send(treasury, outflow.abi_encode()).await?;
        self.send(treasury, inflow.abi_encode()).await?;
        let paid_in = self.measured(treasury, inflow.abi_encode()).await?;
        let paid_out = self.measured(treasury, outflow.abi_encode()).await?;
        Ok((paid_out, paid_in))
    }

    async fn measured(&self, to: Address, input: Vec<u8>) -> eyre::Result<u64> {
        let receipt = self.send(to, input).await?;
        let logs = receipt.inner.logs().iter();
        let measured = logs
            .filter_map(|log| Treasury::Measured::decode_log(&log.inner).ok())
            .next();
        Ok(measured.ok_or_eyre("the treasury measured nothing")?.gas.try_into()?)
    }

    async fn send(&self, to: Address, input: Vec<u8>) -> eyre::Result<TransactionReceipt> {
        let request = TransactionRequest::default()
            .with_from(self.from)
            .with_to(to)
            .with_input(input);
        let receipt = self.provider.send_transaction(request).await?.get_receipt().await?;
        ensure!(receipt.status(), "a transaction of the benchmark reverted");
        Ok(receipt)
    }

    async fn create(&self, root: &Path, file: &str, name: &str, arguments: &[u8]) -> eyre::Result<Address> {
        let path = root.join(format!("out/{file}.sol/{name}.json"));
        let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("{}: run forge build", path.display()))?;
        let artifact: serde_json::Value = serde_json::from_str(&text)?;
        let code = artifact.pointer("/bytecode/object").and_then(serde_json::Value::as_str);
        let code: Bytes = code.ok_or_eyre("the artifact has no code")?.parse()?;
        let request = TransactionRequest::default()
            .with_from(self.from)
            .with_deploy_code([&code[..], arguments].concat());
        let receipt = self.provider.send_transaction(request).await?.get_receipt().await?;
        receipt.contract_address.ok_or_eyre("a contract was not created")
    }
}
