//! Forms of code: compression, roots and fragments, and the prelude that deploys them.

use std::sync::{Arc, OnceLock};

use alloy_primitives::{Bytes, TxKind};
use cordon_stylus::code::{self, CodeKind, Root};
use cordon_stylus::pricing::Params;
use cordon_stylus::{CacheOptions, EngineChoice, ProgramCache};
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, Output};

use super::world::{PROGRAM, World, call};

/// Output that is asked for at most.
const LIMIT: usize = 64 << 10;
/// EIP-170.
const MAX_CODE: usize = 24_576;
const GAS: u64 = 20_000_000;

/// The bytes as code of an account, as a stream, as a root's fragments, as a module.
pub(super) fn run(data: &[u8]) {
    let kind = code::kind(data);
    if let Ok(wasm) = code::decompress(data, LIMIT) {
        assert!(wasm.len() <= LIMIT && matches!(kind, Some(CodeKind::Classic { dictionary: 0 })));
    }
    if let Ok(wasm) = code::decompress(&[&[0xef, 0xf0, 0, 0][..], data].concat(), LIMIT) {
        assert!(wasm.len() <= LIMIT);
        let again = code::decompress(&code::compress(&wasm).expect("it fits"), LIMIT);
        assert_eq!(again.expect("it was just made"), wasm);
    }
    let params = Params::default();
    for root in [data.to_vec(), [&[0xef, 0xf0, 2, 0][..], data].concat()] {
        if let Ok(root) = Root::parse(&root, &params) {
            assert!((1..=usize::from(params.max_fragments)).contains(&root.fragments.len()));
            let fragments = vec![[&[0xef, 0xf0, 1][..], data].concat(); root.fragments.len()];
            if let Ok(wasm) = root.decompress(&fragments) {
                assert_eq!(wasm.len(), root.wasm_len);
            }
        }
    }
    deploy(data);
}

/// What the prelude deploys is what was given to it, where the chain accepts such code at all.
fn deploy(data: &[u8]) {
    static WORLD: OnceLock<World> = OnceLock::new();
    static CACHE: OnceLock<Arc<ProgramCache>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| {
        let options = CacheOptions {
            engine: EngineChoice::Wasmi,
            ..CacheOptions::default()
        };
        Arc::new(ProgramCache::with_options(options).expect("nothing is kept on disk"))
    });
    let mut world = WORLD.get_or_init(|| World::new(60)).clone();
    let tx = TxEnv {
        kind: TxKind::Create,
        data: Bytes::from(code::init_code(data)),
        ..call(PROGRAM, &[], 0, GAS)
    };
    let seen = world.transact(cache, tx);
    let accepted = data.len() <= MAX_CODE && (data.first() != Some(&0xef) || code::kind(data).is_some());
    match &seen.done.result {
        ExecutionResult::Success {
            output: Output::Create(deployed, Some(address)),
            ..
        } => {
            assert!(accepted, "this code must not be deployed");
            assert_eq!(deployed, data);
            let account = &seen.done.state[address];
            assert_eq!(account.info.code_hash, alloy_primitives::keccak256(data));
        }
        other => assert!(!accepted, "this code can be deployed: {other:?}"),
    }
}
