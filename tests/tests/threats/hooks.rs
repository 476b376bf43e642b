//! What is tried against the hooks within a transaction.

use alloy::primitives::{U256, hex};
use alloy::providers::Provider;
use alloy::sol;
use alloy::sol_types::{SolCall, SolError, SolValue};
use cordon_client::deploy::deploy_program;
use cordon_client::guard::ICordonGuard::{self, Action, Level};
use cordon_client::program::Program;

use crate::world::{
    ANYONE, DAY, GOVERNOR, GUARDIAN, MARKET, OTHER, PRICE, World, contain, create, creation_code, events, trip,
};

sol! {
    interface Counter {
        error GuardSilent(uint8 action);
        function act(uint8 action) external;
        function count() external view returns (uint256);
    }
}

/// T12: the hook's revert undoes whatever the guard would have written. The breach is tripped in a transaction of its own.
#[tokio::test(flavor = "multi_thread")]
async fn t12_a_hook_that_reverts_leaves_the_trip_to_a_second_transaction() {
    let world = World::sealed().await;
    let exit = world.exit(MARKET, Action::Increase).await;
    let attack = vec![
        world.enter(MARKET, Action::Increase),
        World::setting(world.price, U256::from(101)),
        exit,
    ];
    let breached: ICordonGuard::RuleBreached = world.run_refused(attack).await;
    assert_eq!((breached.rule, breached.observed), (PRICE, U256::from(101)));
    assert_eq!(world.level(MARKET).await, Level::Normal);
    world.set(world.price, 101).await;
    let tripped = world.ok(ANYONE, trip(PRICE)).await;
    assert_eq!(events::<ICordonGuard::IncidentOpened>(&tripped).len(), 1);
    assert_eq!(events::<ICordonGuard::LevelRaised>(&tripped).len(), 1);
    world.node.stop().await.unwrap();
}

/// Attacks that revert cost the guard nothing: no budget, no level, no count.
#[tokio::test(flavor = "multi_thread")]
async fn reverted_attacks_drain_no_budget() {
    let world = World::sealed().await;
    let exit = world.exit(MARKET, Action::Increase).await;
    for _ in 0..5 {
        let attack = vec![
            world.enter(MARKET, Action::Increase),
            World::setting(world.price, U256::from(101)),
            exit.clone(),
        ];
        assert!(!world.run(attack).await.status());
    }
    assert!(world.passes(MARKET, Action::Increase).await);
    for scope in [MARKET, OTHER, 0] {
        world.ok(GUARDIAN, contain(scope, Level::Halted, DAY)).await;
    }
    world.node.stop().await.unwrap();
}

/// T18: a contract that nobody registered enters, called by a registered account or by a user of the protocol.
#[tokio::test(flavor = "multi_thread")]
async fn t18_a_stranger_enters_for_nobody() {
    let world = World::sealed().await;
    let stranger = create(&world.provider, creation_code("Script.sol/Script.json")).await;
    let (to, input) = world.enter(MARKET, Action::Repay);
    for from in [stranger, GOVERNOR, ANYONE] {
        let call = ICordonGuard::enterCall::abi_decode(&input).unwrap();
        let refused: ICordonGuard::NotRegistered = world.refused(from, call).await;
        assert_eq!((to, refused.caller), (world.guard, from));
    }
    world.node.stop().await.unwrap();
}

/// T19: a guarded call that never comes to its `exit` leaves neither a lock nor values behind.
#[tokio::test(flavor = "multi_thread")]
async fn t19_an_exit_that_is_not_reached_leaves_nothing_behind() {
    let world = World::sealed().await;
    let enter = || world.enter(MARKET, Action::Trade);
    world.set(world.price, 50).await;
    assert!(world.run(vec![enter(), enter()]).await.status());
    // In a later transaction the value before the call is that of now, not 50.
    world.set(world.price, 60).await;
    let exit = world.exit(MARKET, Action::Trade).await;
    assert!(world.run(vec![enter(), exit.clone()]).await.status());
    // And a ticket of another transaction is worth nothing.
    world.run_refused::<ICordonGuard::BadTicket>(vec![exit]).await;
    world.node.stop().await.unwrap();
}

