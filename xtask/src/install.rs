//! Brings what the tests need: Debian packages where we may install them, a sentence where not.

use std::path::Path;
use std::process::{Command, Stdio};

/// A program the tests run, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("chromium", "chromium"),
    ("firefox-esr", "firefox-esr"),
    ("pulseaudio", "pulseaudio"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3"),
];

/// PyPI packages, pinned: LiveKit's native client and its server API client.
const PYTHON_PACKAGES: [&str; 2] = ["livekit==1.2.1", "livekit-api==1.2.2"];

pub(crate) fn all(root: &Path) -> Result<(), String> {
    programs()?;
    npm(root)?;
    python(root)
}

fn programs() -> Result<(), String> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if !makes_environments() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if !on_path("apt-get") || !is_root() {
        return Err(format!(
            "the tests need {wanted}: install them, on Debian with `sudo apt-get install {wanted}`"
        ));
    }
    println!("installing {wanted}");
    let update = Command::new("apt-get").args(["update", "-qq"]).status();
    let install = Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status();
    match (update, install) {
        (Ok(_), Ok(status)) if status.success() => Ok(()),
        _ => Err(format!(
            "`apt-get install {wanted}` failed: install them by hand"
        )),
    }
}

/// The locked npm packages of the browser tests.
fn npm(root: &Path) -> Result<(), String> {
    let folder = root.join("tests/browser");
    let lock = folder.join("package-lock.json");
    let done = folder.join("node_modules/.installed");
    let wanted = std::fs::read(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .status()
        .map_err(|error| format!("npm does not start ({error}): install nodejs and npm"))?;
    if !status.success() {
        return Err("`npm ci` in tests/browser failed".into());
    }
    std::fs::write(&done, wanted).map_err(|error| format!("{}: {error}", done.display()))
}

/// A virtual environment in the target folder.
fn python(root: &Path) -> Result<(), String> {
    let venv = root.join("target/python");
    let done = venv.join("installed");
    let wanted = PYTHON_PACKAGES.join(" ");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let venv_arg = venv.display().to_string();
    run("python3", &["-m", "venv", &venv_arg])?;
    let pip = venv.join("bin/pip").display().to_string();
    let mut arguments = vec!["install", "--quiet", "--disable-pip-version-check"];
    arguments.extend(PYTHON_PACKAGES);
    run(&pip, &arguments)?;
    std::fs::write(&done, wanted).map_err(|error| format!("{}: {error}", done.display()))
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "`{program} {}` ended with {status}",
            arguments.join(" ")
        )),
        Err(error) => Err(format!("{program} does not start: {error}")),
    }
}

/// Debian's Python comes without what a virtual environment needs.
fn makes_environments() -> bool {
    Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    // Not on every user's path.
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    folders.iter().any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
