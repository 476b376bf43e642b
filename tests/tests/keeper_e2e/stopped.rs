//! Attacks that the guard's own hooks revert: the chain keeps nothing of them but a transaction that failed, in which the keeper finds the hook's
//! words, however deep the call was and whatever the attacker made of the revert.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol;
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::config::Severity;
use cordon_client::deploy::ensure_rulebook;
use cordon_client::guard::ICordonGuard::{self, Action};
use cordon_core::rule::value::Int;
use cordon_keeper::Options;
use cordon_keeper::record::{IncidentState, NoticeKind, Store};
use cordon_testkit::{Fault, RpcProxy};
use cordon_tests::bench::{creation_code, root};
use serde_json::json;

use crate::board::{Board, GAUGE};
use crate::ladder::create;
use crate::world::{GOVERNOR, KEEPER, Rules, USER, World, at_most, key, stop_board, toml, until};

sol! {
    interface Script {
        struct Step {
            address to;
            bytes data;
        }
        function run(Step[] calldata steps) external;
    }
}

/// Rules that hooks check too, each at actions of its own.
const CHECKED: &str = concat!(
    at_most!(
        "other-low",
        "market",
        "get(2)",
        "severity = \"P1\"\ncheck = [\"Withdraw\"]\nin_call = \"revert\""
    ),
    at_most!(
        "gauge-low",
        "market",
        "get(0)",
        "severity = \"P1\"\ncheck = [\"Increase\"]\nin_call = \"revert\""
    ),
    stop_board!()
);

/// Calls the account of its first word with the rest, and fails with nothing, whatever came of it.
fn swallower() -> Bytes {
    let code: &[u8] = &[
        0x60, 0x20, 0x36, 0x03, // size of the rest
        0x80, 0x60, 0x20, 0x5f, 0x37, // copied to the beginning
        0x5f, 0x5f, 0x91, 0x5f, 0x5f, 0x5f, 0x35, 0x5a, 0xf1, // called
        0x5f, 0x5f, 0xfd,
    ];
    code.to_vec().into()
}

/// A chain whose guard knows a contract that calls its hooks, and that contract.
struct Hooked {
    world: World,
    vault: Address,
}

impl Hooked {
    async fn new() -> Self {
        let mut world = World::new(&Rules(CHECKED)).await;
        let vault = create(&world, creation_code(&root().unwrap(), "Script").unwrap().to_vec()).await;
        let (http, ws, chain) = (
            world.node.http_endpoint(),
            world.node.ws_endpoint(),
            world.node.chain_id(),
        );
        let text = toml(&http, &ws, chain, Some(world.guard), world.board, &Rules(CHECKED))
            .replace("[guard]\n", "[guard]\ncallers = [\"vault\"]\n")
            .replace(
                "[contracts]\n",
                &format!("[contracts]\nvault = {{ address = \"{vault}\", abi = [\"function run()\"] }}\n"),
            );
        std::fs::write(world.config.source.path(), text).unwrap();
        world.config = Config::load(world.config.source.path()).unwrap_or_else(|e| panic!("{e}"));
        world.compiled = world.config.compile().unwrap_or_else(|e| panic!("{e}"));
        let governor = key(GOVERNOR).address();
        ensure_rulebook(&world.provider, governor, world.guard, &world.compiled)
            .await
            .unwrap();
        Self { world, vault }
    }

    /// A guarded call of the vault which leaves this on the gauge.
    async fn borrow(&self, gauge: u64) -> Vec<u8> {
        let enter = ICordonGuard::enterCall {
            scopes: 1.try_into().unwrap(),
            action: Action::Increase as u8,
            asset: Address::ZERO,
            amount: U256::from(1),
            account: key(USER).address(),
        };
        let asked = TransactionRequest::default()
            .with_from(self.vault)
            .with_to(self.world.guard)
            .with_input(enter.abi_encode());
        let ticket = self.world.provider.call(asked).await.unwrap();
        let exit = ICordonGuard::exitCall {
            ticket: U256::from_be_slice(&ticket),
        };
        let set = Board::setCall {
            key: GAUGE,
            value: U256::from(gauge),
        };
        let steps = [
            (self.world.guard, enter.abi_encode()),
            (self.world.board, set.abi_encode()),
            (self.world.guard, exit.abi_encode()),
        ];
        let steps = steps.map(|(to, data)| Script::Step { to, data: data.into() });
        Script::runCall { steps: steps.into() }.abi_encode()
    }

