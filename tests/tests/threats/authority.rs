//! Stolen, lost and abused keys.

use std::path::Path;

use alloy::json_abi::{Function, JsonAbi, StateMutability};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::Provider;
use alloy::sol_types::{SolCall, SolValue};
use cordon_client::guard::ICordonGuard::{self, Action, Level, Role};
use cordon_core::Matrix;

use crate::world::{
    ANYONE, BEATER, DAY, GOVERNOR, GUARDIAN, HOUR, KEEPER, MARKET, OTHER, World, contain, events, trip,
};

/// T1, T2: a stolen guardian key halts all it can, scope after scope.
#[tokio::test(flavor = "multi_thread")]
async fn t01_t02_a_stolen_guardian_key_buys_72_hours_and_cannot_chain_them() {
    let world = World::sealed().await;
    for scope in [MARKET, OTHER, 0] {
        world.ok(GUARDIAN, contain(scope, Level::Halted, DAY)).await;
    }
    world.pass(60).await;
    for scope in [MARKET, OTHER, 0] {
        world
            .refused::<_, ICordonGuard::BudgetSpent>(GUARDIAN, contain(scope, Level::Halted, DAY))
            .await;
    }
    // Budgets leak back, but a scope that was contained for long meets its ceiling, whoever asks.
    let mut contained = 0;
    for _ in 0..60 {
        world.pass(6 * HOUR).await;
        let request = contain(MARKET, Level::Halted, 6 * HOUR);
        world.send(GUARDIAN, world.guard, request.abi_encode()).await;
        contained += u64::from(world.level(MARKET).await == Level::Halted) * 6;
    }
    assert!(contained <= 15 * 24 / 2, "{contained} of 360 hours");
    world.pass(8 * DAY).await;
    assert_eq!(world.level(MARKET).await, Level::Normal);
    world.node.stop().await.unwrap();
}

/// T3: everybody with a key is gone. Levels expire, anyone undoes what was done, and the governor names others.
#[tokio::test(flavor = "multi_thread")]
async fn t03_without_its_people_the_protocol_opens_by_itself() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, DAY)).await;
    assert!(world.is_set(world.switch).await);
    world.pass(DAY + 3 * HOUR).await;
    assert_eq!(world.level(MARKET).await, Level::Normal);
    world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    assert!(!world.is_set(world.switch).await);
    let grant = ICordonGuard::setRoleCall {
        role: Role::Guardian,
        account: ANYONE,
        granted: true,
    };
    let action_hash = keccak256(grant.abi_encode());
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: action_hash,
            },
        )
        .await;
    world.pass(HOUR).await;
    world.ok(GOVERNOR, grant).await;
    world.ok(ANYONE, contain(MARKET, Level::Throttled, HOUR)).await;
    world.node.stop().await.unwrap();
}

/// T3: a keeper whose heartbeat has stopped has no power.
#[tokio::test(flavor = "multi_thread")]
async fn t03_a_keeper_without_a_heartbeat_contains_nothing() {
    let world = World::sealed().await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world.pass(901).await;
    world
        .refused::<_, ICordonGuard::HeartbeatStale>(KEEPER, contain(MARKET, Level::Throttled, 60))
        .await;
    world.node.stop().await.unwrap();
}

/// T4: a guardian that is about to be removed acts first, so that the removal would fail.
#[tokio::test(flavor = "multi_thread")]
async fn t04_nothing_that_a_guardian_does_makes_its_removal_fail() {
    let world = World::sealed().await;
    let revoke = || ICordonGuard::setRoleCall {
        role: Role::Guardian,
        account: GUARDIAN,
        granted: false,
    };
    world.ok(GUARDIAN, contain(0, Level::Halted, DAY)).await;
    world.ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: 0 }).await;
    world.ok(GOVERNOR, revoke()).await;
    world.ok(GOVERNOR, revoke()).await;
    world
        .refused::<_, ICordonGuard::MissingRole>(GUARDIAN, contain(MARKET, Level::Throttled, 60))
        .await;
    world.node.stop().await.unwrap();
}

