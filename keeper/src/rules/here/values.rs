//! What is known of the state at one block, and the view of it that runs of contracts have.

use std::collections::HashMap;
use std::convert::Infallible;

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::state::AccountInfo;

use super::footprints::Word;
use crate::chain::Key;

/// Words of the state by number. A number stands for the same word for good; its value is that at one block.
#[derive(Debug, Default)]
pub(super) struct Values {
    numbers: HashMap<Key, Word>,
    keys: Vec<Key>,
    held: Vec<Option<U256>>,
    codes: HashMap<B256, Bytecode>,
}

impl Values {
    /// How many words were ever named.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The number of a word.
    pub(super) fn number(&mut self, key: Key) -> Word {
        let next = Word::try_from(self.keys.len()).unwrap_or(Word::MAX);
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.keys.push(key);
            self.held.push(None);
        }
        number
    }

    /// What the number stands for.
    pub(super) fn key(&self, word: Word) -> Option<Key> {
        usize::try_from(word).ok().and_then(|at| self.keys.get(at)).copied()
    }

    /// The value, when it is known.
    pub(super) fn get(&self, word: Word) -> Option<U256> {
        usize::try_from(word)
            .ok()
            .and_then(|at| self.held.get(at))
            .copied()
            .flatten()
    }

    /// Sets or forgets a value. Answers whether it is another one than before.
    pub(super) fn set(&mut self, word: Word, value: Option<U256>) -> bool {
        let slot = usize::try_from(word).ok().and_then(|at| self.held.get_mut(at));
        slot.is_some_and(|slot| std::mem::replace(slot, value) != value)
    }

    /// Forgets the values of all words but those that `keep` accepts; answers which were forgotten.
    pub(super) fn retain(&mut self, keep: impl Fn(Word) -> bool) -> Vec<Word> {
        let mut forgotten = Vec::new();
        for (word, slot) in (0..).zip(&mut self.held) {
            if slot.is_some() && !keep(word) {
                *slot = None;
                forgotten.push(word);
            }
        }
        forgotten
    }

    /// Remembers code by its hash, which is computed here.
    pub(super) fn add_code(&mut self, code: Bytes) {
        let code = Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code));
        self.codes.insert(code.hash_slow(), code);
    }
}

/// The state as one run sees it. What the run looks at is noted; what is not known counts as zero, and is noted too: such a run
/// says nothing but what to ask for.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) values: &'a mut Values,
    /// Words that were looked at.
    pub(super) seen: Vec<Word>,
    /// Those that are not known.
    pub(super) missing: Vec<Word>,
    /// Accounts whose code is not known, though its hash is.
    pub(super) codeless: Vec<(Address, B256)>,
}

impl<'a> View<'a> {
    pub(super) fn of(values: &'a mut Values) -> Self {
        Self {
            values,
            seen: Vec::new(),
            missing: Vec::new(),
            codeless: Vec::new(),
        }
    }

    /// Forgets what was looked at.
    pub(super) fn begin(&mut self) {
        self.seen.clear();
        self.missing.clear();
        self.codeless.clear();
    }

    /// How often something was looked at that is not known.
    pub(super) fn unknown(&self) -> usize {
        self.missing.len().saturating_add(self.codeless.len())
    }

    /// Looks at a word.
    pub(super) fn look(&mut self, key: Key) -> U256 {
        let word = self.values.number(key);
        self.seen.push(word);
        self.values.get(word).unwrap_or_else(|| {
            self.missing.push(word);
            U256::ZERO
        })
    }

    /// Hash of the code; that of nothing for an account without.
    pub(super) fn code_hash(&mut self, account: Address) -> B256 {
        match B256::from(self.look(Key::Code(account))) {
            B256::ZERO => KECCAK256_EMPTY,
            hash => hash,
        }
    }
}

impl Database for View<'_> {
    type Error = Infallible;

    fn basic(&mut self, account: Address) -> Result<Option<AccountInfo>, Infallible> {
        let code_hash = self.code_hash(account);
        let code = if code_hash == KECCAK256_EMPTY {
            Bytecode::default()
        } else {
            self.values.codes.get(&code_hash).cloned().unwrap_or_else(|| {
                self.codeless.push((account, code_hash));
                Bytecode::default()
            })
        };
        // Every account that is touched is loaded with its balance; runs that really look at it are told by their instructions.
        let balance = self.values.number(Key::Balance(account));
        Ok(Some(AccountInfo {
            balance: self.values.get(balance).unwrap_or_default(),
            code_hash,
            code: Some(code),
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.values.codes.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage(&mut self, account: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.look(Key::Slot(account, slot)))
    }

    fn block_hash(&mut self, _: u64) -> Result<B256, Infallible> {
        // Runs that ask for it are not made here.
        Ok(B256::ZERO)
    }
}
