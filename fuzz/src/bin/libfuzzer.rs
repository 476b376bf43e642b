//! Fuzz targets under libFuzzer, guided by coverage. `scripts/fuzz --libfuzzer` builds and calls this; the environment's
//! `CORDON_FUZZ_TARGET` names the target.
#![no_main]
#![allow(
    clippy::expect_used,
    unsafe_code,
    missing_docs,
    reason = "libFuzzer finds its entry point by a symbol"
)]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<String> = OnceLock::new();
    let name = TARGET.get_or_init(|| std::env::var("CORDON_FUZZ_TARGET").expect("CORDON_FUZZ_TARGET names a target"));
    cordon_fuzz::run_by_name(name, data);
});