/// T17: an announcement is used a second time, or for another call.
#[tokio::test(flavor = "multi_thread")]
async fn t17_an_announcement_is_good_for_one_call_once() {
    let world = World::sealed().await;
    let grant = |account| ICordonGuard::setRoleCall {
        role: Role::Keeper,
        account,
        granted: true,
    };
    let action_hash = keccak256(grant(ANYONE).abi_encode());
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: action_hash,
            },
        )
        .await;
    world
        .refused::<_, ICordonGuard::AnnouncementPending>(GOVERNOR, grant(ANYONE))
        .await;
    world.pass(HOUR).await;
    world
        .refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, grant(GUARDIAN))
        .await;
    world.ok(GOVERNOR, grant(ANYONE)).await;
    let revoke = ICordonGuard::setRoleCall {
        role: Role::Keeper,
        account: ANYONE,
        granted: false,
    };
    world.ok(GOVERNOR, revoke).await;
    world
        .refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, grant(ANYONE))
        .await;
    world.node.stop().await.unwrap();
}

/// A registered contract names a hash that was announced for the guard itself, to use it up or to pass with it.
#[tokio::test(flavor = "multi_thread")]
async fn t17_a_hook_does_not_use_what_was_announced_for_the_governor() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, DAY)).await;
    let grant = ICordonGuard::setRoleCall {
        role: Role::Keeper,
        account: ANYONE,
        granted: true,
    };
    let action_hash = keccak256(grant.abi_encode());
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: action_hash,
            },
        )
        .await;
    world.pass(HOUR).await;
    let loosen = |hash: B256| ICordonGuard::enterCall {
        scopes: MARKET.try_into().unwrap(),
        action: Action::Loosen as u8,
        asset: Address::ZERO,
        amount: U256::from_be_bytes(hash.0),
        account: ANYONE,
    };
    world
        .refused::<_, ICordonGuard::NotAnnounced>(world.vault, loosen(action_hash))
        .await;
    world.ok(GOVERNOR, grant).await;
    // What is announced for the vault names the vault.
    let upgrade = B256::repeat_byte(7);
    let action_hash = keccak256([world.vault.into_word(), upgrade].concat());
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: action_hash,
            },
        )
        .await;
    world.pass(HOUR).await;
    world.ok(world.vault, loosen(upgrade)).await;
    world
        .refused::<_, ICordonGuard::NotAnnounced>(world.vault, loosen(upgrade))
        .await;
    world.node.stop().await.unwrap();
}

/// T21: the governor's key is stolen. What loosens waits for its announcement, which a guardian cancels.
#[tokio::test(flavor = "multi_thread")]
async fn t21_a_stolen_governor_key_waits_and_a_guardian_stops_it() {
    let world = World::sealed().await;
    let programs = world.ask(ANYONE, ICordonGuard::programsCall {}).await.unwrap();
    let calls = [
        ICordonGuard::setLogicCall {
            programs,
            codes: world.codes(&programs).await,
        }
        .abi_encode(),
        ICordonGuard::adoptRulebookCall {
            book: world.price,
            codeHash: B256::ZERO,
        }
        .abi_encode(),
        ICordonGuard::proposeGovernorCall { governor: ANYONE }.abi_encode(),
        ICordonGuard::setRoleCall {
            role: Role::Guardian,
            account: ANYONE,
            granted: true,
        }
        .abi_encode(),
    ];
    for input in calls {
        let attempt = || world.send(GOVERNOR, world.guard, input.clone());
        assert!(!attempt().await.status(), "not announced");
        let action_hash = keccak256(&input);
        world
            .ok(
                GOVERNOR,
                ICordonGuard::announceCall {
                    actionHash: action_hash,
                },
            )
            .await;
        world.pass(HOUR - 60).await;
        assert!(!attempt().await.status(), "too early");
        world
            .ok(
                GUARDIAN,
                ICordonGuard::cancelAnnouncementCall {
                    actionHash: action_hash,
                },
            )
            .await;
        world.pass(HOUR).await;
        assert!(!attempt().await.status(), "cancelled");
    }
    // And it cannot set the guard up anew.
    let again = ICordonGuard::initializeCall {
        programs,
        governor: ANYONE,
        governorDelay: 0,
    };
    world
        .refused::<_, ICordonGuard::AlreadyInitialized>(GOVERNOR, again)
        .await;
    world.node.stop().await.unwrap();
}

