#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cordon_fuzz::run_by_name("code", data));
