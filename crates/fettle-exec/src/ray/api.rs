//! Ray's REST interface: jobs, packages, nodes, log files.
//!
//! Owns the addresses and what answers mean as HTTP. It must not wait or try again; the callers do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::autoscaler::ClusterStatus;
use super::cause::DeathCause;

/// Ray answers within milliseconds. Without its control store it answers after up to a minute, which is an outage for us.
const ASK_TIMEOUT: Duration = Duration::from_secs(4);
/// The first job of a cluster takes seconds; without an agent Ray gives up after 31 s.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// A hundred megabytes through a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// A log file is read by the agent of another node.
const LOG_TIMEOUT: Duration = Duration::from_secs(30);
/// Ray answers failures with whole tracebacks, of which the end tells what happened.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// Older releases of Ray fail on a request that does not say who asks.
const USER_AGENT: &str = concat!("fettle/", env!("CARGO_PKG_VERSION"));
/// Ray names the supervisor of a job so, and keeps all of them in a namespace of their own.
pub(super) const SUPERVISOR_PREFIX: &str = "_ray_internal_job_actor_";
pub(super) const SUPERVISOR_NAMESPACE: &str = "SUPERVISOR_ACTOR_RAY_NAMESPACE";
/// The label that Ray gives nodes that an autoscaler or KubeRay starts.
const GROUP_LABEL: &str = "ray.io/node-group";
/// The states of a supervisor that has begun or may begin; Ray filters by one state at its source.
const LIVING_STATES: [&str; 2] = ["ALIVE", "PENDING_CREATION"];

/// What Ray says, as a 500, of an id that it has.
const ALREADY_THERE: &str = "already exists. Please use a different submission_id";

/// Why Ray did not do what was asked.
#[derive(Debug, Error)]
pub(super) enum RayError {
    /// There is no answer.
    #[error("no answer from Ray at {url}: {reason}")]
    Away { url: String, reason: String },
    /// There is one, and it is no.
    #[error("Ray answered {status}: {message}")]
    Refused { status: u16, message: String },
    /// There is one of another form.
    #[error("what answers at {url} is not Ray: {reason}")]
    Strange { url: String, reason: String },
}

impl RayError {
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    pub(super) fn is_id_taken(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains(ALREADY_THERE))
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum JobStatus {
    /// Accepted; its driver has not been started.
    Pending,
    /// Its driver has been started.
    Running,
    /// Stopped on request.
    Stopped,
    /// Its driver ended with status 0.
    Succeeded,
    /// Anything else.
    Failed,
}

impl JobStatus {
    pub(super) fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Succeeded | Self::Failed)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// What Ray shows of a job, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Job {
    pub(super) status: JobStatus,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) error_type: Option<String>,
    #[serde(default)]
    pub(super) driver_node_id: Option<String>,
    #[serde(default)]
    pub(super) driver_exit_code: Option<i32>,
    #[serde(default)]
    pub(super) entrypoint: String,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    /// When it was submitted, in milliseconds.
    #[serde(default)]
    pub(super) start_time: Option<i64>,
}

impl Job {
    /// Whether it was given up because its driver's process no longer answered, which says nothing of why. Ray 2.49 does so.
    pub(super) fn lost_sight_of_driver(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        self.driver_exit_code.is_none() && message.contains("The actor is temporarily unavailable")
    }
}

/// The actor that runs a job's driver, or waits for room to do so.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Supervisor {
    name: String,
    #[serde(default)]
    required_resources: BTreeMap<String, f64>,
}

impl Supervisor {
    /// The submission id of its job. Others may give theirs any form; such a one is not ours, and could not be asked for.
    pub(super) fn job(&self) -> Option<&str> {
        let id = self.name.strip_prefix(SUPERVISOR_PREFIX)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        id.chars().all(is_plain).then_some(id)
    }

    /// The cores that its job asked for, rounded up as workers are.
    pub(super) fn cores(&self) -> u32 {
        let cores = self.required_resources.get("CPU").copied();
        // Cores of one node; far below 2^32.
        cores.unwrap_or(0.0).ceil().max(1.0) as u32
    }
}

/// What Ray shows of a node, as far as it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) node_id: String,
    pub(super) node_ip: String,
    #[serde(default)]
    pub(super) is_head_node: bool,
    pub(super) state: String,
    #[serde(default)]
    pub(super) state_message: Option<String>,
    #[serde(default)]
    pub(super) resources_total: BTreeMap<String, f64>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// When it died, in milliseconds; zero while it lives.
    #[serde(default)]
    pub(super) end_time_ms: i64,
    /// Since when it has been draining, in milliseconds. Ray's node table never shows that; its events do.
    #[serde(default)]
    pub(super) draining_since_ms: Option<i64>,
}

