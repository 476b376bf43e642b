//! Containment that fails, is meddled with, or undoes too much.

use alloy::primitives::{Address, B256, U256, address, hex, keccak256};
use alloy::providers::Provider;
use alloy::providers::ext::AnvilApi;
use alloy::sol;
use alloy::sol_types::SolCall;
use cordon_client::Config;
use cordon_client::deploy::ensure_rulebook;
use cordon_client::guard::ICordonGuard::{self, Action, Level};

use crate::world::{
    ANYONE, BEATER, DAY, GOVERNOR, GUARDIAN, HOUR, MARKET, OTHER, PRICE, PRODUCT, SPOT, World, contain, events, trip,
};

/// Code of a switch that, when it is set, first calls its caller with `input` and notes in slot 1 whether that succeeded (2) or not
/// (1). A lone selector reads slot 0.
fn meddler(input: &[u8]) -> Vec<u8> {
    assert!(input.len() < 256);
    let length = u8::try_from(input.len()).unwrap();
    // Calldata of four bytes: jump to the read. The input is copied from behind the code.
    let head = |copy_from: u8| {
        [
            &hex!("3660041460")[..],
            &[0x26],
            &hex!("5760")[..],
            &[length, 0x60, copy_from],
            &hex!("60003960006000")[..],
            &[0x60, length],
            &hex!("60006000335af160010160015560043560005500")[..],
            &hex!("5b60005460005260206000f3")[..],
        ]
        .concat()
    };
    let code = head(0);
    let from = u8::try_from(code.len()).unwrap();
    let destination = code.iter().position(|byte| *byte == 0x5b).unwrap();
    let mut code = head(from);
    code[5] = u8::try_from(destination).unwrap();
    code.extend_from_slice(input);
    code
}

/// T5: a target of a containment call re-enters to trip, settle or contain something else.
#[tokio::test(flavor = "multi_thread")]
async fn t05_a_hostile_target_cannot_re_enter() {
    let world = World::sealed().await;
    // Another market's breach is there to be tripped, and a spot rule's to be observed.
    world.set(world.gauge, 300).await;
    let attempts = [
        trip(PRODUCT).abi_encode(),
        trip(SPOT).abi_encode(),
        ICordonGuard::settleCall { scope: MARKET }.abi_encode(),
        ICordonGuard::retryContainmentCall { scope: MARKET }.abi_encode(),
    ];
    world.set(world.price, 300).await;
    for (round, attempt) in attempts.into_iter().enumerate() {
        world.set_code(world.switch, meddler(&attempt)).await;
        if round == 0 {
            world.ok(ANYONE, trip(PRICE)).await;
        } else {
            world
                .ok(ANYONE, ICordonGuard::retryContainmentCall { scope: MARKET })
                .await;
        }
        let noted = world
            .provider
            .get_storage_at(world.switch, U256::from(1))
            .await
            .unwrap();
        assert_eq!(noted, U256::from(1), "the call back was refused");
        assert_eq!(world.level(OTHER).await, Level::Normal);
        // Opened by its owner, so that the next round has something to do.
        for slot in [U256::ZERO, U256::from(1)] {
            let cleared = world.provider.anvil_set_storage_at(world.switch, slot, B256::ZERO);
            cleared.await.unwrap();
        }
    }
    // From outside the same trip raises the other market's level.
    world.ok(ANYONE, trip(PRODUCT)).await;
    assert_eq!(world.level(OTHER).await, Level::ReduceOnly);
    world.node.stop().await.unwrap();
}

/// T6: the call succeeds and does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn t06_a_call_without_effect_is_reported_and_anyone_retries() {
    let world = World::sealed().await;
    let honest = world.provider.get_code_at(world.switch).await.unwrap();
    world.set_code(world.switch, hex!("60206000f3").into()).await;
    world.set(world.price, 101).await;
    let tripped = world.ok(ANYONE, trip(PRICE)).await;
    assert_eq!(events::<ICordonGuard::ContainmentFailed>(&tripped).len(), 1);
    assert_eq!(
        world.level(MARKET).await,
        Level::ReduceOnly,
        "the hooks hold all the same"
    );
    assert!(!world.passes(MARKET, Action::Increase).await);
    world.set_code(world.switch, honest.to_vec()).await;
    let retried = world
        .ok(ANYONE, ICordonGuard::retryContainmentCall { scope: MARKET })
        .await;
    assert_eq!(events::<ICordonGuard::ContainmentApplied>(&retried).len(), 1);
    assert!(world.is_set(world.switch).await);
    world.node.stop().await.unwrap();
}

