//! The workers of an attempt as the driver sees them: what each has, what it needs, how its memory went, whether it moves.
//!
//! Owns the bookkeeping per worker. It must not decide; the schedule does.

use std::collections::BTreeMap;

use fettle_confine::{MemoryReading, ProcessSample, ProcessState};
use fettle_model::evidence::InFlightRow;
pub(super) use fettle_model::evidence::KilledByDriver as Killed;
use fettle_model::history::{SlowRow, StageSketches};
use fettle_model::{
    AttemptId, AttemptProfile, KillOrder, Pulse, RowAtWork, RowNumber, Stage, StageTimings,
    StepHistory, StuckEvidence, UnixMillis, WaitsFor,
};
use fettle_wire::internal::WorkerBeat;

use super::body::Body;
use super::curve::Curve;
use super::usage::Usage;
use super::worker_process::Order;
use crate::clock;
use crate::frame::{BegunRow, ToWorker};
use crate::schedule::Schedule;

/// A step that takes longer than this, in milliseconds, is looked at more closely: whether its worker gets a CPU at all.
const LONG_STEP_MS: u64 = 300;
/// How often a process that is stopped is set going again before it is ended: whatever stops it that often will not let it work.
const WAKES_MAX: u32 = 3;

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
    /// Of the stages that it has left, the one in which it was longest, and how long in milliseconds.
    longest: (Stage, u64),
}

impl Taken {
    /// It leaves its stage for another, or for good.
    fn leaves(&mut self, now: UnixMillis) {
        let stayed_ms = now.since(self.stage_since);
        if stayed_ms > self.longest.1 {
            self.longest = (self.stage, stayed_ms);
        }
    }
}

/// A worker that runs.
pub(super) struct Crewman {
    pub(super) body: Body,
    pub(super) started_at: UnixMillis,
    pub(super) is_ready: bool,
    pub(super) has_been_told_to_end: bool,
    /// Whether it may leave rows undone then.
    is_leaving: bool,
    /// Whether it has said that it cannot work and ends.
    pub(super) is_failing: bool,
    pub(super) rows: BTreeMap<RowNumber, Taken>,
    pub(super) last_finished_row: Option<RowNumber>,
    /// When it last took a step that was heard of, or was given rows when it had none.
    pub(super) last_step_at: UnixMillis,
    pub(super) curve: Curve,
    pub(super) usage: Usage,
    pub(super) stages: StageTimings,
    /// What its rows took.
    pub(super) profile: AttemptProfile,
    /// Bytes of the largest row it has finished.
    pub(super) row_bytes_max: u64,
    pub(super) killed: Option<Killed>,
    /// Where its threads stood when it was ended.
    pub(super) threads_at_kill: Option<String>,
    /// Why it is being ended for being stuck, and where it stood.
    pub(super) stuck: Option<StuckEvidence>,
    /// How often it was stopped by a signal and set going again.
    wakes: u32,
}

impl Crewman {
    /// A worker that has just been started.
    pub(super) fn new(body: Body, now: UnixMillis) -> Self {
        Self {
            body,
            started_at: now,
            is_ready: false,
            has_been_told_to_end: false,
            is_leaving: false,
            is_failing: false,
            rows: BTreeMap::new(),
            last_finished_row: None,
            last_step_at: now,
            curve: Curve::new(),
            usage: Usage::new(now),
            stages: StageTimings::default(),
            profile: AttemptProfile::default(),
            row_bytes_max: 0,
            killed: None,
            threads_at_kill: None,
            stuck: None,
            wakes: 0,
        }
    }

    /// It gets no more rows, and ends when it has done those it has.
    pub(super) async fn tell_to_end(&mut self) {
        self.has_been_told_to_end = true;
        self.body.send(ToWorker::End).await;
    }

    /// It gets no more rows, and ends when it has done those that its extractor is at; the others it lets go.
    pub(super) async fn tell_to_leave(&mut self) {
        self.has_been_told_to_end = true;
        self.is_leaving = true;
        self.body.send(ToWorker::Leave).await;
    }

    /// Whether it was told to end and has left nothing undone that it should have done.
    pub(super) fn is_done(&self) -> bool {
        self.has_been_told_to_end && (self.rows.is_empty() || self.is_leaving)
    }

    /// It has something to do again.
    pub(super) fn given_first_rows(&mut self, now: UnixMillis) {
        self.last_step_at = now;
        self.usage.stepped();
    }

