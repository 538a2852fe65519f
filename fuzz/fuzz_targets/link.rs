#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| millrace_fuzz_targets::run("link", input));
