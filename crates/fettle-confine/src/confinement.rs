//! Which kind of confinement this machine offers, and why not a better one.
//!
//! Owns the order of preference: cgroup v2, cgroup v1, rlimits, none. The kinds themselves are in `cgroup`.

use std::fmt;
use std::path::PathBuf;

use fettle_model::evidence::MemoryEnforcement;
use serde::{Deserialize, Serialize};

use crate::cgroup::layout::Layout;
use crate::cgroup::{v1, v2};

/// Names the best kind that may be used: `cgroup_v2`, `cgroup_v1`, `rlimit` or `none`.
pub const CONFINEMENT_ENV: &str = "FETTLE_CONFINEMENT";

/// A kind that is better than the one in use, and why it is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The kind.
    pub kind: MemoryEnforcement,
    /// Why it is not usable, for people.
    pub reason: String,
}

/// The kind of confinement in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Who enforces memory limits.
    pub kind: MemoryEnforcement,
    /// The cgroup below which each attempt gets its own, where cgroups are used.
    pub base: Option<PathBuf>,
    /// The better kinds, best first.
    pub rejected: Vec<Rejected>,
}

impl Confinement {
    /// Whether the kernel counts its OOM kills where Fettle can read them.
    #[must_use]
    pub fn counts_oom_kills(&self) -> bool {
        self.base.is_some()
    }
}

/// For people: `cgroup v1 (/sys/fs/cgroup/memory/fettle)`.
impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(kind_name(self.kind))?;
        match &self.base {
            Some(base) => write!(f, " ({})", base.display()),
            None => Ok(()),
        }
    }
}

/// A kind's name for people.
#[must_use]
pub fn kind_name(kind: MemoryEnforcement) -> &'static str {
    match kind {
        MemoryEnforcement::CgroupV2 => "cgroup v2",
        MemoryEnforcement::CgroupV1 => "cgroup v1",
        MemoryEnforcement::Rlimit => "rlimit with sampled memory",
        MemoryEnforcement::None => "none",
    }
}

/// Finds the best usable kind and makes its base group. [`CONFINEMENT_ENV`] can rule out the better ones.
///
/// On cgroup v2 this may move the calling process into a leaf of its own group, because a group with processes of its own
/// can have no limits below it.
#[must_use]
pub fn detect() -> Confinement {
    let wish = std::env::var(CONFINEMENT_ENV)
        .ok()
        .filter(|wish| !wish.is_empty());
    detect_at_most(wish.as_deref(), &Layout::read())
}

type Probe = fn(&Layout) -> Result<PathBuf, String>;

fn detect_at_most(wish: Option<&str>, layout: &Layout) -> Confinement {
    let mut rejected = Vec::new();
    let first = match wish.map_or(Some(0), rank) {
        Some(first) => first,
        None => {
            tracing::warn!(
                value = wish,
                "{CONFINEMENT_ENV} is none of cgroup_v2, cgroup_v1, rlimit, none; it is ignored"
            );
            0
        }
    };
    let probes: [(MemoryEnforcement, Probe); 2] = [
        (MemoryEnforcement::CgroupV2, v2::prepare),
        (MemoryEnforcement::CgroupV1, v1::prepare),
    ];
    for (index, (kind, probe)) in probes.into_iter().enumerate() {
        let found = if index < first {
            Err(ruled_out())
        } else {
            probe(layout)
        };
        match found {
            Ok(base) => {
                return Confinement {
                    kind,
                    base: Some(base),
                    rejected,
                };
            }
            Err(reason) => rejected.push(Rejected { kind, reason }),
        }
    }
    if first <= 2 {
        return Confinement {
            kind: MemoryEnforcement::Rlimit,
            base: None,
            rejected,
        };
    }
    rejected.push(Rejected {
        kind: MemoryEnforcement::Rlimit,
        reason: ruled_out(),
    });
    Confinement {
        kind: MemoryEnforcement::None,
        base: None,
        rejected,
    }
}

fn ruled_out() -> String {
    format!("ruled out by {CONFINEMENT_ENV}")
}

fn rank(wish: &str) -> Option<usize> {
    ["cgroup_v2", "cgroup_v1", "rlimit", "none"]
        .iter()
        .position(|name| *name == wish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_rules_out_what_is_better() {
        let layout = Layout::default();
        let rlimit = detect_at_most(Some("rlimit"), &layout);
        assert_eq!(rlimit.kind, MemoryEnforcement::Rlimit);
        assert_eq!(rlimit.rejected.len(), 2);
        assert!(
            rlimit
                .rejected
                .iter()
                .all(|one| one.reason.contains(CONFINEMENT_ENV))
        );
        let none = detect_at_most(Some("none"), &layout);
        assert_eq!(
            (none.kind, none.rejected.len()),
            (MemoryEnforcement::None, 3)
        );
    }

    #[test]
    fn a_machine_without_cgroups_falls_back_and_says_why() {
        for wish in [None, Some("cgroup_v2"), Some("nonsense")] {
            let found = detect_at_most(wish, &Layout::default());
            assert_eq!(found.kind, MemoryEnforcement::Rlimit);
            assert!(
                found
                    .rejected
                    .iter()
                    .all(|one| one.reason.contains("not mounted")),
                "{found:?}"
            );
            assert!(!found.counts_oom_kills());
        }
    }
}
