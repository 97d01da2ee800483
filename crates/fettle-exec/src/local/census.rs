//! What runs for attempts on this machine, by the process table.
//!
//! Owns the question whose a run is: only what was started for this data folder is ours. Another server's, or that of a copy of
//! this folder, is not even listed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fettle_confine::{AttemptDir, Census, ProcessIdentity, RunningDriver, read_json};
use fettle_model::{AttemptId, AttemptSpec};
use fettle_ports::executor::Run;

use super::folder;

/// The runs that belong to this data folder: drivers, and processes that have outlived their driver.
pub(super) fn runs(data_dir: &Path) -> Vec<Run> {
    let attempts = real(&data_dir.join("attempts"));
    let census = fettle_confine::census();
    let mut runs: Vec<Run> = census
        .drivers
        .iter()
        .filter_map(|driver| run(driver, &attempts))
        .collect();
    let driven: BTreeSet<AttemptId> = runs.iter().map(|run| run.attempt.clone()).collect();
    runs.extend(leftovers(&census, &attempts, &driven));
    runs
}

fn run(driver: &RunningDriver, attempts: &Path) -> Option<Run> {
    let dir = AttemptDir::of_spec(&driver.spec);
    let spec: AttemptSpec = read_json(&dir.spec()).ok()??;
    let own = attempts.join(spec.attempt_id.as_str());
    let is_own_folder = real(dir.path()) == own;
    if !is_own_folder && !is_ours(&spec, attempts) {
        return None;
    }
    let is_named = || folder::driver(&dir).is_none_or(|named| named == driver.identity);
    let is_the_attempts = is_own_folder && is_named();
    let pid = driver.identity.pid;
    let path = driver.spec.display();
    Some(Run {
        attempt: spec.attempt_id,
        batch_id: spec.batch_id,
        tier_num: spec.tier_num,
        name: name(&driver.identity),
        is_the_attempts,
        age_ms: Some(driver.age_ms),
        evidence: format!("process {pid} drives {path}"),
    })
}

/// Whether a run reports to the server of this data folder.
fn is_ours(spec: &AttemptSpec, attempts: &Path) -> bool {
    let file = spec.control_url_file.as_deref().map(Path::new);
    let folder = file.and_then(Path::parent).map(real);
    folder.is_some() && folder.as_deref() == attempts.parent()
}

/// Processes of our attempts that no driver leads any more.
fn leftovers(census: &Census, attempts: &Path, driven: &BTreeSet<AttemptId>) -> Vec<Run> {
    let left = census.marked.iter().filter_map(|(marker, pids)| {
        let attempt: AttemptId = marker.parse().ok()?;
        let dir = AttemptDir::new(attempts.join(attempt.as_str()));
        let spec: AttemptSpec = read_json(&dir.spec()).ok()??;
        (!driven.contains(&attempt)).then(|| Run {
            attempt,
            batch_id: spec.batch_id,
            tier_num: spec.tier_num,
            name: format!("{pids:?}"),
            is_the_attempts: true,
            age_ms: None,
            evidence: format!("processes {pids:?} have the attempt's mark and no driver"),
        })
    });
    left.collect()
}

/// A driver's name as text; a process id that was given away names nobody.
fn name(driver: &ProcessIdentity) -> String {
    let ProcessIdentity {
        pid,
        start_ticks,
        boot_id,
    } = driver;
    format!("{pid}/{start_ticks}/{boot_id}")
}

/// The driver of this name, if it lives.
pub(super) fn driver_named(name: &str) -> Option<ProcessIdentity> {
    let mut parts = name.splitn(3, '/');
    let identity = ProcessIdentity {
        pid: parts.next()?.parse().ok()?,
        start_ticks: parts.next()?.parse().ok()?,
        boot_id: parts.next()?.to_owned(),
    };
    identity.liveness().is_alive().then_some(identity)
}

/// The path without links, so that two ways to a folder are the same folder.
fn real(path: &Path) -> PathBuf {
    path.canonicalize()
        .unwrap_or_else(|_missing| path.to_owned())
}
