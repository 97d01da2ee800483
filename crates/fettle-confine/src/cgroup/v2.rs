//! The unified hierarchy (kernel documentation, admin-guide/cgroup-v2).
//!
//! Owns its file names, and the rule that a group with processes of its own can hand no controllers down. The groups
//! that it makes: `fettle/ATTEMPT/{driver,worker-N}`, of which only the last level holds processes.

use std::fs;
use std::path::{Path, PathBuf};

use fettle_model::evidence::MemoryEnforcement;
use rustix::fs::{Access, access};

use super::layout::{BASE_NAME, Layout, Place, SERVER_LEAF};
use super::{GroupError, tree};
use crate::procfs;
use crate::reading::MemoryReading;

/// Makes the base group and tries in it what will be needed; otherwise says why not.
pub(crate) fn prepare(layout: &Layout) -> Result<PathBuf, String> {
    let place = layout
        .v2
        .as_ref()
        .ok_or("the cgroup v2 hierarchy is not mounted, or this process is not in it")?;
    let base = base_parent(place)?.join(BASE_NAME);
    fs::create_dir_all(&base)
        .map_err(|error| format!("cannot create the group {}: {error}", base.display()))?;
    hand_down(&base).map_err(|error| error.explain())?;
    let probe = base.join(format!("probe-{}", std::process::id()));
    let tried = try_limit(&probe);
    // An empty group that stays behind does no harm.
    let _ = fs::remove_dir(&probe);
    tried.map(|()| base)
}

fn try_limit(probe: &Path) -> Result<(), String> {
    tree::make(probe).map_err(|error| error.explain())?;
    set_limit(probe, 1 << 30).map_err(|error| error.explain())?;
    match tree::field(probe, "memory.events", "oom_kill") {
        Some(_) => Ok(()),
        None => Err("the kernel does not count OOM kills in memory.events".to_owned()),
    }
}

/// The group that can hold the base: the own one, if need be after this process has moved into a leaf of it; else the
/// closest one above, of which the base becomes another child.
fn base_parent(place: &Place) -> Result<PathBuf, String> {
    let home = place.home();
    inside(home).or_else(|reason| match above(place, home) {
        Ok(found) => Ok(found),
        Err(other) => Err(format!("{reason}; {other}")),
    })
}

fn inside(home: &Path) -> Result<PathBuf, String> {
    if !has_word(home, "cgroup.controllers", "memory") {
        return Err(format!(
            "the memory controller is not available in {}; it is in use by cgroup v1 or was not delegated",
            home.display()
        ));
    }
    if !has_word(home, "cgroup.subtree_control", "memory") && !is_root(home) {
        clear(home)?;
    }
    hand_down(home)
        .map(|()| home.to_owned())
        .map_err(|error| error.explain())
}

/// Only the real root lacks this file, and it is free of the rule.
fn is_root(group: &Path) -> bool {
    !group.join("cgroup.type").exists()
}

/// Moves this process out of the way; never another one.
fn clear(home: &Path) -> Result<(), String> {
    let (me, inside) = (std::process::id(), tree::own_pids(home));
    if let Some(other) = inside.iter().find(|pid| **pid != me) {
        let name =
            procfs::stat(*other).map_or_else(|_| String::new(), |stat| format!(" ({})", stat.name));
        return Err(format!(
            "the group {} also holds process {other}{name}",
            home.display()
        ));
    }
    let leaf = home.join(SERVER_LEAF);
    fs::create_dir_all(&leaf)
        .and_then(|()| fs::write(leaf.join("cgroup.procs"), "0"))
        .map_err(|error| format!("cannot move into {}: {error}", leaf.display()))
}

/// Going up must not go past a limit that somebody has set on this process.
fn above(place: &Place, home: &Path) -> Result<PathBuf, String> {
    let mut below = home;
    for group in home
        .ancestors()
        .skip(1)
        .take_while(|group| group.starts_with(&place.top))
    {
        if tree::number(below, "memory.max").is_some() {
            return Err(format!(
                "the group {} has a memory limit that must hold",
                below.display()
            ));
        }
        let offers = has_word(group, "cgroup.subtree_control", "memory")
            || (is_root(group) && has_word(group, "cgroup.controllers", "memory"));
        // Processes move across the group, which takes the right to write its list.
        let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
        if offers && writable(group) && writable(&group.join("cgroup.procs")) {
            return hand_down(group)
                .map(|()| group.to_owned())
                .map_err(|error| error.explain());
        }
        below = group;
    }
    Err("no group above it was delegated to this user".to_owned())
}

/// Lets the groups below have memory limits.
pub(crate) fn hand_down(group: &Path) -> Result<(), GroupError> {
    if has_word(group, "cgroup.subtree_control", "memory") {
        return Ok(());
    }
    tree::write(group, "cgroup.subtree_control", "+memory")
}

fn has_word(group: &Path, file: &str, word: &str) -> bool {
    fs::read_to_string(group.join(file))
        .is_ok_and(|text| text.split_ascii_whitespace().any(|one| one == word))
}

/// Limits memory and forbids swap, so that the limit means the same on every machine.
pub(crate) fn set_limit(group: &Path, limit_bytes: u64) -> Result<(), GroupError> {
    tree::write(group, "memory.max", &limit_bytes.to_string())?;
    // Absent where the kernel has no swap.
    let _ = tree::write(group, "memory.swap.max", "0");
    Ok(())
}

