//! The programs' sizes and entry costs beside those that were landed last, which `docs/benchmarks.md` has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use cordon_node::NodeConfig;
use cordon_tests::bench::landed::{self, COMMAND, FILE, has_grown};
use cordon_tests::bench::{Bench, root};

/// What Stylus unpacks at most.
const MOST_WASM: u64 = 128 * 1024;
/// Ours, for programs that grow; the law (EIP-170) is 24,576.
const MOST_CODE: u64 = 20_000;
/// Of the gate, whose size every guarded call pays for twice.
const MOST_GATE: u64 = 6 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_their_entry_stay_as_they_were_landed() {
    let landed = landed::programs(&landed::read(&root().unwrap()).unwrap()).unwrap();
    let bench = Bench::new(&root().unwrap(), NodeConfig::default()).await.unwrap();
    let programs = bench.programs().await.unwrap();
    bench.stop().await.unwrap();
    let mut grown = Vec::new();
    for now in &programs {
        let name = &now.name;
        assert!(now.wasm < MOST_WASM, "{name}: {} bytes of WASM", now.wasm);
        assert!(now.code < MOST_CODE, "{name}: {} bytes of code", now.code);
        assert!(
            name != "gate" || now.wasm <= MOST_GATE,
            "gate: {} bytes of WASM",
            now.wasm
        );
        let before = landed.get(name);
        let before = before.unwrap_or_else(|| panic!("{FILE} has no row of {name}: run {COMMAND}"));
        for (what, before, now) in [
            ("bytes of WASM", before.wasm, now.wasm),
            ("bytes of code", before.code, now.code),
            ("gas of its entry", before.entry, now.entry),
            ("gas of its cached entry", before.cached, now.cached),
        ] {
            println!("{name}: {what} {before} -> {now}");
            // The unpacked size costs by what the entry does, and has a bound of its own.
            if what != "bytes of WASM" && has_grown(before, now) {
                grown.push(format!("{name}: {what} {before} -> {now}"));
            }
        }
    }
    assert_eq!(
        landed.len(),
        programs.len(),
        "{FILE} has rows of other programs: {landed:?}"
    );
    assert!(
        grown.is_empty(),
        "more than 1 % above the figures of {FILE}; where that is meant, run {COMMAND} and land the table with the change:\n{}",
        grown.join("\n")
    );
}

#[test]
fn a_landed_table_is_read_to_the_last_row() {
    let text = "# Benchmarks\n\n## Programs\n\n| program | a | b | c | d |\n| --- | ---: | ---: | ---: | ---: |\n\
                | gate | 6102 | 2939 | 10203 | 430 |\n| hooks | 44865 | 19240 | 16456 | 499 |\n\n## Gas\n\n| other | 1 | 2 | 3 | 4 |\n";
    let programs = landed::programs(text).unwrap();
    assert_eq!(programs.len(), 2);
    assert_eq!((programs["hooks"].code, programs["hooks"].cached), (19_240, 499));
    assert!(landed::programs("# Benchmarks\n").is_err());
    assert!(landed::programs(&text.replace("19240", "many")).is_err());
    assert!(!has_grown(10_000, 10_100) && has_grown(10_000, 10_101), "one per cent");
    let row = "| `contain`, not cached | 80000 | 103340, missed by 23340 | 81332, missed by 1332 |\n";
    assert_eq!(landed::response(row, "`contain`, not cached").unwrap(), 81_332);
    assert!(landed::response(row, "`trip`").is_err());
}
