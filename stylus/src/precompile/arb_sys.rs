//! ArbSys: the L2 chain's own numbers, and messages to L1, which nobody carries out here.

use alloy_primitives::{Address, B256, U256, address, b256, keccak256};
use revm::Database;
use revm::context::{Cfg, ContextTr, JournalTr};

use super::abi;
use super::call::{Answer, Call, Fault, Method, Purity, method as entry};

/// What an L1 contract's address is increased by when it acts on L2.
const ALIAS_OFFSET: Address = address!("1111000000000000000000000000000000001111");
/// Reported ArbOS versions start here.
const VERSION_OFFSET: u64 = 55;
/// Block hashes that are known.
const HASHES: u64 = 256;
const INVALID_BLOCK_NUMBER: [u8; 4] = [0xd5, 0xdc, 0x64, 0x2d];
const L2_TO_L1_TX: B256 = b256!("3e7aafa77dbf186b7fd488006beff893744caa3c4f6f299e8a709fa2087374fc");

pub(super) fn method<DB: Database>(selector: u32) -> Option<Method<DB>> {
    match selector {
        0xa3b1_b31d => entry(Purity::View, 0, |call| {
            Ok(abi::word(U256::from(call.context.chain.block.l2_number)))
        }),
        0x2b40_7a82 => entry(Purity::View, 0, block_hash),
        0xd127_f54a => entry(Purity::View, 0, |call| {
            Ok(abi::word(U256::from(call.context.cfg().chain_id())))
        }),
        0x0510_38f2 => entry(Purity::View, 0, |call| {
            Ok(abi::word(U256::from(VERSION_OFFSET + call.arbos)))
        }),
        0xa945_97ff => entry(Purity::View, 0, |_| Ok(abi::word(U256::ZERO))),
        0x08bd_624c => entry(Purity::View, 0, |call| {
            Ok(abi::word(U256::from(call.context.chain.calls.len() <= 2)))
        }),
        0x4dbb_d506 => entry(Purity::Pure, 0, |call| {
            let account = call.address(0)?;
            Ok(abi::word(abi::address(alias(account))))
        }),
        0x175a_260b => entry(Purity::View, 0, |_| Ok(abi::word(U256::ZERO))),
        0xd745_23b3 => entry(Purity::View, 0, |call| {
            // The call of this precompile is the last one; its caller's own call is the one before.
            let calls = &call.context.chain.calls;
            let caller = calls.iter().rev().nth(1).map(|call| call.caller).unwrap_or_default();
            Ok(abi::word(abi::address(caller)))
        }),
        0x25e1_6063 => entry(Purity::Payable, 0, |call| {
            let to = call.address(0)?;
            send_to_l1(call, to, &[])
        }),
        0x928c_169a => entry(Purity::Payable, 0, |call| {
            let (to, data) = (call.address(0)?, call.bytes(1)?);
            send_to_l1(call, to, &data)
        }),
        0x7aee_cd2a => entry(Purity::View, 0, |call| {
            if call.inputs.caller != Address::ZERO {
                return Err(Fault::Revert(Vec::new()));
            }
            Ok(abi::words([U256::ZERO, U256::ZERO, U256::from(96), U256::ZERO]))
        }),
        _ => None,
    }
}

fn alias(account: Address) -> Address {
    let word = |account: Address| U256::from_be_slice(account.as_slice());
    let sum: B256 = word(account).wrapping_add(word(ALIAS_OFFSET)).into();
    Address::from_word(sum)
}

fn block_hash<DB: Database>(call: &mut Call<'_, DB>) -> Answer<DB> {
    let number = call.arg(0)?;
    let current = call.context.chain.block.l2_number;
    let wanted = u64::try_from(number)
        .ok()
        .filter(|wanted| *wanted < current && wanted.saturating_add(HASHES) >= current);
    let Some(wanted) = wanted else {
        return Err(Fault::Revert(abi::error(
            INVALID_BLOCK_NUMBER,
            [number, U256::from(current)],
        )));
    };
    call.context
        .journaled_state
        .db_mut()
        .block_hash(wanted)
        .map(|hash| hash.to_vec())
        .map_err(Fault::Database)
}

/// Announces a message and burns the value that it would carry. There is no tree of messages, so its position is a hash
/// of what it says, which also keeps it unique enough for logs.
fn send_to_l1<DB: Database>(call: &mut Call<'_, DB>, to: Address, data: &[u8]) -> Answer<DB> {
    let value = call.inputs.call_value();
    let (caller, now) = (call.inputs.caller, call.now());
    let l2_number = call.context.chain.block.l2_number;
    let mut message = abi::address(caller).to_be_bytes::<32>().to_vec();
    message.extend(abi::words([abi::address(to), value, U256::from(now)]));
    message.extend_from_slice(data);
    let hash = keccak256(&message);
    call.pay(Address::ZERO, value)?;
    let number = call.context.block.number;
    let mut body = abi::words([
        abi::address(caller),
        U256::from(l2_number),
        number,
        U256::from(now),
        value,
        U256::from(192),
    ]);
    body.extend(abi::tail(data));
    call.emit(vec![L2_TO_L1_TX, to.into_word(), hash, B256::ZERO], body)?;
    Ok(hash.to_vec())
}
