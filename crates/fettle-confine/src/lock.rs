//! The lock that a driver holds for its life: the best proof that it lives, and the guard against a second one.
//!
//! Owns the use of flock(2) on one file. The kernel drops the lock with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::procfs::LOOK_INTERVAL;

/// How long a driver tries: a look at the lock holds it for microseconds and must not be taken for a second driver.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another process holds the lock {}", path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or locked.
    #[error("the lock {} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// A lock held until this is dropped or the process ends.
#[derive(Debug)]
pub struct AttemptLock {
    _file: File,
}

impl AttemptLock {
    /// Takes the lock. Blocks for at most half a second.
    ///
    /// # Errors
    /// When another process holds it or the file cannot be used.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let file = open(path)?;
        let deadline = Instant::now() + ACQUIRE_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(LOOK_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        path: path.to_owned(),
                    });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(LockError::Io {
                        path: path.to_owned(),
                        source,
                    });
                }
            }
        }
    }

    /// Whether a process holds the lock now; `false` when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn is_held(path: &Path) -> Result<bool, LockError> {
        let failed = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        // Shared, so that two lookers do not take each other for a driver.
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn open(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| LockError::Io {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!AttemptLock::is_held(&path).unwrap());
        let first = AttemptLock::acquire(&path).unwrap();
        assert!(AttemptLock::is_held(&path).unwrap());
        assert!(matches!(
            AttemptLock::acquire(&path),
            Err(LockError::Held { .. })
        ));
        drop(first);
        assert!(!AttemptLock::is_held(&path).unwrap());
        AttemptLock::acquire(&path).unwrap();
    }
}
