//! The verdicts of rules at one block, of which only those are worked out that can have changed since the block before.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use cordon_core::rule::error::ReadError;
use cordon_core::rule::eval::{Evaluation, Inputs, Reader, Verdict, evaluate};
use cordon_core::rule::program::Program;
use cordon_stylus::ProgramCache;

use super::footprints::{Footprints, Word};
use super::run::Machine;
use super::values::Values;
use crate::chain::{BlockRef, Inquiry, Key};

/// Words that are ever named; beyond them everything is found out anew.
const MOST_WORDS: usize = 1 << 18;

/// What is asked of a block: the words that rules depend on.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Which memory the numbers belong to.
    epoch: u64,
    words: Vec<Word>,
    pub(super) inquiry: Inquiry,
}

/// How far an evaluation made here can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It was never compared with another.
    New,
    /// It was found equal to what the guard, or the node, makes of the rule.
    Proven,
    /// It cannot be made here, or comes out differently; the text says why.
    Foreign(&'static str),
}

#[derive(Debug)]
struct Entry {
    evaluation: Evaluation,
    clock: bool,
    valid: bool,
    trust: Trust,
}

/// What has to be fetched before the evaluation can go on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) words: Vec<Key>,
    /// Accounts, by the hash of the code that is wanted.
    pub(super) codes: BTreeMap<B256, Address>,
}

/// A rule's evaluation at a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) evaluation: Evaluation,
    pub(super) trust: Trust,
}

/// Evaluates rules without parameters at one block after the other, in any order, on any branch: what changed between two
/// blocks is found by comparing words, never assumed.
pub(super) struct Engine {
    programs: Arc<Vec<Vec<u8>>>,
    chain_id: u64,
    /// Who seems to ask: the guard.
    caller: Address,
    cache: Arc<ProgramCache>,
    block: Option<BlockRef>,
    values: Values,
    footprints: Footprints,
    entries: BTreeMap<u16, Entry>,
    asked: Arc<Asked>,
    is_other: bool,
    epoch: u64,
    /// Evaluations that were made, since the start.
    pub(super) made: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("block", &self.block)
            .field("words", &self.values.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that knows nothing. `caller` is who the contracts that are read see as their caller.
    pub(super) fn new(programs: Arc<Vec<Vec<u8>>>, chain_id: u64, caller: Address) -> Self {
        Self {
            programs,
            chain_id,
            caller,
            cache: Arc::new(ProgramCache::new()),
            block: None,
            values: Values::default(),
            footprints: Footprints::default(),
            entries: BTreeMap::new(),
            asked: Arc::default(),
            is_other: false,
            epoch: 0,
            made: 0,
        }
    }

    /// The words that rules depend on, to be asked for at the next block.
    pub(super) fn asked(&mut self) -> Arc<Asked> {
        if std::mem::take(&mut self.is_other) {
            let words: Vec<Word> = self.footprints.used().collect();
            let keys: Vec<Key> = words.iter().filter_map(|word| self.values.key(*word)).collect();
            self.asked = Arc::new(Asked {
                epoch: self.epoch,
                words,
                inquiry: Inquiry::of(&keys).unwrap_or_default(),
            });
        }
        Arc::clone(&self.asked)
    }

    /// Goes to a block whose words were asked for. A word that was not asked for is not known there, and the rules that depend
    /// on it are evaluated again, as are those that depend on one that has changed.
    pub(super) fn go(&mut self, block: &BlockRef, asked: &Asked, words: &[U256]) {
        let is_same = self.is_at(block);
        let (numbers, words): (&[Word], &[U256]) = if asked.epoch == self.epoch {
            (&asked.words, words)
        } else {
            (&[], &[])
        };
        let mut touched: BTreeSet<u16> = BTreeSet::new();
        for (word, value) in numbers.iter().zip(words) {
            if self.values.set(*word, Some(*value)) {
                touched.extend(self.footprints.users(*word));
            }
        }
        if !is_same {
            // Numbers are in ascending order.
            let known = numbers.get(..words.len()).unwrap_or(numbers);
            for word in self.values.retain(|word| known.binary_search(&word).is_ok()) {
                touched.extend(self.footprints.users(word));
            }
        }
        let is_other_time = self.block.is_none_or(|held| held.timestamp != block.timestamp);
        for (rule, entry) in &mut self.entries {
            if (is_other_time && entry.clock) || touched.contains(rule) {
                entry.valid = false;
            }
        }
        self.block = Some(*block);
        if self.values.len() > MOST_WORDS {
            self.forget();
        }
    }

    /// Forgets everything but how far evaluations can be relied on.
    fn forget(&mut self) {
        self.values = Values::default();
        self.footprints = Footprints::default();
        for entry in self.entries.values_mut() {
            entry.valid = false;
        }
        self.epoch = self.epoch.saturating_add(1);
        self.is_other = true;
    }

    /// Adds what was wanted at the present block.
    pub(super) fn learn(&mut self, words: &[(Key, U256)], codes: Vec<Bytes>) {
        for (key, value) in words {
            let word = self.values.number(*key);
            self.values.set(word, Some(*value));
        }
        for code in codes {
            self.values.add_code(code);
        }
    }

    /// Those of `rules` that have to be evaluated at the present block.
    pub(super) fn due(&self, rules: &[u16]) -> Vec<u16> {
        let is_due = |rule: &u16| {
            self.entries
                .get(rule)
                .is_none_or(|entry| !entry.valid && !matches!(entry.trust, Trust::Foreign(_)))
        };
        rules.iter().copied().filter(is_due).collect()
    }

    /// Evaluates `due`, as far as is known what they read; answers what is missing for the rest.
    pub(super) fn evaluate(&mut self, due: &[u16]) -> Wanted {
        let Some(block) = self.block else {
            return Wanted::default();
        };
        let mut machine = Machine::new(
            &mut self.values,
            &block,
            (self.chain_id, self.caller),
            Arc::clone(&self.cache),
        );
        for rule in due {
            let program = self.programs.get(usize::from(*rule)).map_or(&[][..], Vec::as_slice);
            let mut eyes = Eyes::of(&mut machine, block.timestamp, self.caller);
            let evaluation = evaluate(&Program::assume_valid(program), &Inputs::default(), &mut eyes);
            let Eyes {
                seen,
                clock,
                foreign,
                is_blind,
                ..
            } = eyes;
            self.made = self.made.saturating_add(1);
            if is_blind {
                continue;
            }
            let before = self.entries.get(rule).map_or(Trust::New, |entry| entry.trust);
            // What is not evaluated here needs no words.
            let seen = if foreign.is_some() { Vec::new() } else { seen };
            self.is_other |= self.footprints.set(*rule, seen);
            let entry = Entry {
                evaluation,
                clock: clock.get(),
                valid: true,
                trust: foreign.map_or(before, Trust::Foreign),
            };
            self.entries.insert(*rule, entry);
        }
        let (words, codes) = machine.wanted();
        drop(machine);
        let words: BTreeSet<Word> = words.into_iter().collect();
        Wanted {
            words: words.into_iter().filter_map(|word| self.values.key(word)).collect(),
            codes: codes.into_iter().map(|(account, hash)| (hash, account)).collect(),
        }
    }

    /// The rule's evaluation at the present block; `None` when it could not be made.
    pub(super) fn known(&self, rule: u16) -> Option<Known> {
        let entry = self.entries.get(&rule)?;
        let is_told = entry.valid || matches!(entry.trust, Trust::Foreign(_));
        is_told.then_some(Known {
            evaluation: entry.evaluation,
            trust: entry.trust,
        })
    }

    /// Notes how the evaluation of a rule compares with another one of the same block.
    pub(super) fn compare(&mut self, rule: u16, other: &Evaluation) -> Trust {
        let Some(entry) = self.entries.get_mut(&rule) else {
            return Trust::New;
        };
        if !entry.valid || other.verdict == Verdict::Unknown {
            return entry.trust;
        }
        entry.trust = match entry.trust {
            Trust::Foreign(why) => Trust::Foreign(why),
            _ if entry.evaluation == *other => Trust::Proven,
            _ => Trust::Foreign("it comes out differently here"),
        };
        entry.trust
    }

    /// Whether this is the present block.
    pub(super) fn is_at(&self, block: &BlockRef) -> bool {
        self.block.is_some_and(|held| held.hash == block.hash)
    }

    /// How many rules are evaluated here, and how many are not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let foreign = |entry: &&Entry| matches!(entry.trust, Trust::Foreign(_));
        let foreign = self.entries.values().filter(foreign).count();
        (self.entries.len().saturating_sub(foreign), foreign)
    }
}

