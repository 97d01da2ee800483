//! What is said of a finding, and what it rests on.

use fettle_model::report::WorkerBeat;
use fettle_model::{Pulse, StepHistory, UnixMillis, WaitsFor};

use super::limit::{Basis, Limit};
use super::{LastWord, StuckKind};

/// The finding in one sentence.
pub(super) fn summary(kind: StuckKind, worker: &WorkerBeat, pulse: &Pulse, age_ms: u64) -> String {
    let who = format!("worker {} (pid {})", worker.worker, worker.pid);
    let age = seconds(age_ms);
    let on = on(pulse);
    match kind {
        StuckKind::Dead => format!("{who} has ended and its driver has not seen it yet"),
        StuckKind::Hung if worker.state == "T" => {
            format!("{who} was stopped by a signal or a debugger {age} ago{on}")
        }
        StuckKind::Hung => format!("{who} has used neither CPU nor IO for {age}{on}"),
        StuckKind::Spinning => {
            format!("{who} has computed for {age} without a step and without IO{on}")
        }
        StuckKind::Starved => format!("{who} has waited for CPU or memory most of {age}{on}"),
        StuckKind::Blocked => {
            format!(
                "{who} has waited {} for {age}{on}",
                pulse.waits_for.map_or("", WaitsFor::describe)
            )
        }
        StuckKind::SlowRow => format!("{who} has been busy for {age}{on}, within what may be"),
    }
}

fn on(pulse: &Pulse) -> String {
    match &pulse.row {
        Some(row) => format!(" on row {} ({})", row.row, row.source_id),
        None if pulse.is_ready => String::new(),
        None => " before it was ready".to_owned(),
    }
}

/// The facts, one a line.
pub(super) fn evidence(
    worker: &WorkerBeat,
    pulse: &Pulse,
    word: &LastWord<'_>,
    limit: Limit,
) -> Vec<String> {
    let ago = |at: UnixMillis| seconds(word.beat.at.since(at));
    let mut lines = vec![format!("last step {} ago", ago(pulse.last_step_at))];
    if let Some(row) = &pulse.row {
        lines.push(format!(
            "row {} ({}, {} bytes) in {} for {}",
            row.row,
            row.source_id,
            row.size_bytes,
            row.stage.as_str(),
            ago(row.stage_since)
        ));
    }
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name}: {value}")));
    };
    fact("CPU time since the last step", pulse.cpu_ms.map(seconds));
    fact(
        "read and written since the last step",
        pulse.io_bytes.map(|bytes| format!("{bytes} bytes")),
    );
    fact(
        "waited in line for a CPU since the last step",
        pulse.cpu_wait_ms.map(seconds),
    );
    fact(
        "stood still for want of memory since the last step",
        pulse.memory_wait_ms.map(seconds),
    );
    fact("process state", Some(state(&worker.state).to_owned()));
    fact("waits in the kernel in", pulse.wchan.clone());
    lines.push(rests_on(limit, word.steps));
    lines
}

fn rests_on(limit: Limit, steps: &StepHistory) -> String {
    let allowed = seconds(limit.ms);
    match limit.basis {
        Basis::Floor => format!("limit {allowed}: the least that is set"),
        Basis::Cold => format!("limit {allowed}: a guess, as few rows were finished so far"),
        Basis::History => format!(
            "limit {allowed}: by {} finished rows, whose slowest step took {}",
            steps.rows,
            seconds(limit.longest_ms)
        ),
    }
}

fn state(letter: &str) -> &'static str {
    match letter {
        "R" => "R (runs)",
        "S" => "S (sleeps)",
        "D" => "D (waits in the kernel, deaf to signals)",
        "T" => "T (stopped)",
        "Z" => "Z (ended)",
        _ => "unknown",
    }
}

/// A time for people, to a tenth of a second.
pub(super) fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
