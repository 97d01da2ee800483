//! The legacy memory hierarchy (kernel documentation, admin-guide/cgroup-v1/memory).
//!
//! Owns its file names and their meaning. Here a group may hold processes and groups at once.

use std::fs;
use std::path::{Path, PathBuf};

use fettle_model::evidence::MemoryEnforcement;

use super::layout::{BASE_NAME, Layout};
use super::{GroupError, tree};
use crate::reading::MemoryReading;

/// "No limit" reads as the largest number of whole pages; anything this large is none.
const UNLIMITED_FROM_BYTES: u64 = 1 << 62;

/// Makes the base group and tries in it what will be needed; otherwise says why not.
pub(crate) fn prepare(layout: &Layout) -> Result<PathBuf, String> {
    let place = layout
        .v1_memory
        .as_ref()
        .ok_or("the cgroup v1 memory hierarchy is not mounted, or this process is not in it")?;
    let base = place.home().join(BASE_NAME);
    fs::create_dir_all(&base)
        .map_err(|error| format!("cannot create the group {}: {error}", base.display()))?;
    if tree::number(&base, "memory.use_hierarchy") == Some(0) {
        fs::write(base.join("memory.use_hierarchy"), "1")
            .map_err(|error| format!("cannot count groups below {}: {error}", base.display()))?;
    }
    let probe = base.join(format!("probe-{}", std::process::id()));
    let tried = try_limit(&probe);
    // An empty group that stays behind does no harm.
    let _ = fs::remove_dir(&probe);
    tried.map(|()| base)
}

fn try_limit(probe: &Path) -> Result<(), String> {
    tree::make(probe).map_err(|error| error.explain())?;
    set_limit(probe, 1 << 30).map_err(|error| error.explain())?;
    match tree::field(probe, "memory.oom_control", "oom_kill") {
        Some(_) => Ok(()),
        None => Err("the kernel does not count OOM kills (it is older than 4.13)".to_owned()),
    }
}

/// Limits memory and, where the kernel can, memory with swap. A group must never be allowed more memory than memory with
/// swap, so the order depends on the direction.
pub(crate) fn set_limit(group: &Path, limit_bytes: u64) -> Result<(), GroupError> {
    let limit = limit_bytes.to_string();
    let raised = tree::number(group, "memory.limit_in_bytes").is_some_and(|now| now < limit_bytes);
    let with_swap = |group: &Path| {
        // Without swap accounting there is no such file; then swapping is at least discouraged.
        if tree::write(group, "memory.memsw.limit_in_bytes", &limit).is_err() {
            let _ = tree::write(group, "memory.swappiness", "0");
        }
    };
    if raised {
        with_swap(group);
        tree::write(group, "memory.limit_in_bytes", &limit)?;
    } else {
        tree::write(group, "memory.limit_in_bytes", &limit)?;
        with_swap(group);
    }
    Ok(())
}

/// Reads the counters. The OOM counter is not hierarchical here, so those of the groups below are added.
pub(crate) fn read(group: &Path) -> MemoryReading {
    let own_kills = tree::field(group, "memory.oom_control", "oom_kill");
    let kills_below = tree::children(group)
        .iter()
        .filter_map(|child| tree::field(child, "memory.oom_control", "oom_kill"))
        .sum::<u64>();
    MemoryReading {
        enforcement: MemoryEnforcement::CgroupV1,
        current_bytes: tree::number(group, "memory.usage_in_bytes").unwrap_or(0),
        anonymous_bytes: tree::field(group, "memory.stat", "total_rss"),
        peak_bytes: tree::number(group, "memory.max_usage_in_bytes"),
        limit_bytes: tree::number(group, "memory.limit_in_bytes")
            .filter(|limit| *limit < UNLIMITED_FROM_BYTES),
        oom_kills: own_kills.map(|own| own.saturating_add(kills_below)),
        limit_hits: limit_hits(group),
    }
}

/// With swap accounting the limit on memory with swap, being equal, is hit first and counts instead. Some kernels keep
/// neither count: a zero is not believed where the use has been at the limit.
fn limit_hits(group: &Path) -> Option<u64> {
    let hits = tree::number(group, "memory.failcnt")?;
    let with_swap = tree::number(group, "memory.memsw.failcnt").unwrap_or(0);
    let total = hits.saturating_add(with_swap);
    let peak = tree::number(group, "memory.max_usage_in_bytes")?;
    let limit = tree::number(group, "memory.limit_in_bytes")?;
    (total > 0 || peak < limit).then_some(total)
}
