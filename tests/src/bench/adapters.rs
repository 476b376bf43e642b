//! What an adapter adds to closing something: published contracts, closed by whoever holds the role, and through the adapter that holds
//! it in the guard's stead.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, b256};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use eyre::{OptionExt, WrapErr};

use super::world::{Bench, GOVERNOR, GUARDIAN, creation_code, key};

sol! {
    #[allow(missing_docs)]
    interface Manager {
        function grantRole(uint64 role, address account, uint32 delay) external;
        function setTargetClosed(address target, bool closed) external;
    }
    #[allow(missing_docs)]
    interface Pausable {
        function grantRole(bytes32 role, address account) external;
        function pause() external;
        function unpause() external;
    }
    #[allow(missing_docs)]
    interface Safe {
        event ProxyCreation(address indexed proxy, address singleton);
        function createProxyWithNonce(address singleton, bytes initializer, uint256 salt) external returns (address);
        function setup(address[] owners, uint256 threshold, address to, bytes data, address handler, address token, uint256 payment, address receiver) external;
        function enableModule(address module) external;
        function execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address receiver, bytes signatures) external returns (bool);
    }
    #[allow(missing_docs)]
    interface Admin {
        function transferOwnership(address owner) external;
        function upgradeAndCall(address proxy, address code, bytes data) external;
    }
    #[allow(missing_docs)]
    interface Adapter {
        function bind(address guard) external;
        function close() external;
        function freeze() external;
        function upgrade(address code, bytes data) external;
    }
    #[allow(missing_docs)]
    interface Switch {
        function close(address target) external;
    }
    #[allow(missing_docs)]
    interface Script {
        struct Step {
            address to;
            bytes data;
        }
        function run(Step[] steps) external;
    }
}

/// `keccak256("PAUSER_ROLE")`.
const PAUSER: B256 = b256!("65d7a28e3265b37a6474929f336521b332c1681b933f6cb9f3376673440d862a");
/// Slot in which a proxy keeps its admin.
const ADMIN_SLOT: B256 = b256!("b53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103");
/// Most gas that an adapter may add: two cold accounts, three cold words, and its own instructions.
const TARGET: u64 = 15_000;
const OZ: &str = "@openzeppelin/contracts/build/contracts";
const OZ4: &str = "openzeppelin-contracts-4/build/contracts";
const SAFE: &str = "@safe-global/safe-contracts/build/artifacts/contracts";

/// What a transaction costs besides its own price: calldata, and 21,000.
fn executed(receipt: &TransactionReceipt, input: &[u8]) -> u64 {
    let calldata: u64 = input.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum();
    receipt.gas_used.saturating_sub(calldata).saturating_sub(21_000)
}

impl Bench {
    /// Each adapter against the same without it. A contract that makes calls stands for the guard: what the guard itself costs is the
    /// same either way.
    pub(super) async fn adapters(&self) -> eyre::Result<()> {
        println!(
            "Adapters: closing through the adapter against closing by a contract that holds the role itself, published bytecode, whole \
             transactions without their own price. What is added the guard pays within its containment call.\n"
        );
        println!("| closing | directly | through the adapter | added | target: {TARGET} |");
        println!("| --- | ---: | ---: | ---: | --- |");
        for (name, direct, through) in [
            self.switch().await.wrap_err("AccessManagerSwitch")?,
            self.lever().await.wrap_err("SafeLever")?,
            self.freezer().await.wrap_err("ProxyFreezer")?,
        ] {
            let added = through.saturating_sub(direct);
            let met = if added > TARGET { "missed" } else { "met" };
            println!("| {name} | {direct} | {through} | {added} | {met} |");
        }
        println!();
        Ok(())
    }