/// T20, T22: manipulate, act, restore within one guarded call: the inner call is checked against the value before the outer one.
#[tokio::test(flavor = "multi_thread")]
async fn t20_t22_manipulate_act_restore_is_seen_by_the_inner_call() {
    let world = World::sealed().await;
    let enter = || world.enter(MARKET, Action::Trade);
    let exit = world.exit(MARKET, Action::Trade).await;
    let price = |value: u64| World::setting(world.price, U256::from(value));
    let attack = vec![enter(), price(90), enter(), exit.clone(), price(0), exit.clone()];
    let breached: ICordonGuard::RuleBreached = world.run_refused(attack).await;
    assert_eq!((breached.observed, breached.bound), (U256::from(90), U256::ZERO));
    // Honest nesting passes, and so does a second guarded call of the same transaction, from its own value.
    let honest = vec![enter(), enter(), exit.clone(), exit.clone(), price(90), enter(), exit];
    assert!(world.run(honest).await.status());
    world.node.stop().await.unwrap();
}

/// T24, starved reads: whoever chooses the gas does not choose the verdict. A rule that cannot be read stops no liquidation, so a
/// liquidation under a breached rule is what a thief starves.
#[tokio::test(flavor = "multi_thread")]
async fn t24_a_starved_hook_reverts_and_opens_nothing() {
    let world = World::sealed().await;
    let exit = world.exit(OTHER, Action::Liquidate).await;
    let steps = |gauge: u64| {
        vec![
            world.enter(OTHER, Action::Liquidate),
            World::setting(world.gauge, U256::from(gauge)),
            exit.clone(),
        ]
    };
    world.run_refused::<ICordonGuard::RuleBreached>(steps(101)).await;
    let (mut honest, mut starved) = (0, 0);
    for gas in (60_000..1_500_000u64).step_by(15_000) {
        if world.run_within(gas, steps(100)).await.is_ok() {
            honest += 1;
        }
        let refusal = world
            .run_within(gas, steps(101))
            .await
            .expect_err("a starved rule was passed");
        starved += usize::from(ICordonGuard::OutOfGasFloor::abi_decode(&refusal).is_ok());
    }
    assert!(honest > 0, "with the most gas a liquidation passes");
    assert!(starved > 0, "with less the hook says that it was starved");
    world.node.stop().await.unwrap();
}

/// T27: a rule that cannot be evaluated refuses new risk, and does not stop liquidations.
#[tokio::test(flavor = "multi_thread")]
async fn t15_t27_what_cannot_be_evaluated_neither_holds_nor_stops_liquidations() {
    let world = World::sealed().await;
    // The product is beyond 256 bits: an unchecked multiplication would wrap to zero, which holds (T15).
    let huge = World::setting(world.gauge, U256::from(1) << 128);
    assert!(world.send(ANYONE, huge.0, huge.1).await.status());
    assert!(!world.passes(OTHER, Action::Increase).await);
    assert!(world.passes(OTHER, Action::Liquidate).await);
    let unknown: ICordonGuard::RuleUnknown = world.refused(ANYONE, trip(crate::world::PRODUCT)).await;
    assert_ne!(unknown.reason, 0);
    assert_eq!(world.level(OTHER).await, Level::Normal, "and raises no level");
    world.node.stop().await.unwrap();
}

/// Immunity bought by tripping: a rule that has been tripped stops reverting for exits only, and never for new risk.
#[tokio::test(flavor = "multi_thread")]
async fn immunity_cannot_be_bought_by_tripping() {
    let world = World::sealed().await;
    world.set(world.price, 101).await;
    assert!(!world.passes(MARKET, Action::Increase).await);
    assert!(!world.passes(MARKET, Action::Withdraw).await);
    world.ok(ANYONE, trip(PRICE)).await;
    assert!(!world.passes(MARKET, Action::Increase).await, "closed by the level");
    assert!(world.passes(MARKET, Action::Withdraw).await, "exits are open");
    // At Throttled the level no longer closes Increase: the rule does, as if it had never been tripped.
    world.pass(3600 + 60).await;
    assert_eq!(world.level(MARKET).await, Level::Throttled);
    let exit = world.exit(MARKET, Action::Increase).await;
    let attack = vec![world.enter(MARKET, Action::Increase), exit];
    world.run_refused::<ICordonGuard::RuleBreached>(attack).await;
    world.node.stop().await.unwrap();
}

