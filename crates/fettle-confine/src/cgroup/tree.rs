//! What the two cgroup versions have in common: a tree of folders with a file of process ids in each.
//!
//! Owns listing, killing and removing. It refuses every folder that is not below a base group of ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::layout::BASE_NAME;
use super::{GroupError, v2};
use crate::procfs;
use crate::terminate::kill_pids;

/// How deep the tree below an attempt is followed: attempt, worker, and what a plugin may have made.
const DEPTH_MAX: usize = 8;

/// Whether a folder lies strictly below a base group.
pub(crate) fn is_ours(path: &Path) -> bool {
    path.parent().is_some_and(|parent| {
        parent
            .components()
            .any(|part| part.as_os_str() == BASE_NAME)
            && path.is_absolute()
    }) && !path.components().any(|part| part.as_os_str() == "..")
}

fn check_ours(path: &Path) -> Result<(), GroupError> {
    if is_ours(path) {
        Ok(())
    } else {
        Err(GroupError::NotOurs {
            path: path.to_owned(),
        })
    }
}

/// The folder and all groups below it, deepest first.
fn groups(path: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if depth < DEPTH_MAX {
        for child in children(path) {
            found.extend(groups(&child, depth + 1));
        }
    }
    found.push(path.to_owned());
    found
}

/// The groups directly below a folder.
pub(crate) fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The processes of a group and of all groups below it that can still do anything, sorted.
pub(crate) fn pids(path: &Path) -> Vec<u32> {
    let mut found: Vec<u32> = groups(path, 0)
        .iter()
        .flat_map(|group| own_pids(group))
        .filter(|pid| procfs::stat(*pid).is_ok_and(|stat| stat.is_running()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The processes of this one group. A process of another PID namespace shows as 0 and is left out.
pub(crate) fn own_pids(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid != 0)
        .collect()
}

/// Sends SIGKILL to every process of the tree once; those that are born meanwhile are for the next call.
pub(crate) fn kill_all(path: &Path) -> Result<(), GroupError> {
    check_ours(path)?;
    if pids(path).contains(&std::process::id()) {
        return Err(GroupError::WouldKillSelf {
            path: path.to_owned(),
        });
    }
    if v2::kill(path) {
        return Ok(());
    }
    kill_pids(&pids(path));
    Ok(())
}

/// Removes the group and all below it. A group that does not exist is removed.
pub(crate) fn remove(path: &Path) -> Result<(), GroupError> {
    check_ours(path)?;
    for group in groups(path, 0) {
        match fs::remove_dir(&group) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(GroupError::Busy {
                    path: group,
                    pids: pids(path),
                });
            }
            Err(source) => {
                return Err(GroupError::Io {
                    action: "remove",
                    path: group,
                    source,
                });
            }
        }
    }
    Ok(())
}

/// Makes a group; one that exists is left as it is.
pub(crate) fn make(path: &Path) -> Result<(), GroupError> {
    check_ours(path)?;
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(GroupError::Io {
            action: "create",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a control file.
pub(crate) fn write(group: &Path, file: &str, value: &str) -> Result<(), GroupError> {
    let path = group.join(file);
    fs::write(&path, value).map_err(|source| GroupError::Io {
        action: "write",
        path,
        source,
    })
}

/// Reads a control file that holds one number; `max` and absence are `None`.
pub(crate) fn number(group: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(group.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Reads one number of a flat keyed control file.
pub(crate) fn field(group: &Path, file: &str, name: &str) -> Option<u64> {
    procfs::flat_field(&fs::read_to_string(group.join(file)).ok()?, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_below_a_base_are_ours() {
        for ours in [
            "/sys/fs/cgroup/fettle/job_1",
            "/c/a/fettle/job_1-a1/worker-0",
        ] {
            assert!(is_ours(Path::new(ours)), "{ours}");
        }
        for other in [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/fettle",
            "/c/fettle/../system.slice",
            "fettle/x",
            "/",
        ] {
            assert!(!is_ours(Path::new(other)), "{other}");
            assert!(matches!(
                kill_all(Path::new(other)),
                Err(GroupError::NotOurs { .. })
            ));
            assert!(matches!(
                remove(Path::new(other)),
                Err(GroupError::NotOurs { .. })
            ));
        }
    }
}
