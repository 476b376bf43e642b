//! Questions to the state of a block on a real anvil: asked together or apart, the answers are the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "common/boxes.rs"]
mod boxes;
mod common;

use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, address, hex, keccak256};
use cordon_keeper::chain::{Answer, Question, Refusal, Rpc};
use serde_json::json;

use boxes::{place, put_data, send};
use common::Anvil;

const BOX: Address = address!("0x00000000000000000000000000000000b0000001");
const NOBODY: Address = address!("0x00000000000000000000000000000000b000dead");
const SPENDER: Address = address!("0x00000000000000000000000000000000b0000003");
const USER: Address = address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

fn get(to: Address, key: u64) -> Question {
    let data = [&keccak256("get(uint256)")[..4], B256::from(U256::from(key)).as_slice()].concat();
    Question::Call {
        to,
        data: data.into(),
        gas: Some(200_000),
        code: None,
    }
}

fn number(value: u64) -> Result<Answer, Refusal> {
    Ok(Answer::Output(Bytes::copy_from_slice(
        B256::from(U256::from(value)).as_slice(),
    )))
}

#[tokio::test]
async fn many_calls_in_one_are_answered_as_each_by_itself() {
    let anvil = Anvil::start(&[]).await;
    place(&anvil, BOX).await;
    // jumpdest, push1 0, jump: for ever.
    anvil.rpc("anvil_setCode", json!([SPENDER, "0x5b600056"])).await;
    for key in 0..7 {
        send(&anvil, USER, BOX, 0, &put_data(key, 100 + key)).await;
    }
    let rpc = Rpc::new(&[anvil.http()], anvil.chain_id(), Duration::from_secs(5)).unwrap();
    let block = rpc.latest().await.unwrap();
    // Writing is refused in a static call, and so is what runs for ever; neither hurts the others.
    let write: Bytes = hex::decode(put_data(1, 5)).unwrap().into();
    let mut questions = vec![
        get(BOX, 3),
        get(NOBODY, 3),
        get(SPENDER, 3),
        Question::Call {
            to: BOX,
            data: write,
            gas: Some(200_000),
            code: None,
        },
        Question::Balance(USER),
        Question::Storage(BOX, B256::with_last_byte(4)),
        Question::CodeHash(NOBODY),
    ];
    questions.extend((0..450).map(|at| get(BOX, at % 7)));
    let together = rpc.ask_many(block.hash, &questions).await.unwrap();
    assert_eq!(together[0], number(103));
    assert_eq!(together[1], Ok(Answer::Output(Bytes::new())));
    assert!(together[2].is_err() && together[3].is_err(), "{:?}", &together[2..4]);
    assert_eq!(together[5], Ok(Answer::Word(B256::from(U256::from(104)))));
    assert_eq!(together[6], Ok(Answer::Word(keccak256([]))));
    for (at, answer) in together[7..].iter().enumerate() {
        assert_eq!(*answer, number(100 + u64::try_from(at).unwrap() % 7));
    }
    for at in [0, 1, 4, 5, 6, 7] {
        let alone = rpc.ask_many(block.hash, &questions[at..=at]).await.unwrap();
        assert_eq!(alone[0], together[at], "{:?}", questions[at]);
    }
}
