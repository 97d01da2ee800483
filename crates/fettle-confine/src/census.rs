//! Which processes on this machine work for attempts, whoever started them.
//!
//! Owns the reading of the process table for that. It must not conclude who may run and who may not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::identity::{ProcessIdentity, boot_id};
use crate::kernel_log::uptime_ms;
use crate::procfs::{self, Stat};
use crate::seat::ATTEMPT_MARKER_ENV;

/// A process that drives an attempt: its arguments end in `job --spec PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningDriver {
    /// The process.
    pub identity: ProcessIdentity,
    /// The attempt's `spec.json`, as a whole path.
    pub spec: PathBuf,
    /// How long ago it started, in milliseconds.
    pub age_ms: u64,
}

/// What the process table shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Drivers.
    pub drivers: Vec<RunningDriver>,
    /// Attempt id → processes that have it in their environment, ascending; drivers as well as workers and all below them.
    pub marked: BTreeMap<String, Vec<u32>>,
}

/// Reads the process table once. Processes whose command line or environment may not be read are passed over.
#[must_use]
pub fn census() -> Census {
    let Ok(boot_id) = boot_id() else {
        return Census::default();
    };
    let now_ms = uptime_ms();
    let mut census = Census::default();
    for stat in procfs::all().iter().filter(|stat| stat.is_running()) {
        if let Some(spec) = driven(stat.pid) {
            census.drivers.push(RunningDriver {
                identity: ProcessIdentity {
                    pid: stat.pid,
                    start_ticks: stat.start_ticks,
                    boot_id: boot_id.clone(),
                },
                spec,
                age_ms: now_ms.saturating_sub(started_ms(stat)),
            });
        }
        if let Some(attempt) = procfs::environment(stat.pid, ATTEMPT_MARKER_ENV) {
            census.marked.entry(attempt).or_default().push(stat.pid);
        }
    }
    census
}

/// Milliseconds from boot to the start of a process.
fn started_ms(stat: &Stat) -> u64 {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    stat.start_ticks.saturating_mul(1000) / per_second
}

/// The `spec.json` that a process drives, by its arguments.
fn driven(pid: u32) -> Option<PathBuf> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<&str> = line
        .split(|byte| *byte == 0)
        .filter_map(|arg| std::str::from_utf8(arg).ok())
        .collect();
    let at = args
        .windows(3)
        .find(|three| three[0] == "job" && three[1] == "--spec")?;
    let path = Path::new(at[2]);
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    Some(folder.join(path))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_driver_is_known_by_its_arguments_and_its_kin_by_their_environment() {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("/bin/sh")
            .args(["-c", "sleep 1000; :", "job", "--spec", "here/spec.json"])
            .current_dir(folder.path())
            .env(ATTEMPT_MARKER_ENV, "job_census.1")
            .spawn()
            .unwrap();
        let child = Killed(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        let (driver, kin) = loop {
            let seen = census();
            let driver = seen
                .drivers
                .iter()
                .find(|driver| driver.identity.pid == child.0.id());
            let kin = seen.marked.get("job_census.1");
            if let (Some(driver), Some(kin)) = (driver, kin.filter(|kin| kin.len() == 2)) {
                break (driver.clone(), kin.clone());
            }
            assert!(Instant::now() < deadline, "{seen:?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let spec = folder.path().canonicalize().unwrap().join("here/spec.json");
        assert_eq!(driver.spec, spec);
        assert!(driver.age_ms < 60_000, "{driver:?}");
        assert!(kin.contains(&child.0.id()));
        crate::terminate::kill_pids(&kin);
    }
}
