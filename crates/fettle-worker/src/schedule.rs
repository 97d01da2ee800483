//! Which worker does which rows, and what the death of a worker means for the rows it had.
//!
//! Owns every pending row until it has an outcome: queued, given to a worker, suspected, or ended. Pure: events in, decisions out;
//! it must not read a clock, start processes or do IO.

mod ending;
mod places;
mod slot;

use std::collections::{BTreeMap, VecDeque};

use fettle_model::{AttemptExit, RowNumber, RowRanges, Stage};

use slot::{Held, Slot};

/// Rows handed out at once at most; what a worker holds must be done again when it dies.
pub const SHARD_ROWS_MAX: usize = 64;
/// A worker with fewer rows ahead of its writing stage than this gets more; as many as an extractor takes at once, so it never runs dry.
pub const LOW_WATER_ROWS: usize = 16;
/// How often a row may kill a worker that had nothing else before the row is given up: once can be bad luck of the machine.
pub const LONE_DEATHS_MAX: u32 = 2;
/// Deaths during which a row may have been in writing before it is suspected too. What kills a worker is nearly always an
/// extraction; without this, every row that waits for `serve` would be tried alone.
pub const WRITING_DEATHS_MAX: u32 = 1;
/// How often a row may have stopped its worker with nobody else to blame before it is given up: once can be a stop from outside.
pub const STUCK_DEATHS_MAX: u32 = 2;
/// Kernel OOM kills before any worker is ready that end an attempt: what fits twice not at all will not fit the third time.
pub const STARTUP_OOM_DEATHS_MAX: u32 = 2;
/// Other deaths before any worker is ready that end an attempt.
pub const STARTUP_OTHER_DEATHS_MAX: u32 = 3;
/// Deaths in a row without a finished row between them that end an attempt of one worker; each further worker adds one,
/// because all of them can meet their first bad row at the same time.
pub const FRUITLESS_DEATHS_MAX: u32 = 4;
/// Rows given up in a row without one that succeeds between them that end an attempt: by then the fault is hardly in the rows.
pub const CONDEMNED_IN_A_ROW_MAX: u32 = 32;

/// What ended a worker, as far as the schedule must tell causes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeathCause {
    /// Its memory limit: by the kernel's count of its cgroup or, where there is none, by the limit that the driver or its allocator met.
    OutOfMemory,
    /// The driver ended it because rows took too long.
    RowTimeout,
    /// It was ended because it stood still.
    Stuck,
    /// Anything else.
    Other,
}

/// Why a row is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It killed its worker alone, by memory.
    OutOfMemory,
    /// It killed its worker alone, otherwise.
    Crash,
    /// It took longer than a row may.
    Timeout,
    /// Its worker stood still on it, twice.
    Stuck,
}

/// A row that is given up. The driver reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    /// The row.
    pub row: RowNumber,
    /// Why.
    pub reason: Reason,
}

/// What happens to the place of a worker that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Start another worker in its place.
    Restart,
    /// Leave the place empty; others go on.
    Retire,
    /// End the attempt.
    End(AttemptExit),
}

/// What follows from a death.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aftermath {
    /// Rows that are given up by it.
    pub condemned: Vec<Condemned>,
    /// What happens to the worker's place.
    pub next: Next,
}

/// The schedule of one attempt.
#[derive(Debug)]
pub struct Schedule {
    /// Rows that anybody may do.
    queue: VecDeque<RowNumber>,
    /// Rows to be tried alone.
    suspects: VecDeque<RowNumber>,
    /// What is held against rows that have no outcome yet.
    records: BTreeMap<RowNumber, Record>,
    slots: BTreeMap<u32, Slot>,
    /// Places among which the rows are shared out, those that may still be added included.
    shares: usize,
    /// The worker that tries suspects while the others go on.
    quarantine: Option<u32>,
    total: u64,
    succeeded: u64,
    ended: u64,
    startup_oom_deaths: u32,
    startup_other_deaths: u32,
    was_ever_ready: bool,
    fruitless_deaths: u32,
    fruitless_oom_deaths: u32,
    condemned_in_a_row: u32,
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    lone_deaths: u32,
    lone_oom_deaths: u32,
    writing_deaths: u32,
    stuck_deaths: u32,
}

impl Schedule {
    /// All of `pending` is queued; `workers` places are there, numbered from zero.
    #[must_use]
    pub fn new(pending: &RowRanges, workers: u32) -> Self {
        Self {
            queue: pending.iter().collect(),
            suspects: VecDeque::new(),
            records: BTreeMap::new(),
            slots: (0..workers.max(1))
                .map(|worker| (worker, Slot::default()))
                .collect(),
            shares: 1,
            quarantine: None,
            total: pending.count(),
            succeeded: 0,
            ended: 0,
            startup_oom_deaths: 0,
            startup_other_deaths: 0,
            was_ever_ready: false,
            fruitless_deaths: 0,
            fruitless_oom_deaths: 0,
            condemned_in_a_row: 0,
        }
    }