/// Code that asks the guard what it is asked itself, and notes in slot 1 whether it was answered (2) or not (1), in slot 0 the answer.
fn asker(guard: alloy::primitives::Address) -> Vec<u8> {
    [
        &hex!("366000600037 602060003660 0073")[..],
        guard.as_slice(),
        &hex!("5afa 6001016001 55 600051600055 00"),
    ]
    .concat()
}

/// T35: who reads the guard in the middle of a guarded call, and of one that moves prices for its length, is told what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn t35_views_answer_within_a_guarded_call() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(OTHER, Level::ReduceOnly, DAY)).await;
    let asker_at = world.switch;
    world.set_code(asker_at, asker(world.guard)).await;
    let slot = |slot: u64| world.provider.get_storage_at(asker_at, U256::from(slot));
    let exit = world.exit(MARKET, Action::Trade).await;
    let price = |value: u64| World::setting(world.price, U256::from(value));
    let evaluate = ICordonGuard::evaluateCall {
        rule: PRICE,
        witness: vec![],
    };
    for (view, told) in [
        (
            ICordonGuard::levelOfCall { scope: OTHER }.abi_encode(),
            Some(Level::ReduceOnly as u64),
        ),
        (
            ICordonGuard::levelOfCall { scope: MARKET }.abi_encode(),
            Some(Level::Normal as u64),
        ),
        (ICordonGuard::levelsCall {}.abi_encode(), None),
        (
            ICordonGuard::scopeStatusCall { scope: MARKET }.abi_encode(),
            Some(Level::Normal as u64),
        ),
        (evaluate.abi_encode(), None),
    ] {
        let steps = vec![
            world.enter(MARKET, Action::Trade),
            price(300),
            (asker_at, view),
            price(0),
            exit.clone(),
        ];
        assert!(world.run(steps).await.status());
        assert_eq!(slot(1).await.unwrap(), U256::from(2), "answered");
        if let Some(told) = told {
            assert_eq!(slot(0).await.unwrap(), U256::from(told));
        }
    }
    // And who asks learns that a call is going on: none before, one within, none after. Of this rulebook only the calls of some actions
    // are counted, and it says so.
    let calls = async || {
        let told = world.ask(ANYONE, ICordonGuard::guardedCallsCall {}).await.unwrap();
        (told.depth, told.complete, told.locked)
    };
    let view = ICordonGuard::guardedCallsCall {}.abi_encode();
    assert_eq!(calls().await, (0, false, false));
    for (steps, depth) in [
        (vec![(asker_at, view.clone())], 0),
        (
            vec![
                world.enter(MARKET, Action::Trade),
                (asker_at, view.clone()),
                exit.clone(),
            ],
            1,
        ),
        (
            vec![
                world.enter(MARKET, Action::Trade),
                exit.clone(),
                (asker_at, view.clone()),
            ],
            0,
        ),
    ] {
        assert!(world.run(steps).await.status());
        assert_eq!(slot(1).await.unwrap(), U256::from(2), "answered");
        assert_eq!(slot(0).await.unwrap(), U256::from(depth));
    }
    assert_eq!(calls().await, (0, false, false));
    world.node.stop().await.unwrap();
}

