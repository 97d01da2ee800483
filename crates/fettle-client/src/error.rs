//! What can go wrong between a client and `serve`.

use serde_json::Value;
use thiserror::Error;

/// An error that the server answered with.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{message} ({error_type}, status {status})")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The contract's type, such as `NotFoundError`.
    pub error_type: String,
    /// For people.
    pub message: String,
    /// More, depending on the type; null when there is none.
    pub details: Value,
    /// The server's `x-request-id`, for finding the request in its log.
    pub request_id: Option<String>,
}

impl ApiError {
    /// `details.reason`, where the server gives one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.details.get("reason").and_then(Value::as_str)
    }

    /// `details.hint`, where the server gives one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.details.get("hint").and_then(Value::as_str)
    }
}

/// Why a call of the public API failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The base address is not an http(s) URL.
    #[error("`{url}` is not an address of a server; use the form http://127.0.0.1:8080")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The API key or namespace cannot be sent as a header.
    #[error("the {what} has characters that cannot be sent in a header")]
    BadHeader {
        /// Which.
        what: &'static str,
    },
    /// The HTTP client could not be made.
    #[error("the http client could not be started")]
    Build {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No connection.
    #[error("no server answers at {url}; start one with `fettle serve`, or name it with `--url`")]
    Connect {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("the server at {url} did not answer in time")]
    Timeout {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke.
    #[error("the connection to {url} broke")]
    Broken {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server answered with an error.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// What answers is not Fettle.
    #[error("what answers at {url} is not fettle (status {status}: {excerpt})")]
    Foreign {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of its answer.
        excerpt: String,
    },
    /// The body could not be made.
    #[error("the request to {url} could not be written as JSON")]
    Encode {
        /// Where to.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The answer does not have the expected form.
    #[error(
        "the answer of {url} does not have the expected form; client and server may be of different versions"
    )]
    Decode {
        /// Where from.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// The server's error, if it answered with one.
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// Whether no server could be reached.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. }
        )
    }

    /// The error of a request that got no answer.
    pub(crate) fn from_transport(url: &str, source: reqwest::Error) -> Self {
        let url = url.to_owned();
        if source.is_connect() {
            Self::Connect { url, source }
        } else if source.is_timeout() {
            Self::Timeout { url, source }
        } else {
            Self::Broken { url, source }
        }
    }
}
