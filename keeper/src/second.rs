//! Second opinions. What one endpoint answers may be wrong, and so may the guard's own evaluation: the verdicts that are in the
//! record are evaluated again, through each endpoint by itself and by the native evaluator, on the same block by its hash. The
//! same state gives the same verdicts: a difference is somebody's fault, and an alarm.

use std::collections::BTreeSet;
use std::time::Duration;

use cordon_core::rule::eval::Verdict;

use crate::alarm::Alarms;
use crate::chain::{BlockRef, BlockSource, Rpc};
use crate::decide::RuleVerdict;
use crate::record::{AlarmKind, Names, Store};
use crate::rules::{Reader, Request};

/// Verdicts that are looked at again at once; of more, these many in turn.
const AT_ONCE: usize = 256;

/// Two verdicts on the same evaluation of the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Index of the rule.
    pub(crate) rule: u16,
    /// What the record has.
    pub(crate) own: Verdict,
    /// What the other says.
    pub(crate) other: Verdict,
}

/// Where two evaluations of the same state differ. `Unknown` is no opinion.
pub(crate) fn differences(own: &[RuleVerdict], other: &[RuleVerdict]) -> Vec<Difference> {
    let known = |verdict: &&RuleVerdict| verdict.reading.verdict != Verdict::Unknown;
    own.iter()
        .filter(known)
        .filter_map(|own| {
            let other = other
                .iter()
                .filter(known)
                .find(|other| other.rule == own.rule && other.witness == own.witness)?;
            (other.reading.verdict != own.reading.verdict).then_some(Difference {
                rule: own.rule,
                own: own.reading.verdict,
                other: other.reading.verdict,
            })
        })
        .collect()
}

/// What a verdict says, for people.
fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Breached => "is breached",
        Verdict::Unknown => "cannot be evaluated",
    }
}

/// Looks at what is in the record once more.
#[derive(Debug, Clone)]
pub(crate) struct SecondLook {
    /// Evaluates as the keeper does.
    pub(crate) reader: Reader,
    /// Evaluates by itself.
    pub(crate) native: Reader,
    pub(crate) rpc: Rpc,
    pub(crate) store: Store,
    pub(crate) names: Names,
    pub(crate) alarms: Alarms,
}

impl SecondLook {
    /// Looks every `period`, for ever.
    pub(crate) async fn run(self, period: Duration) {
        let mut turn = 0_usize;
        loop {
            tokio::time::sleep(period).await;
            let Some((block, verdicts)) = self.newest(&mut turn).await else {
                continue;
            };
            self.look(&block, &verdicts).await;
        }
    }

    /// The newest block that is done, and those of its verdicts whose turn it is.
    async fn newest(&self, turn: &mut usize) -> Option<(BlockRef, Vec<RuleVerdict>)> {
        let block = self.store.window(1).await.ok()?.pop()?;
        let mut all = self.store.verdicts(block.hash).await.ok()??;
        // The others are about older blocks.
        all.retain(|verdict| self.reader.is_newest(verdict.rule));
        let from = if *turn < all.len() { *turn } else { 0 };
        let chosen: Vec<RuleVerdict> = all.iter().skip(from).take(AT_ONCE).cloned().collect();
        *turn = from.saturating_add(AT_ONCE);
        (!chosen.is_empty()).then_some((block, chosen))
    }

    /// Compares the verdicts of a block with every endpoint's and with the native evaluator's.
    async fn look(&self, block: &BlockRef, verdicts: &[RuleVerdict]) {
        let requests: Vec<Request> = verdicts
            .iter()
            .map(|verdict| Request {
                rule: verdict.rule,
                witness: verdict.witness.clone(),
            })
            .collect();
        if let Ok(native) = self.native.evaluate(block, &requests).await {
            self.judge_native(block, verdicts, &native).await;
        }
        if self.rpc.endpoint_count() < 2 {
            return;
        }
        if self.rpc.split().is_some() {
            self.look_elsewhere(block, verdicts, &requests).await;
            return;
        }
        for (name, rpc) in self.rpc.each() {
            // One that does not answer has an alarm of its own.
            let Ok(other) = self.reader.clone().through(rpc).evaluate(block, &requests).await else {
                continue;
            };
            self.judge_endpoint(block, &name, &differences(verdicts, &other)).await;
        }
    }

