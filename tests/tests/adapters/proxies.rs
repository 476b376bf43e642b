//! Proxies of OpenZeppelin 4 and UUPS proxies, frozen and thawed by the real guard.

use alloy::primitives::{Address, B256, Bytes, U256, b256};
use alloy::providers::Provider;
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use cordon_client::guard::ICordonGuard::{self, Level};

use crate::world::{GUARDIAN, HOUR, IAdapter, OWNER, World, contain, count, ours, published, root};

sol! {
    interface IProxyAdmin4 {
        function changeProxyAdmin(address proxy, address admin) external;
    }
    interface ICounter {
        function initialize(address owner) external;
        function transferOwnership(address owner) external;
        function add(uint256 by) external;
        function count() external view returns (uint256);
    }
}

/// Slot in which a proxy keeps its implementation.
const CODE_SLOT: B256 = b256!("360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");

struct Frozen {
    world: World,
    /// Proxy, code behind it, freezer.
    sides: [(Address, Address, Address); 2],
}

impl Frozen {
    async fn new() -> Self {
        let mut world = World::bare().await;
        let sides = [transparent(&world).await, uups(&world).await];
        world.fork().await;
        let [(_, _, first), (_, _, second)] = sides;
        let text = configuration(&world.endpoint(), [first, second]);
        world.guard = world.guarded(&text).await;
        let guard = world.guard;
        for adapter in [first, second] {
            world.send(OWNER, adapter, IAdapter::bindCall { guard }).await;
        }
        world.send(OWNER, guard, ICordonGuard::sealCall {}).await;
        Self { world, sides }
    }

    async fn behind(&self, proxy: Address) -> Address {
        let word = self
            .world
            .provider
            .get_storage_at(proxy, CODE_SLOT.into())
            .await
            .unwrap();
        Address::from_word(word.into())
    }
}

/// Published 4.9.6, one of two proxies of its ProxyAdmin.
async fn transparent(world: &World) -> (Address, Address, Address) {
    const OZ4: &str = "openzeppelin-contracts-4/build/contracts";
    let admin = world.create(published(&format!("{OZ4}/ProxyAdmin.json")), vec![]).await;
    let code = world.create(counter("ProxyFreezer.t", "Counter"), vec![]).await;
    let arguments = (code, admin, Bytes::new()).abi_encode_params();
    let proxy = published(&format!("{OZ4}/TransparentUpgradeableProxy.json"));
    let proxy = world.create(proxy, arguments).await;
    let freezer = (OWNER, proxy, OWNER).abi_encode_params();
    let freezer = world.create(ours("ProxyFreezer4"), freezer).await;
    let change = IProxyAdmin4::changeProxyAdminCall { proxy, admin: freezer };
    world.send(OWNER, admin, change).await;
    (proxy, code, freezer)
}

/// The published ERC1967Proxy of 5.4.0 before code with an owner, which the freezer becomes.
async fn uups(world: &World) -> (Address, Address, Address) {
    const OZ: &str = "@openzeppelin/contracts/build/contracts";
    let code = world.create(counter("UUPSFreezer.t", "Counter5"), vec![]).await;
    let start = Bytes::from(ICounter::initializeCall { owner: OWNER }.abi_encode());
    let proxy = published(&format!("{OZ}/ERC1967Proxy.json"));
    let proxy = world.create(proxy, (code, start).abi_encode_params()).await;
    let freezer = (OWNER, proxy, OWNER, B256::ZERO).abi_encode_params();
    let freezer = world.create(ours("UUPSFreezer"), freezer).await;
    let owner = freezer;
    world
        .send(OWNER, proxy, ICounter::transferOwnershipCall { owner })
        .await;
    let data = Bytes::new();
    world.send(OWNER, freezer, IAdapter::upgradeCall { code, data }).await;
    (proxy, code, freezer)
}

/// A contract that counts, of the Solidity tests.
fn counter(file: &str, name: &str) -> Bytes {
    let path = root().join(format!("out/{file}.sol/{name}.json"));
    let text = std::fs::read_to_string(path).expect("run forge build first");
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    artifact["bytecode"]["object"].as_str().unwrap().parse().unwrap()
}

/// The block of docs/adapters.md, once for each.
fn configuration(endpoint: &str, freezers: [Address; 2]) -> String {
    let mut text = format!(
        r#"
[chain]
id = 31337
rpc = ["{endpoint}"]
[guard]
scopes = ["protocol", "four", "uups"]
governor = "{OWNER}"
guardians = ["{GUARDIAN}"]
heartbeats = ["{OWNER}"]
governor_delay = "1 hour"
[contracts]
"#
    );
    for (name, freezer) in ["four", "uups"].into_iter().zip(freezers) {
        text += &format!(
            "{name} = {{ address = \"{freezer}\", abi = [\"function freeze()\", \"function thaw()\", \"function frozen() view returns (bool)\"] }}\n"
        );
    }
    for name in ["four", "uups"] {
        text += &format!(
            r#"
[[containment]]
id = "freeze-{name}"
scope = "{name}"
level = "Halted"
call = "{name}.freeze()"
done = "{name}.frozen()"
closes = ["Deposit", "Withdraw", "Trade", "Increase", "Decrease", "Repay", "Settle", "Liquidate"]
accepts = ["Repay"]
max_duration = "15 minutes"
undo = [{{ call = "{name}.thaw()", undone = "!{name}.frozen()" }}]
"#
        );
    }
    text
}

/// Each stands still for a quarter of an hour and goes on with what it had stored; the rehearsal saw before that it can be done.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_freezes_older_and_self_upgrading_proxies_and_thaws_them() {
    let frozen = Frozen::new().await;
    let world = &frozen.world;
    let health = ICordonGuard::healthCall {};
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::ZERO);
    for (scope, (proxy, code, freezer)) in (1..).zip(frozen.sides) {
        let by = U256::from(5);
        world.send(OWNER, proxy, ICounter::addCall { by }).await;
        let contained = world
            .send(GUARDIAN, world.guard, contain(scope, Level::Halted, HOUR))
            .await;
        assert_eq!(count::<ICordonGuard::ContainmentApplied>(&contained), 1);
        assert!(world.ask(freezer, &IAdapter::frozenCall {}).await);
        let refused = world.refused(proxy, &ICounter::addCall { by }).await;
        // `ContractFrozen(bytes4)`
        let selector = alloy::primitives::keccak256("ContractFrozen(bytes4)");
        assert_eq!(refused[..4], selector[..4]);
        world.pass(15 * 60).await;
        let settled = world
            .send(GUARDIAN, world.guard, ICordonGuard::settleCall { scope })
            .await;
        assert_eq!(count::<ICordonGuard::ContainmentUndone>(&settled), 1);
        assert_eq!(frozen.behind(proxy).await, code);
        world.send(OWNER, proxy, ICounter::addCall { by }).await;
        assert_eq!(world.ask(proxy, &ICounter::countCall {}).await, U256::from(10));
    }
    // A role that was taken back is seen.
    let [(_, _, freezer), _] = frozen.sides;
    world
        .send(OWNER, freezer, IAdapter::handBackCall { owner: OWNER })
        .await;
    assert_eq!(world.ask(world.guard, &health).await.failing, U256::ONE);
    frozen.world.stop().await;
}