    async fn switch(&self) -> eyre::Result<(&'static str, u64, u64)> {
        let (owner, guard) = (key(GOVERNOR)?.address(), self.make(self.ours("Script")?, vec![]).await?);
        let targets = [Address::repeat_byte(0x71), Address::repeat_byte(0x72)];
        let [first, second] = targets;
        let manager = self
            .make(
                published(self, &format!("{OZ}/AccessManager.json"))?,
                owner.abi_encode(),
            )
            .await?;
        let arguments = (owner, manager, targets.to_vec()).abi_encode_params();
        let adapter = self.make(self.ours("AccessManagerSwitch")?, arguments).await?;
        for account in [adapter, guard] {
            let (role, delay) = (0, 0);
            self.send(
                GOVERNOR,
                manager,
                Manager::grantRoleCall { role, account, delay }.abi_encode(),
            )
            .await?;
        }
        self.send(GOVERNOR, adapter, Adapter::bindCall { guard }.abi_encode())
            .await?;
        let direct = Manager::setTargetClosedCall {
            target: first,
            closed: true,
        };
        let direct = self.spent(guard, manager, direct.abi_encode()).await?;
        let through = self
            .spent(guard, adapter, Switch::closeCall { target: second }.abi_encode())
            .await?;
        Ok((
            "a target of an `AccessManager` (`AccessManagerSwitch`)",
            direct,
            through,
        ))
    }

    async fn lever(&self) -> eyre::Result<(&'static str, u64, u64)> {
        let (owner, guard) = (key(GOVERNOR)?.address(), self.make(self.ours("Script")?, vec![]).await?);
        let preset = published(self, &format!("{OZ4}/ERC20PresetMinterPauser.json"))?;
        let named = ("Token".to_owned(), "TOK".to_owned()).abi_encode_params();
        let token = self.make(preset, named).await?;
        let safe = self.safe().await?;
        for account in [safe, guard] {
            let role = PAUSER;
            self.send(GOVERNOR, token, Pausable::grantRoleCall { role, account }.abi_encode())
                .await?;
        }
        let arguments = (
            owner,
            safe,
            token,
            Bytes::from(Pausable::pauseCall {}.abi_encode()),
            Bytes::from(Pausable::unpauseCall {}.abi_encode()),
        );
        let adapter = self
            .make(self.ours("SafeLever")?, arguments.abi_encode_params())
            .await?;
        let enable = Safe::execTransactionCall {
            to: safe,
            value: U256::ZERO,
            data: Safe::enableModuleCall { module: adapter }.abi_encode().into(),
            operation: 0,
            safeTxGas: U256::ZERO,
            baseGas: U256::ZERO,
            gasPrice: U256::ZERO,
            gasToken: Address::ZERO,
            receiver: Address::ZERO,
            // The owner sends it, which is as good as a signature.
            signatures: [&owner.into_word()[..], &[0; 32], &[1]].concat().into(),
        };
        self.send(GOVERNOR, safe, enable.abi_encode()).await?;
        self.send(GOVERNOR, adapter, Adapter::bindCall { guard }.abi_encode())
            .await?;
        let direct = self.spent(guard, token, Pausable::pauseCall {}.abi_encode()).await?;
        self.spent(guard, token, Pausable::unpauseCall {}.abi_encode()).await?;
        let through = self.spent(guard, adapter, Adapter::closeCall {}.abi_encode()).await?;
        Ok(("a token whose pauser is a Safe (`SafeLever`)", direct, through))
    }

    async fn safe(&self) -> eyre::Result<Address> {
        let singleton = published(self, &format!("{SAFE}/Safe.sol/Safe.json"))?;
        let factory = published(
            self,
            &format!("{SAFE}/proxies/SafeProxyFactory.sol/SafeProxyFactory.json"),
        )?;
        let (singleton, factory) = (self.make(singleton, vec![]).await?, self.make(factory, vec![]).await?);
        let setup = Safe::setupCall {
            owners: vec![key(GOVERNOR)?.address()],
            threshold: U256::ONE,
            to: Address::ZERO,
            data: Bytes::new(),
            handler: Address::ZERO,
            token: Address::ZERO,
            payment: U256::ZERO,
            receiver: Address::ZERO,
        };
        let create = Safe::createProxyWithNonceCall {
            singleton,
            initializer: setup.abi_encode().into(),
            salt: U256::ONE,
        };
        let receipt = self.send(GOVERNOR, factory, create.abi_encode()).await?;
        let mut logs = receipt.inner.logs().iter();
        let created = logs.find_map(|log| Safe::ProxyCreation::decode_log(&log.inner).ok());
        Ok(created.ok_or_eyre("no Safe was created")?.proxy)
    }