/// T21: the programs are replaced, announced, by some that do not work together: the guard would be locked for good.
#[tokio::test(flavor = "multi_thread")]
async fn t21_programs_that_do_not_work_together_cannot_brick_the_guard() {
    let world = World::sealed().await;
    let [logic, hooks, recover, admin, contain, inspect] =
        world.ask(ANYONE, ICordonGuard::programsCall {}).await.unwrap();
    let wrong = [
        [admin, hooks, recover, logic, contain, inspect],
        [logic, hooks, admin, recover, contain, inspect],
        [recover, hooks, recover, admin, contain, inspect],
        [world.guard, hooks, recover, admin, contain, inspect],
        [logic, hooks, recover, world.price, contain, inspect],
        [logic, admin, recover, admin, contain, inspect],
        [logic, world.guard, recover, admin, contain, inspect],
        [logic, hooks, recover, admin, logic, inspect],
        [logic, hooks, recover, admin, hooks, inspect],
        [logic, hooks, recover, admin, world.guard, inspect],
        [logic, hooks, recover, inspect, contain, admin],
        [logic, hooks, recover, admin, contain, admin],
        [logic, hooks, recover, admin, contain, logic],
    ];
    let right = [logic, hooks, recover, admin, contain, inspect];
    // Programs for another format of rulebooks: these read no rulebook of that version, whoever replaced them would have bricked the guard.
    let book = world.ask(ANYONE, ICordonGuard::rulebookCall {}).await.unwrap().book;
    let code = world.provider.get_code_at(book).await.unwrap().to_vec();
    let mut other = code.clone();
    other[3] = 0x77;
    let codes = world.codes(&right).await;
    let call = || ICordonGuard::setLogicCall { programs: right, codes };
    let action_hash = keccak256(call().abi_encode());
    let announce = ICordonGuard::announceCall {
        actionHash: action_hash,
    };
    world.ok(GOVERNOR, announce).await;
    world.pass(HOUR).await;
    world.set_code(book, other).await;
    let refused: ICordonGuard::NotAProgram = world.refused(GOVERNOR, call()).await;
    assert_eq!(refused.account, logic);
    world.set_code(book, code).await;
    world.ok(GOVERNOR, call()).await;
    for programs in wrong.into_iter().chain([right]) {
        let codes = world.codes(&programs).await;
        let call = || ICordonGuard::setLogicCall { programs, codes };
        let action_hash = keccak256(call().abi_encode());
        world
            .ok(
                GOVERNOR,
                ICordonGuard::announceCall {
                    actionHash: action_hash,
                },
            )
            .await;
        world.pass(HOUR).await;
        if programs == right {
            world.ok(GOVERNOR, call()).await;
        } else {
            let receipt = world.send(GOVERNOR, world.guard, call().abi_encode()).await;
            assert!(!receipt.status(), "{programs:?}");
            assert_eq!(world.ask(ANYONE, ICordonGuard::programsCall {}).await.unwrap(), right);
        }
    }
    world.node.stop().await.unwrap();
}

/// All that roles decide: levels, roles, governor, programs and rulebook.
async fn powers(world: &World) -> Vec<Bytes> {
    let mut views = vec![
        ICordonGuard::levelsCall {}.abi_encode(),
        ICordonGuard::governorCall {}.abi_encode(),
        ICordonGuard::programsCall {}.abi_encode(),
        ICordonGuard::rulebookCall {}.abi_encode(),
        ICordonGuard::lastHeartbeatCall {}.abi_encode(),
        ICordonGuard::closesCall {}.abi_encode(),
    ];
    for role in [Role::Guardian, Role::Keeper, Role::Heartbeat, Role::Veto, Role::Seal] {
        for account in [GUARDIAN, KEEPER, BEATER, ANYONE] {
            views.push(ICordonGuard::hasRoleCall { role, account }.abi_encode());
        }
    }
    let mut told = Vec::new();
    for view in views {
        told.push(world.call(ANYONE, world.guard, view).await.unwrap());
    }
    told
}

