//! Each stage of a packet's way alone, and at the end one table of all of them. Times are of one
//! call.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod srtp;
mod stages;
mod table;

use std::path::PathBuf;

use criterion::Criterion;

fn main() {
    let results = results_folder();
    // What an earlier run left would be taken for this one's.
    let _ = std::fs::remove_dir_all(&results);
    let mut criterion = Criterion::default()
        .output_directory(&results)
        .configure_from_args();
    for bench in [
        srtp::protect,
        srtp::unprotect,
        stages::view,
        stages::downtrack,
        stages::router,
        stages::twcc,
        stages::store,
    ] {
        bench(&mut criterion);
    }
    criterion.final_summary();
    print!("{}", table::of(&results));
}

/// In cargo's target folder, where `deps` of the profile holds this program.
fn results_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("micro")
}
