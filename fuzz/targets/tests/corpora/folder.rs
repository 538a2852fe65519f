//! The committed corpora: one folder for each target, files named by the hash of what they hold.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// Names and contents, in the order of the names.
pub(crate) fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = path().join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

pub(crate) fn hash(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
