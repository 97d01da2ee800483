//! What the end of a worker says: its cause, its evidence, and the errors of rows that are given up for it.
//!
//! Owns the reading of the evidence, before the traces vanish. Causes rest on counters and signals, never on an exit code alone.

use fettle_confine::MemoryReading;
use fettle_model::evidence::MemoryEnforcement;
use fettle_model::{
    DocumentErrorClass, ErrorCategory, MemoryEvidence, ProcessExit, RowError, RowOutcome,
    UnixMillis, WorkerDeath,
};
use fettle_wire::internal::RowReport;

use super::crew::{Crewman, Killed, Taken};
use super::remains::Remains;
use crate::codes;
use crate::schedule::{Condemned, DeathCause, LONE_DEATHS_MAX, Reason, STUCK_DEATHS_MAX};

/// What Rust's allocator says before it aborts.
const ALLOCATION_FAILED: &str = "memory allocation of ";

/// What ended a worker.
pub(super) fn cause_of(
    exit: ProcessExit,
    memory: &MemoryReading,
    killed: Option<Killed>,
    log_tail: &str,
) -> DeathCause {
    let was_killed =
        exit.signal == Some(9) || exit.code == Some(i32::from(codes::PLUGIN_OUT_OF_MEMORY));
    let is_kernel_oom = was_killed && memory.oom_kills.is_some_and(|kills| kills > 0);
    // Where a limit on data is all there is, an allocation fails and the program aborts; no kernel counts that.
    let is_failed_allocation = memory.enforcement == MemoryEnforcement::Rlimit
        && exit.signal == Some(6)
        && log_tail.contains(ALLOCATION_FAILED);
    match killed {
        Some(Killed::OverLimit) => DeathCause::OutOfMemory,
        _ if is_kernel_oom || is_failed_allocation => DeathCause::OutOfMemory,
        Some(Killed::RowTimeout) => DeathCause::RowTimeout,
        Some(Killed::Stuck) => DeathCause::Stuck,
        Some(Killed::Stopped) | None => DeathCause::Other,
    }
}

/// The evidence of a worker's end. Its group must not have been used again.
pub(super) fn evidence(
    number: u32,
    worker: &Crewman,
    exit: ProcessExit,
    memory: &MemoryReading,
    remains: Remains,
    now: UnixMillis,
) -> WorkerDeath {
    let mut log_tail = remains.log.tail;
    let stuck = worker
        .stuck
        .clone()
        .filter(|_| worker.killed == Some(Killed::Stuck));
    let stand = stuck.as_ref().map(|stuck| &stuck.stand);
    if let Some(stand) = stand.or(worker.threads_at_kill.as_ref()) {
        log_tail = format!("{log_tail}\n{stand}").trim_start().to_owned();
    }
    WorkerDeath {
        worker: number,
        pid: worker.body.pid(),
        exit,
        at: now,
        started_at: worker.started_at,
        memory: memory_evidence(worker, memory),
        in_flight: worker.in_flight(),
        last_finished_row: worker.last_finished_row,
        ready: worker.is_ready,
        cpu_ms: worker.body.counted_cpu_ms().or(worker.usage.cpu_ms()),
        cpu_ms_since_row: worker.usage.cpu_ms_since_row(),
        io_bytes: worker.usage.io_bytes(),
        io_bytes_since_row: worker.usage.io_bytes_since_row(),
        last_finished_at: worker.usage.last_finished_at,
        rows_finished: worker.usage.rows_finished,
        log_tail,
        log: Some(remains.log.evidence),
        kernel_lines: remains.kernel_lines,
        killed_by_driver: worker.killed.map(|killed| killed.describe().to_owned()),
        stuck,
        node: worker.body.node().map(str::to_owned),
    }
}

/// What is known of a worker's memory, with its curve.
pub(super) fn memory_evidence(worker: &Crewman, memory: &MemoryReading) -> MemoryEvidence {
    let points = worker.curve.points();
    let sampled_peak = points.iter().map(|point| point.bytes).max();
    let mut evidence = memory.to_evidence(points);
    evidence.peak_bytes = evidence.peak_bytes.max(sampled_peak);
    evidence
}