    /// It took a step. What was spent waiting for `serve` says nothing about how long rows take.
    fn step(&mut self, now: UnixMillis, history: &mut StepHistory) {
        if self.waits_for() != Some(WaitsFor::Store) {
            let cpu_ms = self.usage.cpu_ms_since_step().unwrap_or(0);
            let in_line_ms = self.usage.cpu_wait_ms_since_step().unwrap_or(0);
            let waited_ms = now.since(self.last_step_at);
            history.step(waited_ms.saturating_sub(cpu_ms + in_line_ms), cpu_ms);
        }
        self.last_step_at = now;
        self.usage.stepped();
    }

    /// The worker has loaded its extractor. How long that took says nothing about rows.
    pub(super) fn ready(&mut self, now: UnixMillis) {
        self.is_ready = true;
        self.last_step_at = now;
        self.usage.stepped();
    }

    /// The worker has taken a row up.
    pub(super) fn begun(&mut self, begun: BegunRow, now: UnixMillis, history: &mut StepHistory) {
        self.step(now, history);
        let taken = Taken {
            since: now,
            stage: Stage::Loading,
            stage_since: now,
            longest: (Stage::Loading, 0),
            begun,
        };
        self.rows.insert(taken.begun.row, taken);
    }

    /// The size of a row that it holds is known better. That is no step: the row may have been here for long.
    pub(super) fn sized(&mut self, row: RowNumber, size_bytes: u64) {
        if let Some(taken) = self.rows.get_mut(&row) {
            taken.begun.size_bytes = size_bytes;
        }
    }

    /// Rows have reached a stage.
    pub(super) fn entered(
        &mut self,
        rows: &[RowNumber],
        stage: Stage,
        now: UnixMillis,
        history: &mut StepHistory,
    ) {
        self.step(now, history);
        for row in rows {
            if let Some(taken) = self.rows.get_mut(row) {
                taken.leaves(now);
                taken.stage = stage;
                taken.stage_since = now;
            }
        }
    }

    /// A row has its outcome.
    pub(super) fn finished(
        &mut self,
        attempt: &AttemptId,
        row: RowNumber,
        now: UnixMillis,
        history: &mut StepHistory,
    ) {
        self.step(now, history);
        self.last_finished_row = Some(row);
        self.usage.row_finished(now);
        let Some(mut taken) = self.rows.remove(&row) else {
            return;
        };
        taken.leaves(now);
        let bytes = taken.begun.size_bytes;
        history.row_finished(bytes);
        self.row_bytes_max = self.row_bytes_max.max(bytes);
        self.profile.row_finished(SlowRow {
            us: now.since(taken.since).saturating_mul(1_000),
            at: now,
            stage: taken.longest.0,
            attempt_id: attempt.clone(),
            row,
            source_id: taken.begun.source_id,
            bytes,
        });
    }

    /// It has said how it spent its time, and on which rows where that is new.
    pub(super) fn worked(&mut self, stages: StageTimings, work: Option<StageSketches>) {
        self.stages = stages;
        self.profile.stages = work.unwrap_or_else(|| std::mem::take(&mut self.profile.stages));
    }

    /// Samples its use, and reads its memory for the curve if the curve wants a point.
    pub(super) fn look(&mut self, now: UnixMillis) -> Option<MemoryReading> {
        if let Some(used) = self.body.used() {
            self.usage.take(used, now);
        }
        if now.since(self.last_step_at) >= LONG_STEP_MS {
            self.usage.take_waits(self.body.waits());
        }
        if !self.curve.wants(now) {
            return None;
        }
        let reading = self.body.memory();
        self.curve.push(reading.sample(now));
        Some(reading)
    }

    /// Whether its rows have been in one place for longer than `limit_ms`. Rows that wait for `serve` are not counted, nor those
    /// that wait for the extractor while it is busy with others.
    pub(super) fn is_overdue(&self, limit_ms: u64, now: UnixMillis) -> bool {
        match self.oldest(Stage::Processing) {
            Some(taken) => now.since(taken.stage_since) > limit_ms,
            // A step of any other row means that the worker is not stuck.
            None => self.oldest(Stage::Loading).is_some_and(|taken| {
                now.since(taken.stage_since.max(self.last_step_at)) > limit_ms
            }),
        }
    }

    /// The row that has been in a stage for longest.
    fn oldest(&self, stage: Stage) -> Option<&Taken> {
        let there = self.rows.values().filter(|taken| taken.stage == stage);
        there.min_by_key(|taken| taken.stage_since)
    }

    /// What keeps it, if that is not its own extractor. While `serve` takes nothing in, the rows behind wait for that, too.
    fn waits_for(&self) -> Option<WaitsFor> {
        let has = |stage| self.rows.values().any(|taken| taken.stage == stage);
        if has(Stage::Processing) {
            None
        } else if has(Stage::Writing) {
            Some(WaitsFor::Store)
        } else {
            has(Stage::Loading).then_some(WaitsFor::Blob)
        }
    }

