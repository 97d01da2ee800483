//! What Ray's actor table says of the end of a job's supervisor, where the job itself is vague.
//!
//! Owns which ends are asked for, and how a cause is told: by what Ray has counted, never by its texts, which list the same causes after
//! every crash.

use serde::Deserialize;

use super::api::{Job, JobStatus};

/// Why an actor died; of these one is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct DeathCause {
    oom_context: Option<Oom>,
    actor_died_error_context: Option<Died>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Oom {
    #[serde(default)]
    error_message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Died {
    #[serde(default)]
    reason: String,
    node_death_info: Option<NodeDeath>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct NodeDeath {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    reason_message: String,
}

/// Whether the supervisor may have died: then Ray cannot say how the driver ended.
pub(super) fn is_open(job: &Job) -> bool {
    job.status == JobStatus::Failed
        && job.driver_exit_code.is_none()
        && job.driver_node_id.is_some()
}

impl DeathCause {
    /// The cause in one line.
    pub(super) fn line(&self) -> Option<String> {
        if let Some(oom) = &self.oom_context {
            let first = oom.error_message.lines().next().unwrap_or_default();
            return Some(format!(
                "ray: the job's supervisor was ended: NODE_OUT_OF_MEMORY: {first}"
            ));
        }
        let died = self.actor_died_error_context.as_ref()?;
        match &died.node_death_info {
            Some(NodeDeath {
                reason,
                reason_message,
            }) => Some(format!(
                "ray: the job's supervisor was lost with its node: {reason}: {reason_message}"
            )),
            None if died.reason.is_empty() => None,
            None => Some(format!(
                "ray: the job's supervisor has died: {}",
                died.reason
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> Option<String> {
        serde_json::from_str::<DeathCause>(json).unwrap().line()
    }

    #[test]
    fn a_cause_is_what_ray_counted_and_not_what_it_lists() {
        let oom = r#"{"oom_context": {"error_message": "1 worker(s) were killed due to the node running low on memory.\nMore", "fail_immediately": false}}"#;
        assert_eq!(
            line(oom).unwrap(),
            "ray: the job's supervisor was ended: NODE_OUT_OF_MEMORY: 1 worker(s) were killed due to the node running low on memory."
        );
        let node = r#"{"actor_died_error_context": {"error_message": "The actor died because its node has died.", "reason": "NODE_DIED",
            "node_death_info": {"reason": "AUTOSCALER_DRAIN_PREEMPTED", "reason_message": "spot"}}}"#;
        assert_eq!(
            line(node).unwrap(),
            "ray: the job's supervisor was lost with its node: AUTOSCALER_DRAIN_PREEMPTED: spot"
        );
        let crash = r#"{"actor_died_error_context": {"error_message": "Some common causes include: (1) the process was killed by the OOM killer", "reason": "WORKER_DIED"}}"#;
        assert_eq!(
            line(crash).unwrap(),
            "ray: the job's supervisor has died: WORKER_DIED"
        );
        assert_eq!(line(r#"{"creation_task_failure_context": {}}"#), None);
    }

    #[test]
    fn only_of_a_driver_whose_end_ray_does_not_know_is_more_asked() {
        let job = |text: &str| serde_json::from_str::<Job>(text).unwrap();
        assert!(is_open(&job(
            r#"{"status": "FAILED", "driver_node_id": "a"}"#
        )));
        assert!(!is_open(&job(
            r#"{"status": "FAILED", "driver_node_id": "a", "driver_exit_code": -9}"#
        )));
        assert!(!is_open(&job(
            r#"{"status": "STOPPED", "driver_node_id": "a"}"#
        )));
        // Nothing of it ever ran.
        assert!(!is_open(&job(r#"{"status": "FAILED"}"#)));
    }
}
