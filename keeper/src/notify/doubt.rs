//! Whether it is the service that fails, or one notice that it cannot take: after some failures in a row one notice at a time is tried, until
//! something passes. Pure.

use std::collections::BTreeSet;

use super::plan::behind;
use crate::record::Due;

/// Failures in a row after which the notices of a message go one by one.
const SPLIT: u32 = 3;

/// More notices than go into one message ever.
const WIDE: usize = 64;

/// What a channel's failures have shown.
#[derive(Debug)]
pub(super) struct Doubt {
    /// In a row.
    failures: u32,
    /// Notices in one message at most: one while nothing passes, then ever more, so that after an outage what has waited is told in few messages.
    width: usize,
    /// What has failed by itself since something passed.
    tried: BTreeSet<i64>,
    /// What had failed by itself when something passed.
    suspects: BTreeSet<i64>,
}

impl Doubt {
    /// Of a channel that has failed so often in a row, in an earlier run.
    pub(super) fn after(failures: u32) -> Self {
        Self {
            failures,
            width: usize::MAX,
            tried: BTreeSet::new(),
            suspects: BTreeSet::new(),
        }
    }

    /// What may be told now of what is due: nothing twice by itself before the rest had its turn, while nothing passes.
    pub(super) fn choose(&mut self, due: Vec<Due>) -> Vec<Due> {
        if self.failures < SPLIT {
            return due;
        }
        self.width = 1;
        let is_tried = |due: &Due| self.tried.contains(&due.notice.id);
        let behind = behind(&due, is_tried);
        let goes = |due: &Due| !is_tried(due) && !behind.contains(&due.notice.id);
        if due.iter().any(goes) {
            return due.into_iter().filter(goes).collect();
        }
        self.tried.clear();
        due
    }

    /// How many go into one message at most.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// What goes by itself.
    pub(super) fn suspects(&self) -> &BTreeSet<i64> {
        &self.suspects
    }

    /// They have failed; answers whether it is the one of them that cannot be told, and not the service that cannot be reached. `is_aside`:
    /// that was so before.
    pub(super) fn failed(&mut self, batch: &[i64], is_aside: bool) -> bool {
        if is_aside && self.failures == 0 {
            // Nothing else has failed since something passed.
            return true;
        }
        self.failures = self.failures.saturating_add(1);
        let [one] = batch else {
            if self.width < usize::MAX {
                self.width = 1;
            }
            return false;
        };
        // When others fail as well it may be the service after all.
        if (self.suspects.remove(one) || is_aside) && self.failures < SPLIT {
            return true;
        }
        self.tried.insert(*one);
        false
    }

    /// They have passed.
    pub(super) fn passed(&mut self, batch: &[i64]) {
        self.failures = 0;
        self.width = if self.width < WIDE {
            self.width.saturating_mul(2)
        } else {
            usize::MAX
        };
        self.suspects.append(&mut self.tried);
        for notice in batch {
            self.suspects.remove(notice);
        }
    }

    /// It is on its way no more.
    pub(super) fn forget(&mut self, notice: i64) {
        self.tried.remove(&notice);
        self.suspects.remove(&notice);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;
    use crate::record::{Notice, NoticeKind};
    use cordon_client::config::Severity;

    fn due(id: i64) -> Due {
        Due {
            notice: Notice {
                id,
                topic: format!("alarm:{id}"),
                kind: NoticeKind::Alarm,
                severity: Severity::P2,
                incident: None,
                subject: String::new(),
                text: String::new(),
                block_number: None,
                ends: false,
                at_ms: 0,
                facts: None,
            },
            refusals: 0,
            aside: 0,
            told: 0,
            acknowledged: false,
            over: false,
            topic_told: false,
            overtaken: false,
            worst: Severity::P2,
        }
    }

    /// What is tried of so many, the first ones of what may be told.
    fn tried(doubt: &mut Doubt, waiting: &[i64]) -> Vec<i64> {
        let chosen = doubt.choose(waiting.iter().copied().map(due).collect());
        let alone = |id: &i64| doubt.suspects().contains(id);
        let ids: Vec<i64> = chosen.iter().map(|due| due.notice.id).collect();
        let most = if ids.first().is_some_and(alone) {
            1
        } else {
            doubt.width()
        };
        let first = ids.iter().position(alone).filter(|at| *at > 0).unwrap_or(ids.len());
        ids.into_iter().take(most.min(first)).collect()
    }

    #[test]
    fn one_that_cannot_be_told_is_found_and_the_rest_is_told_together_again() {
        let mut doubt = Doubt::after(0);
        let mut waiting: Vec<i64> = (1..=40).collect();
        let (mut rounds, mut aside) = (0, None);
        while !waiting.is_empty() {
            rounds += 1;
            assert!(rounds < 40, "{waiting:?}");
            let batch = tried(&mut doubt, &waiting);
            if batch.contains(&7) {
                if doubt.failed(&batch, false) {
                    aside = Some(batch);
                    waiting.retain(|id| *id != 7);
                }
            } else {
                doubt.passed(&batch);
                waiting.retain(|id| !batch.contains(id));
            }
        }
        assert_eq!(aside, Some(vec![7]));
    }

    #[test]
    fn what_is_known_to_fail_holds_nothing_up_however_often_it_does() {
        let mut doubt = Doubt::after(0);
        for _ in 0..9 {
            assert!(doubt.failed(&[7], true));
        }
        assert_eq!(tried(&mut doubt, &[1, 2]), [1, 2]);
        // The service is down: then it is nobody's.
        assert!(!doubt.failed(&[1, 2], false) && doubt.failed(&[7], true) && !doubt.failed(&[7], true));
    }

    #[test]
    fn a_service_that_is_down_is_asked_with_one_at_a_time_and_blames_none() {
        let mut doubt = Doubt::after(0);
        let waiting: Vec<i64> = (1..=5).collect();
        let mut asked = Vec::new();
        for _ in 0..9 {
            let batch = tried(&mut doubt, &waiting);
            assert!(!doubt.failed(&batch, false));
            asked.push(batch);
        }
        assert_eq!(asked[..3], [waiting.clone(), waiting.clone(), waiting.clone()]);
        assert_eq!(asked[3..], [[1], [2], [3], [4], [5], [1]].map(Vec::from));
        // Up again: what had failed by itself is told by itself, and blamed only when it fails once more.
        let batch = tried(&mut doubt, &waiting);
        assert_eq!(batch, [2]);
        doubt.passed(&batch);
        assert_eq!(tried(&mut doubt, &[1, 3, 4, 5]), [1]);
        assert!(doubt.failed(&[1], false));
        assert!(
            !doubt.failed(&[3], false),
            "the service may be down again: it was not tried since"
        );
    }
}
