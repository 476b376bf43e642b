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
/// The same before a playbook contains: who was not heard in time does not count there, and nothing but playbooks waits for it.
const CALM: Duration = Duration::from_secs(2);

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

/// What endpoints have said of a breach.
#[derive(Debug)]
struct Opinions {
    /// The block that they were asked about.
    block: BlockRef,
    /// How many say that the rule is breached.
    breached: u32,
    /// Those that say that it holds.
    denied: Vec<String>,
}

impl Opinions {
    /// How many say that the rule holds.
    fn against(&self) -> u32 {
        u32::try_from(self.denied.len()).unwrap_or(u32::MAX)
    }
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
                let said = self.council.opinions(facts.block, breach, PATIENCE).await;
                self.council.accuse(decision.rule, &said).await;
                // The keeper was answered that it is breached: that is one, whoever said it.
                (support.endpoints, support.against) = (said.breached.max(1), said.against());
            }
            if self.rpc.split().is_some() {
                // On which chain it is breached nobody can say: what the guard proves may be done, and nothing else.
                support.against = support.against.max(support.endpoints);
            }
            if quorum.asks_keepers(&decision) {
                self.council.vote(facts.block, breach).await?;
                support.keepers = self.council.keepers(breach).await?;
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

    /// What others say of a breach that the record holds. The rules are not counted. Nobody has just told this keeper of it: what counts
    /// is only what is said now, and who says now that the rule holds may be right.
    async fn support(&self, block: &BlockRef, breach: (u16, &[B256])) -> Result<Support, StoreError> {
        let said = self.opinions(block, breach, CALM).await;
        let (endpoints, mut against) = (said.breached, said.against());
        if self.rpc.split().is_some() {
            against = against.max(endpoints);
        }
        let mut keepers = 1;
        if self.quorum.keepers > 1 {
            if endpoints > 0 {
                self.vote(block, breach).await?;
            }
            keepers = self.keepers(breach).await?;
        }
        Ok(Support {
            rules: 0,
            endpoints,
            against,
            keepers,
        })
    }

    /// What each endpoint says of a breach within this time.
    async fn opinions(&self, block: &BlockRef, (rule, witness): (u16, &[B256]), patience: Duration) -> Opinions {
        let request = [Request {
            rule,
            witness: witness.to_vec(),
        }];
        // A rule that waits for finality is about an older block.
        let block = self.reader.block_of(rule, block);
        let asks = self.rpc.each().into_iter().map(|(name, rpc)| {
            let (reader, request) = (self.asked.clone().through(rpc), &request);
            async move {
                let asked = tokio::time::timeout(patience, reader.evaluate(&block, request)).await;
                let verdict = asked.ok()?.ok()?.first()?.reading.verdict;
                Some((name, verdict))
            }
        });
        let (mut breached, mut denied) = (0_u32, Vec::new());
        for (name, verdict) in futures::future::join_all(asks).await.into_iter().flatten() {
            match verdict {
                Verdict::Breached => breached = breached.saturating_add(1),
                Verdict::Holds => denied.push(name),
                Verdict::Unknown => {}
            }
        }
        Opinions {
            block,
            breached,
            denied,
        }
    }

    /// Tells people which endpoints deny what the keeper was answered of the same block.
    async fn accuse(&self, rule: u16, said: &Opinions) {
        let block = said.block;
        for name in &said.denied {
            let text = format!(
                "at block {} ({}) rule {} holds as {name} answers, and is breached as the keeper was answered: an endpoint gives wrong answers",
                block.number,
                block.hash,
                self.names.rule(rule)
            );
            self.alarms
                .raise(AlarmKind::WrongAnswer, name, &text, Some(block.number))
                .await;
        }
    }

    /// Says in the record that this keeper has found the breach: the others look then.
    async fn vote(&self, block: &BlockRef, (rule, witness): (u16, &[B256])) -> Result<(), StoreError> {
        let rule = (self.version, rule);
        self.store.vote(&self.name, rule, witness, block, true).await
    }

    /// How many keepers have lately found the breach.
    async fn keepers(&self, (rule, witness): (u16, &[B256])) -> Result<u32, StoreError> {
        self.store.voters((self.version, rule), witness).await
    }
}

#[cfg(test)]
#[path = "agreement_tests.rs"]
pub(crate) mod tests;
