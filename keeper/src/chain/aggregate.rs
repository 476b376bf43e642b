//! Many calls in one `eth_call`: a few dozen instructions, put at an unused address for the time of the call, make them one after
//! the other and hand back what each answered. No contract has to be deployed for it.

use alloy::primitives::{Address, Bytes, U256, address};

use super::{Answer, Question, Refusal};

/// Where the code is put: nobody's address.
pub(super) const AT: Address = address!("0x00000000000000000000000000000000c02d0001");
/// Calls per `eth_call`: their sum stays far below the gas that nodes give one.
pub(super) const MOST: usize = 200;
/// Calldata that nodes take without complaint, in bytes.
const LONGEST: usize = 96 * 1_024;
/// Target (20 bytes), gas (4), length (2) before each call's data.
const HEAD: usize = 26;

/// The call that asks all of `questions`; `None` when one of them is no plain call, or they are too long together.
pub(super) fn question(questions: &[&Question]) -> Option<Question> {
    let mut data = Vec::new();
    for question in questions {
        let Question::Call {
            to,
            data: input,
            gas: Some(gas),
            code: None,
        } = question
        else {
            return None;
        };
        add(&mut data, *to, u32::try_from(*gas).ok()?, input)?;
    }
    (data.len() <= LONGEST).then(|| Question::Call {
        to: AT,
        data: data.into(),
        gas: None,
        code: Some((code().into(), Vec::<(U256, _)>::new())),
    })
}

/// Adds a call to the calldata; `None`, and nothing is added, when its own calldata is too long.
pub(super) fn add(data: &mut Vec<u8>, to: Address, gas: u32, input: &[u8]) -> Option<()> {
    let length = u16::try_from(input.len()).ok()?;
    data.extend(to.as_slice());
    data.extend(gas.to_be_bytes());
    data.extend(length.to_be_bytes());
    data.extend(input);
    Some(())
}

/// The answers to `count` calls; `None` when these are not so many.
pub(super) fn answers(output: &Bytes, count: usize) -> Option<Vec<Result<Answer, Refusal>>> {
    let mut rest = output.as_ref();
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        let (head, after) = rest.split_at_checked(4)?;
        let [flag, high, middle, low] = head else { return None };
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        let (data, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        let data = Bytes::copy_from_slice(data);
        answers.push(if *flag == 0 {
            Err(Refusal::Reverted(data))
        } else {
            Ok(Answer::Output(data))
        });
        rest = after;
    }
    rest.is_empty().then_some(answers)
}

/// The instructions. On the stack: position in the calldata, and above it the end of what is to be answered.
pub(super) fn code() -> Vec<u8> {
    let head = u8::try_from(HEAD).unwrap_or_default();
    // push1 0, push1 0: nothing read, nothing answered
    let mut code = vec![0x60, 0x00, 0x60, 0x00];
    let top = u8::try_from(code.len()).unwrap_or_default();
    code.push(0x5b);
    // calldatasize, dup3, lt, iszero, push1 END, jumpi: until all is read
    code.extend([0x36, 0x82, 0x10, 0x15, 0x60]);
    let end_at = code.len();
    code.extend([0x00, 0x57]);
    // dup2, calldataload: the head; dup1 >> 48 & 0xffff: the length of the data
    code.extend([0x81, 0x35, 0x80, 0x60, 48, 0x1c, 0x61, 0xff, 0xff, 0x16]);
    // calldatacopy(end, position + 26, length)
    code.extend([0x80, 0x84, 0x60, head, 0x01, 0x84, 0x37]);
    // staticcall(head >> 64 & 0xffffffff, head >> 96, end, length, 0, 0)
    code.extend([0x60, 0x00, 0x60, 0x00, 0x82, 0x85, 0x85, 0x60, 96, 0x1c]);
    code.extend([0x86, 0x60, 64, 0x1c, 0x63, 0xff, 0xff, 0xff, 0xff, 0x16, 0xfa]);
    // mstore8(end, success)
    code.extend([0x83, 0x53]);
    // mstore(end + 1, returndatasize << 232)
    code.extend([0x3d, 0x60, 232, 0x1b, 0x83, 0x60, 1, 0x01, 0x52]);
    // returndatacopy(end + 4, 0, returndatasize)
    code.extend([0x3d, 0x60, 0x00, 0x84, 0x60, 4, 0x01, 0x3e]);
    // position += 26 + length; end += 4 + returndatasize
    code.extend([
        0x60, head, 0x01, 0x90, 0x50, 0x91, 0x90, 0x91, 0x01, 0x90, 0x3d, 0x01, 0x60, 4, 0x01,
    ]);
    code.extend([0x60, top, 0x56]);
    let end = u8::try_from(code.len()).unwrap_or_default();
    if let Some(place) = code.get_mut(end_at) {
        *place = end;
    }
    // return(0, end)
    code.extend([0x5b, 0x60, 0x00, 0xf3]);
    code
}
