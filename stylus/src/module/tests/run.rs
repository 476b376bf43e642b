//! Instrumented modules in a real engine: exact ink, stack, memory payments, and the same results as before.

use proptest::prelude::*;
use wasmi::{Caller, Engine, Extern, Instance, Linker, Module, Store, Val};

use super::*;

/// What the host saw.
#[derive(Default)]
struct Host {
    /// Arguments of `pay_for_memory_grow`.
    paid: Vec<i32>,
    result: Vec<u8>,
}

struct Program {
    store: Store<Host>,
    instance: Instance,
}

impl Program {
    fn new(wasm: &[u8]) -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, Host::default());
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap(
                "vm_hooks",
                "pay_for_memory_grow",
                |mut caller: Caller<'_, Host>, pages: i32| {
                    caller.data_mut().paid.push(pages);
                },
            )
            .unwrap();
        linker
            .func_wrap("vm_hooks", "read_args", |_: Caller<'_, Host>, _: i32| {})
            .unwrap();
        linker
            .func_wrap(
                "vm_hooks",
                "write_result",
                |mut caller: Caller<'_, Host>, at: i32, len: i32| {
                    let Some(Extern::Memory(memory)) = caller.get_export(MEMORY) else {
                        panic!("no memory")
                    };
                    let (at, len) = (usize::try_from(at).unwrap(), usize::try_from(len).unwrap());
                    let result = memory.data(&caller)[at..at + len].to_vec();
                    caller.data_mut().result = result;
                },
            )
            .unwrap();
        let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
        Self { store, instance }
    }

    fn set(&mut self, name: &str, value: Val) {
        self.instance
            .get_global(&self.store, name)
            .unwrap()
            .set(&mut self.store, value)
            .unwrap();
    }

    fn get(&self, name: &str) -> u64 {
        match self.instance.get_global(&self.store, name).unwrap().get(&self.store) {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            other => panic!("{other:?}"),
        }
    }

    fn with_budget(wasm: &[u8], ink: u64, stack: u32) -> Self {
        let mut program = Self::new(wasm);
        program.set(INK_LEFT, Val::I64(ink.cast_signed()));
        program.set(STACK_LEFT, Val::I32(stack.cast_signed()));
        program
    }

    /// Result of the entry point, none if it trapped.
    fn call(&mut self, argument: i32) -> Option<i32> {
        let entry = self
            .instance
            .get_typed_func::<i32, i32>(&self.store, ENTRYPOINT)
            .unwrap();
        entry.call(&mut self.store, argument).ok()
    }
}

const INK: u64 = 1 << 40;
const STACK: u32 = 22_000;

/// Runs with plenty; returns the result and the ink that was used. Checks that the stack is given back.
fn run(wat: &str, argument: i32) -> (Option<i32>, u64) {
    let mut program = Program::with_budget(&accept(wat).wasm, INK, STACK);
    let result = program.call(argument);
    if result.is_some() {
        assert_eq!(program.get(STACK_LEFT), u64::from(STACK));
    }
    (result, INK - program.get(INK_LEFT))
}

#[test]
fn the_published_example_costs_three_blocks() {
    let (result, ink) = run(WRITE_ARGS, 4);
    assert_eq!(result, Some(0));
    assert_eq!(ink, 6_251 + 6_326 + 2_452);
    // with the hooks' ink and the entry cost: the published total
    let hooks = crate::pricing::hooks::GETTER * 2
        + crate::pricing::hooks::write_ink(4)
        + 2 * crate::pricing::hooks::read_ink(4);
    let params = Params::default();
    let info = accept(WRITE_ARGS).info;
    let record = activation::ProgramRecord::new(&params, &info, activation::EPOCH, false);
    let entry = crate::pricing::call_gas(&params, &record, false, 2, 2) - 1_000;
    assert_eq!((ink + hooks).div_ceil(10_000) + entry, 9_236);
}

