//! What a process is doing now, for heartbeats and for findings of stuckness.
//!
//! Owns the reading of CPU, IO, memory, state and wait channel. It must stay cheap: one sample is four small reads of `/proc`.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::procfs;

/// Threads that are looked at; a program with more is described well enough by these.
pub const THREADS_SAMPLED_MAX: usize = 64;

/// The scheduler's state of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// R: on a CPU or waiting for one.
    Running,
    /// S or I: waiting for an event.
    Sleeping,
    /// D: waiting in the kernel and deaf to signals, mostly for a disk or a network file system.
    DiskWait,
    /// T or t: stopped by a signal or a debugger.
    Stopped,
    /// Z or X: ended.
    Zombie,
    /// A letter that this version does not know.
    Other,
}

impl ProcessState {
    fn from_letter(letter: char) -> Self {
        match letter {
            'R' => Self::Running,
            'S' | 'I' => Self::Sleeping,
            'D' => Self::DiskWait,
            'T' | 't' => Self::Stopped,
            'Z' | 'X' | 'x' => Self::Zombie,
            _ => Self::Other,
        }
    }
}

/// One look at a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Process id.
    pub pid: u32,
    /// State of its main thread.
    pub state: ProcessState,
    /// CPU time of all its threads, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Highest resident memory so far, in bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Bytes read by any means, also from pipes, sockets and the page cache.
    pub read_bytes: Option<u64>,
    /// Bytes written by any means.
    pub written_bytes: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// The kernel function in which its main thread waits; `None` when it runs or the kernel hides it.
    pub wchan: Option<String>,
}

/// One look at a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSample {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ProcessState,
    /// Its CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// The kernel function in which it waits.
    pub wchan: Option<String>,
}

/// Looks at a process; `None` when it is gone.
#[must_use]
pub fn sample(pid: u32) -> Option<ProcessSample> {
    let stat = procfs::stat(pid).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    Some(ProcessSample {
        pid,
        state: ProcessState::from_letter(stat.state),
        cpu_ms: stat.cpu_ms(),
        rss_bytes: procfs::kib_field(&status, "VmRSS").unwrap_or_else(|| stat.rss_bytes()),
        rss_peak_bytes: procfs::kib_field(&status, "VmHWM"),
        read_bytes: procfs::flat_field(&io, "rchar:"),
        written_bytes: procfs::flat_field(&io, "wchar:"),
        threads: stat.threads,
        wchan: wchan(&format!("/proc/{pid}/wchan")),
    })
}

/// Looks at the threads of a process, at most [`THREADS_SAMPLED_MAX`] of them; empty when it is gone.
#[must_use]
pub fn threads(pid: u32) -> Vec<ThreadSample> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(THREADS_SAMPLED_MAX)
        .filter_map(|tid| thread(pid, tid))
        .collect()
}

/// How long the threads of a process have stood in line for a CPU, added up over at most [`THREADS_SAMPLED_MAX`] of them that live, in
/// milliseconds (the second field of schedstat); `None` when it is gone or the kernel does not count.
#[must_use]
pub fn cpu_wait_ms(pid: u32) -> Option<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let waits = entries.flatten().take(THREADS_SAMPLED_MAX);
    let waits = waits.filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    });
    waits
        .map(|nanoseconds| nanoseconds / 1_000_000)
        .reduce(|sum, wait| sum.saturating_add(wait))
}

fn thread(pid: u32, tid: u32) -> Option<ThreadSample> {
    let stat = procfs::stat_file(&format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    Some(ThreadSample {
        tid,
        state: ProcessState::from_letter(stat.state),
        cpu_ms: stat.cpu_ms(),
        wchan: wchan(&format!("/proc/{pid}/task/{tid}/wchan")),
        name: stat.name,
    })
}

/// Where the main thread stands in the kernel, innermost frame first; `None` without the privilege to see it.
#[must_use]
pub fn kernel_stack(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stack")).ok()?;
    let frames: Vec<&str> = text
        .lines()
        .map(|line| line.split_once("] ").map_or(line, |(_, frame)| frame))
        .collect();
    (!frames.is_empty()).then(|| frames.join("\n"))
}

/// The kernel writes `0` for "runs" and for "you may not know".
fn wchan(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let name = text.trim();
    (!name.is_empty() && name != "0").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_has_threads() {
        let sample = sample(std::process::id()).unwrap();
        assert!(sample.rss_bytes > 0, "{sample:?}");
        assert!(sample.rss_peak_bytes >= Some(1), "{sample:?}");
        assert!(sample.read_bytes.is_some(), "{sample:?}");
        assert!(sample.threads >= 1, "{sample:?}");
        assert!(!threads(std::process::id()).is_empty());
        assert!(cpu_wait_ms(std::process::id()).is_some());
    }

    #[test]
    fn a_process_that_is_gone_has_no_sample() {
        assert_eq!(sample(u32::MAX), None);
        assert!(threads(u32::MAX).is_empty());
        assert_eq!(kernel_stack(u32::MAX), None);
        assert_eq!(cpu_wait_ms(u32::MAX), None);
    }

    #[test]
    fn a_sleeping_child_is_seen_sleeping() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while sample(child.id()).is_none_or(|seen| seen.state != ProcessState::Sleeping) {
            assert!(
                std::time::Instant::now() < deadline,
                "the child never slept"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
