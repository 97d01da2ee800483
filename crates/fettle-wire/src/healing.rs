//! Healing: policies as they are sent and shown. Beyond the contract.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// What may be done by itself when work fails. The nearest of batch, bucket and namespace that has one counts, as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealingPolicy {
    /// `off`: nothing. `suggest`: troubles of the infrastructure are outlived, for the rest remedies are recommended. `auto`: remedies are applied.
    pub mode: String,
    /// For these causes alone; none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causes: Option<Vec<String>>,
    /// Attempts that a cause may be followed by, where it is not the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, u32>,
    /// The most that a worker's memory is raised to, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// How much memory may grow from one attempt to the next, as a factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_growth_max: Option<f64>,
    /// The batch is stopped when more rows of a job than this fail, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_percent_max: Option<f64>,
    /// Whether memory that was raised is lowered again when all rows are done and the need stays far below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory_shrinks: bool,
}

/// The answer to `POST …/heal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealResponse {
    /// Always `true`: what could not be mended is told by its finding.
    pub success: bool,
    /// The batch.
    pub batch_id: String,
    /// The tier.
    pub tier_num: u32,
    /// What was asked for.
    pub action: String,
    /// Whether it was only said what would be done.
    pub dry_run: bool,
    /// The tier's status now.
    pub status: String,
    /// The batch's status now.
    pub batch_status: String,
    /// What was found; empty when all is as it should be.
    pub findings: Vec<HealFinding>,
    /// How many of them were mended, or are being mended.
    pub mended: u64,
    /// For people.
    pub message: String,
}

/// Something that is not as it should be, and what was done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealFinding {
    /// What it is: `dead`, `hung`, `spinning`, `starved`, `blocked`, `slow_row`, `duplicate`, `superseded`, `orphan`, `stray`, `ended`,
    /// `lost`, `unreachable`, `poison`, or the kind of a case of the diagnosis.
    pub kind: String,
    /// The job.
    pub ray_job_id: Option<String>,
    /// The attempt.
    pub attempt_id: Option<String>,
    /// The worker's number.
    pub worker: Option<u32>,
    /// The worker's process id.
    pub pid: Option<u32>,
    /// The rows that it is about.
    pub rows: Vec<u32>,
    /// How long it has been so, in seconds.
    pub age_seconds: Option<f64>,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// In one sentence.
    pub summary: String,
    /// What it rests on.
    pub evidence: Vec<String>,
    /// What is done about it: `none`, `end_worker`, `wake_worker`, `restart_attempt`, `end_run`, `adopt`, `believe`, `fail_rows` or `retry_tier`.
    pub action: String,
    /// What came of that: `would_do`, `done`, `ordered`, `already_ordered`, `declined`, `nothing_to_do` or `failed`.
    pub outcome: String,
    /// More about the outcome.
    pub detail: Option<String>,
}

/// Tells a field that is `null`, which takes a policy back, from one that is left out.
pub(crate) fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<HealingPolicy>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
