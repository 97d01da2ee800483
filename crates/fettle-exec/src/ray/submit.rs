//! The submission of an attempt as a job.
//!
//! Owns what Ray is told, and the guarantee that an attempt is submitted once: its id is the submission id, which Ray takes only
//! once. Whose submission it was is known by what is written down here before: without it, a job that is there is a found one. The token
//! travels in the job's environment: whoever may read that may run any code on the cluster.

use std::collections::BTreeMap;

use fettle_confine::{ATTEMPT_MARKER_ENV, write_atomically};
use fettle_model::{AttemptId, AttemptSpec, Resources};
use fettle_ports::executor::{ExecutorError, Started};
use fettle_ports::{Node, Placement, placement};
use serde_json::json;

use super::api::{RayError, Submission};
use super::attempt::{Inner, Submitted};
use super::package::Package;
use super::unavailable;
use crate::blocking;
use crate::record::now;

/// What a job says of itself, so that it is known again.
pub(super) const ATTEMPT_KEY: &str = "fettle_attempt";
pub(super) const BATCH_KEY: &str = "fettle_batch";
pub(super) const TIER_KEY: &str = "fettle_tier";
/// Stands before the address that the driver reports to.
pub(super) const CONTROL_URL_OPTION: &str = "--control-url";
/// The entrypoint takes the attempt's token from here, and removes it.
const TOKEN_ENV: &str = "FETTLE_ATTEMPT_TOKEN";
/// Ray kills a stopped job that takes longer than this. A driver gives its workers five seconds.
const STOP_WAIT_ENV: &str = "RAY_JOB_STOP_WAIT_TIME_S";
const STOP_WAIT_S: &str = "12";

/// The command line. `exec`, so that the driver itself is Ray's child: its exit status is told as it is, and it ends with its
/// supervisor.
pub(super) fn entrypoint(
    attempt: &AttemptId,
    control_url: Option<&str>,
    workers_max: u32,
) -> String {
    let url = control_url.map_or(String::new(), |url| format!(" {CONTROL_URL_OPTION} {url}"));
    format!(
        "exec python -m engine.pipelines.entrypoint --attempt {attempt}{url} --workers-max {workers_max}"
    )
}

/// The names of the environment that a job is given.
pub(super) fn env_vars_keys() -> Vec<String> {
    [ATTEMPT_MARKER_ENV, TOKEN_ENV, STOP_WAIT_ENV]
        .map(str::to_owned)
        .to_vec()
}

impl Inner {
    /// Submits the attempt, or does nothing when it is there or is not to be any more.
    pub(super) async fn submit(
        &self,
        spec: &AttemptSpec,
        token: &str,
    ) -> Result<Started, ExecutorError> {
        let attempt = &spec.attempt_id;
        let dir = self.dir(attempt);
        let known = self.known(attempt).await?;
        if known.is_some_and(|known| known.is_found) {
            return Ok(Started::Found);
        }
        if dir.ended().exists() || dir.stop().exists() {
            return Ok(Started::Begun);
        }
        let seen = self.cluster.seen();
        if seen.outage.is_none() {
            fits(attempt, &spec.resources, &self.capacity().nodes)?;
        }
        let package = self.package().await;
        let package = package.map_err(|error| unavailable(attempt, error))?;
        self.ensure_package(package)
            .await
            .map_err(|error| unavailable(attempt, error))?;
        let submitted = Submitted {
            session: seen.session,
            at: now(),
            workers: spec.resources.workers(),
            node_id: None,
            is_found: false,
        };
        // First, so that a job that is there is always known here.
        let kept = blocking(move || {
            std::fs::create_dir_all(dir.path())?;
            write_atomically(&Submitted::path(&dir), &serde_json::to_vec(&submitted)?)
        });
        kept.await.map_err(|error| unavailable(attempt, error))?;
        match self
            .api
            .submit(&submission(spec, token, package, self.config.workers_max))
            .await
        {
            Ok(()) => Ok(Started::Begun),
            Err(error) => self.was_taken(attempt, error).await,
        }
    }