    /// Has a transaction mined that reverts.
    async fn fails(&self, to: Address, data: Vec<u8>) -> B256 {
        // Given, because no node estimates the gas of a call that fails.
        let tx = TransactionRequest::default()
            .with_to(to)
            .with_gas_limit(5_000_000)
            .with_input(data);
        let receipt = self.world.mined(USER, tx).await;
        assert!(!receipt.status(), "the hook let it pass");
        receipt.transaction_hash
    }

    /// The same through a contract of the attacker's, which tells nobody why it failed.
    async fn fails_quietly(&self, data: Vec<u8>) -> B256 {
        let attacker = Address::repeat_byte(0xa7);
        let set = json!([attacker, swallower()]);
        self.world.rpc("anvil_setCode", set).await;
        let whom = self.vault.into_word();
        self.fails(attacker, [whom.as_slice(), &data].concat()).await
    }
}

/// The transactions that the record knows as attempts.
async fn attempts(store: &Store) -> Vec<B256> {
    let incidents = store.incidents().await.unwrap();
    let lines = incidents.iter().flat_map(|incident| &incident.timeline);
    lines
        .filter(|line| line.kind == "stopped")
        .filter_map(|line| line.tx)
        .collect()
}

async fn is_told(store: &Store, attempt: B256) {
    until("the attempt is told", || async {
        attempts(store).await.contains(&attempt)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_that_a_hook_reverts_is_told_and_closes_nothing() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let keeper = world
        .keeper_at_head(world.options(), world.store().await, World::signers())
        .await;
    // Honest use, and a failure that is nobody's attack: nothing to tell.
    let honest = hooked.borrow(100).await;
    world.send(USER, hooked.vault, honest).await;
    hooked.fails(world.board, vec![0; 4]).await;

    let direct = hooked.fails(hooked.vault, hooked.borrow(101).await).await;
    is_told(&keeper.store, direct).await;
    let quiet = hooked.fails_quietly(hooked.borrow(5_000).await).await;
    is_told(&keeper.store, quiet).await;
    assert_eq!(attempts(&keeper.store).await, [direct, quiet]);

    let incident = keeper.incident().await;
    assert_eq!(
        (incident.rule_name.as_deref(), incident.scope_name.as_str()),
        (Some("gauge-low"), "market")
    );
    assert_eq!(
        (incident.state, incident.severity),
        (IncidentState::Closed, Severity::P3)
    );
    assert_eq!(
        (incident.observed, incident.bound),
        (Some(Int::from(101)), Some(Int::from(100)))
    );
    let notices = keeper.store.notices(10).await.unwrap();
    let stopped = notices.iter().filter(|notice| notice.kind == NoticeKind::Stopped);
    assert_eq!(stopped.count(), 1, "many attempts are one message: {notices:#?}");
    assert_eq!(world.level(1).await, ICordonGuard::Level::Normal);
    assert_eq!(
        (world.get(GAUGE).await, world.nonce(KEEPER).await),
        (U256::from(100), 0)
    );
    keeper.stop().await;
}

/// A public endpoint gives no traces: what came out at the top is had by making the call once more on the block before.
#[tokio::test(flavor = "multi_thread")]
async fn without_traces_an_attack_is_told_by_what_came_out_of_it() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let proxy = RpcProxy::start(&world.node.http_endpoint(), |_, body| {
        match body.contains("debug_traceTransaction") {
            true => Fault::Error(-32_601, "method not found"),
            false => Fault::None,
        }
    })
    .await
    .unwrap();
    let options = Options {
        rpc: vec![proxy.url()],
        ..world.options()
    };
    let keeper = world
        .keeper_at_head(options, world.store().await, World::signers())
        .await;
    hooked.fails_quietly(hooked.borrow(101).await).await;
    let direct = hooked.fails(hooked.vault, hooked.borrow(101).await).await;
    is_told(&keeper.store, direct).await;
    assert_eq!(attempts(&keeper.store).await, [direct], "nobody can see into the other");
    keeper.stop().await;
}