/// T7: what was paused must open again, also when undoing fails for a while.
#[tokio::test(flavor = "multi_thread")]
async fn t07_what_was_paused_opens_again_though_undoing_failed_at_first() {
    let world = World::sealed().await;
    let honest = world.provider.get_code_at(world.switch).await.unwrap();
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    world.pass(5 * HOUR).await;
    // Reads go on, writes revert.
    world
        .set_code(
            world.switch,
            hex!("36600414600b57600080fd5b60005460005260206000f3").into(),
        )
        .await;
    let settled = world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert_eq!(events::<ICordonGuard::UndoFailed>(&settled).len(), 1);
    assert_eq!(world.status(MARKET).await.incident, 1, "the incident stays open");
    world.set_code(world.switch, honest.to_vec()).await;
    let settled = world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert_eq!(events::<ICordonGuard::IncidentClosed>(&settled).len(), 1);
    assert!(!world.is_set(world.switch).await);
    world.node.stop().await.unwrap();
}

/// T11: one market is contained; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn t11_one_market_stands_still_alone() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::Halted, DAY)).await;
    assert!(!world.passes(MARKET, Action::Withdraw).await);
    assert!(world.passes(OTHER, Action::Withdraw).await);
    assert!(world.passes(OTHER, Action::Trade).await);
    assert!(!world.is_set(world.pause).await);
    world.node.stop().await.unwrap();
}

/// Undoing opens only what the guard closed: the owner had closed the market before.
#[tokio::test(flavor = "multi_thread")]
async fn undoing_does_not_open_what_others_had_closed() {
    let world = World::sealed().await;
    world.set(world.switch, 1).await;
    let contained = world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    assert_eq!(events::<ICordonGuard::ContainmentNotNeeded>(&contained).len(), 1);
    world.pass(5 * HOUR).await;
    world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert!(world.is_set(world.switch).await, "closed by its owner, and still so");
    world.node.stop().await.unwrap();
}

/// T26: repayment closed, or liquidation open without it.
#[tokio::test(flavor = "multi_thread")]
async fn t26_repayment_is_open_at_every_level_and_liquidation_never_without_it() {
    let world = World::sealed().await;
    for level in [Level::Throttled, Level::ReduceOnly, Level::Halted] {
        world.ok(GUARDIAN, contain(MARKET, level, 3000)).await;
        assert!(world.passes(MARKET, Action::Repay).await);
        assert_eq!(world.passes(MARKET, Action::Liquidate).await, level != Level::Halted);
    }
    world
        .ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: MARKET })
        .await;
    world.pass(901).await;
    world.ok(GUARDIAN, ICordonGuard::releaseCall { scope: MARKET }).await;
    assert_eq!(world.level(MARKET).await, Level::Grace);
    assert!(world.passes(MARKET, Action::Repay).await);
    assert!(!world.passes(MARKET, Action::Liquidate).await, "time to repay first");
    world.node.stop().await.unwrap();
}

/// T26: the target's own pause closes repayment too; it ends after its longest time, whatever the level, and rests.
#[tokio::test(flavor = "multi_thread")]
async fn t26_a_pause_that_closes_repayment_ends_after_a_quarter_of_an_hour() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(0, Level::Halted, DAY)).await;
    assert!(world.is_set(world.pause).await);
    world.pass(900).await;
    world.ok(ANYONE, ICordonGuard::settleCall { scope: 0 }).await;
    assert!(!world.is_set(world.pause).await);
    assert_eq!(world.level(0).await, Level::Halted);
    world.ok(ANYONE, ICordonGuard::retryContainmentCall { scope: 0 }).await;
    assert!(!world.is_set(world.pause).await, "not again in the same incident");
    let halted = ICordonGuard::haltedSecondsCall {
        scope: MARKET,
        since: 0,
    };
    let halted = world.ask(ANYONE, halted).await.unwrap();
    assert!((900..960).contains(&halted), "{halted} s for deadlines to move by");
    world.node.stop().await.unwrap();
}

