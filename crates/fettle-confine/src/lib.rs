//! Process confinement and evidence: cgroups, limits, sampling, identity, termination.
//!
//! Owns everything that Fettle asks of the Linux kernel about processes. It knows nothing of batches, HTTP or stores, and
//! it never ends a process that is not in a group, session or identity that it was handed.

pub mod attempt_dir;
pub mod census;
pub mod cgroup;
pub mod confinement;
pub mod doctor;
pub mod files;
pub mod identity;
pub mod kernel_log;
pub mod lock;
pub mod log_scan;
pub mod node;
mod procfs;
pub mod reading;
pub mod sample;
pub mod seat;
pub mod session;
pub mod terminate;

pub use attempt_dir::{AttemptDir, ExitRecord, read_json};
pub use census::{Census, RunningDriver, census};
pub use cgroup::{AttemptGroup, GroupError, WorkerGroup};
pub use confinement::{CONFINEMENT_ENV, Confinement, Rejected, detect};
pub use doctor::{Check, CheckLevel, DoctorReport, doctor};
pub use files::write_atomically;
pub use identity::{IdentityError, Liveness, ProcessIdentity, identify, is_alive, record_self};
pub use kernel_log::{kernel_lines, uptime_ms};
pub use lock::{AttemptLock, LockError};
pub use log_scan::{KeptLog, keep_log};
pub use node::{NodeFacts, disk_free_bytes, node_facts};
pub use reading::MemoryReading;
pub use sample::{
    ProcessSample, ProcessState, ThreadSample, cpu_wait_ms, kernel_stack, sample, threads,
};
pub use seat::{
    ALREADY_RUNNING_EXIT_CODE, ATTEMPT_MARKER_ENV, DriverSeat, DriverSeatError, WorkerSeat,
    WorkerSeatError,
};
pub use session::{SessionError, become_session_leader};
pub use terminate::{Termination, TerminationScope, terminate};
