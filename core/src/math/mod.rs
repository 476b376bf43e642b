//! Fixed-point maths: full-width `a * b / c`, square roots, and [`Fixed`] with exponential, logarithm and normal distribution.
//!
//! Everything is integer arithmetic, the same natively and in WASM. Each function states its largest error; the tests compare
//! it with an independent arbitrary-precision implementation over the whole domain.

mod fixed;
mod functions;
pub(crate) mod wide;

pub use fixed::Fixed;

use alloy_primitives::U256;

/// Which way a result that is not exact is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Toward zero.
    Down,
    /// Away from zero.
    Up,
}

/// `a * b / divisor` with a 512-bit product, rounded once: exact, or off by less than one in the direction that was asked for.
/// `None` when the divisor is zero or the quotient needs more than 256 bits.
#[must_use]
pub fn mul_div(a: U256, b: U256, divisor: U256, rounding: Rounding) -> Option<U256> {
    let product = wide::mul(&a, &b);
    let quotient = wide::div(&product, &divisor)?;
    if rounding == Rounding::Down || wide::mul(&quotient, &divisor) == product {
        return Some(quotient);
    }
    quotient.checked_add(U256::from_limbs([1, 0, 0, 0]))
}

/// The square root, rounded down: the largest `r` with `r * r <= value`.
#[must_use]
pub fn sqrt(value: U256) -> u128 {
    // Digit by digit in base 4: `rest` is what is left of the value, `root` the digits found so far.
    let (mut rest, mut root) = (U256::ZERO, 0u128);
    for pair in (0..128usize).rev() {
        rest = rest << 2 | value >> (2 * pair) & U256::from_limbs([3, 0, 0, 0]);
        let trial = (U256::from(root) << 2) | U256::from_limbs([1, 0, 0, 0]);
        root <<= 1;
        if rest >= trial {
            rest = rest.wrapping_sub(trial);
            root |= 1;
        }
    }
    root
}