#[test]
fn running_out_of_ink_traps_before_the_block() {
    let wasm = accept(WRITE_ARGS).wasm;
    let mut enough = Program::with_budget(&wasm, 15_029, STACK);
    assert_eq!(
        (enough.call(0), enough.get(INK_LEFT), enough.get(INK_STATUS)),
        (Some(0), 0, 0)
    );
    let mut short = Program::with_budget(&wasm, 15_028, STACK);
    assert_eq!(
        (short.call(0), short.get(INK_LEFT), short.get(INK_STATUS)),
        (None, 2_451, 1)
    );
}

#[test]
fn every_operator_has_its_published_price() {
    // (operators that leave one i32 on top of the stack, their ink); `end` costs 1, the block 2450
    let cases = [
        ("i32.const 0", 1),
        ("i32.const 1 i32.const 2 i32.add", 72),
        ("i32.const 1 i32.const 2 i32.mul", 162),
        ("i32.const 1 i32.const 2 i32.div_u", 1_122),
        ("i32.const 1 i32.eqz", 171),
        ("i32.const 1 i32.const 2 i32.lt_s", 172),
        ("i32.const 1 i32.clz", 211),
        ("i32.const 1 i32.popcnt", 2_651),
        ("i32.const 1 i32.extend8_s", 101),
        ("i64.const 1 i32.wrap_i64", 101),
        ("i64.const 1 i64.const 2 i64.add i64.eqz", 1 + 1 + 100 + 225),
        (
            "i64.const 1 i64.const 2 i64.rem_s i64.popcnt i32.wrap_i64",
            1 + 1 + 1_270 + 6_000 + 100,
        ),
        ("i64.const 1 i64.const 2 i64.ge_u", 227),
        ("local.get 0", 75),
        ("i32.const 7 local.tee 0", 76),
        ("i32.const 7 local.set 0 i32.const 0", 1 + 210 + 1),
        ("global.get 0", 225),
        ("i32.const 1 global.set 0 i32.const 0", 1 + 575 + 1),
        ("i32.const 0 i32.load", 671),
        ("i32.const 0 i64.load32_u i32.wrap_i64", 781),
        ("i32.const 0 i32.const 0 i32.store8 i32.const 0", 1 + 1 + 825 + 1),
        ("i32.const 0 i64.const 0 i64.store i32.const 0", 1 + 1 + 950 + 1),
        ("i32.const 1 i32.const 2 i32.const 3 select", 1_253),
        ("i32.const 1 drop i32.const 0", 11),
        ("memory.size", 3_000),
        ("i32.const 0 memory.grow", 8_051),
        ("nop i32.const 0", 2),
        // each `end` is a block of its own
        ("block end i32.const 0", 1 + 1 + 2_450 + 1),
        ("i32.const 0 return", 1 + 1 + 2_450),
        (
            "block i32.const 1 br_if 0 end i32.const 0",
            (1 + 1 + 765) + 2 * 2_450 + 1 + 1 - 2_450 - 1,
        ),
        ("loop end i32.const 0", 1 + 2 * 2_450 + 1 + 1),
        (
            "i32.const 1 if (result i32) i32.const 2 else i32.const 3 end",
            (1 + 765) + (1 + 1) + 2 * 2_450,
        ),
        ("call $nothing i32.const 0", 3_800 + 2_450 + (1 + 2_450) + 1),
        ("i32.const 0 call_indirect (type $two)", 0),
    ];
    let extra = r#"(type $two (func (param i32 i64) (result i32))) (global (mut i32) (i32.const 0))
        (table 1 funcref) (elem (i32.const 0) $two) (func $two (type $two) i32.const 0) (func $nothing)"#;
    for (body, expected) in cases {
        let (body, expected) = if expected == 0 {
            let body = "i32.const 1 i64.const 2 i32.const 0 call_indirect (type $two)".to_owned();
            (body, 3 + 13_610 + 2 * 650 + 2_450 + (1 + 1 + 2_450))
        } else {
            (body.to_owned(), expected)
        };
        // the final `end` with its block, when it is reached
        let end = if body.ends_with("return") { 0 } else { 2_451 };
        let (result, ink) = run(&program(extra, &body), 0);
        assert!(result.is_some(), "{body}");
        assert_eq!(ink, expected + end, "{body}");
    }
}