/// The report of a row that is given up.
pub(super) fn report(
    condemned: Condemned,
    taken: &Taken,
    death: &WorkerDeath,
    component: &str,
    limit_ms: Option<u64>,
    now: UnixMillis,
) -> RowReport {
    let (category, class) = match condemned.reason {
        Reason::OutOfMemory => (ErrorCategory::Resource, DocumentErrorClass::Resource),
        Reason::Crash => (ErrorCategory::Runtime, DocumentErrorClass::Permanent),
        Reason::Timeout => (ErrorCategory::Runtime, DocumentErrorClass::Transient),
        Reason::Stuck => (ErrorCategory::Runtime, DocumentErrorClass::Permanent),
    };
    let error = RowError {
        row: condemned.row,
        source_id: taken.begun.source_id.clone(),
        category,
        class,
        stage: taken.stage,
        message: message(condemned.reason, death, limit_ms),
        component: component.to_owned(),
        traceback: Some(death.log_tail.clone()).filter(|tail| !tail.is_empty()),
        at: now,
    };
    RowReport {
        row: condemned.row,
        source_id: Some(taken.begun.source_id.clone()),
        collection_id: taken.begun.collection_id.clone(),
        outcome: RowOutcome::Failed,
        documents: Vec::new(),
        error: Some(error),
    }
}

fn message(reason: Reason, death: &WorkerDeath, limit_ms: Option<u64>) -> String {
    let mib = |bytes: Option<u64>| {
        bytes.map_or_else(
            || "unknown".to_owned(),
            |bytes| format!("{} MiB", bytes >> 20),
        )
    };
    let exit = death.exit.describe();
    match reason {
        Reason::OutOfMemory => format!(
            "the row ran its worker out of memory {LONE_DEATHS_MAX} times when it was alone in it (limit {}, peak {}, {exit}); retry it with more memory, or make it smaller",
            mib(death.memory.limit_bytes),
            mib(death.memory.peak_bytes),
        ),
        Reason::Crash => format!(
            "the row ended its worker {LONE_DEATHS_MAX} times when it was alone in it ({exit}); the traceback holds the end of the worker's log"
        ),
        Reason::Timeout => format!(
            "the row took longer than {} ms, the most that a row may take; its worker was ended",
            limit_ms.unwrap_or_default()
        ),
        Reason::Stuck => format!(
            "the row's worker stood still on it {STUCK_DEATHS_MAX} times and was ended ({}); the traceback holds where it stood",
            death.stuck.as_ref().map_or("", |stuck| &stuck.reason)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(enforcement: MemoryEnforcement, oom_kills: Option<u64>) -> MemoryReading {
        MemoryReading {
            oom_kills,
            ..MemoryReading::unknown(enforcement, Some(1))
        }
    }

    const KILLED: ProcessExit = ProcessExit {
        code: None,
        signal: Some(9),
    };
    const ABORTED: ProcessExit = ProcessExit {
        code: None,
        signal: Some(6),
    };

    #[test]
    fn an_oom_kill_is_one_that_the_kernel_has_counted() {
        let v2 = MemoryEnforcement::CgroupV2;
        assert_eq!(
            cause_of(KILLED, &reading(v2, Some(1)), None, ""),
            DeathCause::OutOfMemory
        );
        assert_eq!(
            cause_of(KILLED, &reading(v2, Some(0)), None, ""),
            DeathCause::Other
        );
        assert_eq!(
            cause_of(KILLED, &reading(v2, None), None, "out of memory"),
            DeathCause::Other
        );
        let exit_137 = ProcessExit {
            code: Some(137),
            signal: None,
        };
        assert_eq!(
            cause_of(exit_137, &reading(v2, Some(1)), None, ""),
            DeathCause::Other
        );
        let plugin = ProcessExit {
            code: Some(i32::from(codes::PLUGIN_OUT_OF_MEMORY)),
            signal: None,
        };
        assert_eq!(
            cause_of(plugin, &reading(v2, Some(1)), None, ""),
            DeathCause::OutOfMemory
        );
        assert_eq!(
            cause_of(KILLED, &reading(v2, Some(1)), Some(Killed::RowTimeout), ""),
            DeathCause::OutOfMemory
        );
    }

    #[test]
    fn without_a_counter_a_failed_allocation_under_a_limit_counts_and_so_does_the_drivers_kill() {
        let rlimit = MemoryEnforcement::Rlimit;
        let said = "memory allocation of 1073741824 bytes failed";
        assert_eq!(
            cause_of(ABORTED, &reading(rlimit, None), None, said),
            DeathCause::OutOfMemory
        );
        assert_eq!(
            cause_of(ABORTED, &reading(rlimit, None), None, "assertion failed"),
            DeathCause::Other
        );
        assert_eq!(
            cause_of(ABORTED, &reading(MemoryEnforcement::None, None), None, said),
            DeathCause::Other
        );
        assert_eq!(
            cause_of(KILLED, &reading(rlimit, None), Some(Killed::OverLimit), ""),
            DeathCause::OutOfMemory
        );
        assert_eq!(
            cause_of(KILLED, &reading(rlimit, None), Some(Killed::RowTimeout), ""),
            DeathCause::RowTimeout
        );
    }
}
