//! What earlier attempts measured: the profile of one, and cells that gather many.
//!
//! Owns what is measured and how it is added up. A cell is a sum: adding cells in any order gives the same, so hours add up to days
//! and days to any span.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::line::Points;
use crate::pulse::StepHistory;
use crate::sketch::Sketch;
use crate::{
    AttemptExit, AttemptId, DocumentErrorClass, ErrorCategory, ExtractorRef, RowNumber, Stage,
    UnixMillis,
};

/// Slowest rows kept of an attempt: what a person looks at.
pub const SLOW_ROWS_PER_ATTEMPT_MAX: usize = 16;
/// Slowest rows kept of a cell: an hour's worst, little beside its sketches.
pub const SLOW_ROWS_PER_CELL_MAX: usize = 50;

/// What one attempt measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AttemptProfile {
    /// From a worker taking a row up to the row's outcome, in microseconds.
    pub row_us: Sketch,
    /// Work on a row by stage, in microseconds; rows that are worked on together share the time.
    pub stages: StageSketches,
    /// Sizes of rows, in bytes.
    pub row_bytes: Sketch,
    /// Memory of its workers.
    pub memory: MemoryProfile,
    /// Its slowest rows, slowest first.
    pub slowest: Vec<SlowRow>,
    /// How long its workers took no step.
    #[serde(default)]
    pub steps: StepHistory,
}

/// Work on a row in each stage, in microseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StageSketches {
    /// Fetching and decoding blobs.
    pub loading: Sketch,
    /// Extracting.
    pub processing: Sketch,
    /// Writing documents.
    pub writing: Sketch,
}

/// Peaks of workers, each one value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MemoryProfile {
    /// Peaks of workers that memory did not end, in bytes: what they needed.
    pub peak_bytes: Sketch,
    /// Peaks of workers that memory ended, in bytes: they needed more.
    pub cut_off_bytes: Sketch,
    /// Needs by how many rows the worker had finished: a line is a leak.
    pub by_rows: Points,
    /// Needs by the bytes of the worker's largest row: a line is what a row of some size takes.
    pub by_row_bytes: Points,
}

/// A slow row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowRow {
    /// How long from being taken up to its outcome, in microseconds.
    pub us: u64,
    /// When it had its outcome.
    pub at: UnixMillis,
    /// The stage in which it was longest, waiting included.
    pub stage: Stage,
    /// The attempt.
    pub attempt_id: AttemptId,
    /// Its row.
    pub row: RowNumber,
    /// Object or document id of its source.
    pub source_id: String,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl AttemptProfile {
    /// Adds what another worker or attempt measured.
    pub fn merge(&mut self, other: &Self) {
        self.row_us.merge(&other.row_us);
        self.stages.merge(&other.stages);
        self.row_bytes.merge(&other.row_bytes);
        self.memory.merge(&other.memory);
        self.slowest.extend(other.slowest.iter().cloned());
        keep_slowest(&mut self.slowest, SLOW_ROWS_PER_CELL_MAX);
        self.steps.add(&other.steps);
    }

    /// Takes in a row's end.
    pub fn row_finished(&mut self, row: SlowRow) {
        self.row_us.record(row.us, 1);
        self.row_bytes.record(row.bytes, 1);
        let is_full = self.slowest.len() >= SLOW_ROWS_PER_ATTEMPT_MAX;
        if !is_full || self.slowest.last().is_some_and(|last| last.us < row.us) {
            self.slowest.push(row);
            keep_slowest(&mut self.slowest, SLOW_ROWS_PER_ATTEMPT_MAX);
        }
    }
}

impl StageSketches {
    /// One stage.
    #[must_use]
    pub fn get(&self, stage: Stage) -> &Sketch {
        match stage {
            Stage::Loading => &self.loading,
            Stage::Processing => &self.processing,
            Stage::Writing => &self.writing,
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.loading.merge(&other.loading);
        self.processing.merge(&other.processing);
        self.writing.merge(&other.writing);
    }
}

impl MemoryProfile {
    /// Takes in a worker that memory did not end, with the rows it had finished and the bytes of its largest.
    pub fn worker_ended(&mut self, peak_bytes: u64, rows: u64, row_bytes_max: u64) {
        self.peak_bytes.record(peak_bytes, 1);
        self.by_rows.record(rows, peak_bytes);
        self.by_row_bytes.record(row_bytes_max, peak_bytes);
    }

