use alloy::{
    consensus::TrieAccount,
    primitives::{Address, B256, U256, keccak256},
    providers::Provider,
    rlp::encode,
};
use alloy_trie::{Nibbles, proof::verify_proof};
use cordon_node::spawn;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn on_a_fresh_chain_accounts_and_slots_are_proved() {
    let node = fresh().await;
    let provider = plain(&node.http_endpoint());
    let counter = deploy_counter(&provider).await;
    for _ in 0..3 {
        send(&provider, count_up(counter)).await;
    }
    for slot in 1..40_u64 {
        raw(
            &provider,
            "anvil_setStorageAt",
            json!([counter, U256::from(slot), word(slot)]),
        )
        .await;
    }
    let keys = vec![B256::ZERO, B256::with_last_byte(17), B256::with_last_byte(200)];
    let proof = provider.get_proof(counter, keys.clone()).await.unwrap();
    let account = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    assert_eq!(
        (proof.nonce, proof.code_hash),
        (1, keccak256(provider.get_code_at(counter).await.unwrap()))
    );
    let root = keccak256(&proof.account_proof[0]);
    let path = Nibbles::unpack(keccak256(counter));
    verify_proof(root, path, Some(encode(account)), &proof.account_proof).unwrap();
    for (slot, value) in proof.storage_proof.iter().zip([3, 17, 0_u64]) {
        assert_eq!(slot.value, U256::from(value));
        let path = Nibbles::unpack(keccak256(slot.key.as_b256()));
        let leaf = (value > 0).then(|| encode(U256::from(value)));
        verify_proof(proof.storage_hash, path, leaf, &slot.proof).unwrap();
    }
    let other = provider.get_proof(BOB, vec![]).await.unwrap();
    assert_eq!(keccak256(&other.account_proof[0]), root, "all accounts are in one trie");
    let absent = Address::repeat_byte(0xab);
    let nobody = provider.get_proof(absent, vec![]).await.unwrap();
    verify_proof(root, Nibbles::unpack(keccak256(absent)), None, &nobody.account_proof).unwrap();
    let earlier = provider.get_proof(counter, keys).number(2).await.unwrap();
    assert_eq!(earlier.storage_proof[0].value, U256::from(1));
    assert_eq!(provider.get_account(counter).await.unwrap(), account);
    assert_eq!(provider.get_account_info(counter).await.unwrap().nonce, 1);
}

#[tokio::test]
async fn on_a_fork_what_was_not_touched_is_proved_by_the_forked_chain() {
    let anvil = Anvil::start(&[]).await;
    let upstream = anvil.provider();
    let counter = anvil.send(counter_creation()).await.contract_address.unwrap();
    let node = spawn(anvil.fork_config()).await.unwrap();
    let provider = plain(&node.http_endpoint());
    let at_fork = provider.get_proof(counter, vec![B256::ZERO]).number(1).await.unwrap();
    assert_eq!(at_fork, upstream.get_proof(counter, vec![B256::ZERO]).await.unwrap());

    send(&provider, count_up(counter)).await;
    let changed = provider.get_proof(counter, vec![B256::ZERO]).await.unwrap_err();
    let changed = changed.as_error_resp().unwrap();
    assert_eq!(changed.code, -32_004);
    assert!(changed.message.contains("was changed here"), "{changed:?}");
    let untouched = provider
        .get_proof(Address::repeat_byte(0x99), vec![])
        .await
        .unwrap_err();
    assert!(untouched.to_string().contains("fork block 1"), "{untouched}");

    // Of an account that was made here all slots are known, so that they can be proved.
    let own = deploy_counter(&provider).await;
    send(&provider, count_up(own)).await;
    let proof = provider.get_proof(own, vec![B256::ZERO]).await.unwrap();
    assert!(proof.account_proof.is_empty());
    let path = Nibbles::unpack(keccak256(B256::ZERO));
    verify_proof(
        proof.storage_hash,
        path,
        Some(encode(U256::from(1))),
        &proof.storage_proof[0].proof,
    )
    .unwrap();
}
