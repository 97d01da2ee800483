//! The reports of drivers and workers to `serve`, under `/v1/internal/attempts/{attempt_id}/…`.
//!
//! Every call carries `Authorization: Bearer TOKEN` with the attempt's own token and is safe to repeat.
//! `409` with error type `ConflictError` and `details.reason = "superseded"` means that the attempt no longer counts: the caller must end.
//! `503` and a refused connection mean that `serve` is away: keep the report and try again.

use crate::evidence::InFlightRow;
use crate::{
    AttemptEvidence, AttemptExit, CollectionId, DocumentId, KillOrder, Pulse, RowError, RowNumber,
    RowOutcome, StageTimings, StepHistory, UnixMillis, WorkerDeath,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A `POST …/rows` body may be this long, in bytes; a worker splits what is longer. Chosen so that a few requests at once stay small in `serve`'s memory.
pub const ROWS_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Rows in one `POST …/rows` at most; more would make one transaction long for others.
pub const ROWS_PER_REPORT_MAX: usize = 256;

/// `POST …/rows`: documents and outcomes of finished rows. An answer of 200 means that both are durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowsReport {
    /// The rows.
    pub rows: Vec<RowReport>,
}

/// One finished row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowReport {
    /// The row.
    pub row: RowNumber,
    /// Object or document id of its source; where it says nothing, a row without documents removes none of before.
    #[serde(default)]
    pub source_id: Option<String>,
    /// The collection it is for.
    pub collection_id: CollectionId,
    /// How it ended.
    pub outcome: RowOutcome,
    /// Its documents; empty unless processed.
    #[serde(default)]
    pub documents: Vec<DocumentReport>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<RowError>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentReport {
    /// Its id.
    pub id: DocumentId,
    /// Its fields, with `_internal`.
    pub payload: Map<String, Value>,
    /// Its vectors.
    #[serde(default)]
    pub vectors: Vec<VectorReport>,
}

/// A vector as base64 of little-endian 32-bit floats: a quarter of the size of decimal text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorReport {
    /// Its name.
    pub name: String,
    /// The floats.
    pub data: String,
}

impl VectorReport {
    /// Encodes `values`.
    #[must_use]
    pub fn encode(name: String, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self {
            name,
            data: STANDARD.encode(bytes),
        }
    }

    /// The floats; `None` when the text is not base64 of whole floats, or a float is not finite.
    #[must_use]
    pub fn decode(&self) -> Option<Vec<f32>> {
        let bytes = STANDARD.decode(&self.data).ok()?;
        let chunks = bytes.chunks_exact(4);
        if !chunks.remainder().is_empty() {
            return None;
        }
        let values: Vec<f32> = chunks
            .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect();
        values
            .iter()
            .all(|value| value.is_finite())
            .then_some(values)
    }
}

/// The answer to `POST …/rows`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsAck {
    /// Rows of the job that have an outcome now.
    pub finished_rows: u64,
}

/// `POST …/heartbeat`, about once a second. Only the latest matters, but for the worker deaths, which are each reported until acknowledged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counts heartbeats of this attempt from one.
    pub seq: u64,
    /// When it was made.
    pub at: UnixMillis,
    /// Rows of this attempt with an outcome that `serve` has acknowledged.
    pub rows_finished: u64,
    /// Rows that this attempt was given.
    pub rows_total: u64,
    /// When the last row was finished.
    pub last_progress_at: Option<UnixMillis>,
    /// How the stages spent their time so far.
    pub stages: StageTimings,
    /// The workers that live.
    pub workers: Vec<WorkerBeat>,
    /// How long steps took so far.
    #[serde(default)]
    pub steps: StepHistory,
    /// Workers that died since the last acknowledged heartbeat.
    #[serde(default)]
    pub worker_deaths: Vec<WorkerDeath>,
    /// What was asked for on other nodes and is not there yet.
    #[serde(default)]
    pub hosts_asked: Option<HostsAsked>,
}

/// Places for workers that a driver has asked the backend for and that it has not placed yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HostsAsked {
    /// How many.
    pub hosts: u32,
    /// Since when the first of them has been waited for.
    pub since: UnixMillis,
    /// CPU cores of each.
    pub num_cpus: f64,
    /// GPUs of each.
    pub num_gpus: f64,
    /// Memory of each, in bytes.
    pub memory_bytes: u64,
}

impl Heartbeat {
    /// When anything of the attempt last moved: a row was finished, or a worker took a step.
    #[must_use]
    pub fn last_activity_at(&self) -> Option<UnixMillis> {
        let pulses = self
            .workers
            .iter()
            .filter_map(|worker| worker.pulse.as_ref());
        let steps = pulses.map(|pulse| pulse.last_step_at);
        steps.chain(self.last_progress_at).max()
    }
}

/// One living worker.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WorkerBeat {
    /// Its number.
    pub worker: u32,
    /// Its process id.
    pub pid: u32,
    /// Process state letter of proc(5): R, S, D, T, Z.
    pub state: String,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// Highest use so far, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Its limit, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// CPU time used, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Bytes read and written through the block layer.
    pub io_bytes: Option<u64>,
    /// What it is busy with.
    pub in_flight: Vec<InFlightRow>,
    /// What it does now and since its last step.
    #[serde(default)]
    pub pulse: Option<Pulse>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAck {
    /// What the driver must do.
    pub command: DriverCommand,
    /// Workers to end because they are stuck; each is told until its process is gone.
    #[serde(default)]
    pub kills: Vec<KillOrder>,
    /// The most workers that the attempt may have for now, on all nodes together; those that its job asks for it may always have.
    #[serde(default)]
    pub workers_max: Option<u32>,
}

/// What `serve` wants of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverCommand {
    /// Go on.
    Continue,
    /// End: the attempt was cancelled or superseded.
    Stop,
}

/// `POST …/exit`: the driver's last word. The same is written to `exit.json` in the attempt's folder first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitReport {
    /// How the attempt ended.
    pub exit: AttemptExit,
    /// What was captured.
    pub evidence: AttemptEvidence,
    /// How the stages spent their time.
    pub stages: StageTimings,
    /// When.
    pub at: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_survives_its_encoding_bit_for_bit() {
        let values = vec![0.0, -1.5, f32::MIN_POSITIVE, 3.25e7];
        let report = VectorReport::encode("v".into(), &values);
        assert_eq!(report.decode(), Some(values));
    }

    #[test]
    fn a_vector_that_is_cut_or_not_finite_is_refused() {
        let cut = VectorReport {
            name: "v".into(),
            data: "AAAA".into(),
        };
        assert_eq!(cut.decode(), None);
        assert_eq!(VectorReport::encode("v".into(), &[f32::NAN]).decode(), None);
    }
}