#[test]
fn br_table_pays_per_target() {
    let body = "block block block local.get 0 br_table 0 1 2 1 end end end i32.const 0";
    let jump = 3 + 75 + 2_400 + 3 * 325 + 2_450;
    for (argument, ends) in [(0, 3), (1, 2), (2, 1), (3, 2)] {
        let (_, ink) = run(&program("", body), argument);
        // the jump lands behind an `end`, so that many are left, and the last block holds the constant
        assert_eq!(ink, jump + ends * 2_451 + 1, "{argument}");
    }
}

#[test]
fn bulk_memory_pays_per_byte() {
    for (body, operators) in [
        (
            "i32.const 0 i32.const 7 local.get 0 memory.fill i32.const 0",
            1 + 1 + 75 + 950 + 1,
        ),
        (
            "i32.const 0 i32.const 9 local.get 0 memory.copy i32.const 0",
            1 + 1 + 75 + 950 + 1,
        ),
    ] {
        let (result, ink) = run(&program("", body), 1_000);
        assert_eq!((result, ink), (Some(0), operators + 2_451 + 100_000));

        // the length is paid before it is looked at: too long is out of ink, not out of bounds
        let mut program = Program::with_budget(&accept(&program("", body)).wasm, 1_000_000, STACK);
        assert_eq!((program.call(-1), program.get(INK_STATUS)), (None, 1));
    }
}

#[test]
fn memory_growth_is_paid_first_unless_memory_is_fixed() {
    let wat = |memory: &str| {
        format!(
            r#"(module (import "vm_hooks" "pay_for_memory_grow" (func (param i32))) (memory (export "memory") {memory})
            (func (export "user_entrypoint") (param i32) (result i32) local.get 0 memory.grow))"#
        )
    };
    for (memory, argument, result, paid) in [
        ("1", 3, 1, vec![3]),
        ("1 2", 3, -1, vec![3]),
        ("1 1", 3, -1, vec![]),
        ("0", 0, 0, vec![0]),
    ] {
        let mut program = Program::with_budget(&accept(&wat(memory)).wasm, INK, STACK);
        assert_eq!(program.call(argument), Some(result), "{memory}");
        assert_eq!(program.store.data().paid, paid, "{memory}");
        // the payment is not a call: get, grow and end are all that is charged
        assert_eq!(INK - program.get(INK_LEFT), 75 + 8_050 + 2_451);
    }
}

/// Recurses until it traps, counting in memory; two locals, and three values on the stack at the start of a block.
const DEPTH: &str = r#"(module (memory (export "memory") 1 1)
    (func $f (export "user_entrypoint") (param i32) (result i32) (local f32 i64)
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (drop (i32.add (i32.const 0) (i32.const 0)))
        (call $f (i32.const 0))))"#;

#[test]
fn recursion_stops_when_the_stack_is_used_up() {
    for depth in [1_u32, 2, 10, 100] {
        let mut program = Program::with_budget(&accept(DEPTH).wasm, INK, depth * 9 + 1);
        assert_eq!(program.call(0), None);
        assert_eq!((program.get(STACK_LEFT), program.get(INK_STATUS)), (0, 0));
        let memory = program.instance.get_memory(&program.store, MEMORY).unwrap();
        assert_eq!(memory.data(&program.store)[..4], depth.to_le_bytes());
        // one word less is one call less
        let mut program = Program::with_budget(&accept(DEPTH).wasm, INK, depth * 9);
        assert_eq!(program.call(0), None);
        let memory = program.instance.get_memory(&program.store, MEMORY).unwrap();
        assert_eq!(memory.data(&program.store)[..4], (depth - 1).to_le_bytes());
    }
}

