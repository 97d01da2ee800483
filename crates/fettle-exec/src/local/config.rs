//! What the local backend is told at its start.
//!
//! Owns the defaults and their reasons.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fettle_confine::NodeFacts;
use fettle_ports::{Capacity, Room};

/// Time between the polite word and the end by force: enough to finish a row and write it, short for whoever waits.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Memory that is not given to jobs, for the system, `serve` and the index: a tenth, at least this.
const MEMORY_KEPT_BYTES_MIN: u64 = 512 << 20;

/// Settings of the local backend.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// Where Fettle keeps its data; attempts get folders in `attempts` below it.
    pub data_dir: PathBuf,
    /// The program that drives an attempt.
    pub program: PathBuf,
    /// Arguments before `job --spec PATH`.
    pub leading_args: Vec<OsString>,
    /// Time between SIGTERM and SIGKILL when an attempt is stopped.
    pub stop_grace: Duration,
    /// Cores that jobs may use together; none means all of the machine.
    pub num_cpus: Option<f64>,
    /// GPUs that jobs may use together; none means all that the machine shows.
    pub num_gpus: Option<f64>,
    /// Memory that jobs may use together, in bytes; none means most of the machine's.
    pub memory_bytes: Option<u64>,
}

impl LocalConfig {
    /// The defaults for this data folder and program.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            program: program.into(),
            leading_args: Vec::new(),
            stop_grace: STOP_GRACE,
            num_cpus: None,
            num_gpus: None,
            memory_bytes: None,
        }
    }

    /// What jobs may use together on a machine like this.
    pub(crate) fn capacity(&self, node: &NodeFacts) -> Capacity {
        let total = node.memory_total_bytes;
        let kept = (total / 10).max(MEMORY_KEPT_BYTES_MIN);
        let memory_bytes = self
            .memory_bytes
            .unwrap_or_else(|| total.saturating_sub(kept));
        let all = Room {
            num_cpus: self.num_cpus.unwrap_or_else(|| f64::from(node.cores)),
            num_gpus: self
                .num_gpus
                .unwrap_or_else(|| f64::from(gpus(Path::new("/dev")))),
            memory_bytes,
            jobs: u64::MAX,
        };
        Capacity::of_machine(all)
    }
}

/// GPUs by their device files, `nvidia0` and so on.
fn gpus(devices: &Path) -> u32 {
    (0..)
        .take_while(|number| devices.join(format!("nvidia{number}")).exists())
        .count() as u32
}

/// Why the local backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder for attempts cannot be made.
    #[error("the folder {} cannot be made", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(memory_total_bytes: u64) -> NodeFacts {
        NodeFacts {
            hostname: "h".to_owned(),
            kernel: "k".to_owned(),
            cores: 4,
            memory_total_bytes,
            memory_available_bytes: memory_total_bytes,
            memory_capped_by_cgroup_bytes: None,
        }
    }

    #[test]
    fn some_memory_is_kept_from_jobs() {
        let config = LocalConfig::new("/d", "/p");
        assert_eq!(config.capacity(&node(100 << 30)).now.memory_bytes, 90 << 30);
        assert_eq!(config.capacity(&node(1 << 30)).now.memory_bytes, 512 << 20);
        assert_eq!(config.capacity(&node(0)).now.memory_bytes, 0);
    }

    #[test]
    fn settings_win_over_the_machine() {
        let config = LocalConfig {
            num_cpus: Some(1.5),
            num_gpus: Some(2.0),
            memory_bytes: Some(7),
            ..LocalConfig::new("/d", "/p")
        };
        let capacity = config.capacity(&node(1 << 40));
        assert_eq!(
            (
                capacity.now.num_cpus,
                capacity.now.num_gpus,
                capacity.now.memory_bytes
            ),
            (1.5, 2.0, 7)
        );
        assert_eq!(capacity.memory_per_worker_max_bytes, 7);
    }

    #[test]
    fn gpus_are_counted_by_their_devices() {
        let devices = tempfile::tempdir().unwrap();
        assert_eq!(gpus(devices.path()), 0);
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia7"] {
            std::fs::write(devices.path().join(name), "").unwrap();
        }
        assert_eq!(gpus(devices.path()), 2);
    }
}