    fn row_at_work(&self) -> Option<RowAtWork> {
        let at_work = [Stage::Processing, Stage::Writing, Stage::Loading]
            .into_iter()
            .find_map(|stage| self.oldest(stage))?;
        Some(RowAtWork {
            row: at_work.begun.row,
            source_id: at_work.begun.source_id.clone(),
            size_bytes: at_work.begun.size_bytes,
            stage: at_work.stage,
            stage_since: at_work.stage_since,
            stopped_before: 0,
        })
    }

    /// What it does now and since its last step.
    fn pulse(&mut self, schedule: &Schedule, number: u32, seen: Option<&ProcessSample>) -> Pulse {
        self.usage.take_waits(self.body.waits());
        let mut row = self.row_at_work();
        if let Some(row) = &mut row {
            row.stopped_before = schedule.stuck_deaths(row.row);
        }
        Pulse {
            is_ready: self.is_ready,
            rows_held: u32::try_from(schedule.held_rows(number)).unwrap_or(u32::MAX),
            row,
            last_step_at: self.last_step_at,
            cpu_ms: self.usage.cpu_ms_since_step(),
            io_bytes: self.usage.io_bytes_since_step(),
            cpu_moved_at: self.usage.cpu_moved_at,
            io_moved_at: self.usage.io_moved_at,
            cpu_wait_ms: self.usage.cpu_wait_ms_since_step(),
            memory_wait_ms: self.usage.memory_wait_ms_since_step(),
            waits_for: self.waits_for(),
            wchan: seen.and_then(|seen| seen.wchan.clone()),
        }
    }

    /// Takes an order to end it. It is refused when the order is about another process, when the worker has taken a step since, and
    /// when its end is under way.
    pub(super) fn take_order(&mut self, order: &KillOrder, now: UnixMillis) -> bool {
        let stands = order.pid == self.body.pid() && order.last_step_at == self.last_step_at;
        if !stands || self.killed.is_some() || self.stuck.is_some() {
            return false;
        }
        self.stuck = Some(StuckEvidence {
            order_id: order.id.clone(),
            reason: order.reason.clone(),
            age_ms: now.since(order.last_step_at),
            stand: String::new(),
        });
        true
    }

    /// It is known where it stands, so it is ended, unless it has taken a step after all.
    pub(super) fn carry_out(&mut self, last_step_at: UnixMillis, stand: String) {
        let Some(stuck) = &mut self.stuck else { return };
        if last_step_at != self.last_step_at {
            tracing::info!(order = stuck.order_id, "the worker went on by itself");
            self.stuck = None;
            return;
        }
        stuck.stand = stand;
        if self.wake(clock::now()) {
            self.stuck = None;
            return;
        }
        self.killed.get_or_insert(Killed::Stuck);
        self.body.order(Order::Kill);
    }

    /// Sets it going again if somebody has stopped it: its rows are not to blame, and with its process nothing of them is lost. Says whether
    /// it did; the times of its rows begin anew then.
    pub(super) fn wake(&mut self, now: UnixMillis) -> bool {
        if self.wakes >= WAKES_MAX || !self.body.is_stopped() {
            return false;
        }
        self.wakes += 1;
        tracing::warn!(
            pid = self.body.pid(),
            wakes = self.wakes,
            "a stopped worker is set going again"
        );
        self.body.order(Order::Continue);
        self.last_step_at = now;
        self.usage.stepped();
        for taken in self.rows.values_mut() {
            taken.stage_since = now;
        }
        true
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
    pub(super) fn beat(&mut self, number: u32, schedule: &Schedule) -> WorkerBeat {
        let pid = self.body.pid();
        let seen = self.body.sample();
        let pulse = self.pulse(schedule, number, seen.as_ref());
        let reading = self.body.memory();
        WorkerBeat {
            worker: number,
            pid,
            state: match &seen {
                None => "Z",
                Some(_) if self.body.is_stopped() => letter(ProcessState::Stopped),
                Some(seen) => letter(seen.state),
            }
            .to_owned(),
            memory_bytes: Some(reading.current_bytes),
            memory_peak_bytes: reading.peak_bytes,
            memory_limit_bytes: reading.limit_bytes,
            cpu_ms: self
                .body
                .cpu_ms()
                .or_else(|| seen.as_ref().map(|seen| seen.cpu_ms)),
            io_bytes: seen.as_ref().and_then(io_bytes),
            in_flight: self.in_flight(),
            pulse: Some(pulse),
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