    /// Whether every row has an outcome.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended == self.total
    }

    /// Rows with an outcome.
    #[must_use]
    pub fn ended_rows(&self) -> u64 {
        self.ended
    }

    /// A worker has loaded its extractor.
    pub fn ready(&mut self, worker: u32) {
        self.was_ever_ready = true;
        if let Some(slot) = self.slots.get_mut(&worker) {
            slot.is_ready = true;
            slot.startup_deaths = 0;
        }
    }

    /// A worker has taken a row up.
    pub fn begun(&mut self, worker: u32, row: RowNumber) {
        self.set(worker, row, Held::Working(Stage::Loading));
    }

    /// A row has reached a stage.
    pub fn entered(&mut self, worker: u32, row: RowNumber, stage: Stage) {
        self.set(worker, row, Held::Working(stage));
    }

    /// A row has its outcome and `serve` knows; whether the row counts as done here (it does once).
    pub fn finished(&mut self, worker: u32, row: RowNumber, is_success: bool) -> bool {
        let Some(slot) = self.slots.get_mut(&worker) else {
            return false;
        };
        if slot.rows.remove(&row).is_none() {
            return false;
        }
        if slot.lone == Some(row) {
            slot.lone = None;
        }
        self.records.remove(&row);
        self.ended += 1;
        self.progressed();
        if is_success {
            self.succeeded += 1;
            self.condemned_in_a_row = 0;
        }
        true
    }

    /// Rows for `worker` to do next; empty when it has enough, or none are to be had now. A worker asks again after each finished row.
    pub fn hand_out(&mut self, worker: u32) -> Vec<RowNumber> {
        let Some(slot) = self.slots.get(&worker) else {
            return Vec::new();
        };
        if !slot.is_ready || slot.lone.is_some() || slot.ahead_of_writing() >= LOW_WATER_ROWS {
            return Vec::new();
        }
        if self.should_try_suspects(worker) {
            self.quarantine = Some(worker);
            return self.hand_out_suspect(worker);
        }
        self.hand_out_shard(worker)
    }

    /// A worker has died; all that it reported before has been told already.
    pub fn died(&mut self, worker: u32, cause: DeathCause) -> Aftermath {
        let Some(slot) = self.slots.get_mut(&worker) else {
            return Aftermath {
                condemned: Vec::new(),
                next: Next::Retire,
            };
        };
        let dead = slot.die();
        if self.quarantine == Some(worker) {
            self.quarantine = None;
        }
        if !dead.is_ready {
            // Nothing is given to a worker that is not ready.
            return Aftermath {
                condemned: Vec::new(),
                next: self.died_at_startup(worker, cause),
            };
        }
        if cause != DeathCause::RowTimeout {
            self.fruitless_deaths += 1;
            self.fruitless_oom_deaths += u32::from(cause == DeathCause::OutOfMemory);
        }
        let condemned: Vec<_> = self.settle(dead, cause).into_iter().collect();
        Aftermath {
            next: self.next_after_death(),
            condemned,
        }
    }

    /// Rows that a worker holds, taken up or not.
    #[must_use]
    pub fn held_rows(&self, worker: u32) -> usize {
        self.slots.get(&worker).map_or(0, |slot| slot.rows.len())
    }

    /// How often a row has stopped a worker with nobody else to blame.
    #[must_use]
    pub fn stuck_deaths(&self, row: RowNumber) -> u32 {
        self.records
            .get(&row)
            .map_or(0, |record| record.stuck_deaths)
    }

    /// Rows that are neither ended nor held by a worker.
    #[must_use]
    pub fn waiting_rows(&self) -> usize {
        self.queue.len() + self.suspects.len()
    }

    fn set(&mut self, worker: u32, row: RowNumber, held: Held) {
        if let Some(known) = self
            .slots
            .get_mut(&worker)
            .and_then(|slot| slot.rows.get_mut(&row))
        {
            *known = held;
        }
    }

    fn progressed(&mut self) {
        self.fruitless_deaths = 0;
        self.fruitless_oom_deaths = 0;
    }

    /// While others can do the rest, one worker tries the suspects; a single worker does the rest first. Once only suspects are
    /// left, everybody tries them.
    fn should_try_suspects(&self, worker: u32) -> bool {
        if self.suspects.is_empty() || self.is_at_the_brink(worker) {
            return false;
        }
        let places = self.slots.values().filter(|slot| !slot.is_retired).count();
        self.queue.is_empty() || (places > 1 && self.quarantine.is_none_or(|other| other == worker))
    }

    /// A suspect, once the worker has nothing else.
    fn hand_out_suspect(&mut self, worker: u32) -> Vec<RowNumber> {
        let Some(slot) = self.slots.get_mut(&worker) else {
            return Vec::new();
        };
        if !slot.rows.is_empty() {
            return Vec::new();
        }
        let Some(row) = self.suspects.pop_front() else {
            return Vec::new();
        };
        if self.suspects.is_empty() {
            self.quarantine = None;
        }
        slot.give_alone(row);
        vec![row]
    }

    fn hand_out_shard(&mut self, worker: u32) -> Vec<RowNumber> {
        let length = self.shard_length().min(self.queue.len());
        let is_cautious = self.fruitless_deaths > 0;
        let Some(slot) = self.slots.get_mut(&worker) else {
            return Vec::new();
        };
        if is_cautious && !slot.rows.is_empty() {
            // After a death each worker shall have little to lose.
            return Vec::new();
        }
        let rows: Vec<_> = self.queue.drain(..length).collect();
        match rows.as_slice() {
            [row] if slot.rows.is_empty() => slot.give_alone(*row),
            _ => slot.rows.extend(rows.iter().map(|row| (*row, Held::Given))),
        }
        rows
    }

    /// Shards shrink near the end, so that workers end together, and after deaths, so that the rows to blame are few.
    fn shard_length(&self) -> usize {
        let fair = self
            .queue
            .len()
            .div_ceil(2 * self.slots.len().max(self.shares).max(1));
        let cautious = SHARD_ROWS_MAX >> (3 * self.fruitless_deaths).min(6);
        fair.clamp(1, cautious.max(1))
    }

    /// Puts a dead worker's rows back, each where its part in the death says.
    fn settle(&mut self, dead: Slot, cause: DeathCause) -> Option<Condemned> {
        if let Some(row) = dead.lone {
            return self.judge_lone(row, dead.rows.get(&row).copied(), cause);
        }
        // What takes too long is an extraction, or a load when nothing is extracted.
        let is_extracting = dead
            .rows
            .values()
            .any(|held| *held == Held::Working(Stage::Processing));
        let slow_stage = if is_extracting {
            Stage::Processing
        } else {
            Stage::Loading
        };
        let mut suspects = 0;
        // Walked backwards, so that rows return to the queue's front in their order.
        for (row, held) in dead.rows.into_iter().rev() {
            if self.is_suspect(row, held, cause, slow_stage) {
                self.suspects.push_front(row);
                suspects += 1;
            } else {
                self.queue.push_front(row);
            }
        }
        if let (DeathCause::Stuck, 1, Some(row)) = (cause, suspects, self.suspects.front()) {
            // Nothing else was worked on, so it was as good as alone.
            self.records.entry(*row).or_default().stuck_deaths += 1;
        }
        None
    }

    fn is_suspect(
        &mut self,
        row: RowNumber,
        held: Held,
        cause: DeathCause,
        slow_stage: Stage,
    ) -> bool {
        match (held, cause) {
            (Held::Given, _) => false,
            (Held::Working(stage), DeathCause::RowTimeout | DeathCause::Stuck) => {
                stage == slow_stage
            }
            (Held::Working(Stage::Writing), _) => {
                let record = self.records.entry(row).or_default();
                record.writing_deaths += 1;
                record.writing_deaths > WRITING_DEATHS_MAX
            }
            (Held::Working(_), _) => true,
        }
    }

    /// The worker had nothing but `row`.
    fn judge_lone(
        &mut self,
        row: RowNumber,
        held: Option<Held>,
        cause: DeathCause,
    ) -> Option<Condemned> {
        if cause == DeathCause::RowTimeout {
            return Some(self.condemn(row, Reason::Timeout));
        }
        if held == Some(Held::Given) {
            // It died before it took the row up.
            self.queue.push_front(row);
            return None;
        }
        let record = self.records.entry(row).or_default();
        if cause == DeathCause::Stuck {
            record.stuck_deaths += 1;
            if record.stuck_deaths >= STUCK_DEATHS_MAX && self.succeeded > 0 {
                return Some(self.condemn(row, Reason::Stuck));
            }
            self.suspects.push_back(row);
            return None;
        }
        record.lone_deaths += 1;
        record.lone_oom_deaths += u32::from(cause == DeathCause::OutOfMemory);
        let record = *record;
        if record.lone_deaths >= LONE_DEATHS_MAX && self.succeeded > 0 {
            let is_memory = 2 * record.lone_oom_deaths >= record.lone_deaths;
            let reason = if is_memory {
                Reason::OutOfMemory
            } else {
                Reason::Crash
            };
            return Some(self.condemn(row, reason));
        }
        self.suspects.push_back(row);
        None
    }

    fn condemn(&mut self, row: RowNumber, reason: Reason) -> Condemned {
        self.records.remove(&row);
        self.ended += 1;
        self.condemned_in_a_row += 1;
        self.progressed();
        Condemned { row, reason }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