    /// Whether a job is there after all: Ray answers 500 to what it has taken, too.
    async fn was_taken(
        &self,
        attempt: &AttemptId,
        error: RayError,
    ) -> Result<Started, ExecutorError> {
        if let RayError::Refused {
            status: 400,
            message,
        } = error
        {
            return Err(ExecutorError::Refused {
                attempt: attempt.clone(),
                message,
            });
        }
        match self.api.job(attempt.as_str()).await {
            Ok(job) if self.is_ours(&job, attempt) => Ok(Started::Begun),
            // It would never be heard of here; the next attempt has another id.
            Ok(_) => Err(unavailable(
                attempt,
                "Ray has a job with its id that does not report to this server",
            )),
            Err(_) if error.is_id_taken() => Ok(Started::Begun),
            Err(_) => Err(unavailable(attempt, error)),
        }
    }

    async fn ensure_package(&self, package: &Package) -> Result<(), RayError> {
        // One upload at a time.
        let _ordered = self.uploading.lock().await;
        if self.api.has_package(&package.name).await? {
            return Ok(());
        }
        tracing::info!(
            package = package.name,
            bytes = package.zip.len(),
            "the binary is sent to the cluster"
        );
        self.api
            .put_package(&package.name, package.zip.clone())
            .await
    }
}

fn submission(spec: &AttemptSpec, token: &str, package: &Package, workers_max: u32) -> Submission {
    let attempt = &spec.attempt_id;
    let metadata = [
        (ATTEMPT_KEY, attempt.to_string()),
        ("fettle_job", spec.job_id.to_string()),
        (BATCH_KEY, spec.batch_id.to_string()),
        ("fettle_namespace", spec.namespace_id.to_string()),
        (TIER_KEY, spec.tier_num.to_string()),
    ];
    let resources = &spec.resources;
    Submission {
        submission_id: attempt.to_string(),
        entrypoint: entrypoint(attempt, Some(&spec.control_url), workers_max),
        metadata: BTreeMap::from(metadata),
        entrypoint_num_cpus: resources.num_cpus,
        entrypoint_num_gpus: resources.num_gpus,
        entrypoint_memory: resources.memory_total_bytes(),
        runtime_env: json!({
            "working_dir": format!("gcs://{}", package.name),
            "env_vars": {ATTEMPT_MARKER_ENV: attempt, TOKEN_ENV: token, STOP_WAIT_ENV: STOP_WAIT_S},
        }),
    }
}

/// Whether some node can hold the attempt. Ray would let it wait for a quarter of an hour and then say that it took too long.
fn fits(attempt: &AttemptId, asked: &Resources, nodes: &[Node]) -> Result<(), ExecutorError> {
    match placement(asked, nodes, now()) {
        Placement::ToBeHad => Ok(()),
        Placement::Lost { lacks } => Err(unavailable(attempt, lacks)),
        Placement::None { message } => Err(ExecutorError::Refused {
            attempt: attempt.clone(),
            message,
        }),
    }
}

#[cfg(test)]
mod tests {
    use fettle_model::JobId;
    use fettle_ports::Presence;

    use super::*;

    #[test]
    fn what_no_node_can_hold_is_refused_and_what_a_lost_node_held_is_tried_again() {
        let attempt = AttemptId::of(&JobId::from_entropy([1; 15]), 1);
        let asked = Resources {
            num_cpus: 4.0,
            num_gpus: 0.0,
            memory_bytes: 1 << 20,
            requires_gpu: false,
            priority: 0,
        };
        let node = |num_cpus, presence| Node {
            name: "n".to_owned(),
            num_cpus,
            num_gpus: 0.0,
            memory_bytes: 1 << 30,
            presence,
        };
        let fits = |num_cpus, presence| {
            let nodes = [node(2.0, Presence::Alive), node(num_cpus, presence)];
            fits(&attempt, &asked, &nodes)
        };
        assert!(fits(4.0, Presence::Alive).is_ok());
        assert!(fits(4.0, Presence::OnDemand).is_ok());
        // The sum is enough, but an attempt runs on one node.
        let refused = fits(2.0, Presence::Alive).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("the most on one node are 2 cores")
        );
        assert!(matches!(refused, ExecutorError::Refused { .. }));
        let lost = fits(4.0, Presence::Expected(now())).unwrap_err();
        assert!(matches!(lost, ExecutorError::Unavailable { .. }));
    }

    #[test]
    fn the_driver_replaces_the_shell_and_its_token_is_no_argument() {
        let attempt = AttemptId::of(&JobId::from_entropy([1; 15]), 1);
        let line = entrypoint(&attempt, Some("http://10.0.0.1:8420"), 10);
        assert!(line.starts_with("exec python -m engine.pipelines.entrypoint "));
        assert!(line.ends_with("--control-url http://10.0.0.1:8420 --workers-max 10"));
    }
}
