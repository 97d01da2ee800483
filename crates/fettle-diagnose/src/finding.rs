//! The answer of the diagnosis.
//!
//! Owns the output's shape. It must not be sent to users as it is: the public JSON is made of it by the API.

use fettle_model::{
    AttemptId, BatchId, FailureCategory, InfraEvent, JobId, RowCounts, Stage, UnixMillis,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::case::{Case, CaseKind};
use crate::classify::{FailureText, classify};
use crate::facts::{ErrorGroup, UsageFacts};
use crate::remedy::RemedyAction;
use crate::words;

/// What is to be said of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The conclusion.
    pub verdict: Verdict,
    /// All findings, the strongest first; the verdict is the first one's if that is a cause.
    pub cases: Vec<Case>,
    /// What befell the infrastructure, oldest first; also what the batch outlived.
    pub infrastructure_events: Vec<InfraEvent>,
    /// What the findings rest on, the strongest finding's first.
    pub evidence: Vec<EvidenceLine>,
    /// Row errors with like messages, the most frequent first.
    pub error_groups: Vec<ErrorGroup>,
    /// What to do, for people, the most useful first.
    pub recommendations: Vec<String>,
    /// What to do, for programs, the most useful first.
    pub recommended_actions: Vec<RemedyAction>,
    /// What is to be said of each tier, in order.
    pub tiers: Vec<TierFinding>,
    /// What differs from the last good runs, of those jobs that have one.
    pub compared: Vec<JobComparison>,
}

/// What differs between a job and the last good run of the same collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobComparison {
    /// The tier.
    pub tier_num: u32,
    /// The job.
    pub job_id: JobId,
    /// The completed batch that it is compared with.
    pub good_batch_id: BatchId,
    /// The job of that batch.
    pub good_job_id: JobId,
    /// When that batch ended.
    pub good_ended_at: Option<UnixMillis>,
    /// What differs; what is not listed is alike or is not known of one of them.
    pub differences: Vec<Difference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What, such as `rows` or `parameters.chunk_size`; units stand last in the name.
    pub what: String,
    /// The value of the good run; null where it had none.
    pub last_good: Value,
    /// The value now; null where there is none.
    pub now: Value,
}

/// The conclusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Why it failed; `None` when nothing failed (yet).
    pub failure_category: Option<FailureCategory>,
    /// The same in one or two sentences; `None` when there is nothing to explain.
    pub failure_reason: Option<String>,
    /// How sure the category is, from 0 to 1; of a batch that did not fail, how sure the finding is; `None` where there is nothing to be
    /// sure of.
    pub confidence: Option<f64>,
    /// The finding that the verdict rests on.
    pub case: Option<CaseKind>,
    /// Where the batch stands and what to know about it, in one or two sentences; there always is one.
    pub summary: String,
    /// What would decide it, where the evidence does not.
    pub would_decide: Vec<String>,
}

/// One fact that a finding rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// When it was so.
    pub at: Option<UnixMillis>,
    /// Its tier.
    pub tier_num: Option<u32>,
    /// The attempt it was observed of.
    pub attempt: Option<AttemptId>,
    /// The worker it was observed of.
    pub worker: Option<u32>,
    /// The fact in words, with numbers and units.
    pub what: String,
    /// Where it was read, such as `cgroup memory.oom_control oom_kill`.
    pub source: String,
    /// What was read, as it was read, shortened.
    pub raw: Option<String>,
    /// Where `raw` begins in its log, in bytes; only of what is quoted from a log.
    pub log_offset: Option<u64>,
    /// The rules of the classifier that `raw` matches, the deciding one first; only of what is quoted from a log or a backend.
    pub rule_ids: Vec<String>,
    /// The finding that it supports.
    pub supports: CaseKind,
}

impl EvidenceLine {
    /// Quotes the end of a machine-printed text that begins at `begins_at` in its log, and names the rules that it matches.
    pub(crate) fn quote(&mut self, text: &str, begins_at: Option<u64>) {
        let Some((cut, raw)) = words::tail(text) else {
            return;
        };
        let said = classify(&FailureText {
            text: raw,
            exit_code: None,
            backend: None,
        });
        // A byte that is no UTF-8 became three bytes of text; after one of them the offset is not known.
        let is_exact = !text[..cut].contains(char::REPLACEMENT_CHARACTER);
        self.log_offset = begins_at.filter(|_| is_exact).map(|at| at + cut as u64);
        self.rule_ids = said.rule_ids;
        self.raw = Some(raw.to_owned());
    }
}

/// What is to be said of one tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TierFinding {
    /// Its number.
    pub tier_num: u32,
    /// Where its time goes; `None` before any work.
    pub bottleneck: Option<Bottleneck>,
    /// Rows of its jobs as far as the manifests are written.
    pub rows_submitted: Option<u64>,
    /// Outcomes of its rows.
    pub counts: RowCounts,
    /// Whether every submitted row has an outcome; `None` while the tier is not over.
    pub is_balanced: Option<bool>,
    /// The highest memory use of a worker that was seen, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// The memory limit of each worker, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// How its duration divides.
    pub phases: Phases,
    /// What its workers used; `None` where nothing was measured.
    pub usage: Option<UsageFacts>,
}

/// How the duration of a tier divides, in milliseconds. The parts add up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// For its rows, for room, for the end of a back-off or for a retry.
    pub waiting_ms: u64,
    /// From the hand-over of an attempt to its driver's first report.
    pub starting_ms: u64,
    /// From there to the last row.
    pub running_ms: u64,
    /// From the last row to the end: workers end, evidence is kept, the rows are counted.
    pub finalising_ms: u64,
}

/// The stage that takes the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// The stage.
    pub stage: Stage,
    /// Its share of all busy time, from 0 to 1.
    pub share: f64,
    /// What that means and what would speed it up.
    pub meaning: String,
}
