//! Free space, asked before writing.
//!
//! The library writes through memory maps of sparse files. When the disk is full such a write does not fail: the kernel
//! kills the process with SIGBUS. So space is asked for beforehand, and a reserve is left.

use std::path::Path;

use crate::fault::Fault;

/// What a written byte may cost on disk: in the log, in its storage, in payload indexes and in rounding to blocks.
const WRITE_AMPLIFICATION: u64 = 4;

/// Whether `bytes` more can be written under `path` while `reserve_bytes` stay free.
pub(crate) fn ensure_space(path: &Path, bytes: u64, reserve_bytes: u64) -> Result<(), Fault> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| Fault::io("ask for free space", &error.into()))?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed_bytes = bytes
        .saturating_mul(WRITE_AMPLIFICATION)
        .saturating_add(reserve_bytes);
    if free_bytes < needed_bytes {
        return Err(Fault::Full);
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Fault> {
    std::fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Fault::io("sync a directory", &error))
}
