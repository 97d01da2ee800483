//! Between records and columns: JSON bodies, counts, outcomes.

use fettle_model::RowOutcome;
use fettle_ports::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Outcomes as they are stored.
const PROCESSED: i64 = 0;
pub(super) const FAILED: i64 = 1;
const SKIPPED: i64 = 2;

/// The JSON of a record.
pub(super) fn encode<T: Serialize>(
    kind: &'static str,
    id: &str,
    record: &T,
) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| corrupt(kind, id, &error))
}

/// The record of a JSON body.
pub(super) fn decode<T: DeserializeOwned>(
    kind: &'static str,
    id: &str,
    body: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| corrupt(kind, id, &error))
}

/// The answer for what is stored and cannot be read.
pub(super) fn corrupt(kind: &'static str, id: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt {
        kind,
        id: id.to_owned(),
        message: error.to_string(),
    }
}

/// A count as SQLite's signed integer. Larger ones cannot occur but as "no limit", and mean that here too.
pub(super) fn to_sql(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A stored count, which is never negative.
pub(super) fn from_sql(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// The stored form of an outcome.
pub(super) fn outcome_to_sql(outcome: RowOutcome) -> i64 {
    match outcome {
        RowOutcome::Processed => PROCESSED,
        RowOutcome::Failed => FAILED,
        RowOutcome::Skipped => SKIPPED,
    }
}