/// A program that is not in the cache makes every response dearer, and one that was replaced makes it another guard: health tells both.
#[tokio::test(flavor = "multi_thread")]
async fn health_tells_what_is_cached_and_how_the_guard_is_configured() {
    sol! {
        function cacheProgram(address program) external;
    }
    const ARB_WASM_CACHE: Address = address!("0000000000000000000000000000000000000072");
    let world = World::new().await;
    let health = async || world.ask(ANYONE, ICordonGuard::healthCall {}).await.unwrap();
    assert_eq!(health().await.cached, 0);
    let programs = world.ask(ANYONE, ICordonGuard::programsCall {}).await.unwrap();
    let all: Vec<_> = std::iter::once(world.guard).chain(programs).collect();
    // Gate, hooks and contain, by the owner of the chain, as a cache manager does for who bids.
    for place in [0, 2, 5] {
        let call = cacheProgramCall { program: all[place] };
        assert!(world.send(GOVERNOR, ARB_WASM_CACHE, call.abi_encode()).await.status());
    }
    assert_eq!(health().await.cached, 0b10_0101);

    // What it is configured with, hashed anew.
    let configuration = async || {
        let mut words = Vec::new();
        for program in &all {
            words.push(keccak256(world.provider.get_code_at(*program).await.unwrap()));
        }
        let governor = world.ask(ANYONE, ICordonGuard::governorCall {}).await.unwrap();
        words.push(world.ask(ANYONE, ICordonGuard::rulebookCall {}).await.unwrap().codeHash);
        words.push(governor.current.into_word());
        words.push(U256::from(governor.delay).into());
        words.push(U256::from(world.ask(ANYONE, ICordonGuard::closesCall {}).await.unwrap()).into());
        keccak256(words.concat())
    };
    let first = health().await.configuration;
    assert_eq!(first, configuration().await);
    let mut seen = vec![first];
    // Each of its parts makes another one: matrix, delay, rulebook.
    let stricter = cordon_core::Matrix::DEFAULT
        .closing(cordon_core::Level::Throttled, cordon_core::Action::Trade)
        .unwrap();
    world
        .ok(
            GOVERNOR,
            ICordonGuard::setMatrixCall {
                closes: stricter.bits(),
            },
        )
        .await;
    seen.push(health().await.configuration);
    world
        .ok(GOVERNOR, ICordonGuard::setDelayCall { governorDelay: 7200 })
        .await;
    seen.push(health().await.configuration);
    let changed = world.basis.replace("price.value() <= 100", "price.value() <= 99");
    let compiled = Config::parse(&changed, "other.toml").unwrap().compile().unwrap();
    ensure_rulebook(&world.provider, GOVERNOR, world.guard, &compiled)
        .await
        .unwrap();
    let last = health().await;
    assert_eq!(
        (last.rulebook, last.configuration),
        (compiled.code_hash(), configuration().await)
    );
    seen.push(last.configuration);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
    world.node.stop().await.unwrap();
}

/// A role is revoked, or a pause window closes, long before the incident: the rehearsal sees it, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_would_fail_is_seen_before_the_incident() {
    let world = World::sealed().await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world.pass(60).await;
    let health = world.ask(ANYONE, ICordonGuard::healthCall {}).await.unwrap();
    assert!((60..120).contains(&health.heartbeatAge), "{}", health.heartbeatAge);
    assert_eq!(health.failing, U256::ZERO);
    assert!(
        health
            .timeLeft
            .iter()
            .all(|left| *left > 364 * DAY && *left <= 366 * DAY)
    );
    let book = world.ask(ANYONE, ICordonGuard::rulebookCall {}).await.unwrap();
    assert_eq!(health.rulebook, book.codeHash);
    // Even in a transaction of anybody's a rehearsal changes nothing.
    let receipt = world.ok(ANYONE, ICordonGuard::healthCall {}).await;
    assert!(receipt.inner.logs().is_empty());
    assert!(!world.is_set(world.switch).await && !world.is_set(world.pause).await);
    // The switch no longer obeys: writes revert, reads go on.
    world
        .set_code(
            world.switch,
            hex!("36600414600b57600080fd5b60005460005260206000f3").into(),
        )
        .await;
    let health = world.ask(ANYONE, ICordonGuard::healthCall {}).await.unwrap();
    assert_eq!(health.failing, U256::from(1));
    // It closes, but does not open again: a switch that can only be set to one.
    world
        .set_code(
            world.switch,
            hex!("36600414600d576001600055005b60005460005260206000f3").into(),
        )
        .await;
    let told: ICordonGuard::Rehearsed = world.refused(ANYONE, ICordonGuard::rehearseCall { call: 0 }).await;
    assert_eq!(told.outcome, ICordonGuard::Rehearsal::UndoFails);
    // And starved it gives no answer rather than a wrong one.
    let request = alloy::rpc::types::TransactionRequest::default()
        .from(ANYONE)
        .to(world.guard)
        .gas_limit(700_000)
        .input(ICordonGuard::healthCall {}.abi_encode().into());
    assert!(world.provider.call(request).await.is_err());
    world.node.stop().await.unwrap();
}
