//! Host functions in any order, with any operands.

use std::fmt::Write;
use std::sync::OnceLock;

use cordon_stylus::hooks::{Hook, Kind};

use super::world::{ACCOUNTS, PROGRAM, World, call};

/// Most host calls of a program.
const MAX_CALLS: usize = 40;
const VERSIONS: [u64; 3] = [32, 51, 60];
/// Gas of the transactions: too little for much, enough for some, plenty.
const GAS: [u64; 3] = [60_000, 700_000, 4_000_000];

/// The input as a source of small decisions; zeros when it is used up.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A pointer, a length or a number: mostly small, often at an edge.
    fn operand(&mut self) -> u32 {
        let choice = self.byte();
        match choice {
            0..=119 => u32::from(choice % 16) * 20,
            120..=217 => u32::from(choice - 120) * 8,
            218..=225 => 65_536 - u32::from(choice - 218) * 8,
            226..=231 => u32::MAX - u32::from(choice - 226) * 8,
            232..=249 => u32::from(choice - 232),
            _ => self.u32(),
        }
    }
}

/// Which chain, how much gas and value; then calls, each a function and its operands. The same input is also the calldata.
pub(super) fn run(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let (chain, gas, value) = (bytes.byte(), bytes.byte(), bytes.byte());
    let mut world = worlds()[usize::from(chain) % VERSIONS.len()].clone();
    let source = program(&mut bytes);
    let wasm = wat::parse_str(&source).expect("the calls are well formed");
    assert!(world.install(PROGRAM, &wasm), "it uses what programs may use: {source}");
    let calldata = &data[..data.len().min(512)];
    let gas = GAS[usize::from(gas) % GAS.len()];
    world.agree(&call(PROGRAM, calldata, u64::from(value % 3), gas));
}

fn worlds() -> &'static [World; 3] {
    static WORLDS: OnceLock<[World; 3]> = OnceLock::new();
    WORLDS.get_or_init(|| VERSIONS.map(World::new))
}

fn program(bytes: &mut Bytes<'_>) -> String {
    let hooks: Vec<_> = Hook::ALL
        .iter()
        .map(|hook| hook.signature())
        .filter(|hook| hook.module == "vm_hooks")
        .collect();
    let name = |kind: &Kind| if matches!(kind, Kind::I64) { "i64" } else { "i32" };
    let mut source = String::from("(module ");
    for hook in &hooks {
        let params: Vec<_> = hook.params.iter().map(name).collect();
        let result = hook
            .result
            .as_ref()
            .map_or(String::new(), |kind| format!("(result {})", name(kind)));
        let (import, params) = (hook.name, params.join(" "));
        let _ = write!(
            source,
            r#"(import "vm_hooks" "{import}" (func ${import} (param {params}) {result}))"#
        );
    }
    // Accounts at 0, 20, 40 and so on, so that small operands name them.
    let accounts: String = ACCOUNTS
        .iter()
        .flat_map(|account| account.0.0)
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let _ = write!(
        source,
        r#"(memory (export "memory") 1 64) (data (i32.const 0) "{accounts}")"#
    );
    source.push_str(r#"(func (export "user_entrypoint") (param $len i32) (result i32)"#);
    for _ in 0..MAX_CALLS {
        let choice = usize::from(bytes.byte());
        if choice >= 250 {
            break;
        }
        if choice >= 240 {
            let _ = write!(source, "(drop (memory.grow (i32.const {})))", bytes.operand() % 40);
            continue;
        }
        let hook = &hooks[choice % hooks.len()];
        let operands: String = hook
            .params
            .iter()
            .map(|kind| match kind {
                Kind::I64 => format!("(i64.const {})", i64::from(bytes.u32().cast_signed())),
                _ => format!("(i32.const {})", bytes.operand().cast_signed()),
            })
            .collect();
        let called = format!("(call ${} {operands})", hook.name);
        let kept = u32::from(bytes.byte()) * 4;
        let _ = match hook.result {
            Some(Kind::I64) => write!(source, "(i64.store (i32.const {kept}) {called})"),
            Some(_) => write!(source, "(i32.store (i32.const {kept}) {called})"),
            None => write!(source, "{called}"),
        };
    }
    let _ = write!(source, "(i32.const {})))", bytes.byte() % 2);
    source
}
