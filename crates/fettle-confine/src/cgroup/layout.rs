//! Where this process stands in the cgroup hierarchies.
//!
//! Owns the parsing of `/proc/self/mountinfo` and `/proc/self/cgroup` (cgroups(7)). It changes nothing.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The group below which all of Fettle's groups lie; also the guard against touching a group that is not ours.
pub(crate) const BASE_NAME: &str = "fettle";

/// The leaf into which a server moves that would stand in the way of its own groups; a service manager can start it there
/// at once (`DelegateSubgroup=fettle-serve` of systemd).
pub(crate) const SERVER_LEAF: &str = "fettle-serve";

/// This process's groups, as folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In the unified hierarchy.
    pub(crate) v2: Option<Place>,
    /// In the legacy memory hierarchy.
    pub(crate) v1_memory: Option<Place>,
}

/// A group and the top of the hierarchy as far as this process can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Mount point.
    pub(crate) top: PathBuf,
    /// The group that this process is in.
    pub(crate) own: PathBuf,
}

impl Place {
    /// Where the base group belongs. Mostly that is `own`; but a process below a base takes the place of that base, so that
    /// bases never nest, and one in the leaf for servers takes the group around it.
    pub(crate) fn home(&self) -> &Path {
        let base = self.own.ancestors().find(|path| is_named(path, BASE_NAME));
        let inner = base.or_else(|| is_named(&self.own, SERVER_LEAF).then_some(self.own.as_path()));
        inner
            .and_then(Path::parent)
            .filter(|path| path.starts_with(&self.top))
            .unwrap_or(&self.own)
    }
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
}

impl Layout {
    /// Reads the layout of this process; what is not mounted or not readable is left out.
    pub(crate) fn read() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::parse(&mounts, &groups)
    }

    fn parse(mounts: &str, groups: &str) -> Self {
        let v2_group = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let v1_group = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, group) = rest.split_once(':')?;
            controllers
                .split(',')
                .any(|one| one == "memory")
                .then_some(group)
        });
        let place = |mount: Option<Mount>, group: Option<&str>| Some(mount?.place(group?));
        let mut found: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let mut take = |wanted: fn(&Mount) -> bool| {
            found
                .iter()
                .position(wanted)
                .map(|index| found.swap_remove(index))
        };
        let v2 = take(|mount| mount.kind == "cgroup2");
        let v1 = take(|mount| {
            mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory")
        });
        Self {
            v2: place(v2, v2_group),
            v1_memory: place(v1, v1_group),
        }
    }
}

struct Mount {
    /// The part of the hierarchy that is mounted.
    root: String,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    /// proc_pid_mountinfo(5): `36 35 98:0 /root /point opts [optional…] - type source super-options`.
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        Some(Self {
            root: left.next()?.to_owned(),
            point: PathBuf::from(unescape(left.next()?)),
            kind: right.next()?.to_owned(),
            options: right.nth(1)?.to_owned(),
        })
    }

    /// In a container the mount shows a part of the hierarchy, while the group may be named from the real top.
    fn place(self, group: &str) -> Place {
        let inside = group
            .strip_prefix(self.root.trim_end_matches('/'))
            .unwrap_or(group);
        let relative: PathBuf = Path::new(inside)
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let own = self.point.join(relative);
        // A group outside of what is mounted has no folder; the top of the mount is then the closest.
        let own = if own.is_dir() {
            own
        } else {
            self.point.clone()
        };
        Place {
            top: self.point,
            own,
        }
    }
}

/// Mount points have blanks, tabs, newlines and backslashes as octal escapes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(v1: &Path, v2: &Path, root: &str) -> String {
        format!(
            "35 31 0:32 {root} {} rw,relatime - cgroup cgroup rw,memory\n\
             36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             41 31 0:38 / {} rw,relatime shared:9 - cgroup2 cgroup2 rw\n",
            v1.display(),
            v2.display()
        )
    }

    #[test]
    fn both_hierarchies_of_a_hybrid_machine_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let (v1, v2) = (dir.path().join("memory"), dir.path().join("unified"));
        fs::create_dir_all(v1.join("a/b")).unwrap();
        fs::create_dir_all(&v2).unwrap();
        let layout = Layout::parse(
            &mounts(&v1, &v2, "/"),
            "4:cpu,memory:/a/b\n1:cpu:/x\n0::/\n",
        );
        assert_eq!(
            layout.v1_memory,
            Some(Place {
                top: v1.clone(),
                own: v1.join("a/b")
            })
        );
        assert_eq!(
            layout.v2,
            Some(Place {
                top: v2.clone(),
                own: v2
            })
        );
    }

    #[test]
    fn the_mounted_part_of_a_container_is_cut_off_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let v1 = dir.path().join("memory");
        fs::create_dir_all(v1.join("inner")).unwrap();
        let text = mounts(&v1, dir.path(), "/docker/abc");
        let place = |group: &str| Layout::parse(&text, group).v1_memory.unwrap().own;
        assert_eq!(place("4:memory:/docker/abc/inner\n"), v1.join("inner"));
        assert_eq!(place("4:memory:/docker/abc\n"), v1);
        assert_eq!(place("4:memory:/somewhere/else\n"), v1);
        assert_eq!(place("4:memory:/../..\n"), v1);
    }

    #[test]
    fn a_process_below_a_base_finds_its_home_above_it() {
        let top = PathBuf::from("/sys/fs/cgroup");
        let place = |own: &str| Place {
            top: top.clone(),
            own: top.join(own),
        };
        assert_eq!(place("a/fettle/job_1-a1/driver").home(), top.join("a"));
        assert_eq!(place("a/b").home(), top.join("a/b"));
        assert_eq!(place("fettle/job_1-a1").home(), top);
        assert_eq!(place("a/fettle-serve").home(), top.join("a"));
    }

    #[test]
    fn nothing_mounted_is_an_empty_layout() {
        assert_eq!(Layout::parse("", "0::/\n"), Layout::default());
    }
}
