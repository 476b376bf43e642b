//! Who agrees on a breach, asked when it matters: endpoints by themselves, and the other keepers of a fleet.

use std::time::Duration;

use cordon_core::rule::eval::Verdict;

use crate::chain::BlockRef;
use crate::decide::{BlockFacts, Decision, Past, Support, Waiting, protocol_breaches};
use crate::pipeline::Pipeline;
use crate::record::{AlarmKind, StoreError};
use crate::rules::Request;

/// How long an endpoint's opinion is waited for: one that is down must not hold back what the others agree on.
const PATIENCE: Duration = Duration::from_millis(500);

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
            if self.quorum.asks_endpoints(&decision) {
                (support.endpoints, support.against) = self.opinions(facts.block, &decision).await;
            }
            if self.rpc.split().is_some() {
                // On which chain it is breached nobody can say: what the guard proves may be done, and nothing else.
                support.against = support.against.max(support.endpoints);
            }
            if self.quorum.asks_keepers(&decision) {
                support.keepers = self.keepers(facts.block, &decision).await?;
            }
            match self.quorum.judge(decision, &support) {
                Ok(decision) => agreed.push(decision),
                Err(held) => waiting.push(*held),
            }
        }
        Ok((agreed, waiting))
    }

    /// How many endpoints say that the rule is breached, and how many that it holds. The keeper was answered that it is
    /// breached: that is one, whoever said it.
    async fn opinions(&self, block: &BlockRef, decision: &Decision) -> (u32, u32) {
        let request = [Request {
            rule: decision.rule,
            witness: decision.witness.clone(),
        }];
        // A rule that waits for finality is about an older block.
        let block = &self.reader.block_of(decision.rule, block);
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
                        self.names.rule(decision.rule)
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
    async fn keepers(&self, block: &BlockRef, decision: &Decision) -> Result<u32, StoreError> {
        let rule = (self.version, decision.rule);
        self.store
            .vote(&self.name, rule, &decision.witness, block, true)
            .await?;
        self.store.voters(rule, &decision.witness).await
    }
}
