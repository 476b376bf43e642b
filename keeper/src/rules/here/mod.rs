//! Evaluating rules here instead of asking the guard for all of them at every block.
//!
//! What a rule depends on is found by running the contracts that it reads on a local EVM which fetches what it does not know:
//! words of storage, code, balances. At the next block these words are read, all of them in one request; only rules of which one
//! has another value are run again, the others keep their verdict, because it is a function of nothing else. Nothing is assumed
//! of blocks, traces or branches: the words are those of the block's own state. An evaluation made here counts only after it
//! was found equal to the guard's (or, without one, the node's) once; samples are compared again as long as the keeper runs.

mod engine;
mod footprints;
mod run;
mod values;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use alloy::primitives::{Address, B256, U256};
use cordon_core::rule::eval::{Evaluation, Verdict};
use tokio::sync::OwnedMutexGuard;

use self::engine::{Asked, Engine, Known, Trust, Wanted};
use super::{READ_FAILED, ReadError, Reader, Request};
use crate::chain::{BlockRef, Inquiry, Rpc};
use crate::decide::{Reading, RuleVerdict};

/// Requests that finding out what a rule reads may take: a proxy needs three, a read whose argument is read one more.
const MOST_ROUNDS: usize = 64;
/// Rules that are evaluated without leaving the thread to others.
const FEW: usize = 32;
/// Blocks in a row whose words the node refuses before it is not asked any more.
const PATIENCE: u32 = 3;
/// Verdicts that are compared with the guard's at a time.
const SAMPLE: usize = 64;

/// Blocks between two comparisons.
pub(crate) const CHECK_EVERY: u64 = 64;

/// How rules are evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HereStatus {
    /// Rules that the keeper evaluates.
    pub keeper: usize,
    /// Rules that the guard evaluates at every block all the same.
    pub guard: usize,
    /// Evaluations that the keeper made since the start.
    pub made: u64,
    /// Why the guard evaluates all of them by now, if it does.
    pub off: Option<String>,
}

/// The words of a block, with what they answer.
#[derive(Debug)]
pub(super) struct Words {
    asked: Arc<Asked>,
    words: Vec<U256>,
}

/// The engine as several readers share it.
#[derive(Debug, Clone)]
pub(super) struct Here {
    engine: Arc<tokio::sync::Mutex<Engine>>,
    asked: Arc<RwLock<Arc<Asked>>>,
    status: Arc<Mutex<HereStatus>>,
    refusals: Arc<AtomicU32>,
    cursor: Arc<AtomicUsize>,
}

impl Here {
    fn new(programs: Arc<Vec<Vec<u8>>>, chain_id: u64, caller: Address) -> Self {
        Self {
            engine: Arc::new(tokio::sync::Mutex::new(Engine::new(programs, chain_id, caller))),
            asked: Arc::default(),
            status: Arc::default(),
            refusals: Arc::default(),
            cursor: Arc::default(),
        }
    }

