//! Full-width products and quotients. Written by hand and bit by bit because the guard's program has to stay small: a
//! division costs a few hundred gas there, a general big-integer library some kilobytes.
#![allow(clippy::cast_possible_truncation)] // limbs are cut out of wider products on purpose

use alloy_primitives::U256;

/// The 512-bit product of two 256-bit numbers, lowest limb first.
pub(crate) fn mul(a: &U256, b: &U256) -> [u64; 8] {
    let mut out = [0u64; 8];
    for (i, x) in a.as_limbs().iter().enumerate() {
        let mut carry = 0u128;
        let mut window = out.iter_mut().skip(i);
        for y in b.as_limbs() {
            let Some(slot) = window.next() else { break };
            // At most (2^64 - 1)^2 + 2 (2^64 - 1) = 2^128 - 1.
            let sum = u128::from(*x) * u128::from(*y) + u128::from(*slot) + carry;
            *slot = sum as u64;
            carry = sum >> 64;
        }
        if let Some(slot) = window.next() {
            *slot = carry as u64;
        }
    }
    out
}

/// The low half of a 512-bit number, or `None` when the high half is not zero.
pub(crate) fn narrow(wide: [u64; 8]) -> Option<U256> {
    let [a, b, c, d, high @ ..] = wide;
    (high == [0; 4]).then(|| U256::from_limbs([a, b, c, d]))
}

/// Quotient of a 512-bit number by a 256-bit one, rounded down; `None` when it needs more than 256 bits or the divisor is 0.
pub(crate) fn div(numerator: &[u64; 8], divisor: &U256) -> Option<U256> {
    if divisor.is_zero() {
        return None;
    }
    let mut quotient = [0u64; 4];
    let mut rest = [0u64; 4];
    for limb in numerator.iter().rev().skip_while(|limb| **limb == 0) {
        for bit in (0..64).rev() {
            let carry = shift_in(&mut rest, limb >> bit & 1);
            let value = U256::from_limbs(rest);
            // rest < divisor before the shift, so that one subtraction brings it back below, carry or not.
            let fits = carry == 1 || value >= *divisor;
            if fits {
                rest = value.wrapping_sub(*divisor).into_limbs();
            }
            if shift_in(&mut quotient, u64::from(fits)) == 1 {
                return None;
            }
        }
    }
    Some(U256::from_limbs(quotient))
}

/// Shifts left by one bit and takes `bit` in at the low end; returns the bit that falls out.
fn shift_in(limbs: &mut [u64; 4], bit: u64) -> u64 {
    let mut carry = bit;
    for limb in limbs {
        let out = *limb >> 63;
        *limb = *limb << 1 | carry;
        carry = out;
    }
    carry
}

/// Whether `a <= b`, both 512 bits wide.
pub(crate) fn at_most(a: &[u64; 8], b: &[u64; 8]) -> bool {
    for (x, y) in a.iter().zip(b).rev() {
        if x != y {
            return x < y;
        }
    }
    true
}

/// `a * b / 2^shift`, rounded down; `None` when it needs more than 128 bits.
pub(crate) fn mul_shift(a: u128, b: u128, shift: u32) -> Option<u128> {
    let (a_low, a_high) = (u128::from(a as u64), a >> 64);
    let (b_low, b_high) = (u128::from(b as u64), b >> 64);
    let lowest = a_low * b_low;
    // At most 2^128 - 1: two cross products overflow together, so they are added one after the other.
    let (middle, carry) = (a_low * b_high).overflowing_add(a_high * b_low);
    let (low, carry_low) = lowest.overflowing_add(middle << 64);
    let high = a_high * b_high + (middle >> 64) + (u128::from(carry) << 64) + u128::from(carry_low);
    match shift {
        0 => (high == 0).then_some(low),
        1..=127 => (high >> shift == 0).then(|| high << (128 - shift) | low >> shift),
        128 => Some(high),
        _ => Some(high.checked_shr(shift - 128).unwrap_or(0)),
    }
}
