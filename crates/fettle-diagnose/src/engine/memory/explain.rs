//! The evidence of a memory case: each death in words and as it was read.
//!
//! Owns the facts' sentences. It must not weigh them; the judgement is given.

use fettle_model::evidence::{InFlightRow, MemoryEnforcement};
use fettle_model::{InfraEvent, InfraEventType, MemoryEvidence, WorkerDeath};

use super::Judged;
use super::judge::{OOM_CONFIDENCE_MIN, Proof};
use crate::case::CaseKind;
use crate::finding::EvidenceLine;
use crate::scope::{AttemptScope, tail_offset};
use crate::words;

/// The source of what is quoted from a worker's log.
const WORKER_LOG: &str = "worker's standard error";

/// Where the kernel's counter was read.
pub(super) fn counter_source(enforcement: MemoryEnforcement) -> &'static str {
    match enforcement {
        MemoryEnforcement::CgroupV2 => "cgroup memory.events oom_kill",
        MemoryEnforcement::CgroupV1 => "cgroup memory.oom_control oom_kill",
        MemoryEnforcement::Rlimit | MemoryEnforcement::None => "oom_kill counter",
    }
}

/// Where the peak was read.
fn peak_source(enforcement: MemoryEnforcement) -> &'static str {
    match enforcement {
        MemoryEnforcement::CgroupV2 => "cgroup memory.peak",
        MemoryEnforcement::CgroupV1 => "cgroup memory.max_usage_in_bytes",
        MemoryEnforcement::Rlimit | MemoryEnforcement::None => "sampled resident set",
    }
}

/// The numbers as they were read.
pub(super) fn counter(memory: &MemoryEvidence) -> String {
    let show = |value: Option<u64>| value.map_or("unknown".to_owned(), |value| value.to_string());
    format!(
        "oom_kill {}, limit_bytes {}, peak_bytes {}, limit_hits {}",
        show(memory.oom_kills),
        show(memory.limit_bytes),
        show(memory.peak_bytes),
        show(memory.limit_hits),
    )
}

/// What one death shows: its proof, its peak, its end.
pub(super) fn lines(
    scope: &AttemptScope<'_>,
    kind: CaseKind,
    (death, judgement): &Judged<'_>,
) -> Vec<EvidenceLine> {
    let told = [
        proof(death, &judgement.proof),
        peak(death),
        Some(("process exit", end(death), death.exit.describe())),
    ];
    let line = |(source, what, raw): Told| {
        let mut line = scope.death_line(death, kind, source, what);
        if source == WORKER_LOG {
            let at = death.log_tail.find(&raw).unwrap_or(0) as u64;
            line.quote(&raw, tail_offset(death.log.as_ref()).map(|tail| tail + at));
        } else {
            line.raw = Some(raw);
        }
        line
    };
    told.into_iter().flatten().map(line).collect()
}

/// Source, fact and raw reading.
type Told = (&'static str, String, String);

fn proof(death: &WorkerDeath, proof: &Proof) -> Option<Told> {
    let worker = death.worker;
    match proof {
        Proof::KernelCounter { kills } => Some((
            counter_source(death.memory.enforcement),
            format!("the kernel killed {kills} process(es) of worker {worker} for lack of memory"),
            counter(&death.memory),
        )),
        Proof::AllocationRefused(refused) => Some((
            WORKER_LOG,
            format!("worker {worker} was refused memory that it asked for"),
            refused.line.clone(),
        )),
        Proof::OverLimit => Some((
            "sampled resident set",
            format!("the driver ended worker {worker} because it was above its memory limit"),
            death.killed_by_driver.clone().unwrap_or_default(),
        )),
        Proof::NearLimit => None,
    }
}

fn peak(death: &WorkerDeath) -> Option<Told> {
    let memory = &death.memory;
    let peak = memory.peak_bytes?;
    let of = memory.limit_bytes.map_or(String::new(), |limit| {
        let percent = peak as f64 / limit.max(1) as f64 * 100.0;
        format!(" of {} ({percent:.0} %)", words::bytes(limit))
    });
    let what = format!(
        "worker {} used up to {}{of}",
        death.worker,
        words::bytes(peak)
    );
    Some((peak_source(memory.enforcement), what, peak.to_string()))
}

fn end(death: &WorkerDeath) -> String {
    let row = |row: &InFlightRow| words::row(row.row, &row.source_id, row.size_bytes);
    let busy: Vec<String> = death.in_flight.iter().map(row).collect();
    let doing = match (death.ready, busy.is_empty()) {
        (false, _) => "while it loaded its extractor, before the first row".to_owned(),
        (true, true) => "with no row in work".to_owned(),
        (true, false) => format!("with {} in work", busy.join(", ")),
    };
    format!(
        "worker {} ended with {} {doing}",
        death.worker,
        death.exit.describe()
    )
}

/// The event of one death; a weak suspicion is not called an OOM.
pub(super) fn event(scope: &AttemptScope<'_>, (death, judgement): &Judged<'_>) -> InfraEvent {
    let event_type = if judgement.confidence >= OOM_CONFIDENCE_MIN {
        InfraEventType::Oom
    } else {
        InfraEventType::Unknown
    };
    let signal = match &judgement.proof {
        Proof::AllocationRefused(refused) => refused.line.clone(),
        Proof::KernelCounter { .. } | Proof::OverLimit | Proof::NearLimit => counter(&death.memory),
    };
    let raw = format!(
        "worker {}: {}; {signal}",
        death.worker,
        death.exit.describe()
    );
    scope.event(event_type, death.at, raw)
}

/// What would turn a suspicion into knowledge.
pub(super) fn would_decide() -> Vec<String> {
    vec![
        "a memory limit that the kernel counts (cgroup v2 or v1; `fettle doctor` says what is missing), or the node's kernel log"
            .to_owned(),
    ]
}