    fn status(&self) -> HereStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_on(&self) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.off.is_none()
    }

    fn turn_off(&self, why: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.off.get_or_insert_with(|| why.to_owned());
    }

    fn publish(&self, engine: &mut Engine) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = engine.asked();
        let (keeper, guard) = engine.counts();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status = HereStatus {
            keeper,
            guard,
            made: engine.made,
            off: status.off.take(),
        };
    }

    /// The words of the block that rules depended on so far; `None` when the node does not give them.
    async fn fetch(&self, rpc: &Rpc, block: &BlockRef) -> Result<Option<Words>, ReadError> {
        let asked = Arc::clone(&self.asked.read().unwrap_or_else(PoisonError::into_inner));
        let words = rpc.words(block.hash, &asked.inquiry).await;
        Ok(self.given(block, words)?.map(|words| Words { asked, words }))
    }

    fn given<T>(
        &self,
        block: &BlockRef,
        answer: Result<Result<T, String>, crate::chain::RpcError>,
    ) -> Result<Option<T>, ReadError> {
        match answer {
            Ok(Ok(given)) => {
                self.refusals.store(0, Ordering::Relaxed);
                Ok(Some(given))
            }
            Err(error) if error.is_unreachable() => Err(ReadError::Unreachable(error)),
            Ok(Err(reason)) => {
                self.refused(block, &reason);
                Ok(None)
            }
            Err(error) => {
                self.refused(block, &error.to_string());
                Ok(None)
            }
        }
    }

    fn refused(&self, block: &BlockRef, reason: &str) {
        tracing::warn!(
            block = block.number,
            reason,
            "the node does not give words of the state"
        );
        let before = self.refusals.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) >= PATIENCE {
            self.turn_off(&format!("the node does not give words of the state: {reason}"));
        }
    }

    /// The evaluations of `rules` at the block, as far as they can be made here.
    async fn evaluate(
        &self,
        rpc: &Rpc,
        block: &BlockRef,
        words: &Words,
        rules: &[u16],
    ) -> Result<BTreeMap<u16, Known>, ReadError> {
        let mut engine = Arc::clone(&self.engine).lock_owned().await;
        engine.go(block, &words.asked, &words.words);
        for _ in 0..MOST_ROUNDS {
            let due = engine.due(rules);
            if due.is_empty() {
                break;
            }
            let (back, wanted) = run(engine, due).await;
            let Some(back) = back else {
                self.turn_off("an evaluation ended with an error of the program");
                return Ok(BTreeMap::new());
            };
            engine = back;
            if wanted == Wanted::default() || !self.learn(rpc, block, &mut engine, &wanted).await? {
                break;
            }
        }
        self.publish(&mut engine);
        Ok(rules
            .iter()
            .filter_map(|rule| Some((*rule, engine.known(*rule)?)))
            .collect())
    }

    /// Fetches what is wanted; `false` when the node does not give it.
    async fn learn(
        &self,
        rpc: &Rpc,
        block: &BlockRef,
        engine: &mut Engine,
        wanted: &Wanted,
    ) -> Result<bool, ReadError> {
        let inquiry = Inquiry::of(&wanted.words).unwrap_or_default();
        let accounts: Vec<Address> = wanted.codes.values().copied().collect();
        let (words, codes) =
            futures::future::join(rpc.words(block.hash, &inquiry), rpc.codes(block.hash, &accounts)).await;
        let (Some(words), Some(codes)) = (self.given(block, words)?, self.given(block, codes)?) else {
            return Ok(false);
        };
        let words: Vec<_> = wanted.words.iter().copied().zip(words).collect();
        engine.learn(&words, codes);
        Ok(true)
    }

    /// Notes what the guard made of rules at the block that the engine is at.
    async fn compare(&self, block: &BlockRef, verdicts: &[RuleVerdict]) {
        let mut engine = self.engine.lock().await;
        if !engine.is_at(block) {
            return;
        }
        for verdict in verdicts {
            let was = engine.known(verdict.rule).map(|known| known.trust);
            let trust = engine.compare(verdict.rule, &evaluation(&verdict.reading));
            if let (Trust::Foreign(why), false) = (trust, was == Some(trust)) {
                tracing::warn!(rule = verdict.rule, "a rule is not evaluated here: {why}");
            }
        }
        self.publish(&mut engine);
    }

    /// The verdicts whose turn it is to be compared with the guard's.
    fn sample(&self, verdicts: &[RuleVerdict]) -> Vec<RuleVerdict> {
        let plain: Vec<&RuleVerdict> = verdicts.iter().filter(|verdict| verdict.witness.is_empty()).collect();
        let count = SAMPLE.min(plain.len());
        let from = self.cursor.fetch_add(count, Ordering::Relaxed);
        let turn = plain
            .iter()
            .cycle()
            .skip(from.checked_rem(plain.len()).unwrap_or_default());
        turn.take(count).map(|verdict| (*verdict).clone()).collect()
    }
}

/// Lets the engine evaluate, on a thread of its own when it takes long; `None` in place of the engine when that thread failed.
async fn run(mut engine: OwnedMutexGuard<Engine>, due: Vec<u16>) -> (Option<OwnedMutexGuard<Engine>>, Wanted) {
    if due.len() <= FEW {
        let wanted = engine.evaluate(&due);
        return (Some(engine), wanted);
    }
    let ended = tokio::task::spawn_blocking(move || {
        let wanted = engine.evaluate(&due);
        (engine, wanted)
    });
    match ended.await {
        Ok((engine, wanted)) => (Some(engine), wanted),
        Err(_) => (None, Wanted::default()),
    }
}

fn evaluation(reading: &Reading) -> Evaluation {
    Evaluation {
        verdict: reading.verdict,
        reason: reading.reason,
        observed: reading.observed,
        bound: reading.bound,
    }
}

/// What is read of a block before its rules are evaluated.
#[derive(Debug)]
pub(super) enum Begun {
    /// The words that rules depend on, and the verdicts of all other evaluations.
    Words(Words, Vec<RuleVerdict>),
    /// All verdicts.
    Verdicts(Vec<RuleVerdict>),
}

impl Reader {
    /// The same, evaluating rules without parameters here: programs by rule.
    #[must_use]
    pub fn evaluating_here(mut self, programs: Arc<Vec<Vec<u8>>>) -> Self {
        self.here = Some(Here::new(programs, self.rpc.chain_id(), self.guard));
        self
    }

