//! The client of the internal API: what an attempt's driver and workers tell `serve`.
//!
//! Owns where `serve` is now and what its answers mean. It must not wait or try again by itself: how long to go on is the caller's law.

use std::path::PathBuf;
use std::sync::RwLock;
use std::time::Duration;

use bytes::Bytes;
use fettle_model::AttemptId;
use fettle_wire::internal::{ExitReport, Heartbeat, HeartbeatAck, RowReport, RowsAck, RowsReport};
use reqwest::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::envelope;
use crate::error::ApiError;
use crate::public::{request_id, retry_after};

/// Writing a full report may take a while on a busy disk; longer than this, something is wrong.
const ROWS_TIMEOUT: Duration = Duration::from_secs(60);
/// A heartbeat is small and a newer one follows.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// `serve` answers an exit at once.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// `serve` is near; a connection that takes longer is none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How an attempt reaches `serve`.
#[derive(Clone)]
pub struct AttemptClientConfig {
    /// The attempt.
    pub attempt_id: AttemptId,
    /// Where `serve` answered when the attempt was planned.
    pub control_url: String,
    /// A file with the present address, for a `serve` that came back elsewhere.
    pub control_url_file: Option<PathBuf>,
    /// The attempt's own token.
    pub token: String,
}

/// Why a report was not taken.
#[derive(Debug, Error)]
pub enum AttemptError {
    /// The attempt no longer counts: its caller must end.
    #[error("the attempt no longer counts: {message}")]
    Superseded {
        /// What `serve` said.
        message: String,
    },
    /// `serve` cannot be reached or is starting: keep the report and try again.
    #[error("serve is away: {message}")]
    Away {
        /// What was seen.
        message: String,
        /// When `serve` asks to be called again.
        retry_after: Option<Duration>,
    },
    /// `serve` has no room for the report: keep it and try again, less often.
    #[error("serve has no space left: {message}")]
    StorageFull {
        /// What `serve` said.
        message: String,
    },
    /// The report is larger than `serve` accepts; send it in parts.
    #[error("the report is too large: {message}")]
    TooLarge {
        /// What `serve` said.
        message: String,
    },
    /// `serve` failed on the report; trying again may help.
    #[error("serve failed on the report: {0}")]
    Failed(Box<ApiError>),
    /// `serve` refuses the report for good.
    #[error("serve refused the report: {0}")]
    Refused(Box<ApiError>),
    /// The report cannot be written as JSON.
    #[error("the report could not be written as JSON")]
    Encode {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The HTTP client could not be made.
    #[error("the http client could not be started")]
    Build {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl AttemptError {
    /// Whether the same report may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::StorageFull { .. } | Self::Failed(_)
        )
    }
}

/// A `POST …/rows` body that grows by rows which are encoded once, so that its size is always known.
#[derive(Debug, Clone, Default)]
pub struct RowsBody {
    rows: Vec<Vec<u8>>,
    rows_bytes: usize,
}

/// `{"rows":[` and `]}`.
const ROWS_FRAME_BYTES: usize = 11;

impl RowsBody {
    /// An encoded row, for [`push`](Self::push).
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn encode(row: &RowReport) -> Result<Vec<u8>, AttemptError> {
        serde_json::to_vec(row).map_err(|source| AttemptError::Encode { source })
    }

    /// Adds an encoded row.
    pub fn push(&mut self, row: Vec<u8>) {
        self.rows_bytes += row.len() + 1;
        self.rows.push(row);
    }

    /// Rows in it.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// How long the body would be with `more` further bytes of a row.
    #[must_use]
    pub fn size_with(&self, more: usize) -> usize {
        ROWS_FRAME_BYTES + self.rows_bytes + more
    }

    /// The body.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        let mut body = Vec::with_capacity(self.size_with(0));
        body.extend_from_slice(b"{\"rows\":[");
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(row);
        }
        body.extend_from_slice(b"]}");
        Bytes::from(body)
    }
}

/// A client of the internal API for one attempt.
pub struct AttemptClient {
    http: reqwest::Client,
    config: AttemptClientConfig,
    present_url: RwLock<String>,
}

