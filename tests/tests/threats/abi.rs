//! The interface as Solidity compiles it, against the programs as they answer.

use std::path::Path;

use alloy::primitives::hex;

use crate::world::{ANYONE, World};
use alloy::network::TransactionBuilder;
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use cordon_client::guard::ICordonGuard;

/// Selectors of `ICordonGuard` by the Solidity compiler.
fn selectors() -> Vec<(String, [u8; 4])> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("out/ICordonGuard.sol/ICordonGuard.json");
    let text = std::fs::read_to_string(path).expect("run forge build first");
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    let methods = artifact["methodIdentifiers"].as_object().unwrap();
    methods
        .iter()
        .map(|(name, selector)| {
            let bytes = hex::decode(selector.as_str().unwrap()).unwrap();
            (name.clone(), bytes.try_into().unwrap())
        })
        .collect()
}

/// Data of a call that fails, `None` when it succeeds.
async fn refusal(world: &World, input: Vec<u8>) -> Option<Vec<u8>> {
    let request = TransactionRequest::default()
        .with_from(ANYONE)
        .with_to(world.guard)
        .with_input(input);
    let error = world.provider.call(request).await.err()?;
    let payload = error.as_error_resp().unwrap();
    Some(payload.as_revert_data().unwrap_or_default().to_vec())
}

/// Every function of the interface is one of some program (it answers, or refuses by name), and what is not of the interface is
/// refused without a reason.
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_answer_the_interface_and_nothing_else() {
    let world = World::sealed().await;
    let known = selectors();
    assert!(known.len() > 30, "only {} functions", known.len());
    for (name, selector) in &known {
        // Zeros are valid arguments of every type: offsets of arrays lead to the first word, their length, which is 0.
        let input = [&selector[..], &[0; 32 * 8]].concat();
        let refused = refusal(&world, input).await;
        assert!(refused.is_none_or(|data| !data.is_empty()), "{name} is not answered");
        let mut other = *selector;
        other[3] ^= 1;
        if known.iter().all(|(_, one)| *one != other) {
            let refused = refusal(&world, [&other[..], &[0; 32 * 8]].concat()).await;
            assert_eq!(refused, Some(Vec::new()), "{} is answered", hex::encode(other));
        }
    }
    // ERC-165: the id of an interface is all its selectors, one exclusive-ored with the other.
    let id = known.iter().fold([0; 4], |id, (_, selector)| {
        std::array::from_fn(|place| id[place] ^ selector[place])
    });
    for (id, wanted) in [
        (id, true),
        ([0x01, 0xff, 0xc9, 0xa7], true),
        ([0xff; 4], false),
        ([0; 4], false),
    ] {
        let asked = ICordonGuard::supportsInterfaceCall { interfaceId: id.into() };
        assert_eq!(world.ask(ANYONE, asked).await.unwrap(), wanted, "{}", hex::encode(id));
    }
    world.node.stop().await.unwrap();
}
