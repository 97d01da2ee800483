//! The checks that clippy has no rule for.
//!
//! Owns the list of rules and the order in which they speak. Each rule is a pure function over the loaded sources, so that
//! its test can feed it a fixture. It must not change a source; only the ratchet is ever written, and only downwards.

mod header;
mod length;
mod pages;
mod ratchet;
mod rooms;
mod source;
mod words;

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use source::Repository;

/// Whether the ratchet is only compared or also lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ratcheting {
    /// Compare.
    Check,
    /// Lower it to what is there.
    Shrink,
}

/// Runs every rule and returns the findings as `path:line: text`.
pub(crate) fn run(root: &Path, ratcheting: Ratcheting) -> anyhow::Result<Vec<String>> {
    let repository = Repository::load(root)?;
    let mut findings = repository.unparsed.clone();
    findings.extend(header::check(&repository.sources));
    findings.extend(words::check(&repository));
    findings.extend(rooms::check(&repository.manifests));
    findings.extend(pages::check(&repository));
    findings.extend(crate::settings::check(root));
    let measured = length::measure(&repository.sources);
    findings.extend(ratcheted(root, &measured, ratcheting)?);
    summary(&measured)?;
    findings.sort();
    Ok(findings)
}

fn ratcheted(
    root: &Path,
    measured: &length::Measured,
    ratcheting: Ratcheting,
) -> anyhow::Result<Vec<String>> {
    let path = root.join(ratchet::FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let allowed =
        ratchet::parse(&text).with_context(|| format!("failed to read {}", path.display()))?;
    if ratcheting == Ratcheting::Shrink {
        let lowered = ratchet::shrink(&allowed, measured);
        std::fs::write(&path, ratchet::render(&lowered))
            .with_context(|| format!("failed to write {}", path.display()))?;
        return Ok(ratchet::check(&lowered, measured));
    }
    Ok(ratchet::check(&allowed, measured))
}

/// Says how far the code is from its aims; aims are not enforced.
fn summary(measured: &length::Measured) -> anyhow::Result<()> {
    let (files, functions) = measured.over_the_aim();
    writeln!(
        std::io::stdout(),
        "tidy: {} files and {} functions; over the aim: {files} files ({} lines), {functions} functions ({} lines)",
        measured.files.len(),
        measured.functions.len(),
        length::FILE_AIM,
        length::FUNCTION_AIM,
    )
    .context("failed to write the summary")
}
