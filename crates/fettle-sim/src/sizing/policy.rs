//! Policies: Fettle's, doubling, and the formula of the Kubernetes vertical pod autoscaler.

use fettle_diagnose::facts::JobProfile;
use fettle_diagnose::sizing::{RowBytes, Workload};
use fettle_diagnose::{
    AttemptFacts, BatchFacts, JobFacts, TierFacts, first_memory, next_memory, sizing_input,
};
use fettle_model::history::MemoryProfile;
use fettle_model::{
    AttemptEvidence, AttemptId, AttemptStatus, BatchId, BatchStatus, ExtractorRef, JobId,
    Resources, RowCounts, Sketch, StageTimings, UnixMillis, WorkStatus,
};

use super::attempt::Attempt;
use super::workload::Job;

/// Where all begin without a history: what a worker gets when nobody says otherwise.
const FIRST_BYTES: u64 = 1 << 30;
/// What the node has.
const NODE_BYTES: u64 = 64 << 30;
/// On top of the ninetieth percentile, as the recommender of the autoscaler has it by default.
const VPA_SAFETY: f64 = 1.15;

/// Which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// `fettle_diagnose::sizing`.
    Fettle,
    /// Twice the limit after each death.
    Doubling,
    /// The larger of peak + 100 MiB and 1.2 × peak after a death; at first 1.15 × the ninetieth percentile of earlier peaks.
    Vpa,
}

impl PolicyKind {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Fettle, Self::Doubling, Self::Vpa];
}

/// A policy with what it has learned.
pub(super) struct Policy {
    kind: PolicyKind,
    memory: MemoryProfile,
}

impl Policy {
    pub(super) fn new(kind: PolicyKind) -> Self {
        Self {
            kind,
            memory: MemoryProfile::default(),
        }
    }

    /// The limit of a job's first attempt.
    pub(super) fn first(&self, job: &Job) -> u64 {
        let known = match self.kind {
            PolicyKind::Fettle => first_memory(&self.memory, workload(job)),
            PolicyKind::Doubling => None,
            PolicyKind::Vpa => self
                .memory
                .peak_bytes
                .quantile(0.9)
                .map(|peak| (peak as f64 * VPA_SAFETY) as u64),
        };
        known.unwrap_or(FIRST_BYTES)
    }

    /// The limit of the next attempt; `None` when the policy gives up.
    pub(super) fn next(&self, facts: &BatchFacts) -> Option<u64> {
        let job = &facts.tiers[0].jobs[0];
        let limit = job.resources.memory_bytes;
        match self.kind {
            PolicyKind::Doubling => Some(limit * 2),
            PolicyKind::Vpa => Some((limit + (100 << 20)).max((limit as f64 * 1.2) as u64)),
            PolicyKind::Fettle => {
                let mut facts = facts.clone();
                facts.tiers[0].jobs[0].memory_history = Some(self.memory.clone());
                let input = sizing_input(&facts, &job_id())?;
                Some(next_memory(&input).grant()?.memory_bytes)
            }
        }
    }

    /// Takes in what an attempt measured.
    pub(super) fn learn(&mut self, attempt: &Attempt) {
        self.memory.merge(&attempt.memory);
    }
}

fn workload(job: &Job) -> Workload {
    let sizes = Sketch::of(job.rows.iter().map(|row| row.bytes));
    Workload {
        rows_per_worker: job.rows.len() as u64,
        row_bytes: sizes.quantile(0.95).map(|p95| RowBytes {
            p95,
            max: sizes.max(),
        }),
    }
}

fn job_id() -> JobId {
    JobId::from_entropy([1; 15])
}

fn resources(limit: u64) -> Resources {
    Resources {
        num_cpus: 1.0,
        num_gpus: 0.0,
        memory_bytes: limit,
        requires_gpu: false,
        priority: 0,
    }
}

fn profile(limit: u64) -> JobProfile {
    JobProfile {
        extractor: ExtractorRef {
            name: "simulated".into(),
            version: "v1".into(),
            parameters: serde_json::Map::new(),
        },
        collection_ids: vec![],
        rows: None,
        sizes: None,
        resources: resources(limit),
        node: None,
        version: None,
        worker_version: None,
        deployment_mode: None,
        plugin_archives: vec![],
        plugin_dependencies: vec![],
    }
}

/// The facts as `serve` would gather them.
pub(super) fn facts(job: &Job, attempts: &[Attempt], limit: u64) -> BatchFacts {
    let done: usize = attempts.iter().map(|attempt| attempt.done.len()).sum();
    let job_facts = JobFacts {
        job_id: job_id(),
        status: WorkStatus::Failed,
        end_reason: None,
        params: None,
        profile: profile(limit),
        resources: resources(limit),
        rows_submitted: Some(job.rows.len() as u64),
        counts: RowCounts {
            processed: done as u64,
            ..RowCounts::default()
        },
        attempts: attempts.iter().zip(1..).map(attempt_facts).collect(),
        memory_history: None,
        stages: StageTimings::default(),
        last_activity_at: None,
        last_heartbeat_at: None,
        waiting: None,
        node_wait: None,
        started_at: None,
        ended_at: None,
    };
    BatchFacts {
        batch_id: BatchId::from_entropy([2; 15]),
        status: BatchStatus::Failed,
        now: UnixMillis(0),
        submitted_at: None,
        started_at: None,
        ended_at: None,
        cancel: None,
        tiers: vec![TierFacts {
            tier_num: 0,
            status: WorkStatus::Failed,
            started_at: None,
            ended_at: None,
            jobs: vec![job_facts],
        }],
        error_groups: vec![],
        error_counts: vec![],
        last_good: vec![],
        node_memory_bytes: Some(NODE_BYTES),
        cold_start_ms: 0,
    }
}

fn attempt_facts((attempt, number): (&Attempt, u32)) -> AttemptFacts {
    AttemptFacts {
        attempt_id: AttemptId::of(&job_id(), number),
        number,
        status: AttemptStatus::Ended,
        planned_at: UnixMillis(0),
        started_at: None,
        ended_at: None,
        exit: Some(attempt.exit.clone()),
        evidence: Some(AttemptEvidence {
            worker_deaths: attempt.deaths.clone(),
            ..AttemptEvidence::default()
        }),
        stages: None,
        usage: None,
    }
}