/// A thief with the governor's key has the levels close repayment or the exits, or nothing at all; one with a guardian's key does anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_closes_no_repayment_and_no_stolen_guardian_makes_one() {
    let world = World::sealed().await;
    let set = |closes| ICordonGuard::setMatrixCall { closes };
    let stricter = Matrix::DEFAULT
        .closing(cordon_core::Level::Throttled, cordon_core::Action::Increase)
        .unwrap();
    for thief in [GUARDIAN, KEEPER, ANYONE] {
        world
            .refused::<_, ICordonGuard::NotGovernor>(thief, set(stricter.bits()))
            .await;
        world.refused::<_, ICordonGuard::NotGovernor>(thief, set(0)).await;
    }
    for row in 0..4 {
        for action in [Action::Repay, Action::Sync, Action::Tighten, Action::Loosen] {
            let closes = 1 << (16 * row + action as u64);
            world.refused::<_, ICordonGuard::BadMatrix>(GOVERNOR, set(closes)).await;
        }
        for exit in [Action::Withdraw, Action::Decrease, Action::Settle] {
            let closes = 1 << (16 * row + exit as u64);
            let halted = row == 2;
            assert_eq!(world.ask(GOVERNOR, set(closes)).await.is_ok(), halted);
        }
    }
    // All that he may close, at every level: repayment and, below Halted, exits are open.
    let every = [Action::Deposit, Action::Trade, Action::Increase, Action::Liquidate];
    let row = every.into_iter().fold(0u64, |row, action| row | 1 << action as u64);
    world.ok(GOVERNOR, set(row | row << 16 | row << 32 | row << 48)).await;
    for level in [Level::Throttled, Level::ReduceOnly, Level::Halted] {
        world.ok(GUARDIAN, contain(OTHER, level, HOUR)).await;
        for action in [Action::Repay, Action::Sync, Action::Tighten] {
            assert!(world.passes(OTHER, action).await, "{level:?} {action:?}");
        }
        for exit in [Action::Withdraw, Action::Decrease, Action::Settle] {
            assert_eq!(
                world.passes(OTHER, exit).await,
                level != Level::Halted,
                "{level:?} {exit:?}"
            );
        }
        for action in every {
            assert!(!world.passes(OTHER, action).await, "{level:?} {action:?}");
        }
    }
    // What opens again waits, be it one cell; whoever has a veto takes it back.
    let missing: ICordonGuard::NotAnnounced = world.refused(GOVERNOR, set(stricter.bits())).await;
    let action_hash = missing.actionHash;
    assert_eq!(action_hash, keccak256(set(stricter.bits()).abi_encode()));
    let announce = ICordonGuard::announceCall {
        actionHash: action_hash,
    };
    world.ok(GOVERNOR, announce).await;
    world.pass(HOUR - 60).await;
    world
        .refused::<_, ICordonGuard::AnnouncementPending>(GOVERNOR, set(stricter.bits()))
        .await;
    world.pass(60).await;
    world.ok(GOVERNOR, set(stricter.bits())).await;
    assert_eq!(
        world.ask(ANYONE, ICordonGuard::closesCall {}).await.unwrap(),
        stricter.bits()
    );
    assert_eq!(world.level(OTHER).await, Level::ReduceOnly);
    assert!(world.passes(OTHER, Action::Liquidate).await && !world.passes(OTHER, Action::Deposit).await);
    world.node.stop().await.unwrap();
}

