//! What this machine has to give.
//!
//! Owns the reading of cores, memory and disk. Limits of an enclosing cgroup count as the machine's own.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cgroup::layout::{Layout, Place};
use crate::cgroup::tree;
use crate::procfs;

/// Facts about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Host name.
    pub hostname: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Cores that this process may use, after affinity and CPU quotas.
    pub cores: u32,
    /// Memory, in bytes: of the machine, or of the enclosing cgroup where that allows less.
    pub memory_total_bytes: u64,
    /// Memory that new processes could get now, in bytes.
    pub memory_available_bytes: u64,
    /// The limit of the enclosing cgroup, when it is what caps the memory, in bytes.
    pub memory_capped_by_cgroup_bytes: Option<u64>,
}

/// Reads the facts. What cannot be read is zero or empty: callers must then not rely on it.
#[must_use]
pub fn node_facts() -> NodeFacts {
    let uname = rustix::system::uname();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = procfs::kib_field(&memory, "MemTotal").unwrap_or(0);
    let available = procfs::kib_field(&memory, "MemAvailable").unwrap_or(0);
    let cap = enclosing_cap(&Layout::read()).filter(|cap| total == 0 || cap.limit_bytes < total);
    NodeFacts {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        memory_total_bytes: cap.as_ref().map_or(total, |cap| cap.limit_bytes),
        memory_available_bytes: cap
            .as_ref()
            .map_or(available, |cap| cap.free_bytes.min(available)),
        memory_capped_by_cgroup_bytes: cap.map(|cap| cap.limit_bytes),
    }
}

/// Disk space that this user can still fill at `path`, in bytes. The path need not exist yet; then the closest folder
/// above it counts.
///
/// # Errors
/// What the file system says.
pub fn disk_free_bytes(path: &Path) -> io::Result<u64> {
    let existing = path
        .ancestors()
        .find(|one| one.exists())
        .unwrap_or(Path::new("/"));
    let facts = rustix::fs::statvfs(existing)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// The tightest limit above this process.
#[derive(Debug, PartialEq, Eq)]
struct Cap {
    limit_bytes: u64,
    free_bytes: u64,
}

fn enclosing_cap(layout: &Layout) -> Option<Cap> {
    let v2 = layout.v2.as_ref().and_then(|place| {
        tightest(place, |group| {
            let limit = tree::number(group, "memory.max")?;
            let cache = tree::field(group, "memory.stat", "inactive_file");
            Some(cap(limit, tree::number(group, "memory.current"), cache))
        })
    });
    let v1 = layout.v1_memory.as_ref().and_then(|place| {
        tightest(place, |group| {
            let limit = tree::number(group, "memory.limit_in_bytes")?;
            let cache = tree::field(group, "memory.stat", "total_inactive_file");
            Some(cap(
                limit,
                tree::number(group, "memory.usage_in_bytes"),
                cache,
            ))
        })
    });
    v2.into_iter().chain(v1).min_by_key(|cap| cap.limit_bytes)
}

/// Inactive page cache counts as use but is given up on demand.
fn cap(limit_bytes: u64, used: Option<u64>, cache: Option<u64>) -> Cap {
    let kept = used.unwrap_or(0).saturating_sub(cache.unwrap_or(0));
    Cap {
        limit_bytes,
        free_bytes: limit_bytes.saturating_sub(kept),
    }
}

fn tightest(place: &Place, read: impl Fn(&Path) -> Option<Cap>) -> Option<Cap> {
    place
        .own
        .ancestors()
        .take_while(|group| group.starts_with(&place.top))
        .filter_map(read)
        .min_by_key(|cap| cap.limit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_a_name_and_a_disk() {
        let facts = node_facts();
        assert!(
            facts.cores >= 1 && facts.memory_total_bytes > 0,
            "{facts:?}"
        );
        assert!(
            facts.memory_available_bytes <= facts.memory_total_bytes,
            "{facts:?}"
        );
        assert!(!facts.kernel.is_empty(), "{facts:?}");
        assert!(disk_free_bytes(Path::new("/no/such/folder")).unwrap() > 0);
    }

    #[test]
    fn the_tightest_enclosing_limit_counts_and_page_cache_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("outer/inner");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("memory.max"), "max\n").unwrap();
        let outer = dir.path().join("outer");
        fs::write(outer.join("memory.max"), "1000\n").unwrap();
        fs::write(outer.join("memory.current"), "600\n").unwrap();
        fs::write(outer.join("memory.stat"), "anon 1\ninactive_file 200\n").unwrap();
        let layout = Layout {
            v2: Some(Place {
                top: dir.path().to_owned(),
                own,
            }),
            v1_memory: None,
        };
        assert_eq!(
            enclosing_cap(&layout),
            Some(Cap {
                limit_bytes: 1000,
                free_bytes: 600
            })
        );
    }
}
