//! Gas for WASM memory, which is shared by all programs that are open in a transaction.

use super::{ARBOS_STYLUS_V3, Params};

/// Cumulative exponential price of `n` pages at index `n`: floor(31,874,000^(n/128)) as published.
pub const PAGE_EXPONENT: [u64; 129] = [
    1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 11, 12, 14, 17, 19, 22, 25, 29, 33, 38, 43, 50, 57, 65, 75,
    85, 98, 112, 128, 147, 168, 193, 221, 253, 289, 331, 379, 434, 497, 569, 651, 745, 853, 976, 1_117, 1_279, 1_463,
    1_675, 1_917, 2_194, 2_511, 2_874, 3_290, 3_765, 4_309, 4_932, 5_645, 6_461, 7_395, 8_464, 9_687, 11_087, 12_689,
    14_523, 16_621, 19_024, 21_773, 24_919, 28_521, 32_642, 37_359, 42_758, 48_938, 56_010, 64_104, 73_368, 83_971,
    96_106, 109_994, 125_890, 144_082, 164_904, 188_735, 216_010, 247_226, 282_953, 323_844, 370_643, 424_206, 485_509,
    555_672, 635_973, 727_880, 833_067, 953_456, 1_091_243, 1_248_941, 1_429_429, 1_636_000, 1_872_423, 2_143_012,
    2_452_704, 2_807_151, 3_212_820, 3_677_113, 4_208_502, 4_816_684, 5_512_756, 6_309_419, 7_221_210, 8_264_766,
    9_459_129, 10_826_093, 12_390_601, 14_181_199, 16_230_562, 18_576_084, 21_260_563, 24_332_984, 27_849_408,
    31_873_999,
];

fn exponent(pages: u16) -> u64 {
    PAGE_EXPONENT.get(usize::from(pages)).copied().unwrap_or(u64::MAX)
}

/// Gas for `new` pages when `open` pages are open now and at most `ever` have been open in this transaction.
///
/// `u64::MAX` means that no amount of gas suffices: beyond the table, or (Stylus 3) beyond the page limit.
pub fn memory_cost(params: &Params, open: u16, ever: u16, new: u16) -> u64 {
    let new_open = open.saturating_add(new);
    if params.arbos_version >= ARBOS_STYLUS_V3 && new_open > params.page_limit {
        return u64::MAX;
    }
    let new_ever = ever.max(new_open);
    if new_ever <= params.free_pages {
        return 0;
    }
    let paid = |pages: u16| pages.saturating_sub(params.free_pages);
    let linear = u64::from(paid(new_open).saturating_sub(paid(open))) * u64::from(params.page_gas);
    linear.saturating_add(exponent(new_ever).saturating_sub(exponent(ever)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    /// Pays for the steps one after the other, all pages staying open.
    fn total(steps: &[u16]) -> u64 {
        let params = Params::default();
        let mut open = 0;
        let mut gas = 0;
        for &step in steps {
            gas += memory_cost(&params, open, open, step);
            open += step;
        }
        gas
    }

    #[test]
    fn the_table_is_the_published_exponential() {
        for (pages, &gas) in PAGE_EXPONENT.iter().enumerate() {
            let exact = 31_874_000_f64.powf(f64::from(u32::try_from(pages).unwrap()) / 128.0);
            let gas = gas as f64;
            // floor() of an intermediate that is itself rounded: the last entry is one below the exact power
            assert!(
                (exact - gas) > -1e-6 * exact && (exact - gas) < 1.0 + 1e-6 * exact,
                "{pages}: {gas} for {exact}"
            );
        }
    }

    #[test]
    fn reaching_the_limit_costs_32_million() {
        assert_eq!(total(&[128]), 31_999_998);
        assert_eq!(total(&[1; 128]), 31_999_998);
        assert_eq!(total(&[2, 0, 60, 66]), 31_999_998);
    }

    #[test]
    fn free_pages_are_free_and_reopened_pages_pay_only_the_linear_part() {
        let params = Params::default();
        assert_eq!(memory_cost(&params, 0, 0, 2), 0);
        assert_eq!(memory_cost(&params, 2, 2, 1), 1_000);
        assert_eq!(memory_cost(&params, 0, 100, 10), 8_000);
        assert_eq!(memory_cost(&params, 2, 2, 5), 5_000 + 1);
    }

    #[test]
    fn the_page_limit_is_hard_since_stylus_3() {
        let new = Params {
            page_limit: 64,
            ..Params::default()
        };
        let old = Params {
            page_limit: 64,
            ..Params::for_arbos(51)
        };
        assert_eq!(memory_cost(&new, 60, 60, 5), u64::MAX);
        assert!(memory_cost(&old, 60, 60, 5) < 10_000);
        assert!(memory_cost(&old, 128, 128, 1) > u64::MAX / 2);
        assert_eq!(memory_cost(&new, u16::MAX, u16::MAX, u16::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn any_order_of_steps_costs_the_same(cuts in proptest::collection::vec(0_u16..=128, 0..12)) {
            let mut cuts = cuts;
            cuts.push(0);
            cuts.push(128);
            cuts.sort_unstable();
            let steps: Vec<u16> = cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
            prop_assert_eq!(total(&steps), 31_999_998);
        }
    }
}