/// T28: somebody without any role calls everything.
#[tokio::test(flavor = "multi_thread")]
async fn t28_a_stranger_changes_nothing() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, DAY)).await;
    world
        .ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: MARKET })
        .await;
    world.pass(901).await;
    let calls = [
        contain(MARKET, Level::Halted, 60).abi_encode(),
        ICordonGuard::queueReleaseCall { scope: MARKET }.abi_encode(),
        ICordonGuard::cancelReleaseCall { scope: MARKET }.abi_encode(),
        ICordonGuard::releaseCall { scope: MARKET }.abi_encode(),
        ICordonGuard::settleCall { scope: MARKET }.abi_encode(),
        ICordonGuard::heartbeatCall {}.abi_encode(),
        ICordonGuard::sealCall {}.abi_encode(),
        ICordonGuard::announceCall {
            actionHash: B256::repeat_byte(1),
        }
        .abi_encode(),
        ICordonGuard::cancelAnnouncementCall {
            actionHash: B256::repeat_byte(1),
        }
        .abi_encode(),
        ICordonGuard::acceptGovernorCall {}.abi_encode(),
        ICordonGuard::adoptRulebookCall {
            book: world.price,
            codeHash: B256::ZERO,
        }
        .abi_encode(),
        trip(0).abi_encode(),
    ];
    for input in calls {
        let receipt = world.send(ANYONE, world.guard, input).await;
        assert!(!receipt.status());
        assert!(events::<ICordonGuard::LevelLowered>(&receipt).is_empty());
    }
    assert_eq!(world.level(MARKET).await, Level::ReduceOnly);
    // And whatever else the interface has that writes, for himself or with nothing in it.
    let before = powers(&world).await;
    let own = [(ANYONE, 1), (GUARDIAN, 0), (KEEPER, 0)]
        .into_iter()
        .flat_map(|(account, granted)| {
            [0, 1, 2, 3, 4].map(|role| (U256::from(role), account, U256::from(granted)).abi_encode_params())
        });
    let own: Vec<_> = own.collect();
    let himself = ANYONE.into_word().repeat(8);
    let writing = writing_functions();
    assert!(writing.len() > 20, "{}", writing.len());
    for selector in writing {
        for arguments in own.iter().chain([&himself, &vec![0; 32 * 8]]) {
            world
                .send(ANYONE, world.guard, [&selector[..], arguments].concat())
                .await;
        }
    }
    assert_eq!(powers(&world).await, before);
    world.node.stop().await.unwrap();
}

/// Selectors of all that is no view, by the Solidity compiler.
fn writing_functions() -> Vec<[u8; 4]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text =
        std::fs::read_to_string(root.join("out/ICordonGuard.sol/ICordonGuard.json")).expect("run forge build first");
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    let abi: JsonAbi = serde_json::from_value(artifact["abi"].clone()).unwrap();
    let writing = |function: &&Function| function.state_mutability == StateMutability::NonPayable;
    abi.functions()
        .filter(writing)
        .map(|function| function.selector().0)
        .collect()
}

/// A stolen keeper key: two hours a day over all scopes, and it keeps no scope shut that a guardian releases.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_keeper_key_buys_two_hours_a_day_and_cancels_no_release() {
    let world = World::sealed().await;
    let mut raised = 0;
    for round in 0..24 {
        world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
        let scope = [MARKET, OTHER][round % 2];
        let receipt = world
            .send(KEEPER, world.guard, contain(scope, Level::Halted, 900).abi_encode())
            .await;
        raised += usize::from(receipt.status());
        world.pass(600).await;
    }
    assert!((8..=10).contains(&raised), "{raised} quarters of an hour in four hours");
    world.pass(2 * DAY).await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world.ok(KEEPER, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    world
        .ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: MARKET })
        .await;
    world.pass(800).await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world.ok(KEEPER, contain(MARKET, Level::ReduceOnly, HOUR)).await;
    world.pass(101).await;
    world.ok(GUARDIAN, ICordonGuard::releaseCall { scope: MARKET }).await;
    assert_eq!(world.level(MARKET).await, Level::Grace);
    world.node.stop().await.unwrap();
}

/// T1, T2: a stolen keeper key closes a market for an hour, and then halts it for a minute an hour, so that the halt steps down into the
/// hour that was paid for once; over one scope, and over a scope and the whole protocol in turn.
#[tokio::test(flavor = "multi_thread")]
async fn t01_t02_short_halts_by_a_stolen_keeper_key_keep_nothing_closed() {
    for scopes in [[MARKET, MARKET], [MARKET, 0]] {
        let world = World::sealed().await;
        world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
        world.ok(KEEPER, contain(MARKET, Level::ReduceOnly, HOUR)).await;
        let mut closed = 0;
        for hour in 0..48 {
            world.pass(HOUR - 10).await;
            closed += usize::from(hour > 2 && world.level(MARKET).await != Level::Normal);
            world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
            let scope = scopes[hour % 2];
            let receipt = world
                .send(KEEPER, world.guard, contain(scope, Level::Halted, 60).abi_encode())
                .await;
            assert!(receipt.status(), "a minute an hour is within the budget");
        }
        assert_eq!(closed, 0, "once the hour that was paid for has stepped down");
        world
            .refused::<_, ICordonGuard::DurationTooShort>(KEEPER, contain(OTHER, Level::Halted, 1))
            .await;
        world.node.stop().await.unwrap();
    }
}

