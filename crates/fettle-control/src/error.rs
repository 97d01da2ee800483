//! Why a request or a report was not carried out.

use fettle_core::{PlanError, Refusal};
use fettle_model::BatchId;
use fettle_ports::{BlobError, ExecutorError, IndexError, StoreError};

/// Why a user's request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It does not exist, or is another tenant's.
    #[error("{kind} `{id}` does not exist")]
    NoSuch {
        /// Kind of thing.
        kind: &'static str,
        /// Its id or name.
        id: String,
    },
    /// The present state does not allow it.
    #[error("{what} is not possible: {present}")]
    NotPossible {
        /// The request.
        what: &'static str,
        /// Where the thing stands.
        present: String,
    },
    /// The request can never be carried out as it stands.
    #[error("{message}")]
    Invalid {
        /// What is wrong and what to do.
        message: String,
        /// The field that is wrong.
        field: Option<String>,
    },
    /// The state database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The document index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The blob store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The backend failed.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// `serve` is stopping.
    #[error("the server is stopping: try again when it is back")]
    Stopping,
}

impl RequestError {
    pub(crate) fn no_batch(id: &BatchId) -> Self {
        Self::NoSuch {
            kind: "batch",
            id: id.to_string(),
        }
    }
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stale { what, present } | Refusal::NotPossible { what, present } => {
                Self::NotPossible { what, present }
            }
            Refusal::NoSuch { kind, id } => Self::NoSuch { kind, id },
        }
    }
}

impl From<PlanError> for RequestError {
    fn from(error: PlanError) -> Self {
        Self::Invalid {
            message: error.to_string(),
            field: Some("collection_ids".to_owned()),
        }
    }
}

/// Why a driver's or worker's report was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The attempt does not count any more: its driver must end.
    #[error("the attempt does not count any more: {present}")]
    Superseded {
        /// Where it stands.
        present: String,
    },
    /// The report is malformed.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The state database failed; the report was not taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The document index failed; the report was not taken.
    #[error(transparent)]
    Index(#[from] IndexError),
}
