//! Facts for tests: one batch with one tier, one job and ten rows, of which each test changes what it is about.

use fettle_model::evidence::{InFlightRow, MemoryEnforcement, MemorySample};
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptId, AttemptStatus, BatchId, BatchStatus,
    DocumentErrorClass, ErrorCategory, ErrorCount, ExtractorRef, JobId, MemoryEvidence,
    ProcessExit, Resources, RowCounts, RowError, Stage, StageTimings, SubmissionParams, UnixMillis,
    WorkStatus, WorkerDeath,
};

use crate::facts::{AttemptFacts, BatchFacts, ErrorGroup, JobFacts, JobProfile, TierFacts};
use crate::fingerprint::fingerprint;

/// The limit of each worker.
pub(crate) const LIMIT: u64 = 256 << 20;
/// What the node can give.
pub(crate) const NODE: u64 = 8 << 30;
/// When everything began.
pub(crate) const START: UnixMillis = UnixMillis(1_000_000);
/// When attempts end.
pub(crate) const END: UnixMillis = UnixMillis(1_060_000);

pub(crate) fn job_id() -> JobId {
    JobId::from_entropy([1; 15])
}

fn resources() -> Resources {
    Resources {
        num_cpus: 1.0,
        num_gpus: 0.0,
        memory_bytes: LIMIT,
        requires_gpu: false,
        priority: 0,
    }
}

fn params() -> SubmissionParams {
    SubmissionParams {
        resources: resources(),
        entrypoint: "fettle job".into(),
        extractor_name: "text_extractor".into(),
        extractor_version: "v1".into(),
        manifest_key: None,
        deployment_mode: "local".into(),
        env_vars_keys: vec![],
        plugin_archives: vec![],
        plugin_dependencies: vec![],
        submitted_at: START,
    }
}

fn profile() -> JobProfile {
    JobProfile {
        extractor: ExtractorRef {
            name: "text_extractor".into(),
            version: "v1".into(),
            parameters: serde_json::Map::new(),
        },
        collection_ids: vec![],
        rows: Some(10),
        sizes: None,
        resources: resources(),
        node: None,
        version: None,
        worker_version: None,
        deployment_mode: None,
        plugin_archives: vec![],
        plugin_dependencies: vec![],
    }
}

/// An attempt that ended with its workers' deaths.
pub(crate) fn attempt(number: u32, exit: AttemptExit, deaths: Vec<WorkerDeath>) -> AttemptFacts {
    AttemptFacts {
        attempt_id: AttemptId::of(&job_id(), number),
        number,
        status: AttemptStatus::Ended,
        planned_at: START,
        started_at: Some(START),
        ended_at: Some(END),
        exit: Some(exit),
        evidence: Some(AttemptEvidence {
            node: Some("node-1".into()),
            worker_deaths: deaths,
            ..AttemptEvidence::default()
        }),
        stages: None,
        usage: None,
    }
}

/// A batch that failed with one attempt.
pub(crate) fn failed(exit: AttemptExit, deaths: Vec<WorkerDeath>) -> BatchFacts {
    let job = JobFacts {
        job_id: job_id(),
        status: WorkStatus::Failed,
        end_reason: None,
        params: Some(params()),
        resources: resources(),
        profile: profile(),
        rows_submitted: Some(10),
        counts: RowCounts::default(),
        attempts: vec![attempt(1, exit, deaths)],
        memory_history: None,
        stages: StageTimings::default(),
        last_activity_at: None,
        last_heartbeat_at: None,
        waiting: None,
        node_wait: None,
        started_at: Some(START),
        ended_at: Some(END),
    };
    BatchFacts {
        batch_id: BatchId::from_entropy([2; 15]),
        status: BatchStatus::Failed,
        now: END.plus_ms(1_000),
        submitted_at: Some(START),
        started_at: Some(START),
        ended_at: Some(END),
        cancel: None,
        tiers: vec![TierFacts {
            tier_num: 0,
            status: WorkStatus::Failed,
            started_at: Some(START),
            ended_at: Some(END),
            jobs: vec![job],
        }],
        error_groups: vec![],
        last_good: vec![],
        error_counts: vec![],
        node_memory_bytes: Some(NODE),
        cold_start_ms: 1_200_000,
    }
}

/// The job was retried and its next attempt did all rows.
pub(crate) fn then_finished(facts: &mut BatchFacts) {
    facts.status = BatchStatus::Completed;
    facts.cancel = None;
    let tier = &mut facts.tiers[0];
    tier.status = WorkStatus::Completed;
    let job = &mut tier.jobs[0];
    job.status = WorkStatus::Completed;
    job.end_reason = None;
    job.waiting = None;
    job.counts = RowCounts {
        processed: 10,
        failed: 0,
        skipped: 0,
    };
    let number = job.attempts.last().map_or(1, |last| last.number + 1);
    job.attempts
        .push(attempt(number, AttemptExit::Finished, vec![]));
}