    /// Takes in a worker that memory ended.
    pub fn worker_cut_off(&mut self, peak_bytes: u64) {
        self.cut_off_bytes.record(peak_bytes, 1);
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.peak_bytes.merge(&other.peak_bytes);
        self.cut_off_bytes.merge(&other.cut_off_bytes);
        self.by_rows.merge(&other.by_rows);
        self.by_row_bytes.merge(&other.by_row_bytes);
    }
}

/// Slowest first; of equally slow ones in the order of their attempts, so that it does not matter which came first.
fn keep_slowest(rows: &mut Vec<SlowRow>, most: usize) {
    rows.sort_by(|a, b| (b.us, &a.attempt_id, a.row).cmp(&(a.us, &b.attempt_id, b.row)));
    rows.truncate(most);
}

/// What a tier's rows are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierKind {
    /// Objects of a bucket.
    Objects,
    /// Documents of earlier tiers.
    Documents,
}

impl TierKind {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Documents => "documents",
        }
    }
}

/// What runs of a job are compared by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HistoryKey {
    /// Extractor's name.
    pub extractor_name: String,
    /// Extractor's version.
    pub extractor_version: String,
    /// Its parameters as a fingerprint.
    pub parameters: String,
    /// What its rows are made of.
    pub tier_kind: TierKind,
}

impl HistoryKey {
    /// The key of a job.
    #[must_use]
    pub fn of(extractor: &ExtractorRef, tier_kind: TierKind) -> Self {
        let mut parameters = serde_json::Value::Object(extractor.parameters.clone());
        // Some build of `serde_json` keeps keys as they came; equal parameters must have one text.
        parameters.sort_all_objects();
        let hash = blake3::hash(parameters.to_string().as_bytes()).to_hex();
        Self {
            extractor_name: extractor.name.clone(),
            extractor_version: extractor.version.clone(),
            parameters: hash.chars().take(16).collect(),
            tier_kind,
        }
    }

    /// The extractor's id in the contract.
    #[must_use]
    pub fn extractor_id(&self) -> String {
        format!("{}_{}", self.extractor_name, self.extractor_version)
    }
}

/// Attempts of one key in one span of time, added up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HistoryCell {
    /// How many attempts.
    pub attempts: u64,
    /// How they ended: `finished`, `out_of_memory`, …, and `lost`.
    pub outcomes: BTreeMap<String, u64>,
    /// Rows processed.
    pub rows_processed: u64,
    /// Rows failed.
    pub rows_failed: u64,
    /// Rows skipped.
    pub rows_skipped: u64,
    /// Documents written.
    pub documents: u64,
    /// Row errors by category.
    pub error_categories: BTreeMap<ErrorCategory, u64>,
    /// Row errors by class.
    pub error_classes: BTreeMap<DocumentErrorClass, u64>,
    /// What they measured.
    pub profile: AttemptProfile,
    /// From planning an attempt to its driver's first word, in microseconds.
    pub start_us: Sketch,
    /// Worker time for each row with an outcome, in microseconds, one value an attempt.
    pub worker_us_per_row: Sketch,
    /// Documents for each thousand rows with an outcome, one value an attempt.
    pub documents_per_1000_rows: Sketch,
    /// How long workers lived, summed over them, in milliseconds.
    pub worker_ms: u64,
    /// CPU time, in milliseconds.
    pub cpu_ms: u64,
}

