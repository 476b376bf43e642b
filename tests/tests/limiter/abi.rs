//! The interface as Solidity compiles it, against the program as it answers.

use std::path::Path;

use alloy::json_abi::{Function, JsonAbi, StateMutability};
use alloy::network::TransactionBuilder;
use alloy::primitives::U256;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;

use crate::world::{ANYONE, World};

/// `ICordonLimiter` with ERC-7265, which it includes.
fn interface() -> JsonAbi {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/ICordonLimiter.sol/ICordonLimiter.json");
    let text = std::fs::read_to_string(path).expect("run forge build first");
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(artifact["abi"].clone()).unwrap()
}

/// Data of a call that fails, `None` when it succeeds.
async fn refusal(world: &World, selector: &[u8], arguments: &[u8], value: u64) -> Option<Vec<u8>> {
    let request = TransactionRequest::default()
        .with_from(ANYONE)
        .with_to(world.limiter)
        .with_value(U256::from(value))
        .with_input([selector, arguments].concat());
    let error = world.provider.call(request).await.err()?;
    let payload = error.as_error_resp().unwrap();
    Some(payload.as_revert_data().unwrap_or_default().to_vec())
}

/// Bytes of a function's arguments, none of which is of variable length.
fn size(function: &Function) -> usize {
    let words = |input: &alloy::json_abi::Param| {
        if input.components.is_empty() {
            1
        } else {
            input.components.len()
        }
    };
    function.inputs.iter().map(words).sum::<usize>() * 32
}

/// Every function of the interface answers or refuses by an error of the interface, whose values are as many as it says; takes ether only where
/// it says so; and what is not of the interface is refused without a reason.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_answers_its_interface_and_nothing_else() {
    let world = World::new().await;
    let abi = interface();
    let functions: Vec<_> = abi.functions().collect();
    assert!(functions.len() > 25, "only {} functions", functions.len());
    let (mut errors_seen, mut payable) = (std::collections::BTreeSet::new(), 0);
    for function in &functions {
        let (name, selector) = (function.signature(), function.selector());
        let mut answered = false;
        // Zero is ether to the functions for tokens, which do not take it.
        for fill in [0, 1] {
            let mut arguments = vec![0; size(function)];
            arguments.iter_mut().skip(31).step_by(32).for_each(|last| *last = fill);
            let Some(data) = refusal(&world, selector.as_slice(), &arguments, 0).await else {
                answered = true;
                continue;
            };
            if data.is_empty() {
                continue;
            }
            answered = true;
            let error = abi.errors().find(|error| error.selector() == data[..4]);
            let error =
                error.unwrap_or_else(|| panic!("{name} refuses by an error that the interface has not: {data:x?}"));
            assert_eq!(data.len(), 4 + 32 * error.inputs.len(), "{name}: {}", error.signature());
            errors_seen.insert(error.name.clone());
        }
        assert!(answered, "{name} is not answered");
        let takes_ether = function.state_mutability == StateMutability::Payable;
        payable += usize::from(takes_ether);
        let with_ether = refusal(&world, selector.as_slice(), &vec![0; size(function)], 1).await;
        let refused_at_once = with_ether.is_some_and(|data| data.is_empty());
        assert_eq!(refused_at_once, !takes_ether, "{name} and ether");
        let mut other = selector.0;
        other[3] ^= 1;
        if functions.iter().all(|one| one.selector() != other) {
            let refused = refusal(&world, &other, &[0; 32 * 8], 0).await;
            assert_eq!(refused, Some(Vec::new()), "a neighbour of {name} is answered");
        }
    }
    assert_eq!(payable, 2, "quarantine, onNativeAssetOutflow");
    assert!(errors_seen.len() >= 6, "few errors were seen: {errors_seen:?}");
    world.node.stop().await.unwrap();
}
