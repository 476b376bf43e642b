//! From calldata to answers: every function of the ABI, encoded and decoded by an independent implementation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use alloy_primitives::{aliases::U24, Address, B256, U256};
use alloy_sol_types::{SolCall, SolError};
use common::{rules, Abi, World, ANYONE, BEATER, BOOK, GOVERNOR, GUARDIAN, KEEPER, LOGIC, PROGRAMS, START, VAULT};
use cordon_host::mock::MockHost;
use cordon_logic::{abi::Answer, administer, contain, hook, inspect, recover, respond, Guard};

/// What the programs do together: the gate knows hooks and containment, the respond program hands on what is none of its functions.
fn dispatch(guard: &mut Guard<MockHost>, input: &[u8]) -> Answer<Vec<u8>> {
    let recovery = [
        Abi::queueReleaseCall::SELECTOR,
        Abi::cancelReleaseCall::SELECTOR,
        Abi::releaseCall::SELECTOR,
        Abi::settleCall::SELECTOR,
        Abi::writeOffCall::SELECTOR,
    ];
    let hooks = [
        Abi::enterCall::SELECTOR,
        Abi::exitCall::SELECTOR,
        Abi::isAllowedCall::SELECTOR,
        Abi::levelOfCall::SELECTOR,
    ];
    let governance = [
        Abi::initializeCall::SELECTOR,
        Abi::heartbeatCall::SELECTOR,
        Abi::sealCall::SELECTOR,
        Abi::announceCall::SELECTOR,
        Abi::cancelAnnouncementCall::SELECTOR,
        Abi::setRoleCall::SELECTOR,
        Abi::proposeGovernorCall::SELECTOR,
        Abi::acceptGovernorCall::SELECTOR,
        Abi::adoptRulebookCall::SELECTOR,
        Abi::setMatrixCall::SELECTOR,
        Abi::setDelayCall::SELECTOR,
        Abi::setLogicCall::SELECTOR,
        Abi::noteIncidentCall::SELECTOR,
        Abi::judgeIncidentCall::SELECTOR,
    ];
    if hooks.iter().any(|selector| input.starts_with(selector)) {
        return hook(guard, input);
    }
    let containment = [
        Abi::containCall::SELECTOR,
        Abi::containManyCall::SELECTOR,
        Abi::retryContainmentCall::SELECTOR,
    ];
    if containment.iter().any(|selector| input.starts_with(selector)) {
        return contain(guard, input);
    }
    match respond(guard, input)? {
        Some(data) => Ok(data),
        None if recovery.iter().any(|selector| input.starts_with(selector)) => recover(guard, input),
        None if governance.iter().any(|selector| input.starts_with(selector)) => administer(guard, input),
        None => inspect(guard, input),
    }
}

fn call<C: SolCall>(world: &mut World, sender: Address, call: &C) -> C::Return {
    let data = dispatch(world.as_(sender), &call.abi_encode()).unwrap();
    world.done();
    C::abi_decode_returns_validate(&data).unwrap()
}

fn refused<E: SolError>(world: &mut World, sender: Address, input: &[u8]) -> E {
    let outcome = dispatch(world.as_(sender), input);
    world.refused(outcome)
}

