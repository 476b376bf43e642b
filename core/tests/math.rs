//! Fixed-point maths against an independent arbitrary-precision implementation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs
)]

use alloy_primitives::{U256, U512};
use cordon_core::math::{Fixed, Rounding, mul_div, sqrt};
use dashu_float::{ConstCache, FBig, round::mode::HalfEven};
use proptest::prelude::*;

type Big = FBig<HalfEven, 2>;

/// Bits of the reference: results of up to 63 bits before the point keep more than 300 behind it.
const PRECISION: usize = 500;
/// One unit in the last place as a power of two.
const UNIT: i32 = -64;

fn big(number: Fixed) -> Big {
    Big::from(number.to_bits()).with_precision(PRECISION).value() >> 64
}

fn integer(value: u64) -> Big {
    Big::from(value).with_precision(PRECISION).value()
}

/// The distance from the exact value, in units in the last place.
fn units_off(result: Fixed, exact: &Big) -> f64 {
    let off = (big(result) - exact.clone()).to_f64().value();
    off.abs() * 2f64.powi(-UNIT)
}

/// The normal distribution by the alternating series of erf, which is not how the code computes it.
fn reference_cdf(x: Fixed, pi: &Big) -> Big {
    let x = big(x);
    let square = x.clone() * x.clone();
    let mut power = x;
    let mut sum = integer(0);
    let mut n = 0u64;
    loop {
        let term = power.clone() / integer(2 * n + 1);
        if n > 20 && term.to_f64().value().abs() < 1e-60 {
            break;
        }
        sum = if n.is_multiple_of(2) { sum + term } else { sum - term };
        n += 1;
        power = power * square.clone() / integer(2 * n);
    }
    let two_pi = pi.clone() * integer(2);
    sum / two_pi.sqrt() + integer(1) / integer(2)
}

fn pi() -> Big {
    ConstCache::new().pi::<2, HalfEven>(PRECISION).value()
}

/// Half a unit, and a hair for what the documentation adds to it.
const HALF: f64 = 0.5 + 1e-9;

fn check_exp(x: Fixed) {
    let exact = big(x).exp();
    let Some(result) = x.exp() else {
        assert!(exact >= integer(1 << 62) * integer(2) - integer(1), "{x:?} is in range");
        return;
    };
    let allowed = HALF + exact.to_f64().value() * 2f64.powi(64 - 112);
    let off = units_off(result, &exact);
    assert!(off <= allowed, "exp of {x:?}: {off} units, {allowed} allowed");
}

fn check_ln(x: Fixed) {
    if x <= Fixed::ZERO {
        assert_eq!(x.ln(), None);
        return;
    }
    let off = units_off(x.ln().unwrap(), &big(x).ln());
    assert!(off <= HALF, "ln of {x:?}: {off} units");
}

fn check_cdf(x: Fixed, pi: &Big) {
    let exact = if x.to_bits().unsigned_abs() > 12 << 64 {
        // The series would need more bits; the distribution is 0 or 1 to 100 bits here.
        integer(u64::from(x > Fixed::ZERO))
    } else {
        reference_cdf(x, pi)
    };
    let off = units_off(x.normal_cdf(), &exact);
    assert!(off <= 0.5 + 1.0 / 64.0, "normal distribution at {x:?}: {off} units");
}

/// Edges of the whole range and of every case distinction, and their neighbours.
fn edges() -> Vec<Fixed> {
    let mut bits = vec![i128::MIN, i128::MAX, 0x2b_ab13_e5fc_a20e_f146];
    bits.extend((0..127).map(|power| 1i128 << power));
    bits.extend([1, 5, 12, 46, 19].map(|whole| whole << 64));
    bits.extend([19i128 << 63, (1 << 64) + (1 << 63)]);
    let around = |bit: &i128| [bit.saturating_sub(1), *bit, bit.saturating_add(1)];
    let mut all: Vec<_> = bits.iter().flat_map(around).collect();
    all.extend(all.clone().iter().map(|bit: &i128| bit.saturating_neg()));
    all.into_iter().map(Fixed::from_bits).collect()
}

#[test]
fn edges_are_as_exact_as_promised() {
    let pi = pi();
    for x in edges() {
        if x > Fixed::from_bits(-(300 << 64)) && x < Fixed::from_bits(300 << 64) {
            check_exp(x);
        }
        check_ln(x);
        check_cdf(x, &pi);
    }
    assert_eq!(Fixed::MAX.exp(), None);
    assert_eq!(Fixed::MIN.exp(), Some(Fixed::ZERO));
    assert_eq!(Fixed::ZERO.exp(), Some(Fixed::ONE));
    assert_eq!(Fixed::ONE.ln(), Some(Fixed::ZERO));
    assert_eq!(Fixed::ZERO.normal_cdf().to_bits(), 1 << 63);
}

