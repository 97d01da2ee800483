//! The lock that keeps a second process off the database.
//!
//! SQLite itself would let two processes share the file; two orchestrators over one state must not be.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::OpenError;

/// A process number has at most this many digits; anything longer in the lock file is not ours.
const PID_LENGTH_MAX: u64 = 20;

/// Holds the lock. The kernel gives it back when the file is closed, also after a kill.
#[derive(Debug)]
pub(super) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock of the database at `path`, without waiting.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, "lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|source| OpenError::Folder {
                path: lock_path.clone(),
                source,
            })?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                write_holder(&mut file);
                Ok(Self { _file: file })
            }
            Err(Errno::WOULDBLOCK) => Err(OpenError::InUse {
                path: path.to_owned(),
                holder: read_holder(&mut file),
            }),
            Err(errno) => Err(OpenError::Folder {
                path: lock_path,
                source: errno.into(),
            }),
        }
    }
}

/// The path of a file that belongs to the database: `<path>.<suffix>`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Leaves our process number for the message of whoever comes second. The lock holds without it, so a failure (a full
/// disk) is no reason to refuse.
fn write_holder(file: &mut File) {
    let written = file
        .set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::debug!(%error, "the lock file of the state database does not name its holder");
    }
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(PID_LENGTH_MAX).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}
