//! How a driver and a worker take their places: each confines itself as its first act, so that no unsafe code runs
//! between fork and exec.
//!
//! Owns the order of these acts. What they hold on to afterwards is returned and must be kept.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setpgid, setrlimit,
};

use crate::attempt_dir::AttemptDir;
use crate::cgroup::{AttemptGroup, GroupError, tree};
use crate::identity::{IdentityError, ProcessIdentity, record_self};
use crate::lock::{AttemptLock, LockError};
use crate::procfs;
use crate::session::{SessionError, become_session_leader};

/// With this code ends a driver that finds that another one drives its attempt (EX_TEMPFAIL of sysexits.h). The executor
/// takes it for no end of the attempt.
pub const ALREADY_RUNNING_EXIT_CODE: i32 = 75;

/// The executor sets this variable to the attempt's id for the driver, and everything below inherits it; so a process that
/// has left its session is found even without cgroups.
pub const ATTEMPT_MARKER_ENV: &str = "FETTLE_ATTEMPT_ID";

/// When memory runs out on the whole machine, workers go first: their rows are tried again, while `serve` holds the state.
const WORKER_OOM_SCORE_ADJUSTMENT: &str = "500";

/// `RLIMIT_DATA` counts memory that is reserved, of which thread stacks and allocator arenas touch only a part; this much
/// above the limit keeps a worker from failing that is within it. Resident memory is sampled against the limit itself.
const RLIMIT_HEADROOM_BYTES: u64 = 64 << 20;