impl HistoryCell {
    /// Adds another.
    pub fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        add_counts(&mut self.outcomes, &other.outcomes);
        self.rows_processed += other.rows_processed;
        self.rows_failed += other.rows_failed;
        self.rows_skipped += other.rows_skipped;
        self.documents += other.documents;
        add_counts(&mut self.error_categories, &other.error_categories);
        add_counts(&mut self.error_classes, &other.error_classes);
        self.profile.merge(&other.profile);
        self.start_us.merge(&other.start_us);
        self.worker_us_per_row.merge(&other.worker_us_per_row);
        self.documents_per_1000_rows
            .merge(&other.documents_per_1000_rows);
        self.worker_ms += other.worker_ms;
        self.cpu_ms += other.cpu_ms;
    }

    /// Rows with an outcome.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows_processed + self.rows_failed + self.rows_skipped
    }
}

fn add_counts<K: Ord + Clone>(sum: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    for (key, count) in other {
        *sum.entry(key.clone()).or_default() += count;
    }
}

/// An end as a word for `HistoryCell::outcomes`; `None` is a lost attempt.
#[must_use]
pub fn outcome_word(exit: Option<&AttemptExit>) -> &'static str {
    match exit {
        Some(AttemptExit::Finished) => "finished",
        Some(AttemptExit::Cancelled) => "cancelled",
        Some(AttemptExit::OutOfMemory) => "out_of_memory",
        Some(AttemptExit::WorkersKeepDying) => "workers_keep_dying",
        Some(AttemptExit::ExtractorFailed) => "extractor_failed",
        Some(AttemptExit::DriverFailed) => "driver_failed",
        Some(AttemptExit::DriverDied) => "driver_died",
        None => "lost",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::JobId;

    fn slow(us: u64, row: RowNumber) -> SlowRow {
        SlowRow {
            us,
            at: UnixMillis(1),
            stage: Stage::Processing,
            attempt_id: AttemptId::of(&JobId::from_entropy([1; 15]), 1),
            row,
            source_id: format!("obj_{row}"),
            bytes: us / 2,
        }
    }

    fn cell(rows: &[u64]) -> HistoryCell {
        let mut cell = HistoryCell {
            attempts: 1,
            rows_processed: rows.len() as u64,
            outcomes: BTreeMap::from([("finished".to_owned(), 1)]),
            error_classes: BTreeMap::from([(DocumentErrorClass::Transient, 2)]),
            ..HistoryCell::default()
        };
        for (us, row) in rows.iter().zip(0..) {
            cell.profile.row_finished(slow(*us, row));
            cell.profile.memory.worker_ended(us * 3, 1, *us);
        }
        cell
    }

    proptest! {
        #[test]
        fn cells_add_up_in_any_order(
            a in prop::collection::vec(0..1_000_u64, 0..80),
            b in prop::collection::vec(0..1_000_u64, 0..80),
        ) {
            let (a, b) = (cell(&a), cell(&b));
            let (mut one, mut other) = (a.clone(), b.clone());
            one.merge(&b);
            other.merge(&a);
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(one.profile.row_us.count(), one.rows());
            prop_assert!(one.profile.slowest.is_sorted_by(|a, b| a.us >= b.us));
        }
    }

    #[test]
    fn of_many_rows_the_slowest_are_kept() {
        let mut profile = AttemptProfile::default();
        (0..100).for_each(|row| profile.row_finished(slow(u64::from(row) * 7 % 100, row)));
        let kept: Vec<u64> = profile.slowest.iter().map(|row| row.us).collect();
        let expected: Vec<u64> = (84..100).rev().collect();
        assert_eq!(kept, expected);
        assert_eq!(profile.row_us.count(), 100);
    }

    #[test]
    fn a_key_depends_on_the_parameters_and_not_on_their_order() {
        let key = |parameters: serde_json::Value| {
            let parameters = parameters.as_object().cloned().unwrap();
            let extractor = ExtractorRef {
                name: "text_extractor".into(),
                version: "v1".into(),
                parameters,
            };
            HistoryKey::of(&extractor, TierKind::Objects)
        };
        assert_eq!(key(json!({"a": 1, "b": 2})), key(json!({"b": 2, "a": 1})));
        assert_ne!(key(json!({"a": 1})), key(json!({"a": 2})));
        assert_eq!(key(json!({})).extractor_id(), "text_extractor_v1");
    }
}