    /// How rules are evaluated; `None` when the guard evaluates all of them.
    #[must_use]
    pub fn here(&self) -> Option<HereStatus> {
        self.here.as_ref().map(Here::status)
    }

    /// What can be asked of a block before the one before it is done.
    pub(super) async fn begin(&self, block: &BlockRef, requests: &[Request]) -> Result<Begun, ReadError> {
        let Some(here) = self.here.as_ref().filter(|here| here.is_on()) else {
            return self.evaluate(block, requests).await.map(Begun::Verdicts);
        };
        let others: Vec<Request> = requests
            .iter()
            .filter(|request| !request.witness.is_empty())
            .cloned()
            .collect();
        let (words, verdicts) =
            futures::future::join(here.fetch(&self.rpc, block), self.evaluate(block, &others)).await;
        match words? {
            Some(words) => Ok(Begun::Words(words, verdicts?)),
            None => self.evaluate(block, requests).await.map(Begun::Verdicts),
        }
    }

    /// The verdicts of all requests.
    pub(super) async fn finish(
        &self,
        block: &BlockRef,
        requests: &[Request],
        begun: Begun,
    ) -> Result<Vec<RuleVerdict>, ReadError> {
        let (words, mut verdicts, here) = match (begun, &self.here) {
            (Begun::Words(words, others), Some(here)) => (words, others, here),
            (Begun::Words(_, verdicts) | Begun::Verdicts(verdicts), _) => return Ok(verdicts),
        };
        let plain: Vec<u16> = requests
            .iter()
            .filter(|request| request.witness.is_empty())
            .map(|request| request.rule)
            .collect();
        let known = here.evaluate(&self.rpc, block, &words, &plain).await?;
        let mut asked = Vec::new();
        for rule in plain {
            match known.get(&rule) {
                // What cannot be evaluated is asked for again, always.
                Some(known) if known.trust == Trust::Proven && known.evaluation.verdict != Verdict::Unknown => {
                    verdicts.push(verdict(rule, &known.evaluation));
                }
                _ => asked.push(Request::plain(rule)),
            }
        }
        if !asked.is_empty() {
            let told = self.evaluate(block, &asked).await?;
            here.compare(block, &told).await;
            verdicts.extend(told);
        }
        Ok(verdicts)
    }

    /// Compares some of a block's verdicts with what the guard says, in turn. Where they differ twice, nothing is evaluated here
    /// any more; answers what differs.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn check(&self, block: &BlockRef, verdicts: &[RuleVerdict]) -> Result<Option<String>, ReadError> {
        let Some(here) = self.here.as_ref().filter(|here| here.is_on()) else {
            return Ok(None);
        };
        // Those that are evaluated on older blocks are the guard's own verdicts.
        let newest: Vec<RuleVerdict> = verdicts
            .iter()
            .filter(|verdict| self.is_newest(verdict.rule))
            .cloned()
            .collect();
        let sample = here.sample(&newest);
        for is_last in [false, true] {
            let requests: Vec<Request> = sample.iter().map(|verdict| Request::plain(verdict.rule)).collect();
            let told = self.evaluate(block, &requests).await?;
            let differing = sample.iter().find_map(|own| {
                let other = told.iter().find(|other| other.rule == own.rule)?;
                let differs = own.reading != other.reading && !is_unread(own) && !is_unread(other);
                differs.then_some((own, other))
            });
            match differing {
                None => return Ok(None),
                Some((own, other)) if is_last => {
                    let (whose, then) = match self.has_guard() {
                        true => ("the guard's", "the guard evaluates every rule at every block"),
                        false => (
                            "the node's answers",
                            "the node is asked about every rule at every block",
                        ),
                    };
                    let text = format!(
                        "rule {} at block {} ({}) is {:?} by the keeper's own evaluation, {:?} by {whose}: from now on {then}",
                        own.rule, block.number, block.hash, own.reading.verdict, other.reading.verdict
                    );
                    here.turn_off(&text);
                    return Ok(Some(text));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }
}

/// Whether nobody knows: that differs from nothing.
fn is_unread(verdict: &RuleVerdict) -> bool {
    verdict.reading.reason == READ_FAILED || verdict.reading.verdict == Verdict::Unknown
}

fn verdict(rule: u16, evaluation: &Evaluation) -> RuleVerdict {
    RuleVerdict {
        rule,
        witness: Vec::<B256>::new(),
        reading: Reading {
            verdict: evaluation.verdict,
            reason: evaluation.reason,
            observed: evaluation.observed,
            bound: evaluation.bound,
        },
    }
}
