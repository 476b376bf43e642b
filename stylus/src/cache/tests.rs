#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use tempfile::TempDir;

use super::*;

const VERSION: u16 = 3;

fn instrumented() -> Vec<u8> {
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 1 1)
            (func (export "user_entrypoint") (param i32) (result i32) local.get 0))"#,
    )
    .unwrap();
    module::prepare(&wasm, &Params::default(), 0).unwrap().wasm
}

fn cache(directory: &Path, engine: EngineChoice) -> Arc<ProgramCache> {
    let options = CacheOptions {
        engine,
        hot_after: 1,
        directory: Some(directory.to_owned()),
        ..CacheOptions::default()
    };
    Arc::new(ProgramCache::with_options(options).unwrap())
}

fn env() -> Env {
    Env::new(
        crate::hooks::CallInfo::default(),
        crate::hooks::BlockInfo::default(),
        Params::default(),
        Arc::default(),
        1_000_000,
    )
}

fn call(cache: &Arc<ProgramCache>, program: &Arc<CachedProgram>) {
    let step = cache.start(program, env()).unwrap().resume(None);
    let crate::run::Step::Finished(finished) = step else {
        panic!("it asks nothing");
    };
    assert_eq!(finished.outcome, crate::run::Outcome::Success);
}

/// A directory in which native code of the program with this hash is kept.
fn filled(code_hash: B256) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("programs");
    let cache = cache(&path, EngineChoice::Wasmtime);
    let program = cache.compile(code_hash, VERSION, &instrumented()).unwrap();
    call(&cache, &program);
    let file = path.join(format!("{code_hash:x}-{VERSION}.cwasm"));
    assert!(file.exists());
    (directory, file)
}

#[test]
fn hot_programs_become_native_in_the_background() {
    let cache = Arc::new(
        ProgramCache::with_options(CacheOptions {
            hot_after: 3,
            ..CacheOptions::default()
        })
        .unwrap(),
    );
    let program = cache.compile(B256::ZERO, VERSION, &instrumented()).unwrap();
    for _ in 0..2 {
        call(&cache, &program);
    }
    cache.wait_for_compiler();
    assert!(!cache.is_native(B256::ZERO, VERSION), "twice is not hot");
    call(&cache, &program);
    cache.wait_for_compiler();
    assert!(cache.is_native(B256::ZERO, VERSION));
    call(&cache, &program);
}

#[test]
fn native_code_survives_the_process() {
    let hash = B256::repeat_byte(1);
    let (_directory, file) = filled(hash);
    let next = cache(file.parent().unwrap(), EngineChoice::Auto);
    let program = next.get(hash, VERSION).expect("it is on disk");
    assert!(next.is_native(hash, VERSION));
    call(&next, &program);
    assert!(
        next.get(hash, VERSION + 1).is_none(),
        "another version is another program"
    );
    assert!(next.get(B256::ZERO, VERSION).is_none());
}

#[test]
fn damaged_code_is_made_again() {
    let hash = B256::repeat_byte(2);
    let (_directory, file) = filled(hash);
    let good = fs::read(&file).unwrap();
    let damages: [(&str, Vec<u8>); 5] = [
        (
            "a flipped bit",
            good.iter()
                .enumerate()
                .map(|(at, byte)| byte ^ u8::from(at == good.len() / 2))
                .collect(),
        ),
        ("cut short", good[..good.len() - 1].to_vec()),
        ("header only", good[..20].to_vec()),
        ("empty", Vec::new()),
        ("something else", b"cordonw\x01 and then nothing of use".repeat(100)),
    ];
    for (what, content) in damages {
        fs::write(&file, content).unwrap();
        assert!(
            cache(file.parent().unwrap(), EngineChoice::Auto)
                .get(hash, VERSION)
                .is_none(),
            "{what}"
        );
    }
    let again = cache(file.parent().unwrap(), EngineChoice::Wasmtime);
    let program = again.compile(hash, VERSION, &instrumented()).unwrap();
    call(&again, &program);
    assert!(
        cache(file.parent().unwrap(), EngineChoice::Auto)
            .get(hash, VERSION)
            .is_some()
    );
}

#[test]
fn code_of_another_program_or_directory_is_foreign() {
    let (hash, other) = (B256::repeat_byte(3), B256::repeat_byte(4));
    let (_directory, file) = filled(hash);
    let renamed = file.with_file_name(format!("{other:x}-{VERSION}.cwasm"));
    fs::copy(&file, &renamed).unwrap();
    assert!(
        cache(file.parent().unwrap(), EngineChoice::Auto)
            .get(other, VERSION)
            .is_none()
    );
    // Another directory has another key.
    let (_directory, foreign) = filled(other);
    let moved = foreign.with_file_name(file.file_name().unwrap());
    fs::copy(&file, &moved).unwrap();
    assert!(
        cache(foreign.parent().unwrap(), EngineChoice::Auto)
            .get(hash, VERSION)
            .is_none()
    );
}

