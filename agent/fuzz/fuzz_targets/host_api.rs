#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshdog::fuzz_entry::host_api(bytes));
