//! Evaluating rules here instead of asking the guard for all of them at every block.
//!
//! What a rule depends on is found by running the contracts that it reads on a local EVM which fetches what it does not know:
//! words of storage, code, balances. At the next block these words are read, all of them in one request; only rules of which one
//! has another value are run again, the others keep their verdict, because it is a function of nothing else. Nothing is assumed
//! of blocks, traces or branches: the words are those of the block's own state. An evaluation made here counts only after it
//! was found equal to the guard's (or, without one, the node's) once; samples are compared again as long as the keeper runs.

mod engine;
mod footprints;
mod reader;
mod run;
mod switch;
mod values;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use alloy::primitives::{Address, U256};
use cordon_core::rule::eval::{Evaluation, Verdict};
use tokio::sync::OwnedMutexGuard;

pub(super) use self::reader::Begun;

use self::engine::{Asked, Engine, Known, Trust, Wanted};
use self::switch::Switch;
use super::ReadError;
use crate::chain::{BlockRef, Inquiry, Rpc, RpcError};
use crate::decide::{Reading, RuleVerdict};

/// Requests that finding out what a rule reads may take: a proxy needs three, a read whose argument is read one more.
const MOST_ROUNDS: usize = 64;
/// Rules that are evaluated without leaving the thread to others.
const FEW: usize = 32;
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
    /// Why the guard evaluates all of them at present, if it does.
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
    switch: Arc<Mutex<Switch>>,
    cursor: Arc<AtomicUsize>,
}

impl Here {
    fn new(programs: Arc<Vec<Vec<u8>>>, chain_id: u64, caller: Address) -> Self {
        Self {
            engine: Arc::new(tokio::sync::Mutex::new(Engine::new(programs, chain_id, caller))),
            asked: Arc::default(),
            status: Arc::default(),
            switch: Arc::default(),
            cursor: Arc::default(),
        }
    }

    fn status(&self) -> HereStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let off = self.with_switch(|switch| switch.why().map(str::to_owned));
        HereStatus { off, ..status }
    }

    fn with_switch<T>(&self, change: impl FnOnce(&mut Switch) -> T) -> T {
        change(&mut self.switch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_on(&self) -> bool {
        self.with_switch(|switch| switch.is_on(Instant::now()))
    }

    fn turn_off(&self, why: &str) {
        self.with_switch(|switch| switch.end(why));
    }

    /// The node has given what it was asked for.
    fn note_given(&self) {
        if self.with_switch(Switch::given) {
            tracing::info!("the node gives words of the state again: rules are evaluated here");
        }
    }

    /// The node has refused words of a block about whose rules it, or the guard, says this. Where it refuses most of that too, as it does of
    /// a block whose state it has no more, that says nothing of words.
    fn note_refused(&self, block: &BlockRef, reason: &str, told: &[RuleVerdict]) {
        let unknown = told
            .iter()
            .filter(|verdict| verdict.reading.verdict == Verdict::Unknown);
        // A rule on the time alone needs no state.
        if unknown.count().saturating_mul(2) > told.len() {
            return;
        }
        let off = self.with_switch(|switch| switch.refused(reason, Instant::now()));
        let tried_again = off.map(|wait| wait.as_secs());
        tracing::warn!(
            block = block.number,
            reason,
            tried_again,
            "the node does not give words of the state"
        );
    }

    fn publish(&self, engine: &mut Engine) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = engine.asked();
        let (keeper, guard) = engine.counts();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status = HereStatus {
            keeper,
            guard,
            made: engine.made,
            off: None,
        };
    }

    /// The words of the block that rules depended on so far; the inner error says why the node does not give them.
    async fn fetch(&self, rpc: &Rpc, block: &BlockRef) -> Result<Result<Words, String>, ReadError> {
        let asked = Arc::clone(&self.asked.read().unwrap_or_else(PoisonError::into_inner));
        let words = given(rpc.words(block.hash, &asked.inquiry).await)?;
        if words.as_ref().is_ok_and(|words| !words.is_empty()) {
            self.note_given();
        }
        Ok(words.map(|words| Words { asked, words }))
    }

    /// The evaluations of `rules` at the block, as far as they can be made here, and what the node refused if it did.
    async fn evaluate(
        &self,
        rpc: &Rpc,
        block: &BlockRef,
        words: &Words,
        rules: &[u16],
    ) -> Result<(BTreeMap<u16, Known>, Option<String>), ReadError> {
        let mut refusal = None;
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
                return Ok((BTreeMap::new(), None));
            };
            engine = back;
            if wanted == Wanted::default() {
                break;
            }
            refusal = self.learn(rpc, block, &mut engine, &wanted).await?.err();
            if refusal.is_some() {
                break;
            }
        }
        self.publish(&mut engine);
        let known = rules.iter().filter_map(|rule| Some((*rule, engine.known(*rule)?)));
        Ok((known.collect(), refusal))
    }

    /// Fetches what is wanted; the inner error says why the node does not give it.
    async fn learn(
        &self,
        rpc: &Rpc,
        block: &BlockRef,
        engine: &mut Engine,
        wanted: &Wanted,
    ) -> Result<Result<(), String>, ReadError> {
        let inquiry = Inquiry::of(&wanted.words).unwrap_or_default();
        let accounts: Vec<Address> = wanted.codes.values().copied().collect();
        let (words, codes) =
            futures::future::join(rpc.words(block.hash, &inquiry), rpc.codes(block.hash, &accounts)).await;
        let (words, codes) = match (given(words)?, given(codes)?) {
            (Ok(words), Ok(codes)) => (words, codes),
            (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
        };
        self.note_given();
        let words: Vec<_> = wanted.words.iter().copied().zip(words).collect();
        engine.learn(&words, codes);
        Ok(Ok(()))
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

/// An answer, or why the node gives none.
fn given<T>(answer: Result<Result<T, String>, RpcError>) -> Result<Result<T, String>, ReadError> {
    match answer {
        Ok(given) => Ok(given),
        Err(error) if error.is_unreachable() => Err(ReadError::Unreachable(error)),
        Err(error) => Ok(Err(error.to_string())),
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