/// A batch whose attempt runs and reports.
pub(crate) fn running() -> BatchFacts {
    let mut facts = failed(AttemptExit::Finished, vec![]);
    facts.status = BatchStatus::Processing;
    facts.ended_at = None;
    facts.now = END;
    let tier = &mut facts.tiers[0];
    tier.status = WorkStatus::InProgress;
    tier.ended_at = None;
    let job = &mut tier.jobs[0];
    job.status = WorkStatus::InProgress;
    job.ended_at = None;
    job.last_heartbeat_at = Some(END);
    job.last_activity_at = Some(END);
    let attempt = &mut job.attempts[0];
    attempt.status = AttemptStatus::Running;
    attempt.planned_at = END;
    attempt.started_at = Some(END);
    attempt.ended_at = None;
    attempt.exit = None;
    facts
}

/// A batch that ran to its end with these row errors.
pub(crate) fn with_row_errors(class: DocumentErrorClass, messages: &[&str]) -> BatchFacts {
    let mut facts = failed(AttemptExit::Finished, vec![]);
    facts.status = BatchStatus::CompletedWithErrors;
    facts.tiers[0].status = WorkStatus::CompletedWithErrors;
    let count = messages.len() as u64;
    let job = &mut facts.tiers[0].jobs[0];
    job.status = WorkStatus::CompletedWithErrors;
    job.counts = RowCounts {
        processed: 10 - count,
        failed: count,
        skipped: 0,
    };
    let example = |message: &str, row| RowError {
        row,
        source_id: format!("obj_{row}"),
        category: ErrorCategory::Network,
        class,
        stage: Stage::Loading,
        message: message.to_owned(),
        component: "text_extractor_v1".into(),
        traceback: None,
        at: END,
    };
    let group = |(message, row): (&&str, u32)| ErrorGroup {
        tier_num: 0,
        job_id: job_id(),
        category: ErrorCategory::Network,
        class,
        stage: Stage::Loading,
        component: "text_extractor_v1".into(),
        fingerprint: fingerprint(message),
        count: 1,
        example: example(message, row),
        source_ids: vec![format!("obj_{row}")],
    };
    facts.error_groups = messages.iter().zip(0..).map(group).collect();
    facts.error_counts = vec![ErrorCount {
        tier_num: 0,
        category: ErrorCategory::Network,
        class,
        count,
    }];
    facts
}

/// Builds the death of a worker; as it stands a SIGKILL of unknown sender with a counter at zero.
pub(crate) struct DeathBuilder(WorkerDeath);

pub(crate) fn death() -> DeathBuilder {
    DeathBuilder(WorkerDeath {
        worker: 0,
        pid: 4242,
        exit: ProcessExit {
            code: None,
            signal: Some(9),
        },
        at: END,
        started_at: START,
        memory: MemoryEvidence {
            enforcement: MemoryEnforcement::CgroupV1,
            limit_bytes: Some(LIMIT),
            peak_bytes: Some(LIMIT / 4),
            oom_kills: Some(0),
            limit_hits: Some(0),
            curve: vec![],
        },
        in_flight: vec![],
        last_finished_row: Some(0),
        ready: true,
        cpu_ms: None,
        cpu_ms_since_row: None,
        io_bytes: None,
        io_bytes_since_row: None,
        last_finished_at: None,
        rows_finished: 1,
        log_tail: String::new(),
        log: None,
        kernel_lines: vec![],
        killed_by_driver: None,
        stuck: None,
        node: None,
    })
}

impl DeathBuilder {
    /// The kernel killed it at its limit.
    pub(crate) fn oom(mut self) -> Self {
        self.0.memory.oom_kills = Some(1);
        self.0.memory.peak_bytes = Some(LIMIT);
        self
    }

    /// No counter: an rlimit, with this sampled peak.
    pub(crate) fn rlimit(mut self, peak: u64) -> Self {
        self.0.memory.enforcement = MemoryEnforcement::Rlimit;
        self.0.memory.oom_kills = None;
        self.0.memory.limit_hits = None;
        self.0.memory.peak_bytes = Some(peak);
        self
    }

    pub(crate) fn exit(mut self, exit: ProcessExit) -> Self {
        self.0.exit = exit;
        self
    }

    pub(crate) fn log(mut self, tail: &str) -> Self {
        self.0.log_tail = tail.to_owned();
        self
    }

    pub(crate) fn killed_by_driver(mut self, why: &str) -> Self {
        self.0.killed_by_driver = Some(why.to_owned());
        self
    }

    pub(crate) fn rows(mut self, rows: &[u32]) -> Self {
        let row = |row: &u32| InFlightRow {
            row: *row,
            source_id: format!("obj_{row}"),
            size_bytes: 1 << 20,
            since: START,
        };
        self.0.in_flight = rows.iter().map(row).collect();
        self
    }

    pub(crate) fn last_finished(mut self, row: Option<u32>) -> Self {
        self.0.last_finished_row = row;
        self
    }

    pub(crate) fn not_ready(mut self) -> Self {
        self.0.ready = false;
        self.0.last_finished_row = None;
        self
    }

    pub(crate) fn curve_mib(mut self, readings: &[u64]) -> Self {
        let samples = readings.iter().zip(0..).map(|(mib, at)| MemorySample {
            at: START.plus_ms(at * 1_000),
            bytes: mib << 20,
        });
        self.0.memory.curve = samples.collect();
        self
    }

    pub(crate) fn build(self) -> WorkerDeath {
        self.0
    }
}
