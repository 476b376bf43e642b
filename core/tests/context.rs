//! Words of the transaction's context: class, kinds, encoding, evaluation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use alloy_primitives::{Address, B256, U256, hex};
use common::{Chain, address, error, rule, run, u};
use cordon_core::rule::{Class, Context, DecodeReason, Inputs, Program, ReadError, Reader, Unknown, Verdict, evaluate};

/// A hook: the chain, and a transaction.
struct Hook {
    chain: Chain,
    entered: u64,
    left: u64,
    depth: u64,
    round_trip: bool,
}

impl Reader for Hook {
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
        self.chain.now()
    }

    fn context(&self, what: Context) -> Result<U256, ReadError> {
        let usdc = address("usdc");
        Ok(u(match what {
            Context::Entered(asset) if asset == usdc => self.entered,
            Context::Left(asset) if asset == usdc => self.left,
            Context::Entered(_) | Context::Left(_) => 0,
            Context::Depth => self.depth,
            Context::RoundTrip => self.round_trip.into(),
        }))
    }
}

fn verdict(source: &str, hook: &mut Hook) -> Verdict {
    let compiled = rule(source);
    let program = Program::decode(&compiled.program).unwrap();
    assert!(program.uses_context());
    evaluate(&program, &Inputs::default(), hook).verdict
}

#[test]
fn a_word_of_the_context_makes_a_hook_rule_and_names_itself() {
    for (source, word, column) in [
        ("!round_trip", "round_trip", 2),
        ("left(usdc) <= 5", "left", 1),
        ("1 <= entered(usdc)", "entered", 6),
        ("depth < 3", "depth", 1),
        (
            "vault.totalAssets() >= entry(vault.totalAssets()) - left(usdc)",
            "entry",
            24,
        ),
    ] {
        let compiled = rule(source);
        assert_eq!(compiled.class, Class::Hook, "{source}");
        assert_eq!(compiled.class_reason, Some((word.to_owned(), column)), "{source}");
    }
    assert_eq!(
        rule("vault.totalAssets() <= 5").program[0],
        1,
        "older rules keep their encoding"
    );
}

#[test]
fn the_context_is_evaluated_in_a_hook_and_unknown_elsewhere() {
    let mut chain = Chain::default();
    chain.set("usdc", "balanceOf(address)", &[u(850)]);
    let mut hook = Hook {
        chain,
        entered: 7,
        left: 150,
        depth: 2,
        round_trip: false,
    };
    let share = "left(usdc) <= (usdc.balanceOf(vault) + left(usdc)) * 15 %";
    assert_eq!(verdict(share, &mut hook), Verdict::Holds);
    assert_eq!(verdict("!round_trip", &mut hook), Verdict::Holds);
    assert_eq!(
        verdict("depth == 2 && entered(usdc) == 7 && entered(vault) == 0", &mut hook),
        Verdict::Holds
    );
    (hook.left, hook.round_trip) = (151, true);
    hook.chain.set("usdc", "balanceOf(address)", &[u(849)]);
    assert_eq!(verdict(share, &mut hook), Verdict::Breached);
    assert_eq!(verdict("!round_trip", &mut hook), Verdict::Breached);
    // The keeper's reader knows no transaction.
    let elsewhere = run(&rule("!round_trip"), &mut Chain::default());
    assert_eq!(
        (elsewhere.verdict, elsewhere.reason),
        (Verdict::Unknown, Unknown::Unavailable.code())
    );
}

#[test]
fn mistakes_with_the_context_are_named() {
    for (source, says) in [
        ("entry(left(usdc)) == 0", "reads nothing"),
        (
            "entry(vault.totalAssets() + left(usdc)) == 0",
            "cannot use the transaction's context",
        ),
        ("left() == 0", "takes 1 argument"),
        ("left(5) == 0", "takes addresses or words"),
        ("round_trip > 1", "takes numbers"),
        ("left == 0", "is a function"),
        ("roundtrip", "did you mean `round_trip`"),
    ] {
        let message = error(source);
        assert!(message.contains(says), "{source}: {message}");
    }
}

/// One rule has one encoding: the newer version is that of programs that need it, and of no others.
#[test]
fn the_version_says_whether_the_context_is_used() {
    let program = rule("!round_trip").program;
    assert_eq!(hex::encode(&program), "02000000000100000002585647");
    let mut older = program.clone();
    older[0] = 1;
    assert_eq!(Program::decode(&older).unwrap_err().reason, DecodeReason::BadHeader);
    let mut newer = rule("vault.totalAssets() <= 5").program;
    newer[0] = 2;
    assert_eq!(Program::decode(&newer).unwrap_err().reason, DecodeReason::BadHeader);
    newer[0] = 9;
    assert_eq!(Program::decode(&newer).unwrap_err().reason, DecodeReason::BadVersion);
    // An address is wanted below: a number is not one.
    let wrong = [&program[..11], &hex!("010553")[..]].concat();
    assert_eq!(Program::decode(&wrong).unwrap_err().reason, DecodeReason::WrongKind);
}
