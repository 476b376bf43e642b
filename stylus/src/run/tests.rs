//! Both engines over the same programs: equal ends, equal output, equal ink, equal questions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use alloy_primitives::{Address, B256, Bytes, keccak256};
use arbitrary::Unstructured;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::hooks::{BlockInfo, CallInfo, Hook, HostTrace, Request};
use crate::module;
use crate::pricing::Params;

/// Random modules of a bounded run; `CORDON_FUZZ_CASES` sets another number.
const CASES: u32 = 200;
/// Ink is bounded, so that endless programs end.
const GAS: u64 = 300_000;

pub(crate) fn cases(bounded: u32) -> u32 {
    let set = std::env::var("CORDON_FUZZ_CASES").ok();
    set.map_or(bounded, |cases| cases.parse().expect("CORDON_FUZZ_CASES is a number"))
}

fn env(params: Params, input: &[u8], is_static: bool) -> Env {
    let call = CallInfo {
        input: Bytes::copy_from_slice(input),
        address: Address::repeat_byte(1),
        caller: Address::repeat_byte(2),
        is_static,
        ..CallInfo::default()
    };
    let block = BlockInfo {
        number: 7,
        timestamp: 8,
        gas_limit: 9,
        chain_id: 10,
        ..BlockInfo::default()
    };
    Env::new(call, block, params, Arc::default(), GAS)
}

/// A made-up EVM: answers follow from the question alone.
fn answer(request: &Request) -> Response {
    let digest = keccak256(format!("{request:?}"));
    let cost = u64::from(digest[0]);
    match request {
        Request::StorageLoad(_) | Request::TransientLoad(_) | Request::Balance(_) | Request::CodeHash(_) => {
            Response::Word { word: digest, cost }
        }
        Request::StorageFlush { .. } if digest[1] < 8 => Response::OutOfGas,
        Request::StorageFlush { .. } | Request::TransientStore(..) | Request::Log { .. } => Response::Charged(cost),
        Request::Code(_) => Response::Code {
            code: Bytes::copy_from_slice(&digest[..usize::from(digest[2] % 32)]),
            cost,
        },
        Request::Call { .. } => Response::Called {
            success: digest[3] & 1 == 0,
            output: Bytes::copy_from_slice(&digest[..usize::from(digest[4] % 32)]),
            cost,
        },
        Request::Create { .. } if digest[5] < 8 => Response::Refused("no"),
        Request::Create { .. } => Response::Created {
            address: Address::from_slice(&digest[..20]),
            output: Bytes::new(),
            cost,
        },
    }
}

/// Everything that can be seen of a run.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    asked: Vec<Request>,
    outcome: Outcome,
    output: Bytes,
    ink: u64,
    pages: (u16, u16),
}

fn see(mut run: impl ProgramRun) -> Seen {
    let mut asked = Vec::new();
    let mut step = run.resume(None);
    let finished = loop {
        match step {
            Step::Request(request) => {
                let response = answer(&request);
                asked.push(request);
                step = run.resume(Some(response));
            }
            Step::Finished(finished) => break finished,
        }
    };
    let pages = &run.env().pages;
    Seen {
        asked,
        outcome: finished.outcome,
        output: finished.output,
        ink: finished.ink,
        pages: (pages.open(), pages.ever()),
    }
}

struct Engines {
    wasmi: Arc<WasmiEngine>,
    native: NativeEngine,
}

impl Engines {
    fn new() -> Self {
        Self {
            wasmi: Arc::default(),
            native: NativeEngine::new().unwrap(),
        }
    }

    fn interpreted(&self, wasm: &[u8], env: Env) -> Seen {
        let module = self.wasmi.compile(wasm).unwrap();
        see(self.wasmi.start(&module, env).unwrap())
    }

    fn native(&self, wasm: &[u8], env: Env) -> Seen {
        let engine = self.wasmi.clone();
        let module = engine.compile(wasm).unwrap();
        let fallback = move |env| engine.start(&module, env);
        see(NativeRun::new(
            self.native.compile(wasm).unwrap(),
            env,
            Box::new(fallback),
        ))
    }

    /// Runs an instrumented module on both, and answers what both showed.
    fn agree(&self, wasm: &[u8], params: Params, input: &[u8], is_static: bool) -> Seen {
        let interpreted = self.interpreted(wasm, env(params, input, is_static));
        let native = self.native(wasm, env(params, input, is_static));
        assert_eq!(interpreted, native, "wasmi left, wasmtime right");
        native
    }
}

fn smith() -> wasm_smith::Config {
    let hooks = Hook::ALL.iter().map(|hook| hook.signature());
    let imports = hooks.filter(|hook| hook.module == "vm_hooks").map(|hook| hook.import());
    cordon_testkit::random_programs(&imports.collect::<String>())
}