/// Published values of the standard normal distribution (18 decimals).
#[test]
fn the_normal_distribution_is_that_of_the_tables() {
    let scale = U256::from(10u64.pow(18));
    let table = [
        (1.0, 841_344_746_068_542_949u64),
        (1.959_963_984_540_054, 974_999_999_999_999_987),
        (2.0, 977_249_868_051_820_793),
        (3.0, 998_650_101_968_369_905),
        (6.0, 999_999_999_013_412_355),
    ];
    for (x, wanted) in table {
        let bits = (x * 2f64.powi(32)) as i128;
        // A binary fraction of 32 bits is exact for all but the quantile, which is compared to 9 decimals.
        let got = Fixed::from_bits(bits << 32)
            .normal_cdf()
            .scaled(scale, Rounding::Down)
            .unwrap();
        let off = got.abs_diff(U256::from(wanted));
        let allowed = if x.fract() == 0.0 { 1u64 } else { 100_000_000 };
        assert!(off <= U256::from(allowed), "at {x}: {got}, not {wanted}");
    }
}

#[test]
fn curves_are_monotone_and_symmetric() {
    let step = 1i128 << 58;
    let mut last = Fixed::from_bits(-10 << 64);
    for n in 1..1280 {
        let x = Fixed::from_bits((-10i128 << 64) + n * step);
        assert!(x.normal_cdf() >= last.normal_cdf() && x.exp() >= last.exp());
        let other = Fixed::from_bits(-x.to_bits()).normal_cdf();
        assert_eq!(x.normal_cdf().checked_add(other), Some(Fixed::ONE));
        last = x;
    }
}

fn words() -> impl Strategy<Value = U256> {
    let any = any::<[u64; 4]>().prop_map(U256::from_limbs);
    prop_oneof![
        4 => any.clone(),
        2 => (any, 0usize..256).prop_map(|(word, shift)| word >> shift),
        1 => (0usize..256).prop_map(|bit| U256::ONE << bit),
        1 => Just(U256::ZERO),
        1 => Just(U256::MAX),
    ]
}

fn narrow(wide: U512) -> Option<U256> {
    (wide.bit_len() <= 256).then(|| wide.wrapping_to())
}

/// Bits of every size.
fn bits() -> impl Strategy<Value = i128> {
    (any::<i128>(), 0u32..127).prop_map(|(bits, shift)| bits >> shift)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mul_div_is_exact(a in words(), b in words(), c in words()) {
        let product = U512::from(a) * U512::from(b);
        let (down, up) = if c.is_zero() { (None, None) } else {
            let divisor = U512::from(c);
            let quotient = product / divisor;
            let more = quotient + U512::from(u8::from(!(product % divisor).is_zero()));
            (narrow(quotient), narrow(more))
        };
        prop_assert_eq!(mul_div(a, b, c, Rounding::Down), down);
        prop_assert_eq!(mul_div(a, b, c, Rounding::Up), up);
    }

    #[test]
    fn square_roots_are_the_largest_that_fit(value in words(), x in bits()) {
        let root = U512::from(sqrt(value));
        prop_assert!(root * root <= U512::from(value));
        let next = root + U512::from(1);
        prop_assert!(next * next > U512::from(value));
        match Fixed::from_bits(x).sqrt() {
            None => prop_assert!(x < 0),
            Some(root) => {
                let (root, square) = (U512::from(root.to_bits().unsigned_abs()), U512::from(x.unsigned_abs()) << 64);
                prop_assert!(root * root <= square && (root + U512::from(1)).pow(U512::from(2)) > square);
            }
        }
    }

    #[test]
    fn products_and_quotients_are_rounded_toward_zero(a in bits(), b in bits()) {
        let (x, y) = (Fixed::from_bits(a), Fixed::from_bits(b));
        let magnitude = (U512::from(a.unsigned_abs()) * U512::from(b.unsigned_abs())) >> 64;
        let negative = (a < 0) != (b < 0);
        let wanted = |magnitude: U512| {
            let most = if negative { 1u128 << 127 } else { (1 << 127) - 1 };
            u128::try_from(magnitude).ok().filter(|size| *size <= most)
                .map(|size| Fixed::from_bits(if negative { 0i128.wrapping_sub_unsigned(size) } else { size.cast_signed() }))
        };
        prop_assert_eq!(x.checked_mul(y), wanted(magnitude));
        let quotient = (b != 0).then(|| (U512::from(a.unsigned_abs()) << 64) / U512::from(b.unsigned_abs()));
        prop_assert_eq!(x.checked_div(y), quotient.and_then(wanted));
    }

    #[test]
    fn ratios_survive_the_way_there_and_back(value in 0u128..1 << 100, scale in 1u64..) {
        let scale = U256::from(scale);
        let value = U256::from(value) % (scale << 40usize);
        let number = Fixed::from_ratio(value, scale, Rounding::Up).unwrap();
        prop_assert_eq!(number.scaled(scale, Rounding::Down), Some(value));
    }

    #[test]
    fn exponentials(x in -(47i128 << 64)..44 << 64, y in bits()) {
        check_exp(Fixed::from_bits(x));
        if y.unsigned_abs() < 300 << 64 {
            check_exp(Fixed::from_bits(y));
        }
    }

    #[test]
    fn logarithms(x in bits()) {
        check_ln(Fixed::from_bits(x));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn normal_distributions(x in -(10i128 << 64)..10 << 64, y in bits()) {
        let pi = pi();
        check_cdf(Fixed::from_bits(x), &pi);
        check_cdf(Fixed::from_bits(y), &pi);
    }
}
