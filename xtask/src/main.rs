//! Development chores, run as `cargo xtask <chore>`.
//!
//! Owns the checks that clippy has no rule for (`tidy`) and the generated documents (`gen`). It must not be needed to
//! build, run or test the product.

mod settings;
mod tidy;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

const USAGE: &str = "usage: cargo xtask tidy           check what clippy has no rule for
       cargo xtask tidy --shrink  also lower the ratchet to what is there now
       cargo xtask gen            write the generated documents";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = root().and_then(|root| match words.as_slice() {
        ["tidy"] => tidy::run(&root, tidy::Ratcheting::Check),
        ["tidy", "--shrink"] => tidy::run(&root, tidy::Ratcheting::Shrink),
        ["gen"] => settings::write(&root).map(|()| Vec::new()),
        _ => anyhow::bail!("{USAGE}"),
    });
    report(outcome)
}

/// Findings go to standard error, one a line, so that an editor can jump to them.
fn report(outcome: anyhow::Result<Vec<String>>) -> ExitCode {
    let mut err = std::io::stderr().lock();
    // Nothing can be done about a standard error that is closed.
    let mut say = |line: String| drop(writeln!(err, "{line}"));
    match outcome {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            let count = findings.len();
            findings.into_iter().for_each(&mut say);
            say(format!("tidy: {count} finding(s)"));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The repository's root: the folder above this crate, or the working folder when the sources have moved since the build.
fn root() -> anyhow::Result<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    match built_from {
        Some(root) if root.join("Cargo.toml").is_file() => Ok(root.to_owned()),
        _ => std::env::current_dir().context("failed to find the repository's root"),
    }
}
