//! The groups of an attempt and of its workers.
//!
//! Owns their life: create, limit, read, kill, remove. Where there are no cgroups the same types stand for a process and
//! its descendants, so callers need not care.

use std::io;
use std::path::{Path, PathBuf};

use fettle_model::AttemptId;
use fettle_model::evidence::MemoryEnforcement;
use serde::{Deserialize, Serialize};

use crate::attempt_dir::read_json;
use crate::confinement::Confinement;
use crate::files::write_atomically;
use crate::reading::MemoryReading;

pub(crate) mod layout;
pub(crate) mod tree;
pub(crate) mod v1;
pub(crate) mod v2;
mod worker;

pub use worker::WorkerGroup;

/// Why a group could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The kernel refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `create`, `write` or `remove`.
        action: &'static str,
        /// The group or control file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Processes are still in it.
    #[error("the group {} still holds processes {pids:?}", path.display())]
    Busy {
        /// The group.
        path: PathBuf,
        /// Those that run; empty when all have ended and the kernel has not cleared them away yet.
        pids: Vec<u32>,
    },
    /// The folder is not below a base group of Fettle.
    #[error("{} is not a group of Fettle", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// This process is itself in the group.
    #[error("the group {} holds this very process", path.display())]
    WouldKillSelf {
        /// The group.
        path: PathBuf,
    },
    /// The file that describes the group cannot be used.
    #[error("the group file {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
}

impl GroupError {
    /// The message with its cause, for reasons that are kept as text.
    #[must_use]
    pub fn explain(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

/// The group of one attempt: its driver and all its workers with their children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptGroup {
    attempt_id: AttemptId,
    enforcement: MemoryEnforcement,
    path: Option<PathBuf>,
}

impl AttemptGroup {
    /// Makes the group of an attempt, or finds the one that exists.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(confinement: &Confinement, attempt_id: &AttemptId) -> Result<Self, GroupError> {
        let path = confinement
            .base
            .as_ref()
            .map(|base| base.join(attempt_id.as_str()));
        if let Some(path) = &path {
            tree::make(path)?;
            if confinement.kind == MemoryEnforcement::CgroupV2 {
                v2::hand_down(path)?;
            }
        }
        Ok(Self {
            attempt_id: attempt_id.clone(),
            enforcement: confinement.kind,
            path,
        })
    }

    /// Reads the group from the file in which [`AttemptGroup::save`] has described it; `None` when there is no such file.
    /// This finds it also when the reader lives in another cgroup than the one that made it.
    ///
    /// # Errors
    /// When the file cannot be read, or describes something that is not a group of Fettle.
    pub fn open(file: &Path) -> Result<Option<Self>, GroupError> {
        let group: Option<Self> = read_json(file).map_err(|source| GroupError::File {
            path: file.to_owned(),
            source,
        })?;
        match group.as_ref().and_then(|group| group.path.as_ref()) {
            Some(path) if !tree::is_ours(path) => Err(GroupError::NotOurs { path: path.clone() }),
            _ => Ok(group),
        }
    }

    /// Describes the group in a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: &Path) -> Result<(), GroupError> {
        let failed = |source| GroupError::File {
            path: file.to_owned(),
            source,
        };
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        write_atomically(file, &bytes).map_err(failed)
    }

    /// The attempt.
    #[must_use]
    pub fn attempt_id(&self) -> &AttemptId {
        &self.attempt_id
    }

    /// Who enforces limits in it.
    #[must_use]
    pub fn enforcement(&self) -> MemoryEnforcement {
        self.enforcement
    }

    /// Its cgroup, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Moves this process into the leaf for the driver, which has no limit. Does nothing without cgroups.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn join_as_driver(&self) -> Result<(), GroupError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let leaf = path.join("driver");
        tree::make(&leaf)?;
        tree::write(&leaf, "cgroup.procs", "0")
    }

    /// Makes a fresh group for worker `number` with all counters at zero. What an earlier worker of that number has left is
    /// removed, so read it before.
    ///
    /// # Errors
    /// [`GroupError::Busy`] when processes of an earlier worker of that number still run; otherwise when the kernel refuses.
    pub fn worker(&self, number: u32, limit_bytes: u64) -> Result<WorkerGroup, GroupError> {
        let group = self.open_worker(number, Some(limit_bytes));
        let Some(path) = group.path() else {
            return Ok(group);
        };
        if path.exists() {
            tree::remove(path)?;
        }
        tree::make(path)?;
        let limited = match self.enforcement {
            MemoryEnforcement::CgroupV2 => v2::set_limit(path, limit_bytes),
            _ => v1::set_limit(path, limit_bytes),
        };
        if limited.is_err() {
            // A group without its limit must not be found later and believed to have one.
            let _ = tree::remove(path);
        }
        limited.map(|()| group)
    }

    /// The group of a worker that has been started already.
    #[must_use]
    pub fn open_worker(&self, number: u32, limit_bytes: Option<u64>) -> WorkerGroup {
        let path = self
            .path
            .as_ref()
            .map(|path| path.join(format!("worker-{number}")));
        WorkerGroup::new(number, self.enforcement, path, limit_bytes)
    }

    /// The counters of the whole attempt; `None` without cgroups or when the group is gone.
    #[must_use]
    pub fn read(&self) -> Option<MemoryReading> {
        let path = self.path.as_ref().filter(|path| path.is_dir())?;
        Some(read_cgroup(self.enforcement, path))
    }

    /// Its processes that can still do anything; empty without cgroups.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.path.as_deref().map(tree::pids).unwrap_or_default()
    }

    /// Sends SIGKILL to all its processes once. Does nothing without cgroups; [`crate::terminate()`] does the whole job.
    ///
    /// # Errors
    /// When the group is not ours or holds this process.
    pub fn kill_all(&self) -> Result<(), GroupError> {
        match &self.path {
            Some(path) if path.is_dir() => tree::kill_all(path),
            _ => Ok(()),
        }
    }

    /// Removes the group and those of its workers. A group that is gone is removed.
    ///
    /// # Errors
    /// [`GroupError::Busy`] while processes are in it.
    pub fn remove(&self) -> Result<(), GroupError> {
        self.path.as_deref().map_or(Ok(()), tree::remove)
    }
}

/// Reads the counters of a cgroup of either version.
fn read_cgroup(enforcement: MemoryEnforcement, path: &Path) -> MemoryReading {
    match enforcement {
        MemoryEnforcement::CgroupV2 => v2::read(path),
        _ => v1::read(path),
    }
}
