//! Who agrees on a breach, asked when it matters: endpoints by themselves, and the other keepers of a fleet.

use std::time::Duration;

use alloy::primitives::B256;
use cordon_core::rule::eval::Verdict;

use crate::alarm::Alarms;
use crate::chain::{BlockRef, Rpc};
use crate::decide::{BlockFacts, Decision, Past, Quorum, Support, Waiting, protocol_breaches};
use crate::pipeline::Pipeline;
use crate::record::{AlarmKind, Answers, AskedStep, Names, Store, StoreError};
use crate::rules::{Reader, Request};

/// How long an endpoint's opinion is waited for: one that is down must not hold back what the others agree on.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks the endpoints by themselves, and the other keepers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Council {
    pub(crate) rpc: Rpc,
    /// Knows which rules wait for finality.
    pub(crate) reader: Reader,
    /// Asks for single verdicts.
    pub(crate) asked: Reader,
    pub(crate) store: Store,
    pub(crate) alarms: Alarms,
    pub(crate) names: Names,
    pub(crate) quorum: Quorum,
    /// Name of this keeper among those that share the record.
    pub(crate) name: String,
    /// Code hash of the rulebook.
    pub(crate) version: B256,
}

impl Pipeline {
    /// The decisions that may be acted on, and those that wait for others to agree.
    pub(crate) async fn agreed(
        &self,
        facts: &BlockFacts<'_>,
        past: &Past,
        decisions: Vec<Decision>,
    ) -> Result<(Vec<Decision>, Vec<Waiting>), StoreError> {
        let (mut agreed, mut waiting) = (Vec::with_capacity(decisions.len()), Vec::new());
        for decision in decisions {
            let mut support = Support {
                rules: protocol_breaches(&self.policies, facts, past),
                endpoints: 1,
                against: 0,
                keepers: 1,
            };
            let quorum = self.council.quorum;
            let breach = (decision.rule, decision.witness.as_slice());
            if quorum.asks_endpoints(&decision) {
                (support.endpoints, support.against) = self.council.opinions(facts.block, breach).await;
            }
            if self.rpc.split().is_some() {
                // On which chain it is breached nobody can say: what the guard proves may be done, and nothing else.
                support.against = support.against.max(support.endpoints);
            }
            if quorum.asks_keepers(&decision) {
                support.keepers = self.council.keepers(facts.block, breach).await?;
            }
            match quorum.judge(decision, &support) {
                Ok(decision) => agreed.push(decision),
                Err(held) => waiting.push(*held),
            }
        }
        Ok((agreed, waiting))
    }
}

impl Council {
    /// What others say of the steps of playbooks that are to contain the whole protocol.
    pub(crate) async fn answers(&self, asked: &[AskedStep]) -> Result<Answers, StoreError> {
        let mut answers = Answers::new();
        for step in asked {
            let support = match &step.breach {
                Some((rule, witness)) => self.support(&step.block, (*rule, witness)).await?,
                None => Support::default(),
            };
            answers.insert((step.run, step.step.clone()), support);
        }
        Ok(answers)
    }

    /// What others say of a breach that the record holds. The rules are not counted.
    async fn support(&self, block: &BlockRef, breach: (u16, &[B256])) -> Result<Support, StoreError> {
        let (endpoints, mut against) = self.opinions(block, breach).await;
        if self.rpc.split().is_some() {
            against = against.max(endpoints);
        }
        let keepers = match self.quorum.keepers > 1 {
            true => self.keepers(block, breach).await?,
            false => 1,
        };
        Ok(Support {
            rules: 0,
            endpoints,
            against,
            keepers,
        })
    }

    /// How many endpoints say that the rule is breached, and how many that it holds. The keeper was answered that it is
    /// breached: that is one, whoever said it.
    async fn opinions(&self, block: &BlockRef, (rule, witness): (u16, &[B256])) -> (u32, u32) {
        let request = [Request {
            rule,
            witness: witness.to_vec(),
        }];
        // A rule that waits for finality is about an older block.
        let block = &self.reader.block_of(rule, block);
        let asks = self.rpc.each().into_iter().map(|(name, rpc)| {
            let (reader, request) = (self.asked.clone().through(rpc), &request);
            async move {
                let asked = tokio::time::timeout(PATIENCE, reader.evaluate(block, request)).await;
                let verdict = asked.ok()?.ok()?.first()?.reading.verdict;
                Some((name, verdict))
            }
        });
        let (mut breached, mut holds) = (0_u32, 0_u32);
        for (name, verdict) in futures::future::join_all(asks).await.into_iter().flatten() {
            match verdict {
                Verdict::Breached => breached = breached.saturating_add(1),
                Verdict::Holds => {
                    holds = holds.saturating_add(1);
                    let text = format!(
                        "at block {} ({}) rule {} holds as {name} answers, and is breached as the keeper was answered: an endpoint gives wrong answers",
                        block.number,
                        block.hash,
                        self.names.rule(rule)
                    );
                    self.alarms
                        .raise(AlarmKind::WrongAnswer, &name, &text, Some(block.number))
                        .await;
                }
                Verdict::Unknown => {}
            }
        }
        (breached.max(1), holds)
    }

    /// How many keepers have found the breach. The others look when this one has said so in the record.
    async fn keepers(&self, block: &BlockRef, (rule, witness): (u16, &[B256])) -> Result<u32, StoreError> {
        let rule = (self.version, rule);
        self.store.vote(&self.name, rule, witness, block, true).await?;
        self.store.voters(rule, witness).await
    }
}