    /// While nobody can say which chain is the right one: a breach on any of them is followed, because the guard proves it before
    /// anything is raised.
    async fn look_elsewhere(&self, block: &BlockRef, verdicts: &[RuleVerdict], requests: &[Request]) {
        for (name, rpc) in self.rpc.each() {
            let Ok(newest) = rpc.latest().await else { continue };
            let same = rpc.by_number(block.number).await;
            if !matches!(same, Ok(Some(same)) if same.hash != block.hash) {
                // It is on the chain that is followed, or has not come as far.
                continue;
            }
            let Ok(other) = self.reader.clone().through(rpc).evaluate(&newest, requests).await else {
                continue;
            };
            let found = differences(verdicts, &other);
            if let Some(breach) = found.iter().find(|found| found.other == Verdict::Breached) {
                tracing::error!(
                    endpoint = name,
                    rule = self.names.rule(breach.rule),
                    block = newest.number,
                    "a rule is breached on the chain of another endpoint: it is followed from now on"
                );
                self.rpc.prefer(&name);
                return;
            }
        }
    }

    async fn judge_native(&self, block: &BlockRef, verdicts: &[RuleVerdict], native: &[RuleVerdict]) {
        let differ = differences(verdicts, native);
        let bad: BTreeSet<u16> = differ.iter().map(|difference| difference.rule).collect();
        for difference in &differ {
            let name = self.names.rule(difference.rule);
            let whose = match self.reader.has_guard() {
                true => "by the guard",
                false => "by the words that it depends on",
            };
            let text = format!(
                "at block {} rule {name} {} {whose}, and {} by the keeper's own evaluator on the values read: one of them is wrong",
                block.number,
                words(difference.own),
                words(difference.other)
            );
            self.alarms
                .raise(AlarmKind::SecondOpinion, &name, &text, Some(block.number))
                .await;
        }
        let agreed: BTreeSet<u16> = native
            .iter()
            .filter(|verdict| verdict.reading.verdict != Verdict::Unknown)
            .map(|verdict| verdict.rule)
            .collect();
        for rule in agreed.difference(&bad) {
            self.alarms
                .clear(AlarmKind::SecondOpinion, &self.names.rule(*rule))
                .await;
        }
    }

    async fn judge_endpoint(&self, block: &BlockRef, endpoint: &str, differ: &[Difference]) {
        let Some(first) = differ.first() else {
            self.alarms.clear(AlarmKind::WrongAnswer, endpoint).await;
            return;
        };
        let text = format!(
            "at block {} ({}) rule {} {} as {endpoint} answers, and {} as the keeper was answered; they differ on {} in all: an endpoint gives wrong answers",
            block.number,
            block.hash,
            self.names.rule(first.rule),
            words(first.other),
            words(first.own),
            differ.len()
        );
        self.alarms
            .raise(AlarmKind::WrongAnswer, endpoint, &text, Some(block.number))
            .await;
        if differ.iter().any(|difference| difference.other == Verdict::Breached) {
            // The guard proves a breach itself before anything is raised: to believe this one can cost a transaction, to
            // believe the other could cost the protocol.
            self.rpc.prefer(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reading;
    use alloy::primitives::B256;
    use cordon_core::rule::value::Int;

    fn verdict(rule: u16, witness: u8, verdict: Verdict) -> RuleVerdict {
        RuleVerdict {
            rule,
            witness: vec![B256::repeat_byte(witness)],
            reading: Reading {
                verdict,
                reason: 0,
                observed: Int::ZERO,
                bound: Int::ZERO,
            },
        }
    }

    #[test]
    fn only_opinions_on_the_same_evaluation_differ() {
        use Verdict::{Breached, Holds, Unknown};
        let own = [
            verdict(0, 1, Holds),
            verdict(0, 2, Breached),
            verdict(1, 1, Unknown),
            verdict(2, 1, Holds),
            verdict(3, 1, Holds),
        ];
        let other = [
            verdict(3, 1, Unknown),
            verdict(0, 2, Holds),
            verdict(0, 1, Breached),
            verdict(1, 1, Breached),
        ];
        let found: Vec<_> = differences(&own, &other)
            .iter()
            .map(|found| (found.rule, found.own, found.other))
            .collect();
        assert_eq!(found, [(0, Holds, Breached), (0, Breached, Holds)]);
        assert!(differences(&own, &own).is_empty());
    }
}
