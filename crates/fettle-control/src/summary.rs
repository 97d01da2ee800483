//! One sentence about an end, for the timeline and a job's reason. The diagnosis says more.

use fettle_model::evidence::MemoryEvidence;
use fettle_model::{AttemptEvidence, AttemptExit, WorkerDeath};

/// How an attempt ended.
pub(crate) fn of(exit: &AttemptExit, evidence: &AttemptEvidence) -> String {
    let last = evidence.worker_deaths.last();
    let because = last
        .map(|death| format!(": {}", of_death(death)))
        .unwrap_or_default();
    let driver = evidence.driver_exit.map(|exit| exit.describe());
    match exit {
        AttemptExit::Finished => "every row was given an outcome".to_owned(),
        AttemptExit::Cancelled => "stopped".to_owned(),
        AttemptExit::OutOfMemory => format!("workers ran out of memory{because}"),
        AttemptExit::WorkersKeepDying => format!("workers kept dying{because}"),
        AttemptExit::ExtractorFailed => {
            format!("the extractor could not be started{}", message(evidence))
        }
        AttemptExit::DriverFailed => format!("the driver failed{}", message(evidence)),
        AttemptExit::DriverDied => match driver {
            Some(exit) => format!("the driver died: {exit}"),
            None => "the driver is gone and nobody saw how".to_owned(),
        },
    }
}

/// How a worker died.
pub(crate) fn of_death(death: &WorkerDeath) -> String {
    let worker = death.worker;
    if let Some(stuck) = &death.stuck {
        return format!("worker {worker} was ended by the driver: {}", stuck.reason);
    }
    if let Some(reason) = &death.killed_by_driver {
        return format!("worker {worker} was ended by the driver ({reason})");
    }
    match death.memory.oom_kills {
        Some(kills) if kills > 0 => {
            format!(
                "the kernel killed worker {worker} for lack of memory{}",
                memory(&death.memory)
            )
        }
        _ => format!("worker {worker} died with {}", death.exit.describe()),
    }
}

fn memory(memory: &MemoryEvidence) -> String {
    match (memory.peak_bytes, memory.limit_bytes) {
        (Some(peak), Some(limit)) => format!(" (peak {} of {} allowed)", mib(peak), mib(limit)),
        (None, Some(limit)) => format!(" ({} allowed)", mib(limit)),
        _ => String::new(),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The driver's own words, else the backend's, else the end of its log. Of a traceback the exception comes last.
fn message(evidence: &AttemptEvidence) -> String {
    let texts = [
        evidence.driver_message.as_deref(),
        evidence.backend_messages.last().map(String::as_str),
        Some(evidence.driver_log_tail.as_str()),
    ];
    let line = texts
        .into_iter()
        .flatten()
        .find_map(|text| text.trim().lines().last());
    line.filter(|line| !line.trim().is_empty())
        .map(|line| format!(": {line}"))
        .unwrap_or_default()
}
