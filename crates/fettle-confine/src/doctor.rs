//! Whether this machine is fit to run Fettle, and what would make it fitter.
//!
//! Owns the list of checks and their advice. It changes nothing that lasts and starts only `--version` commands.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::confinement::{Confinement, detect, kind_name};
use crate::node::{NodeFacts, disk_free_bytes, node_facts};

/// Below this a model, a few manifests and the index fill the disk within a batch.
const DISK_FREE_WANTED_BYTES: u64 = 5 << 30;
/// Below this writes of the state store begin to fail.
const DISK_FREE_NEEDED_BYTES: u64 = 256 << 20;
/// Serve holds a socket for each driver and client, and the index a few hundred files.
const FILES_WANTED: u64 = 4096;
/// One worker with a sentence model needs about this much.
const MEMORY_WANTED_BYTES: u64 = 2 << 30;
/// On these the kernel's clock is slow or drifts.
const GOOD_CLOCKS: [&str; 5] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
    "xen",
];

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckLevel {
    /// As it should be.
    Ok,
    /// Fettle works, with a drawback.
    Warn,
    /// Fettle will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, such as `confinement`.
    pub name: String,
    /// How it came out.
    pub level: CheckLevel,
    /// What was found.
    pub found: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

impl Check {
    /// A check that came out well.
    #[must_use]
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            level: CheckLevel::Ok,
            found: found.into(),
            advice: None,
        }
    }

    /// A check with a drawback or a failure and what to do about it.
    #[must_use]
    pub fn advise(
        name: &str,
        level: CheckLevel,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            level,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

/// All checks of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// The machine.
    pub node: NodeFacts,
    /// How workers are confined.
    pub confinement: Confinement,
    /// The checks, in the order in which they matter.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// The worst outcome.
    #[must_use]
    pub fn worst(&self) -> CheckLevel {
        self.checks
            .iter()
            .map(|check| check.level)
            .max()
            .unwrap_or(CheckLevel::Ok)
    }
}

/// Examines this machine for a Fettle that keeps its data in `data_dir`.
#[must_use]
pub fn doctor(data_dir: &Path) -> DoctorReport {
    let node = node_facts();
    let confinement = detect();
    let checks = vec![
        check_confinement(&confinement),
        check_oom_counter(&confinement),
        check_cores(&node),
        check_memory(&node),
        check_data_dir(data_dir),
        check_disk(data_dir),
        check_files(getrlimit(Resource::Nofile).current),
        check_clock(),
        check_python(),
        check_pyspy(),
    ];
    DoctorReport {
        node,
        confinement,
        checks,
    }
}

fn check_confinement(confinement: &Confinement) -> Check {
    let found = confinement.to_string();
    if confinement.counts_oom_kills() {
        return Check::ok("confinement", found);
    }
    let reasons: Vec<String> = confinement
        .rejected
        .iter()
        .map(|one| format!("{}: {}", kind_name(one.kind), one.reason))
        .collect();
    Check::advise(
        "confinement",
        CheckLevel::Warn,
        format!("{found}; not {}", reasons.join("; not ")),
        "give Fettle a cgroup of its own: `systemd-run --user --scope -p Delegate=yes fettle serve`, in a service \
         `Delegate=yes`, `DelegateSubgroup=fettle-serve` and `KillMode=process`, or in a container a writable cgroup mount",
    )
}

fn check_oom_counter(confinement: &Confinement) -> Check {
    if confinement.counts_oom_kills() {
        Check::ok(
            "oom_counter",
            "the kernel's count of OOM kills is readable for each worker",
        )
    } else {
        Check::advise(
            "oom_counter",
            CheckLevel::Warn,
            "no counter: running out of memory is inferred from sampled memory and failed allocations",
            "use cgroups, so that it is counted by the kernel (see `confinement`)",
        )
    }
}

fn check_cores(node: &NodeFacts) -> Check {
    match node.cores {
        1 => Check::advise(
            "cores",
            CheckLevel::Warn,
            "1 core",
            "loading, processing and writing share one core; two or more are faster",
        ),
        cores => Check::ok("cores", format!("{cores} cores")),
    }
}

fn check_memory(node: &NodeFacts) -> Check {
    let cap = match node.memory_capped_by_cgroup_bytes {
        Some(_) => ", capped by the enclosing cgroup",
        None => "",
    };
    let found = format!(
        "{} in all{cap}, {} available now",
        gib(node.memory_total_bytes),
        gib(node.memory_available_bytes)
    );
    if node.memory_total_bytes >= MEMORY_WANTED_BYTES {
        Check::ok("memory", found)
    } else {
        let advice = format!(
            "have at least {}, or keep to the light extractors",
            gib(MEMORY_WANTED_BYTES)
        );
        Check::advise("memory", CheckLevel::Warn, found, advice)
    }
}

