//! Ending processes for certain: TERM, grace, KILL, then a look for what is left.
//!
//! Owns who belongs to an attempt and the order of signals. A signal goes only to a process that is the same as when it
//! was found to belong; a process id that has been given away meanwhile is never hit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::cgroup::AttemptGroup;
use crate::identity::{Liveness, ProcessIdentity};
use crate::procfs::{self, LOOK_INTERVAL, Stat};
use crate::seat::ATTEMPT_MARKER_ENV;

/// SIGKILL takes effect within milliseconds but for processes that hang in the kernel, mostly on a dead network file
/// system; after this they are reported as leaked.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is to be ended. Whatever is known narrows nothing: a process belongs when any of the three says so.
#[derive(Debug, Clone, Default)]
pub struct TerminationScope {
    /// The driver, leader of its session. It is told first, so that it can end its workers in good order.
    pub leader: Option<ProcessIdentity>,
    /// The attempt's group.
    pub group: Option<AttemptGroup>,
    /// The attempt's id, which every process of it has inherited in its environment ([`ATTEMPT_MARKER_ENV`]).
    pub marker: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// Whether no process is left that belongs: by cgroup, by session, by process group, by descent and by environment.
    pub proven_gone: bool,
    /// Those that outlived SIGKILL.
    pub leaked_pids: Vec<u32>,
    /// Those that SIGTERM did not end.
    pub killed_pids: Vec<u32>,
}

impl Termination {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.proven_gone, self.killed_pids.is_empty()) {
            (true, true) => "ended by SIGTERM; nothing is left".to_owned(),
            (true, false) => {
                format!(
                    "processes {:?} had to be ended by SIGKILL; nothing is left",
                    self.killed_pids
                )
            }
            (false, _) => format!(
                "processes {:?} outlived SIGKILL; they hang in the kernel, mostly on a disk or network file system",
                self.leaked_pids
            ),
        }
    }
}

/// Process id → start time: the members found by one look.
type Members = BTreeMap<u32, u64>;

/// Ends everything in `scope`. The leader is told first; after half of `grace` everybody is; after `grace` everybody is
/// killed. Takes at most `grace` and five seconds.
pub async fn terminate(scope: &TerminationScope, grace: Duration) -> Termination {
    let mut killed_pids = Vec::new();
    let mut left = scope.members(true);
    if !left.is_empty() && !grace.is_zero() {
        left = ask(scope, grace, left).await;
    }
    let deadline = Instant::now() + KILL_TIMEOUT;
    while !left.is_empty() && Instant::now() < deadline {
        if let Some(group) = &scope.group
            && let Err(error) = group.kill_all()
        {
            tracing::warn!(error = error.explain(), "cannot kill the group at once");
        }
        send_all(&left, Signal::KILL);
        killed_pids.extend(left.keys().copied());
        tokio::time::sleep(LOOK_INTERVAL).await;
        left = scope.members(true);
    }
    killed_pids.sort_unstable();
    killed_pids.dedup();
    Termination {
        proven_gone: left.is_empty(),
        leaked_pids: left.into_keys().collect(),
        killed_pids,
    }
}

/// SIGTERM to the leader, later to all; returns who is left.
async fn ask(scope: &TerminationScope, grace: Duration, members: Members) -> Members {
    let leader_told = scope.leader.as_ref().is_some_and(|leader| {
        leader.liveness().is_alive() && send(leader.pid, leader.start_ticks, Signal::TERM)
    });
    let mut left = members;
    if leader_told {
        left = wait_until_gone(scope, grace / 2).await;
    }
    if !left.is_empty() {
        send_all(&left, Signal::TERM);
        left = wait_until_gone(scope, if leader_told { grace / 2 } else { grace }).await;
    }
    left
}

