//! The guard's frozen ABI, read and written by hand: selectors, topics and argument counts come from `ICordonGuard.sol`
//! itself, but neither the SDK's router nor generated coders fit into one account together with the rules.

use alloc::vec::Vec;
use alloy_primitives::{Address, B256, U256};
use cordon_core::Level;
use cordon_host::layout;

#[allow(missing_docs, clippy::pub_underscore_fields)]
mod interface {
    alloy_sol_types::sol!("../solidity/src/ICordonGuard.sol");
}

pub use interface::ICordonGuard;

/// A call is refused, with a custom error of [`ICordonGuard`] as revert data, or without data when the calldata is not of the
/// ABI.
///
/// On chain a refusal ends the program where it is made: the VM discards all that the frame did. So there is no such value,
/// and handing it up costs no code, which is what lets the logic fit into one account. Natively it is an ordinary error.
#[cfg(target_arch = "wasm32")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {}

/// A call is refused, with a custom error of [`ICordonGuard`] as revert data, or without data when the calldata is not of the
/// ABI.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Vec<u8>);

impl Refusal {
    /// The refusal with this revert data.
    #[cfg(target_arch = "wasm32")]
    fn new(data: Vec<u8>) -> Self {
        cordon_host::revert(&data)
    }

    /// The refusal with this revert data.
    #[cfg(not(target_arch = "wasm32"))]
    const fn new(data: Vec<u8>) -> Self {
        Self(data)
    }

    /// The revert data.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.0
    }

    /// The refusal of calldata that is not of the ABI.
    #[cold]
    #[inline(never)]
    pub(crate) fn malformed() -> Self {
        Self::new(Vec::new())
    }
}

/// Outcome of a call.
pub type Answer<T> = Result<T, Refusal>;

/// What takes one word in the ABI.
pub(crate) trait Word {
    /// Appends the word.
    fn push(&self, data: &mut Vec<u8>);
}

macro_rules! number_words {
    ($($number:ty),*) => {
        $(impl Word for $number {
            #[inline(always)]
            fn push(&self, data: &mut Vec<u8>) {
                push_number(data, u64::from(*self));
            }
        })*
    };
}

number_words!(u8, u16, u32, u64, bool);

impl<W: Word> Word for &W {
    #[inline(always)]
    fn push(&self, data: &mut Vec<u8>) {
        (**self).push(data);
    }
}

impl Word for Level {
    #[inline(always)]
    fn push(&self, data: &mut Vec<u8>) {
        push_number(data, *self as u64);
    }
}

impl Word for Address {
    #[inline(never)]
    fn push(&self, data: &mut Vec<u8>) {
        data.extend_from_slice(&[0; 12]);
        data.extend_from_slice(self.as_slice());
    }
}

impl Word for B256 {
    #[inline(never)]
    fn push(&self, data: &mut Vec<u8>) {
        data.extend_from_slice(self.as_slice());
    }
}

impl Word for U256 {
    #[inline(never)]
    fn push(&self, data: &mut Vec<u8>) {
        layout::from_number(self).push(data);
    }
}

#[inline(never)]
fn push_number(data: &mut Vec<u8>, value: u64) {
    layout::from_limbs([value, 0, 0, 0]).push(data);
}

/// Data that begins with `head`.
#[inline(never)]
pub(crate) fn begin(head: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(512);
    data.extend_from_slice(head);
    data
}

/// Data that begins with an error's selector, given as a number: see [`begin_word`].
#[cold]
#[inline(never)]
pub(crate) fn begin_error(selector: u32) -> Vec<u8> {
    begin(&selector.to_be_bytes())
}

/// Data that begins with a word, given as four parts: constants in the code cost a fifth of what they cost as data, which a program
/// pays for by the byte each time it is entered.
#[inline(never)]
pub(crate) fn begin_word(a: u64, b: u64, c: u64, d: u64) -> Vec<u8> {
    let mut data = begin(&[]);
    for part in [a, b, c, d] {
        data.extend_from_slice(&part.to_le_bytes());
    }
    data
}

