//! The project's own commands.
//!
//! `cargo xtask test` is what CI runs: format, lints, documentation, unit and integration tests,
//! every browser cell once, and the attacks. `cargo xtask deep` does all of it at length, `cargo xtask
//! bench` measures speed.

mod bench;
mod count;
mod denied;
mod fuzz;
mod install;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use count::Counts;

const USAGE: &str = "\
cargo xtask test      format, lints, tests, each browser cell once, the attacks (CI runs this)
cargo xtask deep      the same with each step as long as it can be: browser cells with medians of five, long
                      holds, namespaces and outages, 2,000 seeds of the simulated node, all attacks, everything
                      without io_uring, fuzzing. About two hours
cargo xtask browsers [name...]   the browser cells alone, or those whose name contains a word
cargo xtask fuzz [target] [seconds]   libFuzzer over one target or all, 30 s each
cargo xtask denied [command...]   the command where io_uring is denied; without one, the whole suite
cargo xtask hostile [option...]  attacks on a node that carries a call; --quick, --only S5, ...
cargo xtask bench [--quick] [micro|path|ceiling...]   what a packet costs, stage by stage, and at most;
                      --help says more
cargo xtask install   what the tests need and this machine lacks";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let result = match words.as_slice() {
        ["test"] => steps::test(&root),
        ["deep"] => steps::deep(&root),
        ["browsers", names @ ..] => steps::browsers(&root, names),
        ["fuzz", words @ ..] => fuzz::fuzz(&root, words),
        ["denied", command @ ..] => denied::denied(&root, command),
        ["hostile", options @ ..] => steps::hostile(&root, options),
        ["bench", words @ ..] => bench::bench(&root, words),
        ["install"] => install::all(&root).map(|()| Counts::default()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(counts) => {
            if counts != Counts::default() {
                println!("{counts}");
            }
            if counts.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(sentence) => {
            eprintln!("xtask: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace, wherever the command was started.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
