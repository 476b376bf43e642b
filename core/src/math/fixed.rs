//! Numbers with 64 bits after the binary point.

use super::{Rounding, mul_div, sqrt, wide};
use alloy_primitives::U256;

/// A signed number with 63 bits before and 64 bits after the binary point: from -2^63 to 2^63, in steps of 2^-64 (5.4e-20, finer
/// than the 18 decimals of most tokens). `unit` in the documentation of its functions is one such step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed(i128);

impl Fixed {
    /// Zero.
    pub const ZERO: Fixed = Fixed(0);
    /// One.
    pub const ONE: Fixed = Fixed(1 << 64);
    /// The largest number, 2^63 - 2^-64.
    pub const MAX: Fixed = Fixed(i128::MAX);
    /// The smallest number, -2^63.
    pub const MIN: Fixed = Fixed(i128::MIN);

    /// The number of so many units of 2^-64.
    #[must_use]
    pub const fn from_bits(bits: i128) -> Self {
        Fixed(bits)
    }

    /// The number in units of 2^-64.
    #[must_use]
    pub const fn to_bits(self) -> i128 {
        self.0
    }

    /// `numerator / denominator`, rounded as asked; `None` when the denominator is zero or the quotient is 2^63 or more. With a
    /// denominator of 10^18 this reads a number of 18 decimals.
    #[must_use]
    pub fn from_ratio(numerator: U256, denominator: U256, rounding: Rounding) -> Option<Self> {
        let bits = mul_div(numerator, U256::from_limbs([0, 1, 0, 0]), denominator, rounding)?;
        i128::try_from(bits).ok().map(Fixed)
    }

    /// The absolute value times `scale`, rounded as asked. With a scale of 10^18 this writes a number of 18 decimals. `None` when
    /// that needs more than 256 bits.
    #[must_use]
    pub fn scaled(self, scale: U256, rounding: Rounding) -> Option<U256> {
        let bits = U256::from(self.0.unsigned_abs());
        mul_div(bits, scale, U256::from_limbs([0, 1, 0, 0]), rounding)
    }

    /// The sum; `None` when it is out of range. Exact.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(bits) => Some(Fixed(bits)),
            None => None,
        }
    }

    /// The difference; `None` when it is out of range. Exact.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(bits) => Some(Fixed(bits)),
            None => None,
        }
    }

    /// The product, rounded toward zero (off by less than one unit); `None` when it is out of range.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let magnitude = wide::mul_shift(self.0.unsigned_abs(), other.0.unsigned_abs(), 64)?;
        signed(magnitude, (self.0 < 0) != (other.0 < 0))
    }

    /// The quotient, rounded toward zero (off by less than one unit); `None` when the divisor is zero or the quotient out of range.
    #[must_use]
    pub fn checked_div(self, divisor: Self) -> Option<Self> {
        let (a, b) = (U256::from(self.0.unsigned_abs()), U256::from(divisor.0.unsigned_abs()));
        let quotient = mul_div(a, U256::from_limbs([0, 1, 0, 0]), b, Rounding::Down)?;
        signed(u128::try_from(quotient).ok()?, (self.0 < 0) != (divisor.0 < 0))
    }

    /// The square root, rounded down (off by less than one unit); `None` for a negative number.
    #[must_use]
    pub fn sqrt(self) -> Option<Self> {
        if self.0 < 0 {
            return None;
        }
        i128::try_from(sqrt(U256::from(self.0.unsigned_abs()) << 64))
            .ok()
            .map(Fixed)
    }
}

/// The number of this magnitude and sign.
fn signed(magnitude: u128, negative: bool) -> Option<Fixed> {
    if negative {
        0i128.checked_sub_unsigned(magnitude).map(Fixed)
    } else {
        i128::try_from(magnitude).ok().map(Fixed)
    }
}
