//! The native evaluator: programs are run here, on answers that the node gave for one block. What a program reads is found out
//! by running it: whatever is not known yet is asked for, all of it at the same time, and the program is run again. A read that is not
//! known answers zero meanwhile, so that one run finds all that the program reads, but for what depends on another read.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::{Address, B256, U256};
use cordon_core::rule::error::{ReadError, Unknown};
use cordon_core::rule::eval::{Evaluation, Inputs, Reader, evaluate};
use cordon_core::rule::program::Program;

use crate::chain::{Answer, BlockRef, Question, Refusal, Rpc, RpcError};

/// Reads whose arguments are read themselves need one round more for each level.
const MOST_ROUNDS: usize = 16;
/// What a transaction costs before its code runs, and its calldata: a read's gas is its own.
const INTRINSIC: u64 = 100_000;

/// A program with the words that it is given.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated<'a> {
    /// The program of a rule.
    pub program: &'a [u8],
    /// Its witness words.
    pub words: &'a [B256],
}

/// What is known of the state at one block.
#[derive(Debug, Clone)]
pub struct NativeState {
    block: BlockRef,
    /// The guard whose anchors are read.
    guard: Address,
    known: HashMap<Question, Result<Answer, ReadError>>,
}

impl NativeState {
    /// Nothing is known yet. `guard` is the one whose stored values rules compare with; the zero address has stored none.
    #[must_use]
    pub fn new(block: BlockRef, guard: Address) -> Self {
        Self {
            block,
            guard,
            known: HashMap::new(),
        }
    }

    /// Evaluates all programs; the evaluations are in their order. A read that the node refuses makes those that need it
    /// `Unknown`.
    ///
    /// # Errors
    /// [`RpcError`] when no endpoint answers.
    pub async fn evaluate(&mut self, rpc: &Rpc, programs: &[Evaluated<'_>]) -> Result<Vec<Evaluation>, RpcError> {
        let mut done: Vec<Option<Evaluation>> = vec![None; programs.len()];
        for _ in 0..MOST_ROUNDS {
            let mut wanted = BTreeSet::new();
            for (slot, one) in done.iter_mut().zip(programs).filter(|(slot, _)| slot.is_none()) {
                let mut reader = Known {
                    state: self,
                    wanted: BTreeSet::new(),
                };
                let program = Program::assume_valid(one.program);
                let inputs = Inputs {
                    params: one.words,
                    entries: &[],
                };
                let evaluation = evaluate(&program, &inputs, &mut reader);
                if reader.wanted.is_empty() {
                    *slot = Some(evaluation);
                } else {
                    wanted.append(&mut reader.wanted);
                }
            }
            if wanted.is_empty() {
                break;
            }
            self.ask(rpc, wanted.into_iter().collect()).await?;
        }
        Ok(done
            .into_iter()
            .map(|slot| slot.unwrap_or(Evaluation::unknown(Unknown::Unavailable)))
            .collect())
    }

    async fn ask(&mut self, rpc: &Rpc, wanted: Vec<Question>) -> Result<(), RpcError> {
        let answers = rpc.ask_many(self.block.hash, &wanted).await?;
        for (question, answer) in wanted.into_iter().zip(answers) {
            let answer = answer.map_err(|refusal| match refusal {
                Refusal::Reverted(_) => ReadError::Reverted,
                Refusal::OutOfGas => ReadError::OutOfGas,
                Refusal::Node(reason) => {
                    tracing::debug!(block = self.block.number, %reason, "a read was refused");
                    ReadError::Unavailable
                }
            });
            self.known.insert(question, answer);
        }
        Ok(())
    }
}

/// Answers what is known and notes what is not.
struct Known<'a> {
    state: &'a NativeState,
    wanted: BTreeSet<Question>,
}

impl Known<'_> {
    /// What is known; `None` when it has to be asked for.
    fn look(&mut self, question: Question) -> Result<Option<Answer>, ReadError> {
        match self.state.known.get(&question) {
            Some(answer) => answer.clone().map(Some),
            None => {
                self.wanted.insert(question);
                Ok(None)
            }
        }
    }

    fn word(&mut self, question: Question) -> Result<B256, ReadError> {
        match self.look(question)? {
            Some(Answer::Word(word)) => Ok(word),
            Some(Answer::Output(_)) => Err(ReadError::Unavailable),
            None => Ok(B256::ZERO),
        }
    }
}

impl Reader for Known<'_> {
    fn call(&mut self, target: Address, calldata: &[u8], gas: u64, word: u16) -> Result<B256, ReadError> {
        let question = Question::Call {
            to: target,
            data: calldata.to_vec().into(),
            gas: Some(gas.saturating_add(INTRINSIC)),
            code: None,
        };
        let output = match self.look(question)? {
            Some(Answer::Output(output)) => output,
            Some(Answer::Word(_)) => return Err(ReadError::Unavailable),
            None => return Ok(B256::ZERO),
        };
        if output.is_empty() {
            // A contract that answers nothing is short of a word; an address without code answers nothing either.
            let nothing = self.code_hash(target)? == alloy::primitives::KECCAK256_EMPTY;
            return Err(if nothing { ReadError::NoCode } else { ReadError::Short });
        }
        let from = usize::from(word).saturating_mul(32);
        output
            .get(from..from.saturating_add(32))
            .map(B256::from_slice)
            .ok_or(ReadError::Short)
    }

    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        self.word(Question::Balance(account)).map(Into::into)
    }

    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        self.word(Question::CodeHash(account))
    }

    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        self.word(Question::Storage(self.state.guard, *key))
    }

    fn now(&self) -> u64 {
        self.state.block.timestamp
    }
}
