//! The word `anchor` in rules, its encoding, and the streams of a rulebook.

use super::*;

#[test]
fn the_word_makes_a_state_rule_and_registers_a_stream_once() {
    let compiled = rule(
        "near(vault.totalAssets(), anchor(vault.totalAssets(), 10 min, 0, 1e30), 5 %) && vault.totalAssets() <= anchor(vault.totalAssets(), 600, 0, 1e30, step: 10 %) * 2",
    );
    assert_eq!(compiled.class, Class::State);
    let [stream] = compiled.streams.as_slice() else {
        panic!("{:?}", compiled.streams)
    };
    assert_eq!(
        (stream.spec, stream.reads.as_slice()),
        (stream::Spec::Anchor(spec()), &["vault.totalAssets".to_owned()][..])
    );
    let program = Program::decode(&compiled.program).unwrap();
    assert!(program.uses_stored() && !program.uses_context());
    // Used twice, read once.
    assert_eq!(program.streams().collect::<Vec<_>>(), [(stream.id, None)]);
    assert!(!rule("vault.totalAssets() <= 5").program.starts_with(&[3]));
    let both = rule("left(usdc) <= anchor(usdc.balanceOf(vault), 1 hour, 0, 1e30) * 5 %");
    let program = Program::decode(&both.program).unwrap();
    assert!(program.uses_stored() && program.uses_context() && both.class == Class::Hook);
    assert_eq!(both.program[0], 4);
    let other = rule("vault.totalAssets() <= anchor(vault.totalAssets(), 10 min, 0, 1e30, step: 20 %)");
    assert_ne!(other.streams[0].id, stream.id);
}

#[test]
fn what_cannot_be_stored_is_refused_with_the_word() {
    for (source, message) in [
        ("anchor(5, 10 min, 0, 1e30) > vault.totalAssets()", "reads nothing"),
        (
            "anchor(anchor(vault.totalAssets(), 1 h, 0, 1e30), 1 h, 0, 1e30) > 1",
            "cannot observe what the guard has stored",
        ),
        ("anchor(entry(vault.totalAssets()), 1 h, 0, 1e30) > 1", "value at entry"),
        ("anchor(left(usdc), 1 h, 0, 1e30) > 1", "the transaction's context"),
        (
            "entry(anchor(vault.totalAssets(), 1 h, 0, 1e30)) > 1",
            "does not change within a call",
        ),
        ("anchor(vault.totalAssets(), 59, 0, 1e30) > 1", "1 minute to 4 weeks"),
        (
            "anchor(vault.totalAssets(), 5 weeks, 0, 1e30) > 1",
            "1 minute to 4 weeks",
        ),
        (
            "anchor(vault.totalAssets(), vault.totalSupply(), 0, 1e30) > 1",
            "1 minute to 4 weeks",
        ),
        (
            "anchor(vault.totalAssets(), 1 h, 0, 9, step: 101 %) > 1",
            "1 bps to 100 %",
        ),
        ("anchor(vault.totalAssets(), 1 h, 0, 9, step: 5) > 1", "1 bps to 100 %"),
        ("anchor(vault.asset(), 1 h, 0, 1e30) == vault.asset()", "takes numbers"),
        (
            "anchor(vault.totalAssets(), 1 h) > 1",
            "the least and the greatest value that it may ever come to",
        ),
        (
            "anchor(vault.totalAssets(), 1 h, 5 %) > 1",
            "`anchor(x, 10 min, 500e8, 9000e8)`, then `step:` by name, as in `step: 5 %`; 3 given",
        ),
        (
            "anchor(vault.totalAssets(), 1 h, 5, 9, pace: 2 %) > 1",
            "takes no `pace:`",
        ),
        (
            "anchor(vault.totalAssets(), 1 h, vault.totalSupply(), 9) > 1",
            "are constants",
        ),
        ("anchor(vault.totalAssets(), 1 h, 9, 9) > 1", "is more than the least"),
        ("anchor > 1", "is a function"),
    ] {
        let found = error(source);
        assert!(found.contains(message), "{source}: {found}");
    }
}

/// A chain with a guard that has stored this.
struct Guarded {
    chain: Chain,
    stored: Anchor,
    asked: Vec<B256>,
    now: u64,
}

impl Reader for Guarded {
    fn call(&mut self, target: Address, calldata: &[u8], gas: u64, word: u16) -> Result<B256, ReadError> {
        self.chain.call(target, calldata, gas, word)
    }
    fn balance(&mut self, account: Address) -> Result<U256, ReadError> {
        self.chain.balance(account)
    }
    fn code_hash(&mut self, account: Address) -> Result<B256, ReadError> {
        self.chain.code_hash(account)
    }
    fn now(&self) -> u64 {
        self.now
    }
    fn stored(&mut self, key: &B256) -> Result<B256, ReadError> {
        self.asked.push(*key);
        Ok(self.stored.pack().0.into())
    }
}

