//! One attempt of a job under a limit, with the evidence that its driver would leave.
//!
//! As the driver does: rows that were in work at a death are tried alone, and one that dies alone twice is given up; the rest goes on. An
//! attempt ends when a death is no single row's doing.

use fettle_model::evidence::{InFlightRow, MemoryEnforcement, MemorySample};
use fettle_model::history::MemoryProfile;
use fettle_model::{AttemptExit, MemoryEvidence, ProcessExit, RowNumber, UnixMillis, WorkerDeath};

use super::workload::Job;

/// Rows that a worker has in work at once.
const IN_WORK: usize = 3;
/// A row is given up when it has died so often alone.
const LONE_DEATHS: usize = 2;
/// Rows given up in a row after which an attempt without any success ends.
const HOPELESS_ROWS: usize = 3;

/// What became of an attempt.
pub(super) struct Attempt {
    pub(super) exit: AttemptExit,
    pub(super) deaths: Vec<WorkerDeath>,
    pub(super) done: Vec<usize>,
    pub(super) memory: MemoryProfile,
}

impl Attempt {
    /// The highest use of workers that did rows and lived.
    pub(super) fn peak_of_done(&self) -> Option<u64> {
        (!self.memory.peak_bytes.is_empty()).then(|| self.memory.peak_bytes.max())
    }
}

/// A worker that runs.
struct Worker<'j> {
    job: &'j Job,
    limit: u64,
    curve: Vec<u64>,
    done: u64,
    peak: u64,
    row_bytes_max: u64,
    last: Option<usize>,
}

impl<'j> Worker<'j> {
    fn new(job: &'j Job, limit: u64) -> Self {
        Self {
            job,
            limit,
            curve: vec![20 << 20, job.base_bytes.min(limit)],
            done: 0,
            peak: job.base_bytes,
            row_bytes_max: 0,
            last: None,
        }
    }

    /// Does a row; `false` when it dies of it.
    fn does(&mut self, at: usize) -> bool {
        let row = &self.job.rows[at];
        let use_bytes =
            self.job.base_bytes + self.job.leak_bytes * (self.done + 1) + row.need_bytes;
        self.curve.push(use_bytes.min(self.limit));
        if use_bytes > self.limit {
            return false;
        }
        self.done += 1;
        self.peak = self.peak.max(use_bytes);
        self.row_bytes_max = self.row_bytes_max.max(row.bytes);
        self.last = Some(at);
        true
    }

    fn death(&self, in_flight: &[usize]) -> WorkerDeath {
        let at = |point: usize| UnixMillis(point as i64 * 1_000);
        let row = |row: &usize| InFlightRow {
            row: number(*row),
            source_id: format!("obj_{row}"),
            size_bytes: self.job.rows[*row].bytes,
            since: at(0),
        };
        let points = self.curve.iter().enumerate();
        WorkerDeath {
            worker: 0,
            pid: 1,
            exit: ProcessExit {
                code: None,
                signal: Some(9),
            },
            at: at(self.curve.len()),
            started_at: at(0),
            memory: MemoryEvidence {
                enforcement: MemoryEnforcement::CgroupV2,
                limit_bytes: Some(self.limit),
                peak_bytes: Some(self.limit),
                oom_kills: Some(1),
                limit_hits: Some(1),
                curve: points
                    .map(|(point, bytes)| MemorySample {
                        at: at(point),
                        bytes: *bytes,
                    })
                    .collect(),
            },
            in_flight: in_flight.iter().map(row).collect(),
            last_finished_row: self.last.map(number),
            ready: true,
            cpu_ms: None,
            cpu_ms_since_row: None,
            io_bytes: None,
            io_bytes_since_row: None,
            last_finished_at: None,
            rows_finished: self.done,
            log_tail: String::new(),
            log: None,
            kernel_lines: vec![],
            killed_by_driver: None,
            stuck: None,
            node: None,
        }
    }
}

fn number(row: usize) -> RowNumber {
    RowNumber::try_from(row).unwrap_or(RowNumber::MAX)
}

/// Runs the rows that are left.
pub(super) fn run(job: &Job, left: &[usize], limit: u64) -> Attempt {
    let mut attempt = Attempt {
        exit: AttemptExit::Finished,
        deaths: Vec::new(),
        done: Vec::new(),
        memory: MemoryProfile::default(),
    };
    let mut rows = left.iter().copied().peekable();
    let mut worker = Worker::new(job, limit);
    let mut given_up = 0;
    while let Some(row) = rows.next() {
        if worker.does(row) {
            attempt.done.push(row);
            continue;
        }
        let mut suspects = vec![row];
        while suspects.len() < IN_WORK {
            let Some(next) = rows.next() else { break };
            suspects.push(next);
        }
        attempt.deaths.push(worker.death(&suspects));
        attempt.memory.worker_cut_off(limit);
        let died = alone(&mut attempt, job, &suspects, limit);
        given_up += died;
        let is_hopeless = attempt.done.is_empty() && given_up >= HOPELESS_ROWS.min(left.len());
        if died == 0 || is_hopeless {
            attempt.exit = AttemptExit::OutOfMemory;
            return attempt;
        }
        worker = Worker::new(job, limit);
    }
    if worker.done > 0 {
        attempt
            .memory
            .worker_ended(worker.peak, worker.done, worker.row_bytes_max);
    }
    attempt
}

/// Tries suspects alone; how many died of it.
fn alone(attempt: &mut Attempt, job: &Job, suspects: &[usize], limit: u64) -> usize {
    let mut died = 0;
    for suspect in suspects {
        let mut worker = Worker::new(job, limit);
        if worker.does(*suspect) {
            attempt.done.push(*suspect);
            continue;
        }
        let death = worker.death(&[*suspect]);
        attempt
            .deaths
            .extend(std::iter::repeat_n(death, LONE_DEATHS));
        attempt.memory.worker_cut_off(limit);
        died += 1;
    }
    died
}