#[test]
fn a_damaged_key_makes_all_code_foreign() {
    let hash = B256::repeat_byte(5);
    let (_directory, file) = filled(hash);
    fs::write(file.with_file_name("key"), b"short").unwrap();
    let cache = cache(file.parent().unwrap(), EngineChoice::Auto);
    assert!(cache.get(hash, VERSION).is_none());
    assert_eq!(
        fs::read(file.with_file_name("key")).unwrap().len(),
        32,
        "there is a new one"
    );
}

#[test]
fn debug_chains_have_code_of_their_own() {
    let hash = B256::repeat_byte(7);
    let (_directory, file) = filled(hash);
    let options = CacheOptions {
        directory: file.parent().map(Path::to_owned),
        debug_chain: true,
        ..CacheOptions::default()
    };
    let debug = ProgramCache::with_options(options).unwrap();
    assert!(
        debug.get(hash, VERSION).is_none(),
        "the exports of programs differ there"
    );
}

#[cfg(unix)]
#[test]
fn what_others_can_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;

    let hash = B256::repeat_byte(6);
    let (_directory, file) = filled(hash);
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let directory = file.parent().unwrap();
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    set(&file, 0o620);
    assert!(cache(directory, EngineChoice::Auto).get(hash, VERSION).is_none());
    set(&file, 0o600);
    assert!(cache(directory, EngineChoice::Auto).get(hash, VERSION).is_some());
    let open = || {
        let options = CacheOptions {
            directory: Some(directory.to_owned()),
            ..CacheOptions::default()
        };
        ProgramCache::with_options(options)
    };
    set(&directory.join("key"), 0o660);
    assert!(matches!(open(), Err(DiskError::Unsafe { .. })));
    set(&directory.join("key"), 0o600);
    set(directory, 0o777);
    assert!(matches!(open(), Err(DiskError::Unsafe { .. })));
}

#[test]
fn what_would_take_long_to_compile_is_interpreted() {
    let function = format!("(func (param i32) {})", "local.get 0 br_if 0 ".repeat(3_700));
    let wat = format!(
        r#"(module (memory (export "memory") 1 1) {}
            (func (export "user_entrypoint") (param i32) (result i32) local.get 0))"#,
        function.repeat(15)
    );
    let wasm = module::prepare(&wat::parse_str(wat).unwrap(), &Params::default(), 0)
        .unwrap()
        .wasm;
    for engine in [EngineChoice::Wasmtime, EngineChoice::Auto] {
        let options = CacheOptions {
            engine,
            hot_after: 1,
            ..CacheOptions::default()
        };
        let cache = Arc::new(ProgramCache::with_options(options).unwrap());
        let start = std::time::Instant::now();
        let program = cache.compile(B256::ZERO, VERSION, &wasm).unwrap();
        call(&cache, &program);
        cache.wait_for_compiler();
        call(&cache, &program);
        assert!(!cache.is_native(B256::ZERO, VERSION));
        // Compiling it takes half a minute on an idle machine.
        assert!(
            start.elapsed() < std::time::Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let cache = Arc::new(
        ProgramCache::with_options(CacheOptions {
            engine: EngineChoice::Wasmi,
            ..CacheOptions::default()
        })
        .unwrap(),
    );
    let wasm = instrumented();
    let hash = |number: usize| B256::from(alloy_primitives::U256::from(number));
    for number in 0..MAX_PROGRAMS {
        cache.compile(hash(number), VERSION, &wasm).unwrap();
    }
    assert!(cache.get(hash(0), VERSION).is_some());
    cache.compile(hash(MAX_PROGRAMS), VERSION, &wasm).unwrap();
    assert!(cache.get(hash(0), VERSION).is_some(), "it was used just now");
    assert!(cache.get(hash(1), VERSION).is_none());
}

#[test]
fn engines_have_names() {
    assert_eq!("wasmtime".parse::<EngineChoice>().unwrap(), EngineChoice::Wasmtime);
    let unknown = "wasm3".parse::<EngineChoice>().unwrap_err().to_string();
    assert!(
        unknown.contains("wasm3") && unknown.contains("auto, wasmi or wasmtime"),
        "{unknown}"
    );
}