/// Words of the frame of a program's entry point: the least stack on which it runs is one word more.
fn frame(extra: &str, body: &str) -> u32 {
    let wasm = accept(&program(extra, body)).wasm;
    (1..1_000)
        .find(|stack| Program::with_budget(&wasm, INK, *stack).call(0).is_some())
        .unwrap()
        - 1
}

#[test]
fn frames_have_the_documented_sizes() {
    // metering needs two values at the head of a block: the smallest frame is six words
    assert_eq!(frame("", "i32.const 0"), 6);
    assert_eq!(frame("", "(local i32 i64 f32) i32.const 0"), 9);
    assert_eq!(
        frame("", "i32.const 1 i32.const 2 i32.const 3 i32.const 4 drop drop drop"),
        8
    );
    // a value below a block counts, and so does the block's result
    assert_eq!(
        frame("", "i32.const 1 block (result i32) i32.const 2 end drop"),
        1 + 1 + 2 + 4
    );
    // bulk operations need six
    assert_eq!(
        frame("", "i32.const 0 i32.const 0 i32.const 0 memory.fill i32.const 0"),
        6 + 4
    );
    // the result of a call is pushed before its arguments are popped
    let callee = "(func $f (param i32 i32 i32) (result i32) i32.const 0)";
    assert!(frame(callee, "i32.const 0 i32.const 0 i32.const 0 call $f") >= 5 + 4);
}

#[test]
fn a_float_can_be_in_a_program_but_never_run() {
    let wat = program("", "local.get 0 if f32.const 1.5 drop end i32.const 0");
    assert_eq!(run(&wat, 0).0, Some(0));
    let mut program = Program::with_budget(&accept(&wat).wasm, u64::MAX - 1, STACK);
    assert_eq!((program.call(1), program.get(INK_STATUS)), (None, 1));
}

/// An arithmetic program with a loop, a table, memory and a call, to compare before and after.
const MIXED: &str = r#"
    (import "vm_hooks" "write_result" (func $write (param i32 i32)))
    (type $op (func (param i64 i64) (result i64)))
    (table 3 funcref) (elem (i32.const 0) $add $mul $xor)
    (func $add (type $op) local.get 0 local.get 1 i64.add)
    (func $mul (type $op) (if (i64.eqz (local.get 1)) (then (return (i64.const 3)))) local.get 0 local.get 1 i64.mul)
    (func $xor (type $op) local.get 0 local.get 1 i64.xor)"#;
const MIXED_BODY: &str = r#"(local $i i32) (local $acc i64)
    (local.set $i (i32.and (local.get 0) (i32.const 63)))
    (local.set $acc (i64.extend_i32_s (local.get 0)))
    (block $done (loop $again
        (br_if $done (i32.eqz (local.get $i)))
        (local.set $acc (call_indirect (type $op)
            (local.get $acc) (i64.extend_i32_u (local.get $i)) (i32.rem_u (local.get $i) (i32.const 3))))
        (block $a (block $b (br_table $b $a $b (i32.and (local.get $i) (i32.const 3))))
            (local.set $acc (i64.rotl (local.get $acc) (i64.const 7))))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br $again)))
    (i64.store (i32.const 16) (local.get $acc))
    (memory.fill (i32.const 24) (local.get 0) (i32.and (local.get 0) (i32.const 31)))
    (memory.copy (i32.const 20) (i32.const 16) (i32.const 40))
    (call $write (i32.const 0) (i32.const 96))
    (i32.wrap_i64 (local.get $acc))"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn instrumentation_does_not_change_results(argument: i32) {
        let wat = program(MIXED, MIXED_BODY);
        let mut plain = Program::new(&wat::parse_str(&wat).unwrap());
        let mut metered = Program::with_budget(&accept(&wat).wasm, INK, STACK);
        prop_assert_eq!(plain.call(argument), metered.call(argument));
        prop_assert_eq!(&plain.store.data().result, &metered.store.data().result);
        prop_assert_eq!(metered.get(STACK_LEFT), u64::from(STACK));
    }
}
