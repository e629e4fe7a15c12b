#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshdog::fuzz_entry::netlink(bytes));
