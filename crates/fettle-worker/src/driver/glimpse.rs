//! One look at a worker with all its children, taken beside it: it may be told to a driver on another machine.
//!
//! Owns what is read of the kernel and when nothing can be read. It must stay cheap: a look reads some small files for each process.

use fettle_confine::{
    MemoryReading, ProcessSample, ProcessState, WorkerGroup, cpu_wait_ms, sample,
};
use serde::{Deserialize, Serialize};

/// CPU time and bytes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// CPU time, in milliseconds.
    pub(super) cpu_ms: u64,
    /// Bytes read and written by any means.
    pub(super) io_bytes: Option<u64>,
}

impl Reading {
    /// Of all that runs in `group`; `None` when nothing does.
    pub(super) fn of(group: &WorkerGroup) -> Option<Self> {
        let seen: Vec<_> = group.pids().into_iter().filter_map(sample).collect();
        if seen.is_empty() {
            return None;
        }
        let io = |one: &ProcessSample| Some(one.read_bytes?.saturating_add(one.written_bytes?));
        let ios: Vec<u64> = seen.iter().filter_map(io).collect();
        let cpu_ms = seen.iter().map(|one| one.cpu_ms).sum();
        Some(Self {
            cpu_ms: group.counted_cpu_ms().unwrap_or(cpu_ms),
            io_bytes: (!ios.is_empty()).then(|| ios.iter().sum()),
        })
    }
}

/// Time spent waiting so far, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waits {
    /// In line for a CPU.
    pub(super) cpu_ms: Option<u64>,
    /// For memory.
    pub(super) memory_ms: Option<u64>,
}

impl Waits {
    /// Of all that runs in `group`.
    pub(super) fn of(group: &WorkerGroup) -> Self {
        let cpu_waits = group.pids().into_iter().filter_map(cpu_wait_ms);
        Self {
            cpu_ms: cpu_waits.reduce(|sum, wait| sum.saturating_add(wait)),
            memory_ms: group.memory_wait_ms(),
        }
    }
}

/// Whether one of its processes was stopped by a signal: then the others wait for it in vain.
pub(super) fn is_stopped(group: &WorkerGroup) -> bool {
    let mut seen = group.pids().into_iter().filter_map(sample);
    seen.any(|seen| seen.state == ProcessState::Stopped)
}

/// All that is seen of a worker at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Glimpse {
    /// Its own process.
    pub(super) process: Option<ProcessSample>,
    /// Its memory.
    pub(super) memory: MemoryReading,
    /// What it has used.
    pub(super) used: Option<Reading>,
    /// What it has waited.
    pub(super) waits: Waits,
    /// CPU time of all that ever ran in it, where the kernel keeps count, in milliseconds.
    pub(super) counted_cpu_ms: Option<u64>,
    /// CPU time, counted or added up, in milliseconds.
    pub(super) cpu_ms: Option<u64>,
    /// Whether it was stopped by a signal.
    pub(super) is_stopped: bool,
}

impl Glimpse {
    /// A look at the worker with process `pid` in `group`.
    pub(super) fn of(group: &WorkerGroup, pid: u32) -> Self {
        Self {
            process: sample(pid),
            memory: group.read(),
            used: Reading::of(group),
            waits: Waits::of(group),
            counted_cpu_ms: group.counted_cpu_ms(),
            cpu_ms: group.cpu_ms(),
            is_stopped: is_stopped(group),
        }
    }
}