#[test]
fn the_evaluator_reads_one_word_of_the_guard() {
    let compiled = rule("anchor(vault.totalAssets(), 10 min, 0, 1e30) >= 1000");
    let program = Program::decode(&compiled.program).unwrap();
    let mut guarded = Guarded {
        chain: Chain::default(),
        stored: settled(1_000),
        asked: Vec::new(),
        now: T0,
    };
    let evaluation = evaluate(&program, &Inputs::default(), &mut guarded);
    assert_eq!((evaluation.verdict, evaluation.observed), (Verdict::Holds, int(1_000)));
    assert_eq!(guarded.asked, [key(&compiled.streams[0].id, 0)]);
    guarded.now = T0 + 600 * STALE;
    let evaluation = evaluate(&program, &Inputs::default(), &mut guarded);
    assert_eq!(
        (evaluation.verdict, evaluation.reason),
        (Verdict::Unknown, Unknown::NotStored.code())
    );
    // Whoever asks no guard knows nothing.
    let evaluation = evaluate(&program, &Inputs::default(), &mut guarded.chain);
    assert_eq!(
        (evaluation.verdict, evaluation.reason),
        (Verdict::Unknown, Unknown::Unavailable.code())
    );
}

#[test]
fn the_decoder_takes_no_other_value_of_a_stream_and_no_other_version() {
    let compiled = rule("anchor(vault.totalAssets(), 10 min, 0, 1e30) >= 1000");
    let reason = |bytes: &[u8]| Program::decode(bytes).unwrap_err().reason;
    let mut bytes = compiled.program.clone();
    assert_eq!((bytes[0], bytes[11]), (3, op::STORED));
    bytes[0] = 1;
    assert_eq!(reason(&bytes), DecodeReason::BadHeader);
    for version in [0, 9] {
        bytes[0] = version;
        assert_eq!(reason(&bytes), DecodeReason::BadVersion);
    }
    bytes[0] = 3;
    bytes[28] = 1;
    assert_eq!(reason(&bytes), DecodeReason::Truncated);
    bytes[28] = 7;
    assert_eq!(reason(&bytes), DecodeReason::BadOperand);
    assert_eq!(reason(&compiled.program[..20]), DecodeReason::Truncated);
}

/// A rulebook with one stream.
fn book() -> Rulebook {
    common::book(&rule(
        "near(vault.totalAssets(), anchor(vault.totalAssets(), 10 min, 0, 1e30), 5 %)",
    ))
}

#[test]
fn a_rulebook_carries_its_streams_and_is_refused_without_them() {
    let book = book();
    let code = book.encode().unwrap();
    assert_eq!((code[3], code[10]), (10, 1));
    assert_eq!(Rulebook::decode(&code).unwrap(), book);
    let problem = |book: &Rulebook| book.encode().unwrap_err().problem;
    let mut bad = book.clone();
    bad.streams.clear();
    assert_eq!(problem(&bad), Problem::BadStream);
    let mut bad = book.clone();
    bad.streams.push(book.streams[0].clone());
    assert_eq!(problem(&bad), Problem::BadStream);
    let mut bad = book.clone();
    bad.streams[0].scope = 1;
    assert_eq!(problem(&bad), Problem::BadScope);
    // Another definition has another name, which the rule does not read.
    let mut bad = book.clone();
    bad.streams[0].spec = stream::Spec::Anchor(Spec { period: 601, ..spec() });
    assert_eq!(problem(&bad), Problem::BadStream);
    for (low, high) in [(int(5), int(5)), (int(6), int(5))] {
        let mut bad = book.clone();
        bad.streams[0].spec = stream::Spec::Anchor(bounded(&low, &high));
        assert_eq!(problem(&bad), Problem::BadStream);
    }
    // The bounds are the stream's: with others it is another one. They stand in front of its program.
    let bounds = spec().bounds();
    let at = code.windows(32).position(|part| part == bounds).unwrap();
    for (place, byte) in [(15, 1), (31, bounds[31] ^ 1), (0, 0x80), (16, 0xff)] {
        let mut forged = code.clone();
        forged[at + place] = byte;
        assert_eq!(
            Rulebook::decode(&forged).unwrap_err().problem,
            Problem::BadStream,
            "{place}"
        );
    }
    // A name that is not its definition's is seen.
    let mut forged = code.clone();
    let id = book.streams[0].id();
    let places: Vec<usize> = (0..forged.len() - 16)
        .filter(|at| forged[*at..*at + 16] == id[..])
        .collect();
    assert_eq!(places.len(), 2);
    for place in places {
        forged[place] ^= 1;
    }
    assert_eq!(Rulebook::decode(&forged).unwrap_err().problem, Problem::BadStream);
    // No streams, no second version.
    let mut empty = code;
    empty[10] = 0;
    assert_eq!(Rulebook::decode(&empty).unwrap_err().problem, Problem::NotARulebook);
}
