//! The group of one worker.
//!
//! Owns its reading and its end, with a cgroup or without: then the worker's process and all that descend from it stand in.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fettle_model::evidence::MemoryEnforcement;

use super::{GroupError, read_cgroup, tree, v2};
use crate::identity::{ProcessIdentity, identify};
use crate::procfs::{self, LOOK_INTERVAL};
use crate::reading::MemoryReading;
use crate::seat::WorkerSeat;
use crate::terminate::{descendants, kill_pids};

/// The group of one worker with all its children.
#[derive(Debug)]
pub struct WorkerGroup {
    number: u32,
    enforcement: MemoryEnforcement,
    path: Option<PathBuf>,
    limit_bytes: Option<u64>,
    /// The worker itself, for the kinds of confinement that have no list of processes.
    watched: Mutex<Option<ProcessIdentity>>,
    sampled_peak_bytes: AtomicU64,
}

impl WorkerGroup {
    pub(super) fn new(
        number: u32,
        enforcement: MemoryEnforcement,
        path: Option<PathBuf>,
        limit_bytes: Option<u64>,
    ) -> Self {
        Self {
            number,
            enforcement,
            path,
            // Without enforcement there is no limit to speak of.
            limit_bytes: limit_bytes.filter(|_| enforcement != MemoryEnforcement::None),
            watched: Mutex::new(None),
            sampled_peak_bytes: AtomicU64::new(0),
        }
    }

    /// The worker's number within its attempt.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its cgroup, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What to hand to the worker as arguments ([`WorkerSeat::to_args`]), so that it takes its place in this group. The
    /// calling process is named as the parent whose death the worker must not survive.
    #[must_use]
    pub fn seat(&self) -> WorkerSeat {
        WorkerSeat {
            cgroup: self.path.clone(),
            memory_limit_bytes: match self.enforcement {
                MemoryEnforcement::Rlimit => self.limit_bytes,
                _ => None,
            },
            parent_pid: std::process::id(),
        }
    }

    /// Tells the worker's process id once it has been started. Without cgroups nothing can be read before.
    pub fn watch(&self, pid: u32) {
        let identity = identify(pid).ok();
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// Its counters. Without cgroups the resident memory of the worker and its descendants is added up, and the peak is
    /// the highest sum that was read so far or the worker's own high-water mark.
    #[must_use]
    pub fn read(&self) -> MemoryReading {
        match &self.path {
            Some(path) => read_cgroup(self.enforcement, path),
            None => self.sample(),
        }
    }

    fn sample(&self) -> MemoryReading {
        let samples: Vec<_> = self
            .pids()
            .into_iter()
            .filter_map(crate::sample::sample)
            .collect();
        let current_bytes: u64 = samples.iter().map(|one| one.rss_bytes).sum();
        let own_peak = samples
            .iter()
            .filter_map(|one| one.rss_peak_bytes)
            .max()
            .unwrap_or(0);
        let seen = current_bytes.max(own_peak);
        let peak = self
            .sampled_peak_bytes
            .fetch_max(seen, Ordering::Relaxed)
            .max(seen);
        MemoryReading {
            current_bytes,
            peak_bytes: (peak > 0).then_some(peak),
            ..MemoryReading::unknown(self.enforcement, self.limit_bytes)
        }
    }

    /// CPU time in milliseconds of all that ever ran here, where the kernel keeps count.
    #[must_use]
    pub fn counted_cpu_ms(&self) -> Option<u64> {
        match (self.enforcement, &self.path) {
            (MemoryEnforcement::CgroupV2, Some(path)) => v2::cpu_ms(path),
            _ => None,
        }
    }

    /// How long all that runs here stood still at once for want of memory, in milliseconds, where the kernel keeps count.
    #[must_use]
    pub fn memory_wait_ms(&self) -> Option<u64> {
        match (self.enforcement, &self.path) {
            (MemoryEnforcement::CgroupV2, Some(path)) => v2::memory_wait_ms(path),
            _ => None,
        }
    }

    /// CPU time in milliseconds: of all that ever ran here where the kernel keeps count, else of those that run now.
    #[must_use]
    pub fn cpu_ms(&self) -> Option<u64> {
        if let Some(counted) = self.counted_cpu_ms() {
            return Some(counted);
        }
        let times: Vec<u64> = self
            .pids()
            .into_iter()
            .filter_map(|pid| Some(procfs::stat(pid).ok()?.cpu_ms()))
            .collect();
        (!times.is_empty()).then(|| times.iter().sum())
    }

    /// Its processes that can still do anything, sorted.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        match &self.path {
            Some(path) => tree::pids(path),
            None => {
                let watched = self
                    .watched
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                watched
                    .map(|worker| descendants(&worker))
                    .unwrap_or_default()
            }
        }
    }

    /// Sends SIGKILL to all its processes and waits until none is left.
    ///
    /// # Errors
    /// [`GroupError::Busy`] with the processes that are left after two seconds, which happens to those that hang in the kernel.
    pub async fn kill_all(&self) -> Result<(), GroupError> {
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let pids = self.pids();
            if pids.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(GroupError::Busy {
                    path: self.path.clone().unwrap_or_default(),
                    pids,
                });
            }
            match &self.path {
                Some(path) => tree::kill_all(path)?,
                None => kill_pids(&pids),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Removes the group. Its counters are lost, so read them before.
    ///
    /// # Errors
    /// [`GroupError::Busy`] while processes are in it.
    pub fn remove(&self) -> Result<(), GroupError> {
        self.path.as_deref().map_or(Ok(()), tree::remove)
    }
}

/// SIGKILL takes effect within milliseconds but for processes that hang in the kernel; those are not waited for.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
