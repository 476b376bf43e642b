//! The one-word rule: a rule of the form `contract.function() <= bound` that fits into the caller's word beside what `enter` has to
//! know, so that the gate can check it without the logic and without reading a rulebook.
//!
//! It only ever says that the rule holds. Whatever else comes out (a breach, a failed read, want of gas) is for the logic, which
//! evaluates the rule itself and decides.

use alloy_primitives::{Address, B256};

/// How the answer is compared with the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Comparison {
    /// At most.
    AtMost = 1,
    /// At least.
    AtLeast = 2,
    /// Less.
    Less = 3,
    /// More.
    More = 4,
    /// Equal.
    Equal = 5,
    /// Not equal.
    Unequal = 6,
}

impl Comparison {
    const ALL: [Self; 6] = [
        Self::AtMost,
        Self::AtLeast,
        Self::Less,
        Self::More,
        Self::Equal,
        Self::Unequal,
    ];
}

/// A rule in 28 bytes. The bound is `mantissa * 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quick {
    /// The contract that is asked.
    pub target: Address,
    /// The function, which takes no arguments and answers an integer of 256 bits in its first word.
    pub selector: [u8; 4],
    /// How the answer is compared.
    pub comparison: Comparison,
    /// Less than 2^23.
    pub mantissa: u32,
    /// At most 63.
    pub exponent: u8,
}

/// Gas that the gate gives to the read: what a rule's read gets unless its author says otherwise. A rule whose read gets less is no
/// one-word rule, because it might fail where the gate's read does not.
pub const READ_GAS: u32 = 300_000;

const MANTISSA_BITS: u32 = 23;
const EXPONENT_BITS: u32 = 6;

impl Quick {
    /// The rule with the bound of this word, when it can be written so and is below 2^255.
    #[must_use]
    pub fn new(target: Address, selector: [u8; 4], comparison: Comparison, bound: &B256) -> Option<Self> {
        (0..1 << EXPONENT_BITS).find_map(|exponent| {
            let unit = Self {
                target,
                selector,
                comparison,
                mantissa: 1,
                exponent,
            };
            // The bound divided by the power of ten must be small, and exact when it is multiplied again.
            let mantissa = divided(bound, exponent).filter(|mantissa| mantissa >> MANTISSA_BITS == 0)?;
            let rule = Self { mantissa, ..unit };
            (rule.bound() == *bound).then_some(rule)
        })
    }

    /// The bound as a word.
    #[must_use]
    pub fn bound(&self) -> B256 {
        // Big-endian digits of 32 bits.
        let mut digits = [0u32; 8];
        if let Some(lowest) = digits.last_mut() {
            *lowest = self.mantissa;
        }
        let mut left = self.exponent;
        while left > 0 {
            let (factor, step) = if left >= 9 { (1_000_000_000, 9) } else { (10, 1) };
            let mut carry = 0u64;
            for digit in digits.iter_mut().rev() {
                carry = carry.wrapping_add(u64::from(*digit).wrapping_mul(factor));
                *digit = (carry & 0xffff_ffff) as u32;
                carry >>= 32;
            }
            left = left.wrapping_sub(step);
        }
        let mut word = B256::ZERO;
        for (bytes, digit) in word.0.chunks_exact_mut(4).zip(digits) {
            bytes.copy_from_slice(&digit.to_be_bytes());
        }
        word
    }

    /// Whether the rule surely holds for an answer. One beyond 2^255 is another number to a signed rule than to an unsigned one:
    /// that is for the logic to tell.
    #[must_use]
    pub fn holds(&self, answer: &B256) -> bool {
        let [first, ..] = answer.0;
        if first >= 0x80 {
            return false;
        }
        let order = answer.0.cmp(&self.bound().0);
        match self.comparison {
            Comparison::AtMost => order.is_le(),
            Comparison::AtLeast => order.is_ge(),
            Comparison::Less => order.is_lt(),
            Comparison::More => order.is_gt(),
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
        }
    }

    pub(crate) fn pack(&self) -> [u8; 28] {
        let mut bytes = [0; 28];
        let head = (self.comparison as u32) << (MANTISSA_BITS + EXPONENT_BITS)
            | u32::from(self.exponent) << MANTISSA_BITS
            | self.mantissa;
        let [a, b, c, d, e, f, g, h, target @ ..] = &mut bytes;
        [*a, *b, *c, *d] = head.to_be_bytes();
        [*e, *f, *g, *h] = self.selector;
        *target = self.target.into_array();
        bytes
    }

    pub(crate) fn unpack(bytes: [u8; 28]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, target @ ..] = bytes;
        let head = u32::from_be_bytes([a, b, c, d]);
        let number = head >> (MANTISSA_BITS + EXPONENT_BITS);
        let comparison = Comparison::ALL.into_iter().find(|known| *known as u32 == number)?;
        Some(Self {
            target: Address::new(target),
            selector: [e, f, g, h],
            comparison,
            mantissa: head & ((1 << MANTISSA_BITS) - 1),
            exponent: (head >> MANTISSA_BITS & ((1 << EXPONENT_BITS) - 1)) as u8,
        })
    }
}

/// A word divided by a power of ten, rounded down, when the quotient is below 2^32.
fn divided(word: &B256, exponent: u8) -> Option<u32> {
    let mut value = *word;
    for _ in 0..exponent {
        let mut rest = 0u32;
        for byte in &mut value.0 {
            let digit = rest << 8 | u32::from(*byte);
            *byte = ((digit / 10) & 0xff) as u8;
            rest = digit % 10;
        }
    }
    crate::abi::small(&value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    fn rule(bound: U256) -> Option<Quick> {
        Quick::new(Address::repeat_byte(7), [1, 2, 3, 4], Comparison::AtMost, &bound.into())
    }

    #[test]
    fn bounds_are_exact_or_refused() {
        let ten = U256::from(10);
        for exponent in 0..64u64 {
            for mantissa in [0u64, 1, 7, 125, 999_999, (1 << 23) - 1] {
                let bound = U256::from(mantissa) * ten.pow(U256::from(exponent));
                let quick = rule(bound).unwrap();
                assert_eq!(U256::from_be_bytes(quick.bound().0), bound);
                assert_eq!(Quick::unpack(quick.pack()), Some(quick));
            }
        }
        assert_eq!(rule(U256::from((1u64 << 23) + 1)), None);
        assert_eq!(rule(U256::MAX), None);
        assert_eq!(Quick::unpack([0; 28]), None);
    }

    #[test]
    fn answers_are_compared_as_numbers_below_the_sign() {
        let word = |value: u64| B256::from(U256::from(value));
        let table = [
            (Comparison::AtMost, [true, true, false]),
            (Comparison::AtLeast, [false, true, true]),
            (Comparison::Less, [true, false, false]),
            (Comparison::More, [false, false, true]),
            (Comparison::Equal, [false, true, false]),
            (Comparison::Unequal, [true, false, true]),
        ];
        for (comparison, wanted) in table {
            let quick = Quick {
                comparison,
                ..rule(U256::from(5_000)).unwrap()
            };
            assert_eq!([4_999, 5_000, 5_001].map(|value| quick.holds(&word(value))), wanted);
            assert!(!quick.holds(&B256::repeat_byte(0xff)), "left to the logic");
        }
    }
}
