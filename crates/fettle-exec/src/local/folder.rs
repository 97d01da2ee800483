//! What the folder of an attempt says of it, together with the kernel.
//!
//! Owns the reading of an attempt's state. Nothing is kept in memory, so a restarted `serve` reads the same.

use std::fs;
use std::io;

use fettle_confine::{
    AttemptDir, AttemptGroup, AttemptLock, ProcessIdentity, TerminationScope, read_json,
    write_atomically,
};
use fettle_model::{AttemptId, ProcessExit};

use crate::record::EndRecord;

/// What one look at an attempt shows.
#[derive(Debug)]
pub(crate) enum Look {
    /// Nothing was ever started.
    Unknown,
    /// The driver lives.
    Alive,
    /// There is no driver any more, and the end has not been captured.
    Over,
    /// The end has been captured.
    Ended(Box<EndRecord>),
}

/// Looks at an attempt. Costs a few small file reads.
pub(crate) fn look(dir: &AttemptDir) -> io::Result<Look> {
    if !dir.path().is_dir() {
        return Ok(Look::Unknown);
    }
    if let Some(end) = read_json::<EndRecord>(&dir.ended())? {
        return Ok(Look::Ended(Box::new(end)));
    }
    if AttemptLock::is_held(&dir.lock()).map_err(io::Error::other)? {
        return Ok(Look::Alive);
    }
    match driver(dir) {
        // Between its start and the lock a driver is known by what its parent wrote.
        Some(driver) if driver.liveness().is_alive() => Ok(Look::Alive),
        Some(_) => Ok(Look::Over),
        None if dir.stop().exists() || dir.exit().exists() => Ok(Look::Over),
        None => Ok(Look::Unknown),
    }
}

/// The driver as it named itself, else as its parent named it. A file that cannot be read names nobody.
pub(crate) fn driver(dir: &AttemptDir) -> Option<ProcessIdentity> {
    let load = |path: std::path::PathBuf| match ProcessIdentity::load(&path) {
        Ok(identity) => identity,
        Err(error) => {
            tracing::warn!(%error, "an attempt's driver cannot be read from its file");
            None
        }
    };
    load(dir.driver()).or_else(|| load(dir.spawned()))
}

/// Everything by which the processes of an attempt are known.
pub(crate) fn scope(dir: &AttemptDir, attempt: &AttemptId) -> TerminationScope {
    let group = AttemptGroup::open(&dir.group()).unwrap_or_else(|error| {
        tracing::warn!(%attempt, %error, "the attempt's group cannot be read from its file");
        None
    });
    TerminationScope {
        leader: driver(dir),
        group,
        marker: Some(attempt.to_string()),
    }
}

/// Keeps how the driver ended, unless it only found that another one drives the attempt.
pub(crate) fn keep_driver_exit(
    dir: &AttemptDir,
    child: Option<&ProcessIdentity>,
    exit: ProcessExit,
) -> io::Result<()> {
    let named = ProcessIdentity::load(&dir.driver()).ok().flatten();
    let is_other = named.is_some() && named.as_ref() != child;
    if is_other && exit.code == Some(fettle_confine::ALREADY_RUNNING_EXIT_CODE) {
        return Ok(());
    }
    write_atomically(&dir.driver_exit(), &serde_json::to_vec(&exit)?)
}

/// Makes the folder for its owner alone.
pub(crate) fn make(dir: &AttemptDir) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir.path())
}