#[test]
fn a_life_of_a_guard_through_its_abi() {
    let mut world = World::unsealed();
    let guardian = Abi::Role::Guardian;
    call(
        &mut world,
        GOVERNOR,
        &Abi::setRoleCall {
            role: guardian,
            account: ANYONE,
            granted: true,
        },
    );
    assert!(call(
        &mut world,
        ANYONE,
        &Abi::hasRoleCall {
            role: guardian,
            account: ANYONE
        }
    ));
    call(
        &mut world,
        GOVERNOR,
        &Abi::setRoleCall {
            role: guardian,
            account: ANYONE,
            granted: false,
        },
    );
    call(&mut world, GOVERNOR, &Abi::sealCall {});
    let governor = call(&mut world, ANYONE, &Abi::governorCall {});
    assert_eq!(
        (governor.current, governor.delay, governor.isSealed),
        (GOVERNOR, 3600, true)
    );
    assert_eq!(call(&mut world, ANYONE, &Abi::logicCall {}), LOGIC);
    assert_eq!(call(&mut world, ANYONE, &Abi::programsCall {}), PROGRAMS);
    assert_eq!(
        call(&mut world, ANYONE, &Abi::closesCall {}),
        cordon_core::Matrix::DEFAULT.bits()
    );
    let calls = call(&mut world, ANYONE, &Abi::guardedCallsCall {});
    assert_eq!((calls.depth, calls.complete, calls.locked), (0, false, false));
    let halted = Abi::haltedSecondsCall { scope: 1, since: START };
    assert_eq!(call(&mut world, ANYONE, &halted), 0);
    assert_eq!(call(&mut world, ANYONE, &Abi::rulebookCall {}).book, BOOK);
    call(&mut world, BEATER, &Abi::heartbeatCall {});
    assert_eq!(call(&mut world, ANYONE, &Abi::lastHeartbeatCall {}), START);

    let (asset, account, amount) = (Address::ZERO, ANYONE, U256::from(5));
    let enter = Abi::enterCall {
        scopes: U24::from(0x00_02_01),
        action: 3,
        asset,
        amount,
        account,
    };
    let ticket = call(&mut world, VAULT, &enter);
    call(&mut world, VAULT, &Abi::exitCall { ticket });

    world.price.set(Some(101));
    let evaluation = call(
        &mut world,
        ANYONE,
        &Abi::evaluateCall {
            rule: rules::PRICE,
            witness: vec![],
        },
    );
    assert_eq!((evaluation.verdict as u8, evaluation.observed), (1, U256::from(101)));
    let many = Abi::evaluateManyCall {
        rules: vec![rules::PRICE, rules::ACCOUNT, rules::SHADOW],
        witnesses: vec![vec![], vec![ANYONE.into_word()], vec![]],
    };
    let verdicts: Vec<_> = call(&mut world, ANYONE, &many)
        .iter()
        .map(|one| one.verdict as u8)
        .collect();
    assert_eq!(verdicts, [1; 3]);

    assert_eq!(
        call(
            &mut world,
            ANYONE,
            &Abi::tripCall {
                rule: rules::PRICE,
                witness: vec![]
            }
        ),
        1
    );
    assert!(!call(
        &mut world,
        ANYONE,
        &Abi::isAllowedCall {
            scopes: U24::from(1),
            action: 3
        }
    ));
    let level = call(&mut world, ANYONE, &Abi::levelOfCall { scope: 1 });
    assert_eq!(level as u8, Abi::Level::ReduceOnly as u8);
    assert_eq!(call(&mut world, ANYONE, &Abi::levelOfCall { scope: 2 }) as u8, 0);
    refused::<Abi::BadScope>(&mut world, ANYONE, &Abi::levelOfCall { scope: 128 }.abi_encode());
    let status = call(&mut world, ANYONE, &Abi::scopeStatusCall { scope: 1 });
    assert_eq!(
        (status.level as u8, status.incident, status.since),
        (Abi::Level::ReduceOnly as u8, 1, START)
    );
    assert_eq!((status.expiresAt, status.applied), (START + 3600, U256::from(1)));
    assert_eq!(call(&mut world, ANYONE, &Abi::levelsCall {})._0, U256::from(2 << 3));
    call(&mut world, ANYONE, &Abi::retryContainmentCall { scope: 1 });
    let evidence = B256::repeat_byte(3);
    assert_eq!(
        call(
            &mut world,
            KEEPER,
            &Abi::containCall {
                scope: 1,
                level: Abi::Level::Halted,
                duration: 60,
                evidence
            }
        ),
        1
    );

    world.price.set(Some(100));
    call(&mut world, GUARDIAN, &Abi::queueReleaseCall { scope: 1 });
    call(&mut world, GUARDIAN, &Abi::cancelReleaseCall { scope: 1 });
    call(&mut world, GUARDIAN, &Abi::queueReleaseCall { scope: 1 });
    world.pass(900);
    call(&mut world, GUARDIAN, &Abi::releaseCall { scope: 1 });
    world.pass(3600);
    call(&mut world, ANYONE, &Abi::settleCall { scope: 1 });
    assert_eq!(call(&mut world, ANYONE, &Abi::scopeStatusCall { scope: 1 }).incident, 0);
}