    async fn freezer(&self) -> eyre::Result<(&'static str, u64, u64)> {
        let (owner, guard) = (key(GOVERNOR)?.address(), self.make(self.ours("Script")?, vec![]).await?);
        // Any code will do behind the proxies.
        let code = self.feed().await?;
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let arguments = (code, owner, Bytes::new()).abi_encode_params();
            let proxy = published(self, &format!("{OZ}/TransparentUpgradeableProxy.json"))?;
            let proxy = self.make(proxy, arguments).await?;
            let admin = self.provider.get_storage_at(proxy, ADMIN_SLOT.into()).await?;
            pairs.push((proxy, Address::from_word(admin.into())));
        }
        let [(first, first_admin), (second, second_admin)] = pairs.as_slice() else {
            eyre::bail!("two proxies are needed");
        };
        let arguments = (owner, *second_admin, *second, owner).abi_encode_params();
        let adapter = self.make(self.ours("ProxyFreezer")?, arguments).await?;
        let hand = |owner| Admin::transferOwnershipCall { owner }.abi_encode();
        self.send(GOVERNOR, *first_admin, hand(guard)).await?;
        self.send(GOVERNOR, *second_admin, hand(adapter)).await?;
        let data = Bytes::new();
        let upgrade = Adapter::upgradeCall {
            code,
            data: data.clone(),
        };
        self.send(GOVERNOR, adapter, upgrade.abi_encode()).await?;
        self.send(GOVERNOR, adapter, Adapter::bindCall { guard }.abi_encode())
            .await?;
        let other = self.feed().await?;
        let (proxy, code) = (*first, other);
        let direct = Admin::upgradeAndCallCall { proxy, code, data };
        let direct = self.spent(guard, *first_admin, direct.abi_encode()).await?;
        let through = self.spent(guard, adapter, Adapter::freezeCall {}.abi_encode()).await?;
        Ok(("a proxy, by other code behind it (`ProxyFreezer`)", direct, through))
    }

    /// What a call of the contract that stands for the guard costs.
    async fn spent(&self, guard: Address, to: Address, data: Vec<u8>) -> eyre::Result<u64> {
        let data = data.into();
        let steps = vec![Script::Step { to, data }];
        let input = Script::runCall { steps }.abi_encode();
        let receipt = self.send(GUARDIAN, guard, input.clone()).await?;
        Ok(executed(&receipt, &input))
    }

    /// Creation code of one of our contracts.
    fn ours(&self, name: &str) -> eyre::Result<Bytes> {
        creation_code(&self.root, name)
    }

    async fn make(&self, code: Bytes, arguments: Vec<u8>) -> eyre::Result<Address> {
        let creation = TransactionRequest::default()
            .with_from(key(GOVERNOR)?.address())
            .with_deploy_code([&code[..], &arguments].concat());
        let receipt = self.provider.send_transaction(creation).await?.get_receipt().await?;
        receipt.contract_address.ok_or_eyre("a contract was not created")
    }
}

/// Creation code of a published contract.
fn published(bench: &Bench, path: &str) -> eyre::Result<Bytes> {
    let path = bench.root.join("scripts/npm/node_modules").join(path);
    let text = std::fs::read_to_string(&path).wrap_err_with(|| format!("{}: run scripts/setup", path.display()))?;
    let artifact: serde_json::Value = serde_json::from_str(&text)?;
    let code = artifact.pointer("/bytecode").and_then(serde_json::Value::as_str);
    Ok(code.ok_or_eyre("the artifact has no code")?.parse()?)
}