/// One of the four parts of a word, as [`begin_word`] takes them.
pub(crate) const fn quarter(word: &[u8; 32], index: usize) -> u64 {
    let (mut rest, mut at): (&[u8], usize) = (word, 0);
    while let Some((part, behind)) = rest.split_first_chunk::<8>() {
        if at == index {
            return u64::from_le_bytes(*part);
        }
        (rest, at) = (behind, at + 1);
    }
    0
}

/// The words of values one after the other, behind a head.
macro_rules! encode {
    ($head:expr $(, $value:expr)* $(,)?) => {{
        #[allow(unused_mut)]
        let mut data = $crate::abi::begin($head);
        $($crate::abi::Word::push(&$value, &mut data);)*
        data
    }};
}

/// An answer of static values.
macro_rules! answer {
    ($($value:expr),* $(,)?) => { $crate::abi::encode!(&[] $(, $value)*) };
}

/// The custom error of this name with its values in order.
macro_rules! refusal {
    ($error:ident $(, $value:expr)* $(,)?) => {{
        use $crate::abi::ICordonGuard::$error as Error;
        const SELECTOR: u32 = u32::from_be_bytes(<Error as alloy_sol_types::SolError>::SELECTOR);
        #[allow(unused_mut)]
        let mut data = $crate::abi::begin_error(SELECTOR);
        $($crate::abi::Word::push(&$value, &mut data);)*
        $crate::abi::refuse(data)
    }};
}

/// Emits the event of this name: its indexed values, then the others, each in order, then words that are encoded already.
macro_rules! emit {
    ($host:expr, $event:ident, [$($topic:expr),*] $(, $value:expr)* $(; $tail:expr)? $(,)?) => {{
        use $crate::abi::ICordonGuard::$event as Event;
        const TOPICS: usize = <<Event as alloy_sol_types::SolEvent>::TopicList as alloy_sol_types::TopicList>::COUNT;
        const NAMED: &[&str] = &[$(stringify!($topic)),*];
        const { assert!(NAMED.len() + 1 == TOPICS, "not so many indexed values") };
        const TOPIC: [u64; 4] = {
            let word = &<Event as alloy_sol_types::SolEvent>::SIGNATURE_HASH.0;
            [
                $crate::abi::quarter(word, 0),
                $crate::abi::quarter(word, 1),
                $crate::abi::quarter(word, 2),
                $crate::abi::quarter(word, 3),
            ]
        };
        let [a, b, c, d] = TOPIC;
        #[allow(unused_mut)]
        let mut record = $crate::abi::begin_word(a, b, c, d);
        $($crate::abi::Word::push(&$topic, &mut record);)*
        $($crate::abi::Word::push(&$value, &mut record);)*
        $(record.extend_from_slice($tail);)?
        cordon_host::Host::log(&mut $host, &record, TOPICS);
    }};
}

pub(crate) use {answer, emit, encode, refusal};

/// The refusal with this revert data.
#[cold]
#[inline(never)]
pub(crate) fn refuse(data: Vec<u8>) -> Refusal {
    Refusal::new(data)
}

/// Words one after the other.
#[inline(never)]
pub(crate) fn flat(words: &[B256]) -> Vec<u8> {
    let mut data = Vec::new();
    for word in words {
        word.push(&mut data);
    }
    data
}

/// Arguments of a call, read in order. What is not canonical is refused without a reason, as Solidity does.
pub struct Arguments<'a> {
    data: &'a [u8],
    next: usize,
}

