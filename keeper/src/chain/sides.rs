//! The side of a split that goes on with what was before it.

use std::collections::BTreeSet;

use alloy::primitives::B256;

use super::opinions::{DEPTH, LAG, Opinion, common_height};

/// What those say who hold `block`, which is an older one: the side of a split that goes on from there. `held` is what each endpoint has at
/// its height. `None` when several sides have it, or none that says anything.
pub(super) fn side_from(block: B256, opinions: &[Opinion], held: &[Option<B256>]) -> Option<B256> {
    let holders = opinions.iter().zip(held).filter(|(_, held)| **held == Some(block));
    let sides: BTreeSet<B256> = holders.filter_map(|(opinion, _)| opinion.hash).collect();
    sides.first().copied().filter(|_| sides.len() == 1)
}

/// Whether an endpoint of this side keeps up with those of the others. One that was restarted comes back with the head that it had: what it
/// holds may be of a chain that was reorganised meanwhile, and that nobody goes on with. What one of several others claims alone makes no side
/// a laggard.
pub(super) fn keeps_up(side: B256, opinions: &[Opinion]) -> bool {
    let heights = |of_side: bool| -> Vec<u64> {
        let those = opinions
            .iter()
            .filter(|opinion| opinion.hash.is_some_and(|hash| (hash == side) == of_side));
        those
            .filter_map(|opinion| opinion.height.as_ref().ok().copied())
            .collect()
    };
    let Some(own) = heights(true).into_iter().max() else {
        return false;
    };
    let others = common_height(heights(false)).map(|height| height.saturating_add(DEPTH));
    others.is_none_or(|others| own.saturating_add(LAG) >= others)
}

#[cfg(test)]
mod tests {
    use super::super::opinions::tests::opinion;
    use super::*;

    #[test]
    fn the_side_that_goes_on_from_a_block_is_that_of_those_who_hold_it() {
        let [one, two] = [1, 2].map(B256::repeat_byte);
        let opinions = [1, 2, 1].map(|said| opinion("of two sides", Ok(9), Some(said)));
        let block = B256::repeat_byte(7);
        let (holds, differs) = (Some(block), Some(B256::repeat_byte(8)));
        for (held, side) in [
            ([holds, differs, holds], Some(one)),
            ([holds, differs, None], Some(one)),
            ([None, holds, differs], Some(two)),
            ([holds, holds, None], None),
            ([differs, None, None], None),
        ] {
            assert_eq!(side_from(block, &opinions, &held), side, "{held:?}");
        }
        // Who holds it and says nothing of the newer one is of no side.
        let silent = [opinion("silent", Ok(9), None)];
        assert_eq!(side_from(block, &silent, &[holds]), None);
    }

    #[test]
    fn a_side_keeps_up_when_one_of_it_is_not_far_behind_the_others() {
        let side = B256::repeat_byte(1);
        let up = |heights: &[(u64, u8)]| {
            let opinions: Vec<Opinion> = heights
                .iter()
                .map(|(height, said)| opinion("of a side", Ok(*height), Some(*said)))
                .collect();
            keeps_up(side, &opinions)
        };
        assert!(up(&[(25, 1), (33, 2)]), "as far behind as one that is not poor");
        assert!(!up(&[(25, 1), (34, 2)]), "a node that was restarted");
        assert!(up(&[(99, 1), (34, 2)]) && up(&[(25, 1)]), "nobody is ahead");
        assert!(up(&[(25, 1), (34, 1), (34, 2), (34, 2)]), "one of it is enough");
        assert!(!up(&[(25, 1), (25, 1), (34, 2), (35, 2)]), "none of it");
        assert!(up(&[(25, 1), (25, 1), (u64::MAX, 2), (26, 2)]), "what one claims alone");
        assert!(!up(&[(34, 2)]), "nobody is of it");
        let silent = [opinion("silent", Err("down"), None), opinion("alone", Ok(34), Some(2))];
        assert!(!keeps_up(side, &silent));
    }
}