impl Node {
    pub(super) fn is_alive(&self) -> bool {
        self.state == "ALIVE"
    }

    /// The autoscaler's name for its type.
    pub(super) fn group(&self) -> Option<&String> {
        self.labels.get(GROUP_LABEL)
    }

    /// How much it has of a resource.
    pub(super) fn total(&self, resource: &str) -> f64 {
        self.resources_total.get(resource).copied().unwrap_or(0.0)
    }
}

/// A job to be submitted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Submission {
    pub(super) submission_id: String,
    pub(super) entrypoint: String,
    pub(super) metadata: BTreeMap<&'static str, String>,
    pub(super) entrypoint_num_cpus: f64,
    pub(super) entrypoint_num_gpus: f64,
    pub(super) entrypoint_memory: u64,
    pub(super) runtime_env: Value,
}

/// A client of one cluster.
#[derive(Debug, Clone)]
pub(super) struct RayApi {
    http: reqwest::Client,
    base: String,
}

impl RayApi {
    /// A client of the cluster whose dashboard is at `address`.
    pub(super) fn new(address: &str) -> Result<Self, reqwest::Error> {
        // The cluster is near, and a proxy is for what is far.
        let http = reqwest::Client::builder()
            .connect_timeout(ASK_TIMEOUT)
            .user_agent(USER_AGENT)
            .no_proxy()
            .build()?;
        let base = address.trim_end_matches('/').to_owned();
        Ok(Self { http, base })
    }

    /// The name of the cluster's session, which changes when the cluster is replaced, and Ray's version.
    pub(super) async fn version(&self) -> Result<Version, RayError> {
        self.ask("/api/version").await
    }

    /// All nodes, the dead ones too.
    pub(super) async fn nodes(&self) -> Result<Vec<Node>, RayError> {
        let listed: StateList<Node> = self.ask("/api/v0/nodes?detail=1&limit=10000").await?;
        Ok(listed.data.result.result)
    }

    /// What the autoscaler says of the nodes that it brings.
    pub(super) async fn autoscaler(&self) -> Result<Option<String>, RayError> {
        let status: ClusterStatus = self.ask("/api/cluster_status").await?;
        Ok(status.line())
    }

    /// The supervisors of all jobs that run or wait, whoever submitted them. The dead ones, of which Ray keeps many, are not read.
    pub(super) async fn supervisors(&self) -> Result<Vec<Supervisor>, RayError> {
        let mut found = Vec::new();
        for state in LIVING_STATES {
            let filters = [("state", state), ("ray_namespace", SUPERVISOR_NAMESPACE)];
            let path = format!("/api/v0/actors?detail=1&limit=10000{}", equal(filters));
            let listed: StateList<Supervisor> = self.ask(&path).await?;
            found.extend(listed.data.result.result);
        }
        Ok(found)
    }

    /// Why the supervisor of a job died; nothing while it lives.
    pub(super) async fn supervisor_death(&self, id: &str) -> Result<Option<DeathCause>, RayError> {
        let name = format!("{SUPERVISOR_PREFIX}{id}");
        let filters = [
            ("name", name.as_str()),
            ("ray_namespace", SUPERVISOR_NAMESPACE),
        ];
        let path = format!("/api/v0/actors?detail=1&limit=1{}", equal(filters));
        let listed: StateList<Dead> = self.ask(&path).await?;
        let mut found = listed.data.result.result.into_iter();
        Ok(found.next().and_then(|actor| actor.death_cause))
    }

    pub(super) async fn job(&self, id: &str) -> Result<Job, RayError> {
        self.ask(&format!("/api/jobs/{id}")).await
    }

    pub(super) async fn submit(&self, submission: &Submission) -> Result<(), RayError> {
        let request = self
            .http
            .post(self.url("/api/jobs/"))
            .json(submission)
            .timeout(SUBMIT_TIMEOUT);
        self.send("/api/jobs/", request).await.map(drop)
    }

    /// Asks for the end of a job; it is asynchronous.
    pub(super) async fn stop(&self, id: &str) -> Result<(), RayError> {
        let path = format!("/api/jobs/{id}/stop");
        let request = self.http.post(self.url(&path)).timeout(SUBMIT_TIMEOUT);
        self.send(&path, request).await.map(drop)
    }