/// T35: the same where a rule looks at the transaction: then every guarded call is counted, and 0 means that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn t35_where_every_call_is_counted_none_goes_unflagged() {
    let world = World::with(
        r#"
[[invariant]]
id = "not-too-deep"
scope = "protocol"
rule = "depth <= 4"
check = ["Trade"]
in_call = "revert"
"#,
    )
    .await;
    world.ok(crate::world::GOVERNOR, ICordonGuard::sealCall {}).await;
    let asker_at = world.switch;
    world.set_code(asker_at, asker(world.guard)).await;
    let view = || (asker_at, ICordonGuard::guardedCallsCall {}.abi_encode());
    let told = world.ask(ANYONE, ICordonGuard::guardedCallsCall {}).await.unwrap();
    assert_eq!((told.depth, told.complete, told.locked), (0, true, false));
    // No rule is hooked to Sync.
    let exit = world.exit(MARKET, Action::Sync).await;
    let enter = || world.enter(MARKET, Action::Sync);
    for (steps, depth) in [
        (vec![enter(), enter(), view(), exit.clone(), exit.clone()], 2),
        (vec![enter(), enter(), exit.clone(), view(), exit.clone()], 1),
        (vec![enter(), exit.clone(), view()], 0),
        // A call whose end is not reached is over with its transaction.
        (vec![enter(), view()], 1),
        (vec![view()], 0),
    ] {
        assert!(world.run(steps).await.status());
        let slot = |slot: u64| world.provider.get_storage_at(asker_at, U256::from(slot));
        assert_eq!(slot(1).await.unwrap(), U256::from(2), "answered");
        assert_eq!(slot(0).await.unwrap(), U256::from(depth));
    }
    world.node.stop().await.unwrap();
}

/// A guarded Solidity contract at the registered address.
async fn counter(world: &World) {
    let code = [
        creation_code("Guarded.t.sol/Counter.json").to_vec(),
        world.guard.abi_encode(),
    ]
    .concat();
    let made = create(&world.provider, code.into()).await;
    let code = world.provider.get_code_at(made).await.unwrap();
    world.set_code(world.vault, code.to_vec()).await;
}

async fn acts(world: &World, action: Action) -> Result<(), Vec<u8>> {
    let request = alloy::rpc::types::TransactionRequest::default()
        .from(ANYONE)
        .to(world.vault)
        .gas_limit(20_000_000)
        .input(Counter::actCall { action: action as u8 }.abi_encode().into());
    match world.provider.call(request).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let payload = error.as_error_resp().unwrap();
            Err(payload.as_revert_data().unwrap_or_default().to_vec())
        }
    }
}

/// What the market's rules look at, hooked to Repay: as a state rule, and as a hook rule, which one `entry` makes of it.
const REPAID: &str = r#"
[[invariant]]
id = "gauge-low"
scope = "more"
rule = "gauge.value() <= 100"
check = ["Repay", "Withdraw"]
[[invariant]]
id = "gauge-low-after"
scope = "more"
rule = "entry(gauge.value()) >= 0 && gauge.value() <= 100"
check = ["Repay", "Withdraw"]
"#;

/// T26: somebody keeps a state bad that rules of either class look at after a repayment, so that borrowers are liquidated.
#[tokio::test(flavor = "multi_thread")]
async fn t26_no_rule_of_a_hook_shuts_repayment() {
    let world = World::with(REPAID).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    world.set(world.gauge, 101).await;
    for (action, passes) in [(Action::Withdraw, false), (Action::Repay, true)] {
        let guarded = vec![world.enter(3, action), world.exit(3, action).await];
        let receipt = world.run(guarded).await;
        assert_eq!(receipt.status(), passes, "{action:?}");
        let counted = events::<ICordonGuard::ShadowBreach>(&receipt);
        let rules: Vec<_> = counted.iter().map(|breach| breach.rule).collect();
        assert_eq!(rules, if passes { vec![4, 5] } else { vec![] });
    }
    for rule in [4, 5] {
        let call = ICordonGuard::shadowBreachesCall { rule };
        assert_eq!(world.ask(ANYONE, call).await.unwrap(), 1);
    }
    world.node.stop().await.unwrap();
}

