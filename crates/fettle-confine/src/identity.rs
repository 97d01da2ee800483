//! Which process is meant: a process id alone may have been given to another process meanwhile.
//!
//! Owns the identity (pid, start time, boot) and what may be concluded from it. It must not signal anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::write_atomically;
use crate::procfs;

/// A process, so named that no other process, also after a reboot, has the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The boot that the ticks count from.
    pub boot_id: String,
}

/// Why an identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no such process, or `/proc` is not readable.
    #[error("process {pid} cannot be read from /proc")]
    Process {
        /// The process asked for.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The boot id is not readable.
    #[error("the boot id cannot be read from {BOOT_ID_FILE}")]
    Boot(#[source] io::Error),
    /// The file of an identity could not be read or written.
    #[error("the identity file {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The file of an identity holds something else.
    #[error("the identity file {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it is malformed.
        #[source]
        source: serde_json::Error,
    },
}

/// What is known of an identity now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// It runs, sleeps, or is stopped.
    Alive,
    /// It has ended and waits for its parent to take note; it can do nothing any more, so it counts as dead.
    Zombie,
    /// No process has its id.
    Gone,
    /// Its id belongs to a process that started at another time.
    Replaced,
    /// The machine has booted since.
    Rebooted,
}

impl Liveness {
    /// Whether the process can still do anything.
    #[must_use]
    pub fn is_alive(self) -> bool {
        self == Self::Alive
    }
}

const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// The identity of the process that has this id now.
///
/// # Errors
/// When there is no such process.
pub fn identify(pid: u32) -> Result<ProcessIdentity, IdentityError> {
    let stat = procfs::stat(pid).map_err(|source| IdentityError::Process { pid, source })?;
    let boot_id = boot_id().map_err(IdentityError::Boot)?;
    Ok(ProcessIdentity {
        pid,
        start_ticks: stat.start_ticks,
        boot_id,
    })
}

/// Whether this very process still runs. Zombies count as dead.
#[must_use]
pub fn is_alive(identity: &ProcessIdentity) -> bool {
    identity.liveness().is_alive()
}

/// Writes the identity of this process to `path`, whole or not at all. A driver does this as its first act.
///
/// # Errors
/// When `/proc` or the file cannot be used.
pub fn record_self(path: &Path) -> Result<ProcessIdentity, IdentityError> {
    let identity = identify(std::process::id())?;
    identity.save(path)?;
    Ok(identity)
}

impl ProcessIdentity {
    /// What is known of it now.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        if boot_id().is_ok_and(|now| now != self.boot_id) {
            return Liveness::Rebooted;
        }
        match procfs::stat(self.pid) {
            Err(_) => Liveness::Gone,
            Ok(stat) if stat.start_ticks != self.start_ticks => Liveness::Replaced,
            Ok(stat) if stat.is_running() => Liveness::Alive,
            Ok(_) => Liveness::Zombie,
        }
    }

    /// Writes it to a file, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let file = |source| IdentityError::File {
            path: path.to_owned(),
            source,
        };
        let bytes = serde_json::to_vec(self).map_err(|source| file(source.into()))?;
        write_atomically(path, &bytes).map_err(file)
    }

    /// Reads it from a file; `None` when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(IdentityError::File {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| IdentityError::Malformed {
                path: path.to_owned(),
                source,
            })
    }
}

pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID_FILE)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn this_process_is_alive_and_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("driver.json");
        assert!(ProcessIdentity::load(&path).unwrap().is_none());
        let identity = record_self(&path).unwrap();
        assert_eq!(
            ProcessIdentity::load(&path).unwrap(),
            Some(identity.clone())
        );
        assert!(is_alive(&identity));
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut identity = identify(std::process::id()).unwrap();
        identity.start_ticks += 1;
        assert_eq!(identity.liveness(), Liveness::Replaced);
        identity.boot_id = "another".to_owned();
        assert_eq!(identity.liveness(), Liveness::Rebooted);
    }

    #[test]
    fn a_zombie_counts_as_dead_and_a_reaped_one_is_gone() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let identity = identify(child.id()).unwrap();
        assert!(is_alive(&identity));
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while identity.liveness() == Liveness::Alive {
            assert!(
                Instant::now() < deadline,
                "the killed child never became a zombie"
            );
            std::thread::yield_now();
        }
        assert_eq!(identity.liveness(), Liveness::Zombie);
        assert!(!is_alive(&identity));
        child.wait().unwrap();
        assert_eq!(identity.liveness(), Liveness::Gone);
    }

    #[test]
    fn a_malformed_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("driver.json");
        fs::write(&path, "{").unwrap();
        assert!(matches!(
            ProcessIdentity::load(&path),
            Err(IdentityError::Malformed { .. })
        ));
    }
}
