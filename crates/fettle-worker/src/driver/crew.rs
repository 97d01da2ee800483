//! The workers of an attempt as the driver sees them: what each has, what it needs, how its memory went.
//!
//! Owns the bookkeeping per worker. It must not decide; the schedule does.

use std::collections::BTreeMap;

use fettle_confine::{MemoryReading, ProcessSample, ProcessState, WorkerGroup, sample, uptime_ms};
use fettle_model::evidence::InFlightRow;
use fettle_model::{RowNumber, Stage, StageTimings, UnixMillis};
use fettle_wire::internal::WorkerBeat;

use super::curve::Curve;
use super::usage::Usage;
use super::worker_process::WorkerProcess;
use crate::frame::BegunRow;

/// Why the driver ended a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Killed {
    /// Its rows took too long.
    RowTimeout,
    /// It used more memory than it may, where the kernel does not see to that.
    OverLimit,
    /// The attempt ends.
    Stopped,
}

impl Killed {
    /// For people.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::RowTimeout => "a row took longer than a row may",
            Self::OverLimit => "its resident memory was above its limit",
            Self::Stopped => "the attempt was ended",
        }
    }
}

/// A row that a worker has taken up.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// What the worker said of it.
    pub(super) begun: BegunRow,
    /// When the worker took it up.
    pub(super) since: UnixMillis,
    /// Where it is.
    pub(super) stage: Stage,
    /// Since when it is there.
    pub(super) stage_since: UnixMillis,
}

/// A worker that runs.
pub(super) struct Crewman {
    pub(super) process: WorkerProcess,
    pub(super) group: WorkerGroup,
    pub(super) started_at: UnixMillis,
    pub(super) is_ready: bool,
    pub(super) has_been_told_to_end: bool,
    pub(super) rows: BTreeMap<RowNumber, Taken>,
    pub(super) last_finished_row: Option<RowNumber>,
    /// When it last took a step that was heard of.
    pub(super) last_step_at: UnixMillis,
    pub(super) curve: Curve,
    pub(super) usage: Usage,
    /// When it was started, in milliseconds since boot: the kernel's log counts so.
    pub(super) started_uptime_ms: u64,
    pub(super) stages: StageTimings,
    pub(super) killed: Option<Killed>,
    /// Where its threads stood when it was ended.
    pub(super) threads_at_kill: Option<String>,
}

impl Crewman {
    /// A worker that has just been started.
    pub(super) fn new(process: WorkerProcess, group: WorkerGroup, now: UnixMillis) -> Self {
        Self {
            process,
            group,
            started_at: now,
            is_ready: false,
            has_been_told_to_end: false,
            rows: BTreeMap::new(),
            last_finished_row: None,
            last_step_at: now,
            curve: Curve::new(),
            usage: Usage::default(),
            started_uptime_ms: uptime_ms(),
            stages: StageTimings::default(),
            killed: None,
            threads_at_kill: None,
        }
    }

    /// The worker has taken a row up.
    pub(super) fn begun(&mut self, begun: BegunRow, now: UnixMillis) {
        let taken = Taken {
            since: now,
            stage: Stage::Loading,
            stage_since: now,
            begun,
        };
        self.last_step_at = now;
        self.rows.insert(taken.begun.row, taken);
    }

    /// Rows have reached a stage.
    pub(super) fn entered(&mut self, rows: &[RowNumber], stage: Stage, now: UnixMillis) {
        self.last_step_at = now;
        for row in rows {
            if let Some(taken) = self.rows.get_mut(row) {
                taken.stage = stage;
                taken.stage_since = now;
            }
        }
    }

    /// A row has its outcome.
    pub(super) fn finished(&mut self, row: RowNumber, now: UnixMillis) {
        self.last_step_at = now;
        self.last_finished_row = Some(row);
        self.usage.row_finished(now);
        self.rows.remove(&row);
    }

    /// Samples its use, and reads its memory for the curve if the curve wants a point.
    pub(super) fn look(&mut self, now: UnixMillis) -> Option<MemoryReading> {
        self.usage.look(&self.group);
        if !self.curve.wants(now) {
            return None;
        }
        let reading = self.group.read();
        self.curve.push(reading.sample(now));
        Some(reading)
    }

    /// Whether its rows have been in one place for longer than `limit_ms`. Rows that wait for `serve` are not counted, nor those
    /// that wait for the extractor while it is busy with others.
    pub(super) fn is_overdue(&self, limit_ms: u64, now: UnixMillis) -> bool {
        let oldest = |stage| {
            self.rows
                .values()
                .filter(move |taken| taken.stage == stage)
                .map(|taken| taken.stage_since)
                .min()
        };
        match oldest(Stage::Processing) {
            Some(since) => now.since(since) > limit_ms,
            // A step of any other row means that the worker is not stuck.
            None => oldest(Stage::Loading)
                .is_some_and(|since| now.since(since.max(self.last_step_at)) > limit_ms),
        }
    }

    /// The rows it is busy with.
    pub(super) fn in_flight(&self) -> Vec<InFlightRow> {
        let row = |taken: &Taken| InFlightRow {
            row: taken.begun.row,
            source_id: taken.begun.source_id.clone(),
            size_bytes: taken.begun.size_bytes,
            since: taken.since,
        };
        self.rows.values().map(row).collect()
    }

    /// Its part of a heartbeat.
    pub(super) fn beat(&self, number: u32) -> WorkerBeat {
        let pid = self.process.pid;
        let seen = sample(pid);
        let reading = self.group.read();
        WorkerBeat {
            worker: number,
            pid,
            state: seen
                .as_ref()
                .map_or("Z", |seen| letter(seen.state))
                .to_owned(),
            memory_bytes: Some(reading.current_bytes),
            memory_peak_bytes: reading.peak_bytes,
            memory_limit_bytes: reading.limit_bytes,
            cpu_ms: self
                .group
                .cpu_ms()
                .or_else(|| seen.as_ref().map(|seen| seen.cpu_ms)),
            io_bytes: seen.as_ref().and_then(io_bytes),
            in_flight: self.in_flight(),
        }
    }
}

fn io_bytes(seen: &ProcessSample) -> Option<u64> {
    Some(seen.read_bytes?.saturating_add(seen.written_bytes?))
}

/// The letter of proc(5).
fn letter(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "R",
        ProcessState::Sleeping => "S",
        ProcessState::DiskWait => "D",
        ProcessState::Stopped => "T",
        ProcessState::Zombie => "Z",
        ProcessState::Other => "?",
    }
}