/// T36: the guard's program expires. New risk is refused; repayment and settlement go on.
#[tokio::test(flavor = "multi_thread")]
async fn t36_an_expired_guard_lets_debts_be_settled_and_nothing_else() {
    let world = World::sealed().await;
    counter(&world).await;
    acts(&world, Action::Deposit).await.unwrap();
    world.pass(366 * DAY).await;
    assert!(
        world.ask(ANYONE, ICordonGuard::levelsCall {}).await.is_err(),
        "the program runs no more"
    );
    for (action, passes) in [
        (Action::Deposit, false),
        (Action::Withdraw, false),
        (Action::Increase, false),
        (Action::Repay, true),
        (Action::Settle, true),
        (Action::Liquidate, false),
    ] {
        let outcome = acts(&world, action).await;
        assert_eq!(outcome.is_ok(), passes, "{action:?}");
        if let Err(data) = outcome {
            Counter::GuardSilent::abi_decode(&data).unwrap();
        }
    }
    world.node.stop().await.unwrap();
}

/// A Stylus program that opens 118 pages of memory and then makes a call: 20 bytes of address, then calldata. One page more costs
/// whoever is called more than a million gas.
const PAGES: &str = r#"(module
    (import "vm_hooks" "read_args" (func $read_args (param i32)))
    (import "vm_hooks" "write_result" (func $write_result (param i32 i32)))
    (import "vm_hooks" "call_contract" (func $call (param i32 i32 i32 i32 i64 i32) (result i32)))
    (import "vm_hooks" "return_data_size" (func $size (result i32)))
    (import "vm_hooks" "read_return_data" (func $returned (param i32 i32 i32) (result i32)))
    (import "vm_hooks" "pay_for_memory_grow" (func (param i32)))
    (memory (export "memory") 1)
    (func (export "user_entrypoint") (param $length i32) (result i32)
        (local $failed i32)
        (drop (memory.grow (i32.const 117)))
        (call $read_args (i32.const 1024))
        (local.set $failed (call $call (i32.const 1024) (i32.const 1044) (i32.sub (local.get $length) (i32.const 20))
            (i32.const 0) (i64.const -1) (i32.const 64)))
        (drop (call $returned (i32.const 4096) (i32.const 0) (call $size)))
        (call $write_result (i32.const 4096) (call $size))
        (local.get $failed)))"#;

/// Whoever sends the transaction silences the guard: with so much memory open that the gate's own page costs more than its caller
/// gives it. The chain says that the guard lives, so that a settlement which is deferred does not get past it; repayment passes.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_silenced_but_alive_lets_only_repayment_pass() {
    let world = World::sealed().await;
    counter(&world).await;
    let program = Program::new("pages", wat::parse_str(PAGES).unwrap()).unwrap();
    let pages = deploy_program(&world.provider, ANYONE, &program).await.unwrap();
    let silenced = async |action: Action| {
        let act = Counter::actCall { action: action as u8 }.abi_encode();
        let request = alloy::rpc::types::TransactionRequest::default()
            .from(ANYONE)
            .to(pages)
            .gas_limit(28_000_000)
            .input([world.vault.as_slice(), &act].concat().into());
        world.provider.call(request).await.map_err(|error| {
            let payload = error.as_error_resp().unwrap_or_else(|| panic!("{error}"));
            payload.as_revert_data().unwrap_or_default()
        })
    };
    // Without the memory the guard answers.
    for action in [Action::Settle, Action::Deposit, Action::Repay] {
        acts(&world, action).await.unwrap();
    }
    world.ok(GUARDIAN, contain(0, Level::Halted, DAY)).await;
    let closed = acts(&world, Action::Settle).await.unwrap_err();
    ICordonGuard::ActionClosed::abi_decode(&closed).unwrap();
    for action in [Action::Settle, Action::Decrease, Action::Withdraw, Action::Deposit] {
        let data = silenced(action).await.unwrap_err();
        Counter::GuardSilent::abi_decode(&data).unwrap_or_else(|_| panic!("another error: {data}"));
    }
    silenced(Action::Repay).await.unwrap();
    world.node.stop().await.unwrap();
}