impl<'a> Arguments<'a> {
    /// The arguments in the calldata after the selector.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, next: 0 }
    }

    /// A word as it is.
    #[inline(never)]
    pub fn word(&mut self) -> Answer<B256> {
        let word = word_at(self.data, self.next)?;
        self.next = self.next.saturating_add(32);
        Ok(word)
    }

    /// A number of at most `bits` bits (up to 32).
    #[inline(never)]
    fn number(&mut self, bits: u32) -> Answer<u32> {
        let word = self.word()?;
        small(&word, bits).ok_or_else(Refusal::malformed)
    }

    /// A `uint8` or an enum.
    #[inline(never)]
    pub fn u8(&mut self) -> Answer<u8> {
        Ok((self.number(8)? & 0xff) as u8)
    }

    /// A `uint16`.
    pub fn u16(&mut self) -> Answer<u16> {
        Ok((self.number(16)? & 0xffff) as u16)
    }

    /// A `uint32`.
    pub fn u32(&mut self) -> Answer<u32> {
        self.number(32)
    }

    /// A `bool`.
    pub fn flag(&mut self) -> Answer<bool> {
        Ok(self.number(1)? == 1)
    }

    /// Scope ids, packed into a `uint24`.
    pub fn scopes(&mut self) -> Answer<[u8; 3]> {
        let [_, a, b, c] = self.number(24)?.to_be_bytes();
        Ok([a, b, c])
    }

    /// An `address`.
    #[inline(never)]
    pub fn address(&mut self) -> Answer<Address> {
        let word = self.word()?;
        if word.0.first_chunk() != Some(&[0; 12]) {
            return Err(Refusal::malformed());
        }
        Ok(Address::from_word(word))
    }

    /// A `uint64`.
    #[inline(never)]
    pub fn u64(&mut self) -> Answer<u64> {
        match layout::limbs(self.word()?) {
            [value, 0, 0, 0] => Ok(value),
            _ => Err(Refusal::malformed()),
        }
    }

    /// The addresses of the programs behind the gate.
    pub fn programs(&mut self) -> Answer<[Address; 6]> {
        let mut programs = [Address::ZERO; 6];
        for program in &mut programs {
            *program = self.address()?;
        }
        Ok(programs)
    }

    /// A dynamic array of words.
    pub fn words(&mut self) -> Answer<Vec<B256>> {
        let offset = self.offset()?;
        words(self.data, offset)
    }

    /// A dynamic array of `uint16`s.
    pub fn u16s(&mut self) -> Answer<Vec<u16>> {
        let mut all = Vec::new();
        for word in &self.words()? {
            let number = small(word, 16).ok_or_else(Refusal::malformed)?;
            all.push((number & 0xffff) as u16);
        }
        Ok(all)
    }

    /// Rules, and as many lists of witness words.
    pub fn rules(&mut self) -> Answer<(Vec<u16>, Vec<Vec<B256>>)> {
        let (rules, witnesses) = (self.u16s()?, self.word_lists()?);
        if rules.len() == witnesses.len() {
            return Ok((rules, witnesses));
        }
        Err(refusal!(UnequalLengths, rules.len() as u64, witnesses.len() as u64))
    }

    /// A dynamic array of `uint8`s.
    pub fn u8s(&mut self) -> Answer<Vec<u8>> {
        let mut all = Vec::new();
        for word in &self.words()? {
            let number = small(word, 8).ok_or_else(Refusal::malformed)?;
            all.push((number & 0xff) as u8);
        }
        Ok(all)
    }

    /// A dynamic array of dynamic arrays of words.
    pub fn word_lists(&mut self) -> Answer<Vec<Vec<B256>>> {
        let offset = self.offset()?;
        let lists = self
            .data
            .get(offset.saturating_add(32)..)
            .ok_or_else(Refusal::malformed)?;
        let offsets = words(self.data, offset)?;
        let mut all = Vec::with_capacity(offsets.len());
        for offset in &offsets {
            all.push(words(lists, length(offset)?)?);
        }
        Ok(all)
    }

    fn offset(&mut self) -> Answer<usize> {
        let word = self.word()?;
        length(&word)
    }
}

/// The word as a number of at most `bits` bits.
pub(crate) fn small(word: &B256, bits: u32) -> Option<u32> {
    cordon_host::abi::small(word).filter(|value| bits >= 32 || value >> bits == 0)
}

fn length(word: &B256) -> Answer<usize> {
    small(word, 24)
        .map(|value| value as usize)
        .ok_or_else(Refusal::malformed)
}

fn word_at(data: &[u8], at: usize) -> Answer<B256> {
    let word = data.get(at..).and_then(|rest| rest.first_chunk::<32>());
    word.map(|word| B256::new(*word)).ok_or_else(Refusal::malformed)
}

/// The array of words whose length stands at `at`; not longer than the calldata.
fn words(data: &[u8], at: usize) -> Answer<Vec<B256>> {
    let count = length(&word_at(data, at)?)?;
    let mut all = Vec::new();
    for place in 1..=count {
        all.push(word_at(data, at.saturating_add(place.saturating_mul(32)))?);
    }
    Ok(all)
}
