//! `without-io-uring [--memlock <bytes>] <command>...` runs a command to which the kernel denies
//! io_uring: by a seccomp filter that answers EPERM, or by a limit on locked memory.
#![deny(unsafe_code)]

#[path = "../denial.rs"]
#[allow(dead_code, reason = "some denials are for the tests alone")]
mod denial;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// Tells tests that the denial is meant.
const VARIABLE: &str = "IO_URING_DENIED_BY";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (denied, by, command) = match arguments.as_slice() {
        [flag, bytes, command @ ..] if flag == "--memlock" => {
            let Ok(bytes) = bytes.parse() else {
                eprintln!("without-io-uring: `{bytes}` is no number of bytes");
                return ExitCode::from(2);
            };
            (denial::limit_locked_memory(bytes), "memlock", command)
        }
        command => (denial::deny_io_uring(), "seccomp", command),
    };
    if let Err(error) = denied {
        eprintln!("without-io-uring: this host does not let us deny it ({by}): {error}");
        return ExitCode::FAILURE;
    }
    let Some((program, rest)) = command.split_first() else {
        eprintln!("usage: without-io-uring [--memlock <bytes>] <command>...");
        return ExitCode::from(2);
    };
    let error = Command::new(program).args(rest).env(VARIABLE, by).exec();
    eprintln!("without-io-uring: {program}: {error}");
    ExitCode::FAILURE
}
