//! Exponential, logarithm and normal distribution of [`Fixed`].
//!
//! Inside, numbers have 120 bits after the binary point ("fine"), so that rounding the result to 64 is nearly all of the error.

use super::Fixed;
use super::wide::mul_shift;

/// Bits after the binary point inside.
const FINE: u32 = 120;
const ONE: u128 = 1 << FINE;
/// ln 2, fine, rounded down.
const LN_2: u128 = 0xb1_7217_f7d1_cf79_abc9_e3b3_9803_f2f6;
/// 1 / sqrt(2 pi) with 128 bits after the binary point, rounded down.
const INV_SQRT_2_PI: u128 = 0x6621_14cf_50d9_4234_3f2c_f140_2eae_38bf;
/// ln of the smallest number that is out of range: 63 ln 2.
const EXP_TOO_LARGE: i128 = 0x2b_ab13_e5fc_a20e_f146;
/// Below this, e^x is less than half a unit.
const EXP_TOO_SMALL: i128 = -(46 << 64);
/// Beyond this, the normal distribution is within half a unit of 0 or 1.
const TAIL_END: i128 = 19 << 63;
/// From here on the tail is computed by its continued fraction.
const TAIL_BEGIN: i128 = 5 << 64;

impl Fixed {
    /// e to the power of this number. Off by at most half a unit plus 2^-112 of the result; `None` when the result is out of range
    /// (from 43.668 on). Below -46 it is zero.
    #[must_use]
    pub fn exp(self) -> Option<Self> {
        let bits = self.to_bits();
        if bits < EXP_TOO_SMALL {
            return Some(Fixed::ZERO);
        }
        if bits > EXP_TOO_LARGE {
            return None;
        }
        let (mantissa, exponent) = exp_parts(bits << (FINE - 64));
        // mantissa * 2^exponent, from 120 bits after the point to 64.
        let shift = 56 - exponent;
        let result = match u32::try_from(shift) {
            Ok(right) => round_off(mantissa, right),
            Err(_) => mantissa.checked_shl(shift.unsigned_abs()).unwrap_or(u128::MAX),
        };
        i128::try_from(result).ok().map(Fixed::from_bits)
    }

    /// The natural logarithm, off by at most half a unit plus 2^-112; `None` unless the number is positive.
    #[must_use]
    pub fn ln(self) -> Option<Self> {
        let bits = u128::try_from(self.to_bits()).ok().filter(|bits| *bits > 0)?;
        // bits = m * 2^(exponent + 64) with m in [1, 2); m and m - 1 with 127 bits after the point.
        let zeros = bits.leading_zeros();
        let exponent = 63 - i128::from(zeros);
        let above_one = (bits << zeros) & !(1 << 127);
        // ln m = 2 artanh t with t = (m - 1) / (m + 1) < 1/3, halved to stay within 128 bits.
        let sum = (1u128 << 127) + above_one / 2;
        let t = quotient(above_one / 2, sum);
        let square = product(t, t);
        let mut series = 0;
        for n in (0..=37u128).rev() {
            series = ONE / (2 * n + 1) + product(square, series);
        }
        let fraction = i128::try_from(2 * product(t, series)).ok()?;
        let whole = exponent * i128::try_from(LN_2).ok()?;
        let fine = whole + fraction;
        Some(Fixed::from_bits((fine + (1 << 55)) >> 56))
    }

    /// The standard normal distribution: the probability that a standard normal variable is at most this number, from 0 to 1. Off
    /// by at most half a unit plus 2^-70.
    #[must_use]
    pub fn normal_cdf(self) -> Self {
        let bits = self.to_bits();
        let negative = bits < 0;
        let tail = if bits.unsigned_abs() >= TAIL_END.unsigned_abs() {
            0
        } else {
            round_off(upper_tail(bits.unsigned_abs()), 64)
        };
        let tail = Fixed::from_bits(i128::try_from(tail).unwrap_or_default());
        if negative {
            tail
        } else {
            Fixed::from_bits(Fixed::ONE.to_bits() - tail.to_bits())
        }
    }
}

/// The probability of exceeding `x` (64 bits after the point, below 9.5), with 128 bits after the point.
fn upper_tail(x: u128) -> u128 {
    // x^2 / 2, fine: the product has 128 bits after the point, halving makes it 129.
    let half_square = mul_shift(x, x, 9).unwrap_or(u128::MAX);
    let (mantissa, exponent) = exp_parts(0 - i128::try_from(half_square).unwrap_or(i128::MAX));
    let density = mul_shift(mantissa, INV_SQRT_2_PI, FINE + exponent.unsigned_abs()).unwrap_or_default();
    if x >= TAIL_BEGIN.unsigned_abs() {
        return density_times_mills(density, x);
    }
    // Phi(x) - 1/2 = density * (x + x^3/3 + x^5/(3*5) + ...): no term is negative, so nothing cancels.
    let mut term = mul_shift(density, x, 64).unwrap_or_default();
    let mut above_half = 0u128;
    let mut odd = 1;
    while term > 0 {
        above_half = above_half.saturating_add(term);
        odd += 2;
        // half_square has 120 bits after the point; doubling it takes one off the shift.
        term = mul_shift(term, half_square / odd, FINE - 1).unwrap_or_default();
    }
    (1u128 << 127).saturating_sub(above_half)
}

/// The tail from 5 on: the density times Mills' ratio 1/(x + 1/(x + 2/(x + 3/(x + ...)))), whose first 40 levels are exact to 2^-80
/// of it there.
fn density_times_mills(density: u128, x: u128) -> u128 {
    // 56 bits after the point, so that n / d fits: relative to a tail below 3e-7 that is finer than 2^-70.
    let x = x >> 8;
    let mut d = x;
    for n in (1..=40u128).rev() {
        d = x + (n << 112) / d;
    }
    mul_shift(density, (1u128 << 112) / d, 56).unwrap_or_default()
}

/// e^x as `mantissa * 2^exponent` with a mantissa in [1, 2), x and mantissa fine. Off by at most 2^-113 of the result for |x| <= 64.
fn exp_parts(x: i128) -> (u128, i32) {
    let ln_2 = i128::try_from(LN_2).unwrap_or(i128::MAX);
    let exponent = x.div_euclid(ln_2);
    let rest = x.rem_euclid(ln_2).unsigned_abs();
    // The exponential series by Horner's rule; rest^31 / 31! is below 2^-120.
    let mut sum = ONE;
    for n in (1..=30u128).rev() {
        sum = ONE + product(rest, sum) / n;
    }
    (sum, i32::try_from(exponent).unwrap_or_default())
}

/// The product of two fine numbers below 2^64.
fn product(a: u128, b: u128) -> u128 {
    mul_shift(a, b, FINE).unwrap_or(u128::MAX)
}

/// `a / b` as a fine number, for `a < b`: bit by bit, rounded down.
fn quotient(mut a: u128, b: u128) -> u128 {
    let mut bits = 0;
    for _ in 0..FINE {
        // a < b <= 2^128 - 1: what doubling carries out is taken off again by the subtraction.
        let carry = a >> 127 == 1;
        a <<= 1;
        bits <<= 1;
        if carry || a >= b {
            a = a.wrapping_sub(b);
            bits |= 1;
        }
    }
    bits
}

/// `value / 2^shift`, rounded to the nearest.
fn round_off(value: u128, shift: u32) -> u128 {
    match shift.checked_sub(1) {
        None => value,
        Some(less) => (value.checked_shr(less).unwrap_or_default() + 1) >> 1,
    }
}
