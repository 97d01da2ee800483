//! Whether the disk under the database is full.
//!
//! SQLite reports `SQLITE_FULL` only for ENOSPC on its own writes. A passed quota, or a shared-memory file that cannot grow,
//! comes as a bare IO error; then a small trial write tells.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::beside;

/// Size of the trial write in bytes: more than the slack of a partly used block, little enough to be cheap.
const TRIAL_BYTES: usize = 64 * 1024;

/// Knows where a trial write would have to go.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    trial: Arc<PathBuf>,
}

impl Disk {
    /// The disk of the database at `path`.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            trial: Arc::new(beside(path, "trial")),
        }
    }

    /// Whether writing fails for lack of space or quota. Touches the disk; for use after a failure only.
    pub(super) fn is_full(&self) -> bool {
        let written = File::create(self.trial.as_path()).and_then(|mut file| {
            file.write_all(&vec![1_u8; TRIAL_BYTES])?;
            file.sync_all()
        });
        if let Err(error) = std::fs::remove_file(self.trial.as_path()) {
            tracing::debug!(%error, "the trial file of the state database was not removed");
        }
        let kind = written.map_err(|error| error.kind());
        matches!(kind, Err(ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }
}
