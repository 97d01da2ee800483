//! What driver and worker say to each other: one JSON object a line, on the worker's standard input and output.
//!
//! Owns the form of the frames. The two ends are always the same binary, so the form may change freely.

use fettle_model::history::StageSketches;
use fettle_model::{AttemptExit, CollectionId, RowNumber, Stage, StageTimings};
use serde::{Deserialize, Serialize};

/// From the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToWorker {
    /// Do these rows.
    Run {
        /// Their numbers.
        rows: Vec<RowNumber>,
    },
    /// Finish what you have and end.
    End,
    /// Finish what is being extracted or written, let go of the rest, and end: others will do it.
    Leave,
}

/// From a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromWorker {
    /// The extractor is loaded.
    Ready {
        /// The worker's own version.
        version: String,
        /// The GPUs that it sees, where it was told, separated by commas.
        gpus: Option<String>,
    },
    /// A row is taken up.
    Begun(BegunRow),
    /// The blobs of a row are here, and they are larger than was known when it was taken up.
    Sized {
        /// Its number.
        row: RowNumber,
        /// Size of its blobs, in bytes.
        size_bytes: u64,
    },
    /// Rows have reached a stage.
    Entered {
        /// Their numbers.
        rows: Vec<RowNumber>,
        /// The stage.
        stage: Stage,
    },
    /// Rows have outcomes which `serve` has acknowledged.
    Finished {
        /// Each with whether it succeeded.
        rows: Vec<FinishedRow>,
    },
    /// Time spent so far.
    Timings {
        /// By stage.
        stages: StageTimings,
        /// Work on each row, by stage, where rows came to it since it was last told: a worker that stands still must write next to nothing.
        work: Option<Box<StageSketches>>,
    },
    /// `serve` says that the attempt no longer counts.
    Superseded {
        /// What it said.
        message: String,
    },
    /// The worker cannot work, and neither could another.
    Fatal {
        /// What is to blame.
        cause: FatalCause,
        /// For people.
        message: String,
    },
}

/// A row that a worker has taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BegunRow {
    /// Its number.
    pub(crate) row: RowNumber,
    /// Object or document id of its source.
    pub(crate) source_id: String,
    /// The collection it is for.
    pub(crate) collection_id: CollectionId,
    /// Size of its blobs as far as known, in bytes.
    pub(crate) size_bytes: u64,
}

/// A row with an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FinishedRow {
    /// Its number.
    pub(crate) row: RowNumber,
    /// Whether it was processed (or skipped), not failed.
    pub(crate) is_success: bool,
}

/// What keeps every worker of the attempt from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FatalCause {
    /// The extractor: parameters, model, plugin.
    Extractor,
    /// The manifest, the blob store, the disk, or a `serve` that refuses every report.
    Environment,
}

impl FatalCause {
    /// How it ends the attempt.
    pub(crate) fn exit(self) -> AttemptExit {
        match self {
            Self::Extractor => AttemptExit::ExtractorFailed,
            Self::Environment => AttemptExit::DriverFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_one_line_and_survive_it() {
        let frames = [
            FromWorker::Ready {
                version: "1".into(),
                gpus: None,
            },
            FromWorker::Begun(BegunRow {
                row: 1,
                source_id: "a\nb".into(),
                collection_id: "col_a".parse().unwrap(),
                size_bytes: 2,
            }),
            FromWorker::Sized {
                row: 1,
                size_bytes: 3,
            },
            FromWorker::Entered {
                rows: vec![1],
                stage: Stage::Writing,
            },
            FromWorker::Fatal {
                cause: FatalCause::Extractor,
                message: "m".into(),
            },
        ];
        for frame in frames {
            let line = serde_json::to_string(&frame).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<FromWorker>(&line).unwrap(), frame);
        }
    }
}