fn check_data_dir(data_dir: &Path) -> Check {
    let existing = data_dir
        .ancestors()
        .find(|one| one.exists())
        .unwrap_or(Path::new("/"));
    let found = if existing == data_dir {
        format!("{} is there", data_dir.display())
    } else {
        format!(
            "{} will be made below {}",
            data_dir.display(),
            existing.display()
        )
    };
    match rustix::fs::access(existing, rustix::fs::Access::WRITE_OK) {
        Ok(()) if existing.is_dir() => Check::ok("data_dir", found),
        Ok(()) => Check::advise(
            "data_dir",
            CheckLevel::Fail,
            format!("{} is not a folder", existing.display()),
            "choose another data folder",
        ),
        Err(error) => Check::advise(
            "data_dir",
            CheckLevel::Fail,
            format!("{} is not writable: {error}", existing.display()),
            "choose a data folder that this user can write to, or change the owner of this one",
        ),
    }
}

fn check_disk(data_dir: &Path) -> Check {
    let free = match disk_free_bytes(data_dir) {
        Ok(free) => free,
        Err(error) => {
            let found = format!("the free space is not known: {error}");
            return Check::advise("disk", CheckLevel::Warn, found, "check it with `df`");
        }
    };
    let found = format!("{} free", gib(free));
    if free >= DISK_FREE_WANTED_BYTES {
        return Check::ok("disk", found);
    }
    let level = if free < DISK_FREE_NEEDED_BYTES {
        CheckLevel::Fail
    } else {
        CheckLevel::Warn
    };
    Check::advise(
        "disk",
        level,
        found,
        "free some space, or choose a data folder on another disk",
    )
}

fn check_files(limit: Option<u64>) -> Check {
    match limit {
        None => Check::ok("open_files", "no limit"),
        Some(limit) if limit >= FILES_WANTED => Check::ok("open_files", format!("at most {limit}")),
        Some(limit) => Check::advise(
            "open_files",
            CheckLevel::Warn,
            format!("at most {limit}"),
            format!(
                "allow {FILES_WANTED} or more: `ulimit -n {FILES_WANTED}`, in a service `LimitNOFILE={FILES_WANTED}`"
            ),
        ),
    }
}

fn check_clock() -> Check {
    let file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let Ok(text) = fs::read_to_string(file) else {
        return Check::ok("clock", "the clock source is not shown");
    };
    let name = text.trim();
    if GOOD_CLOCKS.contains(&name) {
        Check::ok("clock", name)
    } else {
        Check::advise(
            "clock",
            CheckLevel::Warn,
            name,
            "this clock source is slow to read; timings cost more than they should",
        )
    }
}

fn check_python() -> Check {
    match find_program("python3") {
        Some(path) => Check::ok("python3", path.display().to_string()),
        None => Check::advise(
            "python3",
            CheckLevel::Warn,
            "not found",
            "install Python 3 to run Python plugins; the built-in extractors do not need it",
        ),
    }
}

fn check_pyspy() -> Check {
    match find_program("py-spy") {
        Some(path) => Check::ok("py-spy", path.display().to_string()),
        // Optional, so its absence is no drawback to warn of.
        None => Check {
            advice: Some("install py-spy to see where a hung Python plugin stands".to_owned()),
            ..Check::ok("py-spy", "not found (optional)")
        },
    }
}

/// The first executable of that name on the path.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
        })
}

/// Bytes as GiB with one decimal.
fn gib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_is_not_well_has_advice() {
        let dir = tempfile::tempdir().unwrap();
        let report = doctor(&dir.path().join("data"));
        assert!(report.checks.len() >= 10);
        for check in &report.checks {
            assert!(
                check.level == CheckLevel::Ok || check.advice.is_some(),
                "{check:?}"
            );
        }
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<DoctorReport>(&json).unwrap(), report);
    }

    #[test]
    fn a_data_folder_that_is_a_file_fails() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(check_data_dir(file.path()).level, CheckLevel::Fail);
    }

    #[test]
    fn few_open_files_are_warned_of() {
        assert_eq!(check_files(Some(256)).level, CheckLevel::Warn);
        assert_eq!(check_files(Some(65_536)).level, CheckLevel::Ok);
        assert_eq!(check_files(None).level, CheckLevel::Ok);
    }

    #[test]
    fn bytes_read_as_gib() {
        assert_eq!(gib((1 << 30) + (1 << 29)), "1.5 GiB");
    }
}
