//! Exit codes of drivers and workers.
//!
//! Owns their numbers; `docs/reference` lists them. They keep clear of those of shells (126 and up) and of sysexits.h (64 to 78),
//! but for 75, which is its "temporary failure": another driver already drives the attempt.

use fettle_model::AttemptExit;

/// All is done.
pub const FINISHED: u8 = 0;
/// The arguments, the spec or the token cannot be read.
pub const BAD_SPEC: u8 = 80;
/// Worker: no place could be taken, such as a cgroup that cannot be joined.
pub const NO_SEAT: u8 = 81;
/// Worker: the extractor refuses its parameters, its model or its plugin.
pub const EXTRACTOR_FAILED: u8 = 82;
/// Worker: what it needs is gone: the manifest, the blob store, the disk.
pub const ENVIRONMENT_FAILED: u8 = 83;
/// Worker: its driver is gone.
pub const DRIVER_GONE: u8 = 84;
/// Worker: `serve` says that the attempt no longer counts.
pub const SUPERSEDED: u8 = 85;
/// Worker: the kernel killed a plugin's process for the worker's memory limit; the worker ends as if it had been killed itself.
pub const PLUGIN_OUT_OF_MEMORY: u8 = 86;
/// Driver: stopped on request.
pub const CANCELLED: u8 = 90;
/// Driver: workers died of their memory limit and no progress was possible.
pub const OUT_OF_MEMORY: u8 = 91;
/// Driver: workers died of something else and no progress was possible.
pub const WORKERS_KEEP_DYING: u8 = 92;
/// Driver: something that it needs is gone.
pub const DRIVER_FAILED: u8 = 93;

/// The exit code of a driver whose attempt ended so.
#[must_use]
pub fn of_exit(exit: &AttemptExit) -> u8 {
    match exit {
        AttemptExit::Finished => FINISHED,
        AttemptExit::Cancelled => CANCELLED,
        AttemptExit::OutOfMemory => OUT_OF_MEMORY,
        AttemptExit::WorkersKeepDying => WORKERS_KEEP_DYING,
        AttemptExit::ExtractorFailed => EXTRACTOR_FAILED,
        AttemptExit::DriverFailed | AttemptExit::DriverDied => DRIVER_FAILED,
    }
}