/// T2: what a guardian has opened is closed again for a minute of budget, and for no more than a minute and its steps down.
#[tokio::test(flavor = "multi_thread")]
async fn t02_after_a_release_a_stolen_keeper_key_buys_what_it_pays_for() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(MARKET, Level::ReduceOnly, DAY)).await;
    world
        .ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: MARKET })
        .await;
    world.pass(901).await;
    world.ok(GUARDIAN, ICordonGuard::releaseCall { scope: MARKET }).await;
    world.ok(BEATER, ICordonGuard::heartbeatCall {}).await;
    world.ok(KEEPER, contain(MARKET, Level::Halted, 60)).await;
    assert_eq!(world.level(MARKET).await, Level::Halted);
    world.pass(185).await;
    assert_eq!(world.level(MARKET).await, Level::Grace);
    world.pass(HOUR).await;
    assert_eq!(world.level(MARKET).await, Level::Normal);
    world.node.stop().await.unwrap();
}

/// T13: short halts push out the long one on which deadlines rely, and the record of an incident that is open.
#[tokio::test(flavor = "multi_thread")]
async fn t13_short_acts_push_out_nothing_on_which_others_rely() {
    let world = World::sealed().await;
    world.ok(GUARDIAN, contain(OTHER, Level::Halted, DAY)).await;
    let incident = world.status(OTHER).await.incident;
    for _ in 0..66 {
        world.ok(GOVERNOR, contain(MARKET, Level::Halted, 1)).await;
        world.pass(10).await;
        world.ok(ANYONE, ICordonGuard::settleCall { scope: MARKET }).await;
    }
    let record = world
        .ask(ANYONE, ICordonGuard::incidentCall { number: incident })
        .await
        .unwrap();
    assert_eq!(record.scope, OTHER);
    let halted = world
        .ask(
            ANYONE,
            ICordonGuard::haltedSecondsCall {
                scope: MARKET,
                since: 0,
            },
        )
        .await
        .unwrap();
    assert_eq!(halted, 66);
    world.node.stop().await.unwrap();
}

/// T21: a thief with the governor's key first revokes the guardians, so that nobody cancels what he has announced.
#[tokio::test(flavor = "multi_thread")]
async fn t21_a_guardian_who_was_revoked_still_stops_what_was_announced() {
    let world = World::sealed().await;
    let grant = ICordonGuard::setRoleCall {
        role: Role::Keeper,
        account: ANYONE,
        granted: true,
    };
    let action_hash = keccak256(grant.abi_encode());
    let announce = || ICordonGuard::announceCall {
        actionHash: action_hash,
    };
    world.ok(GOVERNOR, announce()).await;
    let revoke = ICordonGuard::setRoleCall {
        role: Role::Guardian,
        account: GUARDIAN,
        granted: false,
    };
    world.ok(GOVERNOR, revoke).await;
    world
        .refused::<_, ICordonGuard::MissingRole>(GUARDIAN, contain(MARKET, Level::Throttled, 60))
        .await;
    let end = ICordonGuard::setRoleCall {
        role: Role::Veto,
        account: GUARDIAN,
        granted: false,
    };
    world.refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, end).await;
    let cancel = ICordonGuard::cancelAnnouncementCall {
        actionHash: action_hash,
    };
    world.ok(GUARDIAN, cancel).await;
    world.pass(HOUR).await;
    world.refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, grant).await;
    world.node.stop().await.unwrap();
}

/// A guardian's key is stolen: he cancels what the governor announces, for as long as the governor takes to end his veto.
#[tokio::test(flavor = "multi_thread")]
async fn t21_a_stolen_guardian_key_does_not_veto_for_ever() {
    let world = World::sealed().await;
    let end = ICordonGuard::setRoleCall {
        role: Role::Veto,
        account: GUARDIAN,
        granted: false,
    };
    let action_hash = keccak256(end.abi_encode());
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: action_hash,
            },
        )
        .await;
    let cancel = |hash| ICordonGuard::cancelAnnouncementCall { actionHash: hash };
    world
        .refused::<_, ICordonGuard::OwnVeto>(GUARDIAN, cancel(action_hash))
        .await;
    world.pass(HOUR).await;
    world.ok(GOVERNOR, end).await;
    let any = B256::repeat_byte(3);
    world.ok(GOVERNOR, ICordonGuard::announceCall { actionHash: any }).await;
    world
        .refused::<_, ICordonGuard::MissingRole>(GUARDIAN, cancel(any))
        .await;
    world.node.stop().await.unwrap();
}

