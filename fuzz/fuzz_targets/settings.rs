#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pg_fuzz::settings::run(bytes));