#[test]
fn engines_agree_on_random_modules() {
    let (engines, shape) = (Engines::new(), smith());
    let config = ProptestConfig {
        cases: cases(CASES),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let ends = RefCell::new(BTreeMap::<String, u32>::new());
    let seeds = (
        proptest::collection::vec(any::<u8>(), 500..4_000),
        any::<[u8; 40]>(),
        any::<bool>(),
    );
    TestRunner::new(config)
        .run(&seeds, |(bytes, input, is_static)| {
            let module = wasm_smith::Module::new(shape.clone(), &mut Unstructured::new(&bytes));
            let params = Params::default();
            // Some are not generated, and some use what programs must not.
            let prepared = module.map(|module| module::prepare(&module.to_bytes(), &params, 0));
            let Ok(Ok(prepared)) = prepared else { return Ok(()) };
            let seen = engines.agree(&prepared.wasm, params, &input, is_static);
            *ends.borrow_mut().entry(format!("{:?}", seen.outcome)).or_default() += 1;
            Ok(())
        })
        .unwrap();
    let ends = ends.into_inner();
    let accepted: u32 = ends.values().sum();
    println!("{accepted} modules ran: {ends:?}");
    assert!(accepted >= cases(CASES) / 4, "too few modules are valid: {accepted}");
}

fn prepared(wat: &str, params: &Params) -> Vec<u8> {
    module::prepare(&wat::parse_str(wat).unwrap(), params, 0).unwrap().wasm
}

/// Calls itself as often as its calldata is long, after it has asked the EVM.
const RECURSION: &str = r#"(module
    (import "vm_hooks" "storage_load_bytes32" (func $load (param i32 i32)))
    (import "vm_hooks" "write_result" (func $result (param i32 i32)))
    (import "vm_hooks" "pay_for_memory_grow" (func $pay (param i32)))
    (memory (export "memory") 1 8)
    (func $down (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))))
    (func (export "user_entrypoint") (param i32) (result i32)
        (call $load (i32.const 0) (i32.const 32))
        (drop (memory.grow (i32.const 2)))
        (i32.store (i32.const 64) (call $down (i32.mul (i32.const 1000) (local.get 0))))
        (call $result (i32.const 32) (i32.const 36))
        i32.const 0))"#;

#[test]
fn the_interpreter_takes_over_where_the_host_stack_ends() {
    let engines = Engines::new();
    // Much deeper than any chain allows, so that native code cannot do it.
    let params = Params {
        max_stack_depth: 10_000_000,
        ink_price: 1 << 22,
        ..Params::default()
    };
    let wasm = prepared(RECURSION, &params);
    for thousands in [1_usize, 60] {
        let seen = engines.agree(&wasm, params, &vec![0; thousands], false);
        assert_eq!(seen.outcome, Outcome::Success);
        assert_eq!(
            seen.output[32..],
            u32::try_from(thousands * 1000).unwrap().to_le_bytes()
        );
        assert_eq!((seen.asked.len(), seen.pages), (1, (2, 2)));
    }
}