async fn wait_until_gone(scope: &TerminationScope, timeout: Duration) -> Members {
    let deadline = Instant::now() + timeout;
    loop {
        // The environments are the dearest to read, so they are only asked when all else says that nobody is left.
        let mut left = scope.members(false);
        if left.is_empty() {
            left = scope.members(true);
        }
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

impl TerminationScope {
    /// The processes that belong to this scope and can still do anything, by process id.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.members(true).into_keys().collect()
    }

    fn members(&self, with_environments: bool) -> Members {
        let me = std::process::id();
        let all = procfs::all();
        let in_group = self
            .group
            .as_ref()
            .map(AttemptGroup::pids)
            .unwrap_or_default();
        let by_leader = self
            .leader
            .as_ref()
            .map(|leader| self.led(leader, &all))
            .unwrap_or_default();
        let belongs = |stat: &Stat| {
            in_group.binary_search(&stat.pid).is_ok()
                || by_leader.contains(&stat.pid)
                || (with_environments && self.is_marked(stat.pid) == Some(true))
        };
        all.iter()
            .filter(|stat| stat.pid != me && stat.is_running() && belongs(stat))
            .map(|stat| (stat.pid, stat.start_ticks))
            .collect()
    }

    /// The leader, its session, its process group and its descendants.
    fn led(&self, leader: &ProcessIdentity, all: &[Stat]) -> Vec<u32> {
        let liveness = leader.liveness();
        if matches!(liveness, Liveness::Replaced | Liveness::Rebooted) {
            // The id belongs to somebody else now, and so do the session and the group of that id.
            return Vec::new();
        }
        // A number stays taken while a session or group of that name has members, but once all had ended it may have been
        // given to a leader that has ended as well. So without the leader there must be no word against a member.
        let vouched = |stat: &Stat| {
            liveness != Liveness::Gone
                || (stat.start_ticks >= leader.start_ticks
                    && self.is_marked(stat.pid) != Some(false))
        };
        let mut found = family(leader.pid, all);
        found.retain(|pid| all.iter().any(|stat| stat.pid == *pid && vouched(stat)));
        found
    }

    /// `None` when there is no marker or the environment may not be read.
    fn is_marked(&self, pid: u32) -> Option<bool> {
        let marker = self.marker.as_ref()?;
        procfs::has_environment(pid, &format!("{ATTEMPT_MARKER_ENV}={marker}"))
    }
}

/// A process with its session, its group and all that descend from any of them.
fn family(root: u32, all: &[Stat]) -> Vec<u32> {
    let mut found: Vec<u32> = all
        .iter()
        .filter(|stat| stat.pid == root || stat.session == root || stat.group == root)
        .map(|stat| stat.pid)
        .collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = all
            .iter()
            .filter(|stat| stat.parent == parent)
            .map(|stat| stat.pid);
        let fresh: Vec<u32> = children.filter(|pid| !found.contains(pid)).collect();
        found.extend(fresh);
        next += 1;
    }
    found
}

/// A process with its group and descendants, as far as they can still do anything; sorted.
pub(crate) fn descendants(root: &ProcessIdentity) -> Vec<u32> {
    if matches!(root.liveness(), Liveness::Replaced | Liveness::Rebooted) {
        return Vec::new();
    }
    let all = procfs::all();
    let mut found = family(root.pid, &all);
    found.retain(|pid| {
        all.iter().any(|stat| {
            stat.pid == *pid && stat.is_running() && stat.start_ticks >= root.start_ticks
        })
    });
    found.sort_unstable();
    found
}

/// Sends SIGKILL to processes that were just found to belong.
pub(crate) fn kill_pids(pids: &[u32]) {
    let members: Members = pids
        .iter()
        .filter_map(|pid| Some((*pid, procfs::stat(*pid).ok()?.start_ticks)))
        .collect();
    send_all(&members, Signal::KILL);
}

fn send_all(members: &Members, signal: Signal) {
    for (pid, start_ticks) in members {
        send(*pid, *start_ticks, signal);
    }
}

/// Signals a process if it is still the one that started then. A descriptor of the process is held between the check and
/// the signal, so that the id cannot change hands in between.
fn send(pid: u32, start_ticks: u64, signal: Signal) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let descriptor = pidfd_open(raw, PidfdFlags::empty());
    if procfs::stat(pid).map(|stat| stat.start_ticks).ok() != Some(start_ticks) {
        return false;
    }
    match descriptor {
        Ok(descriptor) => pidfd_send_signal(&descriptor, signal).is_ok(),
        // Kernels before 5.3, and some sandboxes.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => kill_process(raw, signal).is_ok(),
        Err(_) => false,
    }
}

impl ProcessIdentity {
    /// Sends SIGTERM to this very process; `false` when it is gone.
    pub fn send_terminate(&self) -> bool {
        self.liveness().is_alive() && send(self.pid, self.start_ticks, Signal::TERM)
    }

    /// Sends SIGKILL to this very process; `false` when it is gone.
    pub fn send_kill(&self) -> bool {
        self.liveness().is_alive() && send(self.pid, self.start_ticks, Signal::KILL)
    }
}