/// Reads the counters, which include the groups below.
pub(crate) fn read(group: &Path) -> MemoryReading {
    MemoryReading {
        enforcement: MemoryEnforcement::CgroupV2,
        current_bytes: tree::number(group, "memory.current").unwrap_or(0),
        anonymous_bytes: tree::field(group, "memory.stat", "anon"),
        peak_bytes: tree::number(group, "memory.peak"),
        limit_bytes: tree::number(group, "memory.max"),
        oom_kills: tree::field(group, "memory.events", "oom_kill"),
        limit_hits: tree::field(group, "memory.events", "max"),
    }
}

/// CPU time of all that ever ran in the group, in milliseconds.
pub(crate) fn cpu_ms(group: &Path) -> Option<u64> {
    tree::field(group, "cpu.stat", "usage_usec").map(|usec| usec / 1000)
}

/// How long all of a group's processes stood still at once for want of memory, in milliseconds (`full` of `memory.pressure`).
pub(crate) fn memory_wait_ms(group: &Path) -> Option<u64> {
    let text = fs::read_to_string(group.join("memory.pressure")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("full "))?;
    let total = line
        .split_ascii_whitespace()
        .find_map(|part| part.strip_prefix("total="))?;
    total.parse::<u64>().ok().map(|usec| usec / 1000)
}

/// Kills the whole tree at once, where the kernel can (5.14).
pub(crate) fn kill(group: &Path) -> bool {
    let file = group.join("cgroup.kill");
    file.exists() && fs::write(file, "1").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a delegated group.
    fn group(path: &Path, controllers: &str, handed_down: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("cgroup.controllers"), controllers).unwrap();
        fs::write(path.join("cgroup.subtree_control"), handed_down).unwrap();
        fs::write(path.join("cgroup.type"), "domain\n").unwrap();
        fs::write(path.join("cgroup.procs"), "").unwrap();
    }

    #[test]
    fn a_hierarchy_without_the_memory_controller_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        group(dir.path(), "cpu io", "");
        let layout = Layout {
            v2: Some(Place {
                top: dir.path().to_owned(),
                own: dir.path().to_owned(),
            }),
            v1_memory: None,
        };
        assert!(
            prepare(&layout)
                .unwrap_err()
                .contains("memory controller is not available")
        );
    }

    #[test]
    fn the_base_becomes_a_sibling_where_others_live_in_the_own_group() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("app.scope");
        group(dir.path(), "memory", "memory");
        group(&own, "memory", "");
        fs::write(own.join("cgroup.procs"), "1\n").unwrap();
        let place = Place {
            top: dir.path().to_owned(),
            own: own.clone(),
        };
        assert_eq!(base_parent(&place).unwrap(), dir.path());
        fs::write(own.join("memory.max"), "1000\n").unwrap();
        let reason = base_parent(&place).unwrap_err();
        assert!(reason.contains("limit that must hold"), "{reason}");
    }

    #[test]
    fn a_process_that_stands_in_the_way_moves_into_a_leaf() {
        let dir = tempfile::tempdir().unwrap();
        group(dir.path(), "memory", "");
        let place = Place {
            top: dir.path().to_owned(),
            own: dir.path().to_owned(),
        };
        assert_eq!(base_parent(&place).unwrap(), dir.path());
        assert_eq!(
            fs::read(dir.path().join(SERVER_LEAF).join("cgroup.procs")).unwrap(),
            b"0"
        );
        assert_eq!(
            fs::read(dir.path().join("cgroup.subtree_control")).unwrap(),
            b"+memory"
        );
    }

    #[test]
    fn other_processes_in_the_group_are_never_moved() {
        let dir = tempfile::tempdir().unwrap();
        group(dir.path(), "memory", "");
        fs::write(dir.path().join("cgroup.procs"), "1\n").unwrap();
        let place = Place {
            top: dir.path().to_owned(),
            own: dir.path().to_owned(),
        };
        let reason = base_parent(&place).unwrap_err();
        assert!(reason.contains("also holds process 1"), "{reason}");
        assert!(!dir.path().join(SERVER_LEAF).exists());
    }

    #[test]
    fn counters_are_read_from_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("memory.current", "100\n");
        put("memory.max", "max\n");
        put("memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n");
        put("memory.stat", "anon 60\nfile 40\n");
        put("cpu.stat", "usage_usec 5000\n");
        let reading = read(dir.path());
        assert_eq!(
            (reading.current_bytes, reading.anonymous_bytes),
            (100, Some(60))
        );
        assert_eq!((reading.limit_bytes, reading.peak_bytes), (None, None));
        assert_eq!((reading.oom_kills, reading.limit_hits), (Some(1), Some(7)));
        assert_eq!(cpu_ms(dir.path()), Some(5));
    }

    #[test]
    fn the_wait_for_memory_is_that_of_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(memory_wait_ms(dir.path()), None);
        let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=9000000";
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=1234567";
        fs::write(
            dir.path().join("memory.pressure"),
            format!("{some}\n{full}\n"),
        )
        .unwrap();
        assert_eq!(memory_wait_ms(dir.path()), Some(1234));
    }
}