impl AttemptClient {
    /// A client for `config`; no connection is made yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: AttemptClientConfig) -> Result<Self, AttemptError> {
        // `serve` is on this machine or in this cluster, so no proxy stands between.
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy();
        let http = builder
            .build()
            .map_err(|source| AttemptError::Build { source })?;
        let present_url = RwLock::new(trimmed(&config.control_url));
        Ok(Self {
            http,
            config,
            present_url,
        })
    }

    /// Reports finished rows.
    ///
    /// # Errors
    /// See [`AttemptError`].
    pub async fn rows(&self, report: &RowsReport) -> Result<RowsAck, AttemptError> {
        self.post("rows", encode(report)?, ROWS_TIMEOUT).await
    }

    /// Reports finished rows that are encoded already ([`RowsBody`]).
    ///
    /// # Errors
    /// See [`AttemptError`].
    pub async fn rows_encoded(&self, body: Bytes) -> Result<RowsAck, AttemptError> {
        self.post("rows", body, ROWS_TIMEOUT).await
    }

    /// Sends a heartbeat.
    ///
    /// # Errors
    /// See [`AttemptError`].
    pub async fn heartbeat(&self, beat: &Heartbeat) -> Result<HeartbeatAck, AttemptError> {
        self.post("heartbeat", encode(beat)?, HEARTBEAT_TIMEOUT)
            .await
    }

    /// Sends the driver's last word.
    ///
    /// # Errors
    /// See [`AttemptError`].
    pub async fn exit(&self, report: &ExitReport) -> Result<(), AttemptError> {
        let _: serde_json::Value = self.post("exit", encode(report)?, EXIT_TIMEOUT).await?;
        Ok(())
    }

    async fn post<T: DeserializeOwned>(
        &self,
        what: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T, AttemptError> {
        let base = self.base();
        match self.post_to(&base, what, body.clone(), timeout).await {
            Err(AttemptError::Away { .. }) if self.reread(&base) => {
                self.post_to(&self.base(), what, body, timeout).await
            }
            other => other,
        }
    }

    async fn post_to<T: DeserializeOwned>(
        &self,
        base: &str,
        what: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T, AttemptError> {
        let url = format!(
            "{base}/v1/internal/attempts/{}/{what}",
            self.config.attempt_id
        );
        let request = self
            .http
            .post(&url)
            .bearer_auth(&self.config.token)
            .timeout(timeout);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| away(&url, &error))?;
        if !answer.status().is_success() {
            return Err(refusal(&url, answer).await);
        }
        let body = answer.bytes().await.map_err(|error| away(&url, &error))?;
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        // An answer of another form comes from something else that took the address.
        serde_json::from_slice(text).map_err(|error| AttemptError::Away {
            message: format!("what answers at {url} is not serve: {error}"),
            retry_after: None,
        })
    }

    fn base(&self) -> String {
        self.present_url
            .read()
            .map_or_else(|poisoned| poisoned.into_inner().clone(), |url| url.clone())
    }

    /// Reads the address file; whether it names another address than `tried`.
    fn reread(&self, tried: &str) -> bool {
        let Some(file) = &self.config.control_url_file else {
            return false;
        };
        let Ok(text) = std::fs::read_to_string(file) else {
            return false;
        };
        let url = trimmed(&text);
        if url.is_empty() || url == tried {
            return false;
        }
        tracing::info!(%url, "serve has another address now");
        let mut present = self
            .present_url
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *present = url;
        true
    }
}

fn trimmed(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

fn encode<T: Serialize>(report: &T) -> Result<Bytes, AttemptError> {
    serde_json::to_vec(report)
        .map(Bytes::from)
        .map_err(|source| AttemptError::Encode { source })
}

fn away(url: &str, error: &reqwest::Error) -> AttemptError {
    let kind = if error.is_timeout() {
        "no answer in time from"
    } else if error.is_connect() {
        "no connection to"
    } else {
        "the connection broke to"
    };
    AttemptError::Away {
        message: format!("{kind} {url}"),
        retry_after: None,
    }
}

async fn refusal(url: &str, answer: Response) -> AttemptError {
    let status = answer.status().as_u16();
    let wait = retry_after(answer.headers());
    let request_id = request_id(answer.headers());
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return away(url, &error),
    };
    let Some(error) = envelope::parse(status, request_id, &body) else {
        if status == 413 {
            return AttemptError::TooLarge {
                message: envelope::excerpt(&body),
            };
        }
        let message = format!("{url} answered {status}: {}", envelope::excerpt(&body));
        return AttemptError::Away {
            message,
            retry_after: wait,
        };
    };
    classify(error, wait)
}