    /// Removes the record of a job that has ended.
    pub(super) async fn delete(&self, id: &str) -> Result<(), RayError> {
        let path = format!("/api/jobs/{id}");
        let request = self.http.delete(self.url(&path)).timeout(ASK_TIMEOUT);
        self.send(&path, request).await.map(drop)
    }

    /// Whether the cluster holds a package. To ask keeps it for ten minutes.
    pub(super) async fn has_package(&self, name: &str) -> Result<bool, RayError> {
        let path = format!("/api/packages/gcs/{name}");
        let request = self.http.get(self.url(&path)).timeout(SUBMIT_TIMEOUT);
        match self.send(&path, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn put_package(&self, name: &str, zip: Bytes) -> Result<(), RayError> {
        let path = format!("/api/packages/gcs/{name}");
        let request = self
            .http
            .put(self.url(&path))
            .body(zip)
            .timeout(UPLOAD_TIMEOUT);
        self.send(&path, request).await.map(drop)
    }

    /// The last `lines` of a file among a node's logs.
    pub(super) async fn log_file(
        &self,
        node_id: &str,
        file: &str,
        lines: u32,
    ) -> Result<Bytes, RayError> {
        let path = format!("/api/v0/logs/file?node_id={node_id}&filename={file}&lines={lines}");
        let request = self.http.get(self.url(&path)).timeout(LOG_TIMEOUT);
        self.send(&path, request).await
    }

    /// The names of files among a node's logs that match `glob`.
    pub(super) async fn log_files(
        &self,
        node_id: &str,
        glob: &str,
    ) -> Result<Vec<String>, RayError> {
        let path = format!("/api/v0/logs?node_id={node_id}&glob={glob}");
        let listed: LogList = self.ask(&path).await?;
        Ok(listed.data.result.into_values().flatten().collect())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, RayError> {
        let request = self.http.get(self.url(path)).timeout(ASK_TIMEOUT);
        let body = self.send(path, request).await?;
        serde_json::from_slice(&body).map_err(|error| RayError::Strange {
            url: self.url(path),
            reason: error.to_string(),
        })
    }

    async fn send(&self, path: &str, request: reqwest::RequestBuilder) -> Result<Bytes, RayError> {
        let away = |error: reqwest::Error| RayError::Away {
            url: self.url(path),
            reason: reason(&error),
        };
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(away)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(RayError::Refused {
            status: status.as_u16(),
            message: end_of(&String::from_utf8_lossy(&body)),
        })
    }
}

/// The answer to `/api/version`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Version {
    pub(super) ray_version: String,
    pub(super) session_name: String,
}

#[derive(Deserialize)]
struct Dead {
    death_cause: Option<DeathCause>,
}

/// Lets Ray list only what has these values.
fn equal(filters: [(&str, &str); 2]) -> String {
    let one =
        |(key, value)| format!("&filter_keys={key}&filter_predicates=%3D&filter_values={value}");
    filters.map(one).concat()
}

#[derive(Deserialize)]
struct StateList<T> {
    data: StateData<T>,
}

/// Files by what Ray takes them for.
#[derive(Deserialize)]
struct LogList {
    data: LogListData,
}

#[derive(Deserialize)]
struct LogListData {
    result: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct StateData<T> {
    result: StateResult<T>,
}

#[derive(Deserialize)]
struct StateResult<T> {
    result: Vec<T>,
}

/// The innermost reason: the outer ones say only that a request failed.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// The end of a long text.
fn end_of(text: &str) -> String {
    let text = text.trim();
    let mut begin = text.len().saturating_sub(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    text[begin..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_silent_connection_leaves_open_why_a_job_ended() {
        let job = |text: &str| serde_json::from_str::<Job>(text).unwrap();
        let silent = r#"{"status": "FAILED", "message": "Unexpected error occurred: The actor 9a86 is unavailable: The actor is temporarily unavailable: RpcError"}"#;
        assert!(job(silent).lost_sight_of_driver());
        let ended = r#"{"status": "FAILED", "message": "The actor is temporarily unavailable", "driver_exit_code": -9}"#;
        assert!(!job(ended).lost_sight_of_driver());
        assert!(
            !job(r#"{"status": "FAILED", "message": "The actor died"}"#).lost_sight_of_driver()
        );
    }
}
