//! What is written down of an attempt in its folder, whatever runs it.
//!
//! Owns the form of the records. Nothing is kept in memory, so a restarted `serve` reads the same.

use std::time::{SystemTime, UNIX_EPOCH};

use fettle_model::{AttemptEvidence, AttemptExit, StageTimings, UnixMillis};
use fettle_ports::executor::Observation;
use serde::{Deserialize, Serialize};

/// All that was captured when the end of an attempt was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndRecord {
    pub(crate) exit: AttemptExit,
    pub(crate) evidence: AttemptEvidence,
    pub(crate) stages: Option<StageTimings>,
    pub(crate) at: UnixMillis,
}

/// A stop was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StopRecord {
    pub(crate) at: UnixMillis,
}

impl From<EndRecord> for Observation {
    fn from(end: EndRecord) -> Self {
        Self::Ended {
            exit: end.exit,
            evidence: Box::new(end.evidence),
            stages: end.stages.map(Box::new),
            at: end.at,
        }
    }
}

/// The time, for records.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