#[test]
fn governance_through_the_abi() {
    let mut world = World::new();
    world.guard.host.contract(LOGIC, &[0xef, 0xf0, 0, 0], |_, input, _| {
        common::probed(input, PROGRAMS)
    });
    let calls = [
        Abi::setLogicCall {
            programs: PROGRAMS,
            codes: world.codes(&PROGRAMS),
        }
        .abi_encode(),
        Abi::adoptRulebookCall {
            book: BOOK,
            codeHash: cordon_host::Host::code_hash(&world.guard.host, &BOOK),
        }
        .abi_encode(),
        Abi::proposeGovernorCall { governor: ANYONE }.abi_encode(),
        Abi::setRoleCall {
            role: Abi::Role::Keeper,
            account: ANYONE,
            granted: true,
        }
        .abi_encode(),
    ];
    for input in &calls {
        let missing: Abi::NotAnnounced = refused(&mut world, GOVERNOR, input);
        assert_eq!(
            missing.actionHash,
            alloy_primitives::keccak256(input),
            "the hash is that of the calldata"
        );
        call(
            &mut world,
            GOVERNOR,
            &Abi::announceCall {
                actionHash: missing.actionHash,
            },
        );
    }
    let spare = B256::repeat_byte(1);
    call(&mut world, GOVERNOR, &Abi::announceCall { actionHash: spare });
    call(&mut world, GOVERNOR, &Abi::cancelAnnouncementCall { actionHash: spare });
    world.pass(3600);
    for input in &calls {
        assert!(dispatch(world.as_(GOVERNOR), input).unwrap().is_empty());
    }
    call(&mut world, ANYONE, &Abi::acceptGovernorCall {});
    let again = Abi::initializeCall {
        programs: PROGRAMS,
        governor: ANYONE,
        governorDelay: 0,
    };
    refused::<Abi::AlreadyInitialized>(&mut world, ANYONE, &again.abi_encode());
}

#[test]
fn what_is_not_of_the_abi_is_refused_without_a_reason() {
    let mut world = World::new();
    let mut silent = |input: &[u8]| {
        let refusal = dispatch(world.as_(GUARDIAN), input).unwrap_err();
        assert!(refusal.data().is_empty(), "{input:x?}");
    };
    silent(&[]);
    silent(&[1, 2, 3]);
    silent(&[1, 2, 3, 4]);
    let settle = Abi::settleCall { scope: 0 }.abi_encode();
    silent(&settle[..35]);
    let mut dirty = settle;
    dirty[34] = 1;
    silent(&dirty);
    let mut trip = Abi::tripCall {
        rule: 0,
        witness: vec![B256::ZERO],
    }
    .abi_encode();
    trip[4 + 32 + 31] = 0xff; // the witness lies beyond the calldata
    silent(&trip);
    let mut role = Abi::setRoleCall {
        role: Abi::Role::Keeper,
        account: ANYONE,
        granted: true,
    }
    .abi_encode();
    role[4 + 32] = 1; // an address of more than 20 bytes
    silent(&role);
    world.guard.host.value = true;
    assert!(dispatch(&mut world.guard, &Abi::levelsCall {}.abi_encode())
        .unwrap_err()
        .data()
        .is_empty());
}

/// The router and the interface, as Solidity's own grammar has it, name the same functions.
#[test]
fn the_programs_have_the_functions_of_the_interface() {
    use alloy_sol_types::SolInterface;
    let mut wanted: Vec<u32> = Abi::ICordonGuardCalls::selectors().map(u32::from_be_bytes).collect();
    let mut known = cordon_logic::SELECTORS.to_vec();
    assert_eq!(wanted.len(), Abi::ICordonGuardCalls::COUNT);
    wanted.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, wanted);
}

/// Keepers read the words of scopes by the key that the core tells them.
#[test]
fn scopes_are_kept_where_the_core_says() {
    for scope in 0..=u8::MAX {
        assert_eq!(cordon_host::layout::scope(scope), cordon_core::scope::key(scope));
    }
}
