//! What a request is refused with: one envelope for everything.
//!
//! Owns the way from each room's errors to statuses and public words. It must not show what an inner fault says of the
//! machine: such texts go to the log under an id, and the answer carries the id.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fettle_control::{ReportError, RequestError};
use fettle_model::BatchStatus;
use fettle_ports::{BlobError, ExecutorError, IndexError, StoreError};
use fettle_wire::error::{ErrorBody, ErrorEnvelope, ErrorType, ValidationIssue};
use serde_json::{Map, Value, json};

/// When to come back after a store or the backend was away: long enough for a restart, short enough for a person.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// When to come back after the disk was full: somebody has to make room first.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(30);

/// A refusal.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    error_type: ErrorType,
    message: String,
    details: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// An error of `error_type` with its words.
    pub(crate) fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self {
            error_type,
            message: message.into(),
            details: Map::new(),
            retry_after: None,
        }
    }

    /// It does not exist, or is another tenant's.
    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        let shown: String = id.chars().take(100).collect();
        Self::new(
            ErrorType::NotFoundError,
            format!("{kind} `{shown}` does not exist"),
        )
        .with("resource", kind)
        .with("id", shown)
    }

    /// The present state does not allow `what`.
    pub(crate) fn conflict(what: &str, present: impl Into<String>) -> Self {
        let present = present.into();
        Self::new(
            ErrorType::ConflictError,
            format!("{what} is not possible: {present}"),
        )
        .with("present", present)
    }

    /// A name is taken.
    pub(crate) fn exists(kind: &str, name: &str) -> Self {
        Self::new(
            ErrorType::AlreadyExistsError,
            format!("{kind} `{name}` exists already"),
        )
        .with("resource", kind)
        .with("name", name)
    }

    /// Something in the body does not fit.
    pub(crate) fn invalid(location: &[&str], message: impl Into<String>) -> Self {
        let mut at = vec![Value::from("body")];
        for part in location {
            // Below these keys of the contract stand lists, so a number is a place in one.
            let in_list = at
                .last()
                .is_some_and(|last| *last == "blobs" || *last == "stages");
            let index = part.parse::<u64>().ok().filter(|_| in_list);
            at.push(index.map_or_else(|| Value::from(*part), Value::from));
        }
        Self::issues(vec![ValidationIssue {
            kind: "value_error".to_owned(),
            location: at,
            message: message.into(),
        }])
    }

    /// Something in the query does not fit.
    pub(crate) fn invalid_query(name: &str, message: impl Into<String>) -> Self {
        Self::issues(vec![ValidationIssue {
            kind: "value_error".to_owned(),
            location: vec![Value::from("query"), Value::from(name)],
            message: message.into(),
        }])
    }

    /// Several things do not fit.
    pub(crate) fn issues(issues: Vec<ValidationIssue>) -> Self {
        let message = match issues.as_slice() {
            [only] => format!("{}: {}", place(&only.location), only.message),
            several => format!("the request does not fit in {} places", several.len()),
        };
        Self::new(ErrorType::ValidationError, message).with("validation_errors", json!(issues))
    }

    /// Adds where the batch stands, if the error is about its state.
    #[must_use]
    pub(crate) fn with_status(self, status: BatchStatus) -> Self {
        if self.error_type == ErrorType::ConflictError {
            self.with("status", status.as_str())
        } else {
            self
        }
    }

    /// Adds a detail.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// A fault of ours: the cause goes to the log, the answer carries its id.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        let id = fault_id();
        tracing::error!(fault = %id, %cause, "a request met a fault");
        Self::new(
            ErrorType::InternalServerError,
            "the server met a fault; its log tells more under this id",
        )
        .with("fault_id", id)
    }

    /// Something that the server needs is away: the cause goes to the log.
    fn away(what: &str, cause: impl std::fmt::Display) -> Self {
        let id = fault_id();
        tracing::warn!(fault = %id, %cause, "{what} is away");
        let message = format!("{what} does not answer as it should; try again");
        Self::retryable(message, RETRY_AFTER).with("fault_id", id)
    }

    fn full(what: &str) -> Self {
        let message = format!("no space is left for {what}; nothing of this request was stored");
        Self::retryable(message, RETRY_AFTER_FULL).with("reason", "storage_full")
    }

    fn retryable(message: impl Into<String>, after: Duration) -> Self {
        let mut error = Self::new(ErrorType::ServiceUnavailableError, message)
            .with("retryable", true)
            .with("retry_after_seconds", after.as_secs());
        error.retry_after = Some(after);
        error
    }

    /// The key made too many requests.
    pub(crate) fn too_many(after: Duration) -> Self {
        let message = format!(
            "this API key makes more requests than it may; go on in {} s",
            after.as_secs()
        );
        Self {
            error_type: ErrorType::TooManyRequestsError,
            ..Self::retryable(message, after)
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub(crate) fn error_type(&self) -> ErrorType {
        self.error_type
    }

    /// Its words.
    #[must_use]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// `body.source.bucket_ids`.
fn place(location: &[Value]) -> String {
    let parts = location.iter().map(|part| match part {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// Names a fault, so that an answer can be found in the log. It guards nothing, so a failing source of randomness is no harm.
pub(crate) fn fault_id() -> String {
    let mut bytes = [0_u8; 8];
    if getrandom::fill(&mut bytes).is_err() {
        return "fault_unnamed".to_owned();
    }
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("fault_{digits}")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.error_type.status();
        let envelope = ErrorEnvelope {
            success: false,
            status,
            error: ErrorBody {
                error_type: self.error_type,
                message: self.message,
                details: self.details,
            },
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(envelope)).into_response();
        if let Some(after) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { kind, id } => Self::not_found(kind, id),
            StoreError::AlreadyExists { kind, name } => Self::exists(kind, name),
            StoreError::VersionConflict { batch } => Self::conflict(
                "the change",
                format!("batch {batch} was changed at the same time; read it again"),
            ),
            StoreError::Full => Self::full("the state database"),
            StoreError::Unavailable { .. } => Self::away("the state database", error),
            StoreError::Corrupt { .. } => Self::internal(error),
        }
    }
}

impl From<IndexError> for ApiError {
    fn from(error: IndexError) -> Self {
        match &error {
            IndexError::NoCollection { collection } => {
                Self::not_found("documents index of collection", collection.as_str())
            }
            IndexError::BadVector { .. } => {
                Self::new(ErrorType::ValidationError, error.to_string())
            }
            IndexError::BadCursor => Self::invalid(&["cursor"], error.to_string()),
            IndexError::Full { .. } => Self::full("documents"),
            IndexError::Unavailable { .. } => Self::away("the document index", error),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match &error {
            BlobError::NotFound { key } => Self::not_found("blob", key),
            BlobError::BadKey { .. } => Self::internal(error),
            BlobError::Full { .. } => Self::full("blobs"),
            BlobError::Unavailable { .. } => Self::away("the blob store", error),
        }
    }
}

impl From<ExecutorError> for ApiError {
    fn from(error: ExecutorError) -> Self {
        match &error {
            ExecutorError::NoSuchLog { log, .. } => Self::not_found("log", log),
            ExecutorError::Refused { .. } => {
                Self::new(ErrorType::ValidationError, error.to_string())
            }
            ExecutorError::Unavailable { .. } | ExecutorError::Unlistable { .. } => {
                Self::away("the backend", error)
            }
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoSuch { kind, id } => Self::not_found(kind, &id),
            RequestError::NotPossible { what, present } => Self::conflict(what, present),
            RequestError::Invalid { message, field } => match field {
                Some(field) => Self::invalid(&[field.as_str()], message),
                None => Self::invalid(&[], message),
            },
            RequestError::Store(error) => error.into(),
            RequestError::Index(error) => error.into(),
            RequestError::Blob(error) => error.into(),
            RequestError::Executor(error) => error.into(),
            RequestError::Stopping => Self::retryable(
                "the server is stopping; try again when it is back",
                RETRY_AFTER,
            ),
        }
    }
}

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Superseded { present } => {
                Self::conflict("the report", present).with("reason", "superseded")
            }
            ReportError::Invalid { message } => Self::invalid(&[], message),
            ReportError::Store(error) => error.into(),
            ReportError::Index(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_does_not_show_its_cause() {
        let error = ApiError::from(StoreError::Unavailable {
            message: "/secret/path is gone".into(),
        });
        assert!(!error.message().contains("secret"));
        let response = error.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn one_issue_is_told_in_the_message_with_its_place() {
        let error = ApiError::invalid(&["source", "bucket_ids"], "names no bucket");
        assert_eq!(error.message(), "body.source.bucket_ids: names no bucket");
    }
}
