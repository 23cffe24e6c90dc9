#![no_main]

libfuzzer_sys::fuzz_target!(init: pg_fuzz::end_at_a_panic(), |bytes: &[u8]| pg_fuzz::settings::run(bytes));
