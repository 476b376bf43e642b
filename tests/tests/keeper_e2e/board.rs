//! A protocol in 40 lines of EVM: numbers under numbers that anyone may set. Small enough to see through, real enough to be
//! read, called and logged by.

use alloy::primitives::{Bytes, U256};
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent};

sol! {
    #[derive(Debug)]
    interface Board {
        function get(uint256 key) external view returns (uint256 value);
        function debt(address account) external view returns (uint256 value);
        function shy(uint256 key) external view returns (uint256 value);
        function set(uint256 key, uint256 value) external;
        function stubborn(uint256 key, uint256 value) external;
        function touch(address account) external;
        event Touched(address indexed account);
    }
}

/// What the rule watches.
pub(crate) const GAUGE: U256 = U256::ZERO;
/// What containment sets to 1.
pub(crate) const STOPPED: U256 = U256::from_limbs([1, 0, 0, 0]);
/// While this is not 0, `shy` and `stubborn` revert.
pub(crate) const MOOD: U256 = U256::from_limbs([7, 0, 0, 0]);

const PUSH0: u8 = 0x5f;
const CALLDATALOAD: u8 = 0x35;
const SLOAD: u8 = 0x54;
const SSTORE: u8 = 0x55;
const STOP: u8 = 0x00;
const REVERT: u8 = 0xfd;
const JUMPDEST: u8 = 0x5b;
const JUMPI: u8 = 0x57;
const LOG2: u8 = 0xa2;

/// Creation code of the board.
pub(crate) fn creation_code() -> Bytes {
    let word = |at: u8| vec![0x60, at, CALLDATALOAD];
    // mload(0) := value; return 32 bytes
    let answer = [PUSH0, 0x52, 0x60, 0x20, PUSH0, 0xf3];
    let get = [word(4), vec![SLOAD], answer.to_vec()].concat();
    let set = [word(0x24), word(4), vec![SSTORE, STOP]].concat();
    let in_mood = |body: &[u8]| [&[0x60, 0x07, SLOAD, 0x61, 0, 0, JUMPI], body].concat();
    let touch = [
        word(4),
        [vec![0x7f], Board::Touched::SIGNATURE_HASH.to_vec()].concat(),
        vec![PUSH0, PUSH0, LOG2, STOP],
    ]
    .concat();
    let bodies: [([u8; 4], Vec<u8>); 6] = [
        (Board::getCall::SELECTOR, get.clone()),
        (Board::debtCall::SELECTOR, get.clone()),
        (Board::shyCall::SELECTOR, in_mood(&get)),
        (Board::setCall::SELECTOR, set.clone()),
        (Board::stubbornCall::SELECTOR, in_mood(&set)),
        (Board::touchCall::SELECTOR, touch),
    ];
    // selector := calldata[0..4]; per function: dup1 push4 sel eq push2 dest jumpi
    let mut code = vec![PUSH0, CALLDATALOAD, 0x60, 0xe0, 0x1c];
    let table = code.len() + bodies.len() * 11;
    let refuse = table;
    let mut place = refuse + 4;
    for (selector, body) in &bodies {
        code.extend([0x80, 0x63]);
        code.extend(selector);
        code.extend([0x14, 0x61]);
        code.extend(u16::try_from(place).unwrap().to_be_bytes());
        code.push(JUMPI);
        place += 1 + body.len();
    }
    code.extend([JUMPDEST, PUSH0, PUSH0, REVERT]);
    for (_, body) in bodies {
        code.push(JUMPDEST);
        code.extend(body);
    }
    // The jumps of `in_mood` go to the refusal.
    let refuse = u16::try_from(refuse).unwrap().to_be_bytes();
    let blank = [0x60, 0x07, SLOAD, 0x61, 0, 0, JUMPI];
    for at in 0..code.len() - blank.len() {
        if code[at..at + blank.len()] == blank {
            code[at + 4..at + 6].copy_from_slice(&refuse);
        }
    }
    // push2 length dup1 push1 offset push0 codecopy push0 return
    let length = u16::try_from(code.len()).unwrap().to_be_bytes();
    let mut creation = vec![0x61, length[0], length[1], 0x80, 0x60, 12, PUSH0, 0x39, PUSH0, 0xf3];
    creation.resize(12, STOP);
    creation.extend(code);
    creation.into()
}
