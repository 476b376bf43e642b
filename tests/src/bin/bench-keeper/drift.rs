//! Whether a keeper becomes slower while it runs: how its latency stands to that of a plain reader beside it in the last third of the time,
//! against the first third. A ratio, so that what becomes slower for both, a machine that others use too or a disk that fills, is none of the
//! keeper's.

use std::time::Duration;

use eyre::{OptionExt, ensure};

use crate::peer::{Latencies, Pair, Timed};

/// The medians of both in the first and in the last third.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drift {
    first: Pair,
    last: Pair,
    /// In how many blocks the reader was measured, in the third that has fewer.
    read: usize,
}

impl Drift {
    /// The ratio may grow by so much. In the runs of docs/benchmarks-keeper.md it is 0.99 to 1.30 beside builds, and half of the least of these
    /// at most when the keeper goes ahead of all else: in a minute, of which a third has a dozen blocks of the reader, load that comes and goes
    /// does as much.
    const MOST: f64 = 3.0;
    /// The same of a long run.
    const MOST_OF_MANY: f64 = 1.5;
    /// Blocks of the reader in a third that are many: a third of a quarter of an hour.
    const MANY: usize = 250;
    /// Nobody cares for so many milliseconds more.
    const FLOOR: f64 = 2.0;

    /// Of what was measured after `from`.
    pub(crate) fn of(keeper: &[Timed], peer: &[Timed], from: Duration) -> eyre::Result<Self> {
        let too_short = "too short to tell whether the keeper becomes slower: let it run for 45 s at least";
        let end = keeper.iter().map(|(at, _)| *at).max().ok_or_eyre(too_short)?;
        let third = end.saturating_sub(from) / 3;
        let pair = |is_in: &dyn Fn(Duration) -> bool| {
            let of = |all: &[Timed]| {
                Latencies::of_all(&all.iter().filter(|(at, _)| is_in(*at)).copied().collect::<Vec<_>>())
            };
            let (keeper, peer) = (of(keeper), of(peer));
            let pair = keeper.share(50).zip(peer.share(50));
            pair.map(|(keeper, peer_ms)| (Pair { keeper, peer: peer_ms }, peer.count()))
                .ok_or_eyre(too_short)
        };
        let (first, early) = pair(&|at| at <= from + third)?;
        let (last, late) = pair(&|at| at > end - third && at <= end)?;
        let read = early.min(late);
        Ok(Self { first, last, read })
    }

    /// Fails when the keeper has become slower than the reader has.
    pub(crate) fn check(&self) -> eyre::Result<()> {
        let most = match self.read >= Self::MANY {
            true => Self::MOST_OF_MANY,
            false => Self::MOST,
        };
        // What it would take now, had it kept its distance.
        let expected = self.first.ratio() * self.last.peer;
        ensure!(
            self.last.keeper <= expected + Self::FLOOR || self.last.keeper <= expected * most,
            "the keeper becomes slower: from head to done (p50) it took {:.1} ms in the first third, {:.2} times a plain reader's, and {:.1} ms in the last, {:.2} times; the ratio may grow by {most} times at most",
            self.first.keeper,
            self.first.ratio(),
            self.last.keeper,
            self.last.ratio()
        );
        Ok(())
    }
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} -> {:.2} times a plain reader's from the first to the last third (p50)",
            self.first.ratio(),
            self.last.ratio()
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const FROM: Duration = Duration::from_secs(10);

    /// One measurement a second for so long after the beginning, each as long as `took` says at its share of the time.
    fn course(seconds: u32, took: impl Fn(f64) -> f64) -> Vec<Timed> {
        let one = |second: u32| {
            let share = f64::from(second) / f64::from(seconds);
            (FROM + Duration::from_secs(second.into()), took(share))
        };
        (1..=seconds).map(one).collect()
    }

    fn checked(seconds: u32, keeper: impl Fn(f64) -> f64, peer: impl Fn(f64) -> f64) -> eyre::Result<()> {
        Drift::of(&course(seconds, keeper), &course(seconds, peer), FROM)?.check()
    }

    #[test]
    fn a_keeper_that_becomes_slower_than_a_plain_reader_does_fails() {
        let steady = |_: f64| 5.0;
        assert!(checked(35, steady, steady).is_ok());
        let error = checked(35, |share| 5.0 + 60.0 * share, steady).unwrap_err().to_string();
        assert!(
            error.contains("becomes slower") && error.contains("3 times at most"),
            "{error}"
        );
        // In an hour less is seen, and hidden by nothing that is slow all the time.
        let creeping = |share: f64| 6.0 + 6.0 * share;
        assert!(checked(35, creeping, steady).is_ok());
        let error = checked(3_600, creeping, steady).unwrap_err().to_string();
        assert!(error.contains("7.0 ms in the first third, 1.40 times"), "{error}");
        assert!(error.contains("11.0 ms in the last, 2.20 times"), "{error}");
        assert!(
            checked(3_600, |share| 0.5 + 1.5 * share, steady).is_ok(),
            "too little to matter"
        );
    }

    #[test]
    fn what_becomes_slower_for_both_is_not_the_keepers() {
        let loaded = |share: f64| 5.0 + 100.0 * share;
        assert!(checked(3_600, loaded, loaded).is_ok());
        assert!(checked(3_600, |share| 1.3 * loaded(share), loaded).is_ok());
        // But that the load has gone hides nothing.
        let relieved = |share: f64| if share < 0.5 { 50.0 } else { 5.0 };
        assert!(checked(3_600, |_| 50.0, relieved).is_err());
    }

    #[test]
    fn of_too_little_nothing_is_said() {
        let one = course(1, |_| 5.0);
        assert!(Drift::of(&one, &[], FROM).is_err() && Drift::of(&[], &one, FROM).is_err());
        // All of the reader's in the middle.
        let middle: Vec<Timed> = course(30, |_| 5.0).into_iter().skip(12).take(5).collect();
        let error = Drift::of(&course(30, |_| 5.0), &middle, FROM).unwrap_err().to_string();
        assert!(error.contains("too short"), "{error}");
    }
}
