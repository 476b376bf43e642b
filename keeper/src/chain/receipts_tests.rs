#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use alloy::consensus::{ReceiptEnvelope, ReceiptWithBloom, proofs::calculate_receipt_root};
use alloy::primitives::LogData;

fn log(at: u64) -> Log {
    let data = LogData::new_unchecked(vec![B256::repeat_byte(2)], vec![7; 3].into());
    Log {
        inner: alloy::primitives::Log {
            address: Address::repeat_byte(1),
            data,
        },
        log_index: Some(at),
        ..Log::default()
    }
}

/// A receipt as nodes answer it, and as Ethereum knows it.
fn receipt(kind: u8, at: u64, is_success: bool, logs: &[u64]) -> (Value, ReceiptEnvelope) {
    let logs: Vec<Log> = logs.iter().copied().map(log).collect();
    let gas = 21_000 * (at + 1);
    let value = json!({ "transactionHash": B256::from(U256::from(at + 1)), "from": Address::repeat_byte(2),
        "type": format!("{kind:#x}"), "status": if is_success { "0x1" } else { "0x0" },
        "cumulativeGasUsed": format!("{gas:#x}"), "transactionIndex": format!("{at:#x}"), "logs": logs });
    let plain = Receipt {
        status: Eip658Value::Eip658(is_success),
        cumulative_gas_used: gas,
        logs: logs.into_iter().map(|log| log.inner).collect(),
    };
    let with_bloom = ReceiptWithBloom::from(plain);
    let envelope = match kind {
        0 => ReceiptEnvelope::Legacy(with_bloom),
        1 => ReceiptEnvelope::Eip2930(with_bloom),
        4 => ReceiptEnvelope::Eip7702(with_bloom),
        _ => ReceiptEnvelope::Eip1559(with_bloom),
    };
    (value, envelope)
}

fn seal(receipts: B256, of: &[Value]) -> Seal {
    let logs: Vec<Log> = of.iter().flat_map(|receipt| logs_of(receipt).unwrap()).collect();
    Seal {
        bloom: bloom_of(&logs),
        receipts,
    }
}

#[test]
fn receipts_of_which_anything_is_not_so_are_not_those_of_the_header() {
    let (all, known): (Vec<Value>, Vec<ReceiptEnvelope>) = [
        receipt(2, 0, true, &[0]),
        receipt(0, 1, false, &[]),
        receipt(1, 2, true, &[]),
        receipt(4, 3, true, &[1, 2]),
    ]
    .into_iter()
    .unzip();
    let seal = seal(calculate_receipt_root(&known), &all);
    let judge = |all: &[Value]| Receipts::judge(all.to_vec(), Some(&seal));
    let Trust::Proven(proven) = judge(&all) else {
        panic!("they are those of the header")
    };
    assert_eq!((proven.logs().len(), proven.all().len()), (3, 4));
    let changed = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut all = all.clone();
        change(&mut all);
        all
    };
    for lie in [
        changed(&|all| all.clear()),
        changed(&|all| all.truncate(2)),
        changed(&|all| drop(all.remove(1))),
        // The last log equals another one.
        changed(&|all| drop(all[3]["logs"].as_array_mut().unwrap().pop())),
        changed(&|all| all[1]["status"] = json!("0x1")),
        changed(&|all| all[3]["logs"][1]["data"] = json!("0x08")),
        changed(&|all| all[2] = json!({})),
        changed(&|all| all[2]["logs"] = json!([{ "address": "0x" }])),
        // Whose it is, no root says.
        changed(&|all| drop(all[1].as_object_mut().unwrap().remove("from"))),
        changed(&|all| all[1]["transactionHash"] = json!("0x")),
    ] {
        assert!(matches!(judge(&lie), Trust::Untrue), "{lie:#?}");
    }
    // Their numbers follow from their order, whatever the node says.
    let renumbered = changed(&|all| all[0]["logs"][0]["logIndex"] = json!("0x9"));
    assert!(matches!(judge(&renumbered), Trust::Proven(told) if told.logs()[0].log_index == Some(0)));
}

#[test]
fn where_no_root_can_be_computed_numbers_and_filter_have_to_fit() {
    let odd = |at: u64, logs: &[u64]| receipt(0x7e, at, true, logs).0;
    let all = vec![odd(0, &[0]), odd(1, &[]), odd(2, &[1, 2])];
    // Whichever of them is left out, the filter is the same.
    let given = seal(B256::repeat_byte(1), &all);
    assert!(matches!(Receipts::judge(all.clone(), Some(&given)), Trust::Likely(told) if told.logs().len() == 3));
    let none = seal(B256::repeat_byte(1), &[]);
    assert!(matches!(Receipts::judge(all, Some(&none)), Trust::Untrue));
    for cut in [
        vec![odd(0, &[0]), odd(2, &[1, 2])],
        vec![odd(0, &[0]), odd(1, &[]), odd(2, &[2])],
        vec![odd(0, &[]), odd(1, &[]), odd(2, &[1, 2])],
    ] {
        assert!(matches!(Receipts::judge(cut, Some(&given)), Trust::Untrue));
    }
    // A chain whose hashes are computed in another way has no filter that could be believed.
    assert!(matches!(
        Receipts::judge(vec![odd(0, &[0]), odd(1, &[1])], None),
        Trust::Likely(_)
    ));
    assert!(matches!(
        Receipts::judge(vec![odd(0, &[0]), odd(1, &[2])], None),
        Trust::Untrue
    ));
    // A chain with a constant in the root's place.
    for constant in [B256::ZERO, EMPTY_ROOT_HASH] {
        let plain = vec![receipt(0, 0, true, &[0]).0];
        let header = seal(constant, &plain);
        assert!(matches!(Receipts::judge(plain, Some(&header)), Trust::Likely(_)));
        assert!(matches!(Receipts::judge(Vec::new(), Some(&header)), Trust::Untrue));
    }
}

#[test]
fn the_types_of_arbitrum_are_encoded_as_those_of_ethereum() {
    for kind in [0x64, 0x65, 0x66, 0x68, 0x69, 0x6a, 0x78] {
        let (value, envelope) = receipt(kind, 0, true, &[0]);
        let mut typed = alloy::eips::Encodable2718::encoded_2718(&envelope);
        // That of a type which Ethereum has.
        assert_eq!(typed[0], 2);
        typed[0] = kind;
        let logs = logs_of(&value).unwrap();
        assert_eq!(encoded(&value, &logs), Some(typed));
    }
}

#[test]
fn only_failed_transactions_are_taken_whatever_their_type() {
    let receipt = |status: &str, kind: &str| {
        json!({ "status": status, "type": kind, "transactionHash": B256::repeat_byte(1), "from": Address::repeat_byte(2),
            "to": Address::repeat_byte(3) })
    };
    // 0x6a is Arbitrum's internal transaction, of which there is one in every block.
    assert_eq!(failed(&receipt("0x1", "0x6a")), None);
    let found = failed(&receipt("0x0", "0x6a")).unwrap();
    assert_eq!(
        (found.from, found.to),
        (Address::repeat_byte(2), Some(Address::repeat_byte(3)))
    );
    assert_eq!(failed(&json!({ "status": "0x0" })), None);
}
