//! Leaving the session of whoever started this process, so that nobody's Ctrl-C, hang-up or exit ends it.
//!
//! Owns setsid(2) and its one awkward case. Only the process itself may do this; nothing here forks.

use rustix::io::Errno;
use rustix::process::{Pid, getppid, setpgid, setsid};

use crate::procfs;

/// Why this process could not get a session of its own.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It leads a process group that it cannot leave.
    #[error("this process leads a process group and cannot leave it; start it with `setsid`")]
    LeadsGroup(#[source] Errno),
    /// The kernel said something else.
    #[error("the kernel refused a new session")]
    Refused(#[source] Errno),
}

/// Makes this process the leader of a new session and process group without a terminal. Harmless when it already is.
///
/// A process that leads a group (as every command of an interactive shell does) may not call setsid(2); such a process
/// first joins its parent's group, which is possible as long as both are in one session.
///
/// # Errors
/// When the kernel refuses.
pub fn become_session_leader() -> Result<(), SessionError> {
    match setsid() {
        Ok(_) => Ok(()),
        Err(Errno::PERM) if leads_session() => Ok(()),
        Err(Errno::PERM) => leave_group().and_then(|()| match setsid() {
            Ok(_) => Ok(()),
            Err(errno) => Err(SessionError::LeadsGroup(errno)),
        }),
        Err(errno) => Err(SessionError::Refused(errno)),
    }
}

/// Read from `/proc`: a session outside of this PID namespace has the number 0, with which typed process ids cannot cope.
fn leads_session() -> bool {
    let me = std::process::id();
    procfs::stat(me).is_ok_and(|stat| stat.session == me)
}

fn leave_group() -> Result<(), SessionError> {
    let parent = getppid().ok_or(SessionError::LeadsGroup(Errno::SRCH))?;
    let group = procfs::stat(parent.as_raw_nonzero().get().unsigned_abs()).ok();
    let group = group.and_then(|stat| Pid::from_raw(i32::try_from(stat.group).ok()?));
    // No group to join: the parent's lies outside of this PID namespace.
    let group = group.ok_or(SessionError::LeadsGroup(Errno::PERM))?;
    setpgid(None, Some(group)).map_err(SessionError::LeadsGroup)
}
