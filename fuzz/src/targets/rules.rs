//! The rule language: text, encoded rules, rulebooks.

use alloy_primitives::{Address, B256, U256, keccak256};
use cordon_core::rule::program::{MAX_GAS, MAX_READS, MAX_STACK, OPERATOR_GAS, READ_GAS};
use cordon_core::rule::{
    FunctionSig, Inputs, Int, Program, ReadError, Reader, SymbolError, Symbols, Type, Value, Verdict, compile, evaluate,
};
use cordon_core::rulebook::Rulebook;

/// The bytes as an encoded rule, as the code of a rulebook, as the text of a rule.
pub(super) fn run(data: &[u8]) {
    program(data);
    if let Ok(book) = Rulebook::decode(data) {
        let encoded = book.encode().expect("what was decoded can be encoded");
        assert_eq!(Rulebook::decode(&encoded).expect("it was just made"), book);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(compiled) = compile(text, &[], &[], &Contracts)
    {
        program(&compiled.program);
        assert!(
            Program::decode(&compiled.program).is_ok(),
            "the compiler's own rule is refused: {text}"
        );
        for entry in &compiled.entries {
            program(entry);
        }
    }
}

/// A rule that the decoder accepts keeps to its bounds; one that it refuses is evaluated without harm.
fn program(bytes: &[u8]) {
    let entries = [Value::Int(Int::from(5)), Value::Word(B256::with_last_byte(9))];
    let inputs = Inputs {
        params: &[B256::with_last_byte(1), B256::ZERO],
        entries: &entries,
    };
    let seed = keccak256(bytes);
    let mut reader = Noise { seed, reads: 0, gas: 0 };
    let evaluation = evaluate(&Program::assume_valid(bytes), &inputs, &mut reader);
    assert_eq!(evaluation.reason == 0, evaluation.verdict != Verdict::Unknown);
    let Ok(decoded) = Program::decode(bytes) else { return };
    assert!(usize::from(decoded.stack()) <= MAX_STACK && decoded.reads() <= MAX_READS);
    assert!(reader.reads <= u32::from(decoded.reads()), "more reads than it says");
    // An operator has a byte at least, of which none is carried out twice: the stated gas covers the reads and one operator.
    let needed = reader.gas + u64::from(reader.reads) * u64::from(READ_GAS) + u64::from(OPERATOR_GAS);
    assert!(
        needed <= u64::from(decoded.gas()) && decoded.gas() <= MAX_GAS,
        "more gas than it says"
    );
    let again = evaluate(&decoded, &inputs, &mut Noise { seed, reads: 0, gas: 0 });
    assert_eq!(again, evaluation, "the same rule over the same chain");
}

/// Answers every read with words that depend on the seed, some of them wrong or missing.
struct Noise {
    seed: B256,
    reads: u32,
    /// Gas that calls may use.
    gas: u64,
}

impl Noise {
    fn word(&mut self) -> B256 {
        self.reads += 1;
        let hash = keccak256([&self.seed[..], &self.reads.to_be_bytes()].concat());
        match hash[0] % 4 {
            0 => B256::with_last_byte(hash[1] % 2),
            1 => B256::with_last_byte(hash[1]),
            2 => !B256::with_last_byte(hash[1]),
            _ => hash,
        }
    }
}

impl Reader for Noise {
    fn call(&mut self, _: Address, _: &[u8], gas: u64, _: u16) -> Result<B256, ReadError> {
        self.gas += gas;
        let word = self.word();
        if word[31] == 7 {
            Err(ReadError::Reverted)
        } else {
            Ok(word)
        }
    }

    fn balance(&mut self, _: Address) -> Result<U256, ReadError> {
        Ok(self.word().into())
    }

    fn code_hash(&mut self, _: Address) -> Result<B256, ReadError> {
        Ok(self.word())
    }

    fn now(&self) -> u64 {
        u64::from(self.seed[0])
    }
}

/// Contracts of every name, whose functions take and answer numbers.
struct Contracts;

impl Symbols for Contracts {
    fn contract(&self, name: &str) -> Option<Address> {
        Some(Address::from_word(keccak256(name)))
    }

    fn function(&self, _: &str, function: &str, argc: usize) -> Result<FunctionSig, SymbolError> {
        let number = Type::Int {
            signed: false,
            bits: 256,
        };
        let hash = keccak256(function);
        Ok(FunctionSig {
            selector: [hash[0], hash[1], hash[2], hash[3]],
            inputs: vec![number.clone(); argc],
            outputs: vec![(None, number)],
            view: true,
        })
    }

    fn names(&self) -> Vec<String> {
        vec!["vault".to_owned()]
    }

    fn functions(&self, _: &str) -> Vec<String> {
        vec!["totalAssets".to_owned()]
    }
}