/// Calls a contract as often as its calldata is long, and answers the ink that is left and the last answer's first bytes.
const CALLER: &str = r#"(module
    (import "vm_hooks" "call_contract" (func $call (param i32 i32 i32 i32 i64 i32) (result i32)))
    (import "vm_hooks" "read_return_data" (func $read (param i32 i32 i32) (result i32)))
    (import "vm_hooks" "evm_ink_left" (func $ink (result i64)))
    (import "vm_hooks" "write_result" (func $result (param i32 i32)))
    (memory (export "memory") 1 1)
    (func (export "user_entrypoint") (param $n i32) (result i32)
        (loop $again
            (drop (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32) (i64.const -1) (i32.const 64)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (drop (call $read (i32.const 100) (i32.const 0) (i32.const 8)))
        (i64.store (i32.const 108) (call $ink))
        (call $result (i32.const 100) (i32.const 16))
        i32.const 0))"#;

#[test]
fn the_interpreter_takes_over_before_too_much_is_remembered() {
    let engines = Engines::new();
    let params = Params::default();
    let wasm = prepared(CALLER, &params);
    let calls = 40_u8;
    let end = |run: &mut dyn ProgramRun| {
        let mut step = run.resume(None);
        for call in 0..calls {
            assert!(matches!(step, Step::Request(Request::Call { .. })), "{step:?}");
            let output = Bytes::from(vec![call; 1 << 20]);
            step = run.resume(Some(Response::Called {
                success: true,
                output,
                cost: 1,
            }));
        }
        match step {
            Step::Finished(finished) => (finished.outcome, finished.output, finished.ink),
            Step::Request(request) => panic!("{request:?}"),
        }
    };
    let module = engines.wasmi.compile(&wasm).unwrap();
    let start = |env| engines.wasmi.start(&module, env).unwrap();
    let trace = |env: Env, trace: &HostTrace| env.traced_by(Some(trace.clone()));
    let (heard, heard_too) = (HostTrace::default(), HostTrace::default());
    let input = vec![0; calls.into()];
    let expected = end(&mut start(trace(env(params, &input, false), &heard)));
    assert_eq!(expected.1[..8], [calls - 1; 8]);
    let times = Arc::new(AtomicU32::new(0));
    let (engine, module, counted) = (engines.wasmi.clone(), module.clone(), times.clone());
    let fallback: replay::Fallback = Box::new(move |env| {
        counted.fetch_add(1, Ordering::Relaxed);
        engine.start(&module, env)
    });
    let native = engines.native.compile(&wasm).unwrap();
    let mut run = NativeRun::new(native, trace(env(params, &input, false), &heard_too), fallback);
    assert_eq!(end(&mut run), expected);
    assert_eq!(
        times.load(Ordering::Relaxed),
        1,
        "40 MiB of answers are too many to keep"
    );
    assert_eq!(heard_too.take(), heard.take(), "every call is told once");
}

#[test]
fn the_stack_that_the_chain_allows_is_there() {
    let engines = Engines::new();
    let params = Params {
        ink_price: 1 << 22,
        ..Params::default()
    };
    let wasm = prepared(RECURSION, &params);
    let module = engines.native.compile(&wasm).unwrap();
    let fallback: replay::Fallback = Box::new(|_| panic!("native code can do that"));
    let deep = see(NativeRun::new(module, env(params, &[0; 2], false), fallback));
    assert_eq!(deep.outcome, Outcome::Success);
    assert_eq!(
        engines.agree(&wasm, params, &[0; 30], false).outcome,
        Outcome::OutOfStack
    );
}

#[test]
fn engines_agree_on_traps_bulk_memory_and_floats() {
    let engines = Engines::new();
    let params = Params::default();
    for body in [
        "unreachable",
        "(i32.div_s (i32.const -2147483648) (i32.const -1))",
        "(i32.rem_s (i32.const -2147483648) (i32.const -1))",
        "(i32.div_u (i32.const 1) (i32.const 0))",
        "(i32.load (i32.const 65533))",
        "(i32.load offset=4294967295 (i32.const 1))",
        "(memory.fill (i32.const 65535) (i32.const 7) (i32.const 1)) (i32.load8_u (i32.const 65535))",
        "(memory.fill (i32.const 65535) (i32.const 7) (i32.const 2)) (i32.const 0)",
        "(memory.copy (i32.const 1) (i32.const 0) (i32.const 100)) (i32.load (i32.const 1))",
        "(memory.copy (i32.const 65536) (i32.const 0) (i32.const 0)) (i32.const 0)",
        "(memory.copy (i32.const 65537) (i32.const 0) (i32.const 0)) (i32.const 0)",
        "(call_indirect (type $t) (i32.const 0))",
        "(call_indirect (type $t) (i32.const 1))",
        "(call_indirect (type $t) (i32.const 2))",
        "(memory.grow (i32.const 70000))",
        "(memory.grow (i32.const 3))",
        "(f32.store (i32.const 0) (f32.const nan:0x200001)) (i32.load (i32.const 0))",
        "(i32.reinterpret_f32 (f32.load (i32.const 0)))",
        "(i32.popcnt (i32.rotl (local.get 0) (i32.const 37)))",
        "(loop $l (br $l)) (i32.const 0)",
    ] {
        let wat = format!(
            r#"(module (import "vm_hooks" "pay_for_memory_grow" (func $pay (param i32)))
                (type $t (func (result i32))) (type $u (func (result i64)))
                (table 2 funcref) (elem (i32.const 1) $other) (func $other (type $u) (i64.const 1))
                (memory (export "memory") 1)
                (data (i32.const 0) "\01\00\a0\7f some bytes")
                (func (export "user_entrypoint") (param i32) (result i32) {body}))"#
        );
        let wasm = prepared(&wat, &params);
        let seen = engines.agree(&wasm, params, &[1, 2, 3], false);
        println!("{body}: {:?}, {} ink left", seen.outcome, seen.ink);
    }
}

#[test]
fn many_runs_wait_side_by_side_and_may_be_dropped() {
    let engines = Engines::new();
    let params = Params::default();
    let wasm = prepared(RECURSION, &params);
    let module = engines.native.compile(&wasm).unwrap();
    let mut waiting: Vec<_> = (0..1024)
        .map(|_| {
            let fallback: replay::Fallback = Box::new(|_| panic!("native code can do that"));
            let mut run = NativeRun::new(module.clone(), env(params, &[0; 1], false), fallback);
            assert!(matches!(run.resume(None), Step::Request(Request::StorageLoad(_))));
            run
        })
        .collect();
    waiting.truncate(512);
    for run in &mut waiting {
        let step = run.resume(Some(Response::Word {
            word: B256::ZERO,
            cost: 100,
        }));
        let Step::Finished(finished) = step else {
            panic!("it asks once")
        };
        assert_eq!(finished.outcome, Outcome::Success);
        assert!(matches!(run.resume(None), Step::Finished(finished) if finished.outcome == Outcome::Failure));
    }
}