/// What a rule's program sees.
struct Eyes<'m, 'v> {
    machine: &'m mut Machine<'v>,
    now: u64,
    /// Whose stored values rules compare with.
    guard: Address,
    seen: Vec<Word>,
    /// Whether it looked at the time.
    clock: Cell<bool>,
    foreign: Option<&'static str>,
    /// Something was not known: what came out says nothing.
    is_blind: bool,
}

impl<'m, 'v> Eyes<'m, 'v> {
    fn of(machine: &'m mut Machine<'v>, now: u64, guard: Address) -> Self {
        Self {
            machine,
            now,
            guard,
            seen: Vec::new(),
            clock: Cell::new(false),
            foreign: None,
            is_blind: false,
        }
    }

    fn look(&mut self, key: Key) -> U256 {
        let (word, value) = self.machine.look(key);
        self.seen.push(word);
        self.is_blind |= value.is_none();
        value.unwrap_or_default()
    }
}

impl Reader for Eyes<'_, '_> {
    fn call(&mut self, target: Address, calldata: &[u8], gas: u64, word: u16) -> Result<B256, ReadError> {
        let ran = self.machine.call(target, calldata, gas);
        self.seen.extend(&ran.seen);
        if ran.clock {
            self.clock.set(true);
        }
        if let Some(why) = ran.foreign {
            self.foreign = Some(why);
        }
        if ran.is_blind {
            self.is_blind = true;
            // Any answer will do to find out what else is read.
            return Ok(B256::ZERO);
        }
        let output = ran.answer?;
        if output.is_empty() {
            let nothing = self.code_hash(target)? == KECCAK256_EMPTY;
            return Err(if nothing { ReadError::NoCode } else { ReadError::Short });
        }
        let from = usize::from(word).saturating_mul(32);
        output
            .get(from..from.saturating_add(32))
            .map(B256::from_slice)
            .ok_or(ReadError::Short)
    }

    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        Ok(self.look(Key::Balance(account)))
    }

    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        Ok(match B256::from(self.look(Key::Code(account))) {
            B256::ZERO => KECCAK256_EMPTY,
            hash => hash,
        })
    }

    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        Ok(self.look(Key::Slot(self.guard, (*key).into())).into())
    }

    fn now(&self) -> u64 {
        self.clock.set(true);
        self.now
    }
}
