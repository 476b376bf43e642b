//! The limiter's ABI, read and written by hand: selectors and topics come from `ICordonLimiter.sol` itself.

use alloy_primitives::{Address, B256, U256};
use cordon_host::layout;

#[allow(missing_docs, clippy::pub_underscore_fields)]
mod interface {
    alloy_sol_types::sol!("../solidity/src/ICordonLimiter.sol");
}

#[allow(missing_docs, clippy::pub_underscore_fields)]
mod guard_interface {
    alloy_sol_types::sol!("../solidity/src/ICordonGuard.sol");
}

pub use guard_interface::ICordonGuard;
pub use interface::{IAssetCircuitBreaker, ICordonLimiter};

/// Longest calldata: that of `setLimit`.
pub const INPUT: usize = 4 + 9 * 32;

/// A call is refused, with a custom error of [`ICordonLimiter`] as revert data, or without data when the calldata is not of the ABI.
/// On chain a refusal ends the program where it is made, so that there is no such value and handing it up costs no code.
#[cfg(target_arch = "wasm32")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {}

/// A call is refused, with a custom error of [`ICordonLimiter`] as revert data, or without data when the calldata is not of the ABI.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Box<Words>);

impl Refusal {
    /// The refusal with this revert data.
    #[cold]
    #[inline(never)]
    pub(crate) fn new(data: Words) -> Self {
        #[cfg(target_arch = "wasm32")]
        cordon_host::revert(data.as_slice());
        #[cfg(not(target_arch = "wasm32"))]
        Self(Box::new(data))
    }

    /// The refusal of calldata that is not of the ABI.
    #[cold]
    #[inline(never)]
    pub(crate) fn malformed() -> Self {
        Self::new(Words::EMPTY)
    }

    /// The revert data.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Outcome of a call.
pub type Answer<T> = Result<T, Refusal>;

const CAPACITY: usize = 4 + 8 * 32;

/// A short byte string: an answer, revert data or a log record, of at most a selector and eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Words {
    /// Nothing.
    pub const EMPTY: Words = Words {
        bytes: [0; CAPACITY],
        len: 0,
    };

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    #[inline(never)]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(to) = self.bytes.get_mut(self.len..end) {
            to.copy_from_slice(bytes);
            self.len = end;
        }
    }
}

/// What takes one word in the ABI.
pub(crate) trait Word {
    fn word(&self) -> B256;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Word for $number {
            #[inline(always)]
            fn word(&self) -> B256 {
                layout::from_limbs([u64::from(*self), 0, 0, 0])
            }
        })*
    };
}

numbers!(u8, u16, u32, u64, bool);

impl<W: Word> Word for &W {
    #[inline(always)]
    fn word(&self) -> B256 {
        (**self).word()
    }
}

impl Word for u128 {
    fn word(&self) -> B256 {
        layout::from_number(&U256::from(*self))
    }
}

impl Word for U256 {
    fn word(&self) -> B256 {
        layout::from_number(self)
    }
}

impl Word for Address {
    #[inline(never)]
    fn word(&self) -> B256 {
        let mut word = B256::ZERO;
        if let Some(tail) = word.0.last_chunk_mut::<20>() {
            *tail = self.0 .0;
        }
        word
    }
}

impl Word for B256 {
    fn word(&self) -> B256 {
        *self
    }
}

/// Values one after the other, behind a head.
macro_rules! words {
    ($head:expr $(, $value:expr)* $(,)?) => {{
        #[allow(unused_mut)]
        let mut words = $crate::abi::Words::EMPTY;
        words.push($head);
        $(words.push($crate::abi::Word::word(&$value).as_slice());)*
        words
    }};
}

/// An answer of static values.
macro_rules! answer {
    ($($value:expr),* $(,)?) => { $crate::abi::words!(&[] $(, $value)*) };
}

/// The refusal with the custom error of this name and its values in order.
macro_rules! refusal {
    ($error:ident $(, $value:expr)* $(,)?) => {
        $crate::abi::Refusal::new($crate::abi::words!(
            &<$crate::abi::ICordonLimiter::$error as alloy_sol_types::SolError>::SELECTOR $(, $value)*
        ))
    };
}

/// Emits the event of this name: its indexed values, then the others, each in order.
macro_rules! emit {
    ($host:expr, $interface:ident :: $event:ident, [$($topic:expr),*] $(, $value:expr)* $(,)?) => {{
        type Event = $crate::abi::$interface::$event;
        const TOPICS: usize = <<Event as alloy_sol_types::SolEvent>::TopicList as alloy_sol_types::TopicList>::COUNT;
        const NAMED: &[&str] = &[$(stringify!($topic)),*];
        const { assert!(NAMED.len() + 1 == TOPICS, "not so many indexed values") };
        let record = $crate::abi::words!(
            &<Event as alloy_sol_types::SolEvent>::SIGNATURE_HASH.0 $(, $topic)* $(, $value)*
        );
        cordon_host::Host::log($host, record.as_slice(), TOPICS);
    }};
}

pub(crate) use {answer, emit, refusal, words};

/// Arguments of a call, read in order. What is not canonical is refused without a reason, as Solidity does.
pub(crate) struct Arguments<'a> {
    input: &'a [u8],
    next: usize,
}

impl<'a> Arguments<'a> {
    /// The arguments in calldata, selector included.
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self { input, next: 0 }
    }

    /// A word as it is.
    #[inline(never)]
    pub(crate) fn word(&mut self) -> Answer<B256> {
        let word = cordon_host::abi::argument(self.input, self.next).ok_or_else(Refusal::malformed)?;
        self.next = self.next.saturating_add(1);
        Ok(word)
    }

    #[inline(never)]
    fn number(&mut self, most: u32) -> Answer<u32> {
        let word = self.word()?;
        match cordon_host::abi::small(&word) {
            Some(number) if number <= most => Ok(number),
            _ => Err(Refusal::malformed()),
        }
    }

    pub(crate) fn u8(&mut self) -> Answer<u8> {
        Ok((self.number(0xff)? & 0xff) as u8)
    }

    pub(crate) fn u16(&mut self) -> Answer<u16> {
        Ok((self.number(0xffff)? & 0xffff) as u16)
    }

    pub(crate) fn u32(&mut self) -> Answer<u32> {
        self.number(u32::MAX)
    }

    pub(crate) fn flag(&mut self) -> Answer<bool> {
        Ok(self.number(1)? == 1)
    }

    #[inline(never)]
    pub(crate) fn address(&mut self) -> Answer<Address> {
        let word = self.word()?;
        let (high, _) = word.0.split_at(12);
        if high.iter().any(|byte| *byte != 0) {
            return Err(Refusal::malformed());
        }
        Ok(cordon_host::abi::address(&word))
    }

    /// An amount of an asset.
    #[inline(never)]
    pub(crate) fn amount(&mut self) -> Answer<u128> {
        let word = layout::to_number(self.word()?);
        match word.into_limbs() {
            [low, high, 0, 0] => Ok(u128::from(low) | u128::from(high) << 64),
            _ => Err(refusal!(BadAmount, word)),
        }
    }

    /// The number of an item; one that cannot be is nobody's.
    #[inline(never)]
    pub(crate) fn item(&mut self) -> Answer<u64> {
        let word = layout::to_number(self.word()?);
        match word.into_limbs() {
            [number, 0, 0, 0] => Ok(number),
            _ => Err(refusal!(NoSuchItem, word)),
        }
    }
}