/// A seal's key is stolen: it closes everything once, and a guardian opens again. That it is used up is all that bounds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_seal_closes_once_until_it_is_armed_again() {
    let world = World::new().await;
    let arm = || ICordonGuard::setRoleCall {
        role: Role::Seal,
        account: ANYONE,
        granted: true,
    };
    world.ok(GOVERNOR, arm()).await;
    world.ok(GOVERNOR, ICordonGuard::sealCall {}).await;
    let close = |scope, duration| contain(scope, Level::Halted, duration);
    world
        .refused::<_, ICordonGuard::DurationBeyondRole>(ANYONE, close(0, 3 * DAY + 1))
        .await;
    // What closes nothing uses nothing up.
    world.ok(GUARDIAN, contain(MARKET, Level::Halted, HOUR)).await;
    world.ok(ANYONE, contain(MARKET, Level::Halted, 60)).await;
    world.ok(ANYONE, close(0, 3 * DAY)).await;
    let armed = || {
        world.ask(
            ANYONE,
            ICordonGuard::hasRoleCall {
                role: Role::Seal,
                account: ANYONE,
            },
        )
    };
    assert!(!armed().await.unwrap());
    assert_eq!(world.level(0).await, Level::Halted);
    world
        .refused::<_, ICordonGuard::MissingRole>(ANYONE, close(OTHER, DAY))
        .await;
    world
        .refused::<_, ICordonGuard::MissingRole>(ANYONE, ICordonGuard::queueReleaseCall { scope: 0 })
        .await;
    world.ok(GUARDIAN, ICordonGuard::queueReleaseCall { scope: 0 }).await;
    world.pass(901).await;
    world.ok(GUARDIAN, ICordonGuard::releaseCall { scope: 0 }).await;
    assert_eq!(world.level(0).await, Level::Grace);
    // Arming it again loosens.
    world.refused::<_, ICordonGuard::NotAnnounced>(GOVERNOR, arm()).await;
    let action_hash = keccak256(arm().abi_encode());
    world
        .ok(
            GOVERNOR,
            ICordonGuard::announceCall {
                actionHash: action_hash,
            },
        )
        .await;
    world.pass(HOUR).await;
    world.ok(GOVERNOR, arm()).await;
    assert!(armed().await.unwrap());
    world.node.stop().await.unwrap();
}

/// The governor halts everything for weeks by mistake, while the price cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_governors_mistake_is_undone_while_a_rule_is_unreadable() {
    let world = World::sealed().await;
    world.ok(GOVERNOR, contain(0, Level::Halted, 28 * DAY)).await;
    world.set_code(world.price, vec![0xfe]).await;
    for caller in [GUARDIAN, GOVERNOR] {
        world.ok(caller, ICordonGuard::queueReleaseCall { scope: 0 }).await;
    }
    world.pass(901).await;
    world
        .refused::<_, ICordonGuard::RuleUnknown>(GUARDIAN, ICordonGuard::releaseCall { scope: 0 })
        .await;
    world.ok(GOVERNOR, ICordonGuard::releaseCall { scope: 0 }).await;
    assert_eq!(world.level(0).await, Level::Grace);
    world.node.stop().await.unwrap();
}

/// A breach that is proved is not released by the governor either, nor is one that was proved and cannot be looked at any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_proved_breach_is_not_released_by_breaking_its_oracle() {
    let world = World::sealed().await;
    world.set(world.price, 101).await;
    world.ok(ANYONE, trip(0)).await;
    world
        .ok(GOVERNOR, ICordonGuard::queueReleaseCall { scope: MARKET })
        .await;
    world.pass(901).await;
    let release = || ICordonGuard::releaseCall { scope: MARKET };
    world
        .refused::<_, ICordonGuard::RuleBreached>(GOVERNOR, release())
        .await;
    world.set_code(world.price, vec![0xfe]).await;
    world.refused::<_, ICordonGuard::RuleUnknown>(GOVERNOR, release()).await;
    world.node.stop().await.unwrap();
}
