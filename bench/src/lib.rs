//! What the benches share. `cargo bench -p millrace-bench` runs the micro benches; the binaries
//! `path`, `ceiling` and `compare` say in `--help` what they measure. `cargo xtask bench` runs all.
#![forbid(unsafe_code)]

pub mod bed;
pub mod cpu;
pub mod discard;
pub mod samples;
pub mod stats;