fn classify(error: ApiError, retry_after: Option<Duration>) -> AttemptError {
    let reason = error.reason().map(str::to_owned);
    match (error.status, reason.as_deref()) {
        // An attempt that `serve` does not know is one whose batch was deleted.
        (409, Some("superseded")) | (404 | 410, _) => AttemptError::Superseded {
            message: error.message,
        },
        (507, _) | (503, Some("storage_full" | "disk_full")) => AttemptError::StorageFull {
            message: error.message,
        },
        (413, _) => AttemptError::TooLarge {
            message: error.message,
        },
        (408 | 429 | 502..=504, _) => AttemptError::Away {
            message: error.message,
            retry_after,
        },
        (500.., _) => AttemptError::Failed(Box::new(error)),
        _ => AttemptError::Refused(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::Path;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use fettle_model::JobId;
    use serde_json::json;

    use super::*;

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn client(url: &str, file: Option<PathBuf>) -> AttemptClient {
        let attempt_id = AttemptId::of(&JobId::from_entropy([1; 15]), 1);
        let config = AttemptClientConfig {
            attempt_id,
            control_url: url.into(),
            control_url_file: file,
            token: "t".into(),
        };
        AttemptClient::new(config).unwrap()
    }

    fn answering(status: u16, reason: &'static str) -> Router {
        let answer = move || async move {
            let body = json!({"success": false, "status": status, "error": {"type": "E", "message": "m", "details": {"reason": reason}}});
            (StatusCode::from_u16(status).unwrap(), axum::Json(body))
        };
        Router::new().route("/v1/internal/attempts/{id}/rows", post(answer))
    }

    async fn outcome(status: u16, reason: &'static str) -> AttemptError {
        let base = serve(answering(status, reason)).await;
        client(&base, None)
            .rows(&RowsReport { rows: vec![] })
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn answers_mean_what_the_protocol_says() {
        assert!(matches!(
            outcome(409, "superseded").await,
            AttemptError::Superseded { .. }
        ));
        assert!(matches!(
            outcome(404, "").await,
            AttemptError::Superseded { .. }
        ));
        assert!(matches!(outcome(409, "").await, AttemptError::Refused(_)));
        assert!(matches!(outcome(422, "").await, AttemptError::Refused(_)));
        assert!(matches!(
            outcome(413, "").await,
            AttemptError::TooLarge { .. }
        ));
        assert!(matches!(
            outcome(503, "starting").await,
            AttemptError::Away { .. }
        ));
        assert!(matches!(
            outcome(503, "disk_full").await,
            AttemptError::StorageFull { .. }
        ));
        assert!(matches!(outcome(500, "").await, AttemptError::Failed(_)));
    }

    #[tokio::test]
    async fn something_else_on_the_port_counts_as_away() {
        let base = serve(Router::new()).await;
        let error = client(&base, None)
            .rows(&RowsReport { rows: vec![] })
            .await
            .unwrap_err();
        assert!(matches!(error, AttemptError::Away { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_serve_that_came_back_elsewhere_is_found_through_the_file() {
        let ok = |Path(id): Path<String>, headers: HeaderMap| async move {
            assert!(id.ends_with("-a1") && headers["authorization"] == "Bearer t");
            axum::Json(json!({"finished_rows": 3}))
        };
        let base = serve(Router::new().route("/v1/internal/attempts/{id}/rows", post(ok))).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control_url");
        std::fs::write(&file, format!("{base}/\n")).unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let old = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let client = client(&old, Some(file));
        assert_eq!(
            client
                .rows(&RowsReport { rows: vec![] })
                .await
                .unwrap()
                .finished_rows,
            3
        );
    }

    #[test]
    fn a_body_of_encoded_rows_is_the_report_and_knows_its_size() {
        let row = RowReport {
            row: 4,
            source_id: Some("obj_a".into()),
            collection_id: "col_a".parse().unwrap(),
            outcome: fettle_model::RowOutcome::Skipped,
            documents: vec![],
            error: None,
        };
        let mut body = RowsBody::default();
        body.push(RowsBody::encode(&row).unwrap());
        body.push(RowsBody::encode(&row).unwrap());
        let size = body.size_with(0);
        let bytes = body.into_bytes();
        assert!(bytes.len() <= size);
        let report: RowsReport = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(report.rows, vec![row.clone(), row]);
    }
}