/// Why a driver could not take its place.
#[derive(Debug, thiserror::Error)]
pub enum DriverSeatError {
    /// Another driver drives this attempt; end with [`ALREADY_RUNNING_EXIT_CODE`].
    #[error("another driver already drives this attempt")]
    AlreadyRunning(#[source] LockError),
    /// The lock cannot be used.
    #[error("the attempt's lock cannot be used")]
    Lock(#[source] LockError),
    /// No session of its own.
    #[error("no session of its own")]
    Session(#[from] SessionError),
    /// Its identity cannot be recorded.
    #[error("its identity cannot be recorded")]
    Identity(#[from] IdentityError),
    /// The attempt's group cannot be used.
    #[error("the attempt's group cannot be used")]
    Group(#[from] GroupError),
}

/// A driver's place; keep it until the process ends.
#[derive(Debug)]
pub struct DriverSeat {
    /// Proves to others that the driver lives.
    pub lock: AttemptLock,
    /// This process.
    pub identity: ProcessIdentity,
    /// The attempt's group, in which workers get theirs; `None` when the executor has made none.
    pub group: Option<AttemptGroup>,
}

impl DriverSeat {
    /// Takes the place of the driver of the attempt in `dir`: a session of its own, the lock, `driver.json`, the cgroup.
    ///
    /// # Errors
    /// [`DriverSeatError::AlreadyRunning`] when there is another driver; others when the kernel or the disk refuses.
    pub fn take(dir: &AttemptDir) -> Result<Self, DriverSeatError> {
        become_session_leader()?;
        let lock = AttemptLock::acquire(&dir.lock()).map_err(|error| match error {
            held @ LockError::Held { .. } => DriverSeatError::AlreadyRunning(held),
            other => DriverSeatError::Lock(other),
        })?;
        let identity = record_self(&dir.driver())?;
        let group = AttemptGroup::open(&dir.group())?;
        if let Some(group) = &group {
            group.join_as_driver()?;
        }
        Ok(Self {
            lock,
            identity,
            group,
        })
    }
}

/// Why a worker could not take its place.
#[derive(Debug, thiserror::Error)]
pub enum WorkerSeatError {
    /// The cgroup could not be joined, so the memory limit would not hold.
    #[error("the worker's cgroup cannot be joined")]
    Group(#[from] GroupError),
    /// The limit on data could not be set.
    #[error("the limit on memory cannot be set")]
    Limit(#[source] Errno),
    /// The kernel would not tie the worker's life to the driver's.
    #[error("the worker cannot be tied to its driver")]
    DeathSignal(#[source] Errno),
    /// The driver had ended before the worker was tied to it.
    #[error("the driver {parent_pid} has ended")]
    ParentGone {
        /// The driver.
        parent_pid: u32,
    },
    /// No process group of its own.
    #[error("no process group of its own")]
    ProcessGroup(#[source] Errno),
}

/// A worker's place, handed over as arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerSeat {
    /// The cgroup to join.
    pub cgroup: Option<PathBuf>,
    /// The memory limit that the worker sets on itself, in bytes; only where no cgroup enforces it.
    pub memory_limit_bytes: Option<u64>,
    /// The driver; zero means that the worker may outlive whoever started it.
    pub parent_pid: u32,
}

impl WorkerSeat {
    /// The arguments: `--cgroup PATH --memory-limit-bytes N --parent-pid N`, each only where it is set.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if let Some(cgroup) = &self.cgroup {
            args.extend(["--cgroup".into(), cgroup.clone().into()]);
        }
        if let Some(limit) = self.memory_limit_bytes {
            args.extend(["--memory-limit-bytes".into(), limit.to_string().into()]);
        }
        if self.parent_pid != 0 {
            args.extend(["--parent-pid".into(), self.parent_pid.to_string().into()]);
        }
        args
    }

    /// Takes the place. To be called by the worker before it starts threads or reads input, from its main thread.
    ///
    /// The kernel sends the death signal when the *thread* ends that started the worker. So the driver must start workers
    /// from a thread that lives as long as it does: its main thread or a runtime's worker thread, never `spawn_blocking`.
    ///
    /// # Errors
    /// When the kernel refuses or the driver has ended; the worker must then end at once.
    pub fn take(&self) -> Result<(), WorkerSeatError> {
        if let Some(cgroup) = &self.cgroup {
            if !tree::is_ours(cgroup) {
                return Err(GroupError::NotOurs {
                    path: cgroup.clone(),
                }
                .into());
            }
            tree::write(cgroup, "cgroup.procs", "0")?;
        }
        if let Some(limit_bytes) = self.memory_limit_bytes {
            limit_data(limit_bytes).map_err(WorkerSeatError::Limit)?;
        }
        if self.parent_pid != 0 {
            tie_to_parent(self.parent_pid)?;
        }
        if !leads_its_group() {
            setpgid(None, None).map_err(WorkerSeatError::ProcessGroup)?;
        }
        if let Err(error) = prefer_for_oom() {
            tracing::debug!(%error, "the worker's preference for the kernel's OOM killer was not set");
        }
        Ok(())
    }
}

fn limit_data(limit_bytes: u64) -> Result<(), Errno> {
    let limit = Some(limit_bytes.saturating_add(RLIMIT_HEADROOM_BYTES));
    setrlimit(
        Resource::Data,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )
}

/// The signal only comes for a death after this call, so an earlier one is looked for.
fn tie_to_parent(parent_pid: u32) -> Result<(), WorkerSeatError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(WorkerSeatError::DeathSignal)?;
    let expected = i32::try_from(parent_pid).ok().and_then(Pid::from_raw);
    if expected.is_some() && getppid() == expected {
        Ok(())
    } else {
        Err(WorkerSeatError::ParentGone { parent_pid })
    }
}

/// Read from `/proc`: a group outside of this PID namespace has the number 0, with which typed process ids cannot cope.
fn leads_its_group() -> bool {
    let me = std::process::id();
    procfs::stat(me).is_ok_and(|stat| stat.group == me)
}

fn prefer_for_oom() -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", WORKER_OOM_SCORE_ADJUSTMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_becomes_an_argument() {
        assert!(WorkerSeat::default().to_args().is_empty());
        let seat = WorkerSeat {
            cgroup: Some("/c/fettle/job_1-a1/worker-0".into()),
            memory_limit_bytes: Some(5),
            parent_pid: 7,
        };
        let args = seat.to_args();
        let expected = [
            "--cgroup",
            "/c/fettle/job_1-a1/worker-0",
            "--memory-limit-bytes",
            "5",
            "--parent-pid",
            "7",
        ];
        assert_eq!(args, expected.map(OsString::from));
    }

    #[test]
    fn a_cgroup_that_is_not_ours_is_not_joined() {
        let seat = WorkerSeat {
            cgroup: Some("/sys/fs/cgroup".into()),
            ..WorkerSeat::default()
        };
        assert!(matches!(
            seat.take(),
            Err(WorkerSeatError::Group(GroupError::NotOurs { .. }))
        ));
    }
}
