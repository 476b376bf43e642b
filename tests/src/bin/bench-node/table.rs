//! The table: each workload on both nodes, and whether its target is met.

use std::path::Path;

use crate::peer::{Kind, Programs};
use crate::target::verdict;
use crate::workload::{Upstream, Workload};

/// Runs of each workload; the figure is their median.
const RUNS: usize = 3;

/// Runs on anvil that may fail and are made again: it loses a transaction now and then. Each is told below the table.
const PEER_FAILURES: usize = 3;

/// What is measured, and how thoroughly.
pub(crate) struct Measured<'m> {
    pub(crate) programs: &'m Programs,
    pub(crate) root: &'m Path,
    pub(crate) upstream: &'m Upstream,
    /// One run of each workload, and all of them only of one that has missed its target.
    pub(crate) short: bool,
}

/// The figures of one workload.
#[derive(Debug, Default)]
struct Row {
    ours: Vec<f64>,
    peer: Vec<f64>,
    /// Runs on anvil that failed.
    peer_failures: usize,
    /// Why runs have no figure.
    notes: Vec<String>,
}

impl Measured<'_> {
    /// Measures and prints; how many targets are missed.
    pub(crate) async fn table(&self, workloads: &[Workload]) -> usize {
        println!("| workload | unit | cordon node | anvil | times as good | target | |");
        println!("| --- | --- | ---: | ---: | ---: | --- | --- |");
        let (mut missed, mut notes) = (0usize, Vec::new());
        for workload in workloads {
            let row = self.row(*workload).await;
            let (ours, peer) = (median(&row.ours), median(&row.peer));
            let ratio = row.ratio(*workload);
            let met = row.is_met(*workload, self.short);
            if !met {
                missed = missed.saturating_add(1);
            }
            let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), figure_text);
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                workload.title(),
                workload.unit(),
                shown(ours),
                shown(peer),
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                workload.target().text(self.short),
                verdict(met)
            );
            notes.extend(row.notes);
        }
        println!();
        for note in notes {
            println!("- {note}");
        }
        missed
    }

    async fn row(&self, workload: Workload) -> Row {
        let mut row = Row::default();
        self.run(workload, &mut row).await;
        if !self.short || !row.is_met(workload, true) {
            for _ in 1..RUNS {
                self.run(workload, &mut row).await;
            }
        }
        row
    }

    async fn run(&self, workload: Workload, row: &mut Row) {
        let of = |kind| workload.measure(self.programs, kind, (self.root, self.upstream));
        match of(Kind::Cordon).await {
            Ok(figure) => row.ours.push(figure),
            Err(error) => {
                // A node that fails once has not reached the target, whatever its other runs gave.
                row.ours.push(f64::NAN);
                row.notes.push(format!("{error:#}"));
            }
        }
        let wanted = row.peer.len().saturating_add(1);
        while workload.has_peer() && row.peer.len() < wanted && row.peer_failures < PEER_FAILURES {
            match of(Kind::Anvil).await {
                Ok(figure) => row.peer.push(figure),
                Err(error) => {
                    row.peer_failures = row.peer_failures.saturating_add(1);
                    row.notes.push(format!("{error:#}"));
                }
            }
        }
    }
}

impl Row {
    fn ratio(&self, workload: Workload) -> Option<f64> {
        let (ours, peer) = (median(&self.ours)?, median(&self.peer)?);
        Some(if workload.is_rate() { ours / peer } else { peer / ours })
    }

    fn is_met(&self, workload: Workload, short: bool) -> bool {
        workload
            .target()
            .is_met(median(&self.ours), self.ratio(workload), short)
    }
}

/// The median; none of nothing, nor where a run has failed.
fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let failed = sorted.iter().any(|figure| figure.is_nan());
    sorted.get(sorted.len() / 2).copied().filter(|_| !failed)
}

/// Three digits say all that a noisy machine can.
fn figure_text(figure: f64) -> String {
    if figure >= 100.0 {
        format!("{figure:.0}")
    } else if figure >= 1.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_a_failure_is_no_figure() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[3.0, f64::NAN, 2.0]), None);
    }
}
