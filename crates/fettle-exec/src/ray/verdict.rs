//! How an attempt ended, from what its driver left and from what Ray says.
//!
//! Owns the order of belief: the driver's last word, then a stop, then how its process ended. Causes are not judged here; what Ray
//! says is kept as it is said, and the diagnosis reads it.

use fettle_confine::ExitRecord;
use fettle_model::{AttemptEvidence, AttemptExit, ProcessExit, UnixMillis};

use super::api::{Job, JobStatus, Node};
use crate::record::EndRecord;

/// The entrypoint ends with this when `serve` says that the attempt no longer counts.
const CANCELLED_CODE: i32 = 90;
/// What stands before the copy of the log's end in Ray's message; the log itself is kept whole.
const LOG_ECHO: &str = ", last available logs";
/// Ray's messages hold tables and tracebacks; the whole of one fits, and evidence stays small.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// How Ray says that a node was given up because nothing ran on it.
const IDLE: &str = "Terminated due to idle";
/// Everything that the end of an attempt is told from.
#[derive(Debug)]
pub(super) struct Traces<'a> {
    pub(super) job: &'a Job,
    /// The node that its driver ran on.
    pub(super) node: Option<&'a Node>,
    /// What Ray's actor table says of the end of its supervisor.
    pub(super) cause: Option<String>,
    pub(super) last_word: Option<ExitRecord>,
    /// Whether `serve` asked for the end.
    pub(super) stop_ordered: bool,
}

/// The end, with evidence; the logs are the caller's to add.
pub(super) fn end(traces: Traces<'_>, at: UnixMillis) -> EndRecord {
    let Traces {
        job,
        node,
        cause,
        last_word,
        stop_ordered,
    } = traces;
    let ExitRecord {
        exit,
        mut evidence,
        stages,
    } = last_word.unwrap_or_else(|| ExitRecord {
        exit: silent_exit(job, stop_ordered),
        evidence: AttemptEvidence::default(),
        stages: None,
    });
    evidence.driver_exit = job.driver_exit_code.map(process_exit);
    evidence.node = node.map(|node| node.node_ip.clone()).or(evidence.node);
    evidence
        .backend_messages
        .extend(messages(job, node, stop_ordered));
    evidence.backend_messages.extend(cause);
    EndRecord {
        exit,
        evidence,
        stages,
        at,
    }
}

/// The end of an attempt that Ray no longer knows, or whose node it does not have any more.
pub(super) fn vanished(
    message: String,
    node: Option<&Node>,
    stop_ordered: bool,
    at: UnixMillis,
) -> EndRecord {
    let exit = if stop_ordered {
        AttemptExit::Cancelled
    } else {
        AttemptExit::DriverDied
    };
    let evidence = AttemptEvidence {
        node: node.map(|node| node.node_ip.clone()),
        backend_messages: [message]
            .into_iter()
            .chain(node.into_iter().flat_map(node_lines))
            .collect(),
        ..AttemptEvidence::default()
    };
    EndRecord {
        exit,
        evidence,
        stages: None,
        at,
    }
}

fn silent_exit(job: &Job, stop_ordered: bool) -> AttemptExit {
    // It said so, and its last word could not be fetched any more; whether rows are left is counted elsewhere.
    if job.status == JobStatus::Succeeded {
        return AttemptExit::Finished;
    }
    let was_stopped =
        job.status == JobStatus::Stopped || job.driver_exit_code == Some(CANCELLED_CODE);
    if stop_ordered || was_stopped {
        return AttemptExit::Cancelled;
    }
    match job.error_type.as_deref() {
        // No driver was ever started, and the same request would end the same way but for a moment's outage.
        Some(
            "RUNTIME_ENV_SETUP_FAILURE"
            | "JOB_SUPERVISOR_ACTOR_START_FAILURE"
            | "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
            | "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
            | "JOB_ENTRYPOINT_COMMAND_START_ERROR",
        ) => AttemptExit::DriverFailed,
        _ if job
            .driver_exit_code
            .is_some_and(|code| code > 0 && code < 126) =>
        {
            AttemptExit::DriverFailed
        }
        _ => AttemptExit::DriverDied,
    }
}

/// Ray gives what Python's `subprocess` gives: a signal as a negative number.
fn process_exit(code: i32) -> ProcessExit {
    if code < 0 {
        ProcessExit {
            code: None,
            signal: Some(-code),
        }
    } else {
        ProcessExit {
            code: Some(code),
            signal: None,
        }
    }
}

fn messages(job: &Job, node: Option<&Node>, stop_ordered: bool) -> Vec<String> {
    // What Ray says of a driver that ended well tells nothing.
    if job.status == JobStatus::Succeeded {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if let Some(kind) = &job.error_type {
        lines.push(format!("ray: job {}: {kind}", job.status.as_str()));
    }
    let message = job.message.as_deref().unwrap_or_default();
    let message = message.split(LOG_ECHO).next().unwrap_or_default().trim();
    if !message.is_empty() {
        lines.push(cut(message).to_owned());
    }
    if job.status == JobStatus::Stopped && !stop_ordered {
        lines.push("the job was stopped in Ray, not by this server".to_owned());
    }
    let is_lost = job.status == JobStatus::Failed && job.driver_exit_code.is_none();
    let node = node.filter(|node| is_lost || !node.is_alive());
    lines.extend(node.into_iter().flat_map(node_lines));
    lines
}

/// What befell the driver's node: that it was to be taken away, and how it ended.
fn node_lines(node: &Node) -> Vec<String> {
    let Node {
        node_id, node_ip, ..
    } = node;
    let message = node.state_message.as_deref().unwrap_or("no reason given");
    let since = node.draining_since_ms.filter(|_| !message.contains(IDLE));
    let since = since.and_then(|since| jiff::Timestamp::from_millisecond(since).ok());
    // Ray drains a node on which something runs only when somebody told it that the node will be taken away.
    let drain = since.map(|since| {
        format!("ray: node {node_ip} ({node_id}) was draining since {since:.0}: Ray had been told that it would be taken away")
    });
    let death =
        (!node.is_alive()).then(|| format!("ray: node {node_ip} ({node_id}) is DEAD: {message}"));
    drain.into_iter().chain(death).collect()
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str) -> Job {
        serde_json::from_str(text).unwrap()
    }

    fn judged(text: &str, node: Option<&Node>, stop_ordered: bool) -> EndRecord {
        let traces = Traces {
            job: &job(text),
            node,
            cause: None,
            last_word: None,
            stop_ordered,
        };
        end(traces, UnixMillis(7))
    }

    #[test]
    fn a_driver_that_was_killed_has_died_and_the_signal_is_told() {
        let end = judged(
            r#"{"status": "FAILED", "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "driver_exit_code": -9,
                "message": "Job entrypoint command failed with exit code -9, last available logs (truncated to 20,000 chars):\nfettle-last-word"}"#,
            None,
            false,
        );
        assert_eq!(end.exit, AttemptExit::DriverDied);
        assert_eq!(end.evidence.driver_exit.unwrap().signal, Some(9));
        assert_eq!(
            end.evidence.backend_messages,
            [
                "ray: job FAILED: JOB_ENTRYPOINT_COMMAND_ERROR",
                "Job entrypoint command failed with exit code -9"
            ]
        );
    }

    #[test]
    fn a_stop_is_a_cancel_and_one_from_outside_is_said() {
        let text = r#"{"status": "STOPPED", "message": "Job was intentionally stopped."}"#;
        let ours = judged(text, None, true);
        assert_eq!(
            (ours.exit, ours.evidence.backend_messages.len()),
            (AttemptExit::Cancelled, 1)
        );
        let foreign = judged(text, None, false);
        assert_eq!(foreign.exit, AttemptExit::Cancelled);
        assert!(foreign.evidence.backend_messages[1].contains("not by this server"));
    }

    #[test]
    fn a_driver_that_ended_well_has_finished_even_where_its_last_word_is_lost() {
        let end = judged(
            r#"{"status": "SUCCEEDED", "driver_exit_code": 0}"#,
            None,
            false,
        );
        assert_eq!(end.exit, AttemptExit::Finished);
        assert!(end.evidence.backend_messages.is_empty());
    }

    #[test]
    fn what_never_started_has_failed_and_not_died() {
        let end = judged(
            r#"{"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "runtime_env setup failed"}"#,
            None,
            false,
        );
        assert_eq!(end.exit, AttemptExit::DriverFailed);
        assert_eq!(end.evidence.driver_exit, None);
    }

    #[test]
    fn the_death_of_the_node_is_evidence() {
        let node: Node = serde_json::from_str(
            r#"{"node_id": "d82a", "node_ip": "127.0.0.3", "state": "DEAD", "state_message": "Expected termination: received SIGTERM"}"#,
        )
        .unwrap();
        let text =
            r#"{"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED", "message": "m"}"#;
        let end = judged(text, Some(&node), false);
        assert_eq!(end.exit, AttemptExit::DriverDied);
        let last = end.evidence.backend_messages.last().unwrap();
        assert_eq!(
            last,
            "ray: node 127.0.0.3 (d82a) is DEAD: Expected termination: received SIGTERM"
        );
        assert_eq!(end.evidence.node.as_deref(), Some("127.0.0.3"));
        let gone = vanished("gone".into(), Some(&node), true, UnixMillis(7));
        assert_eq!(
            (gone.exit, gone.evidence.backend_messages.len()),
            (AttemptExit::Cancelled, 2)
        );
    }

    #[test]
    fn a_drain_is_told_of_a_node_that_took_the_job_with_it_and_of_no_other() {
        let lost = r#"{"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED"}"#;
        let killed = r#"{"status": "FAILED", "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "driver_exit_code": -9}"#;
        let stopped = r#"{"status": "STOPPED"}"#;
        let told = |job: &str, state: &str, message: &str| {
            let node = serde_json::json!({
                "node_id": "d82a", "node_ip": "127.0.0.3", "state": state, "state_message": message,
                "draining_since_ms": 1_795_656_002_295_i64
            });
            let node: Node = serde_json::from_value(node).unwrap();
            let messages = judged(job, Some(&node), false).evidence.backend_messages;
            messages
                .iter()
                .filter(|it| it.contains("draining"))
                .cloned()
                .collect::<Vec<_>>()
        };
        let drain = "ray: node 127.0.0.3 (d82a) was draining since 2026-11-26T01:20:02Z: Ray had been told that it would be taken away";
        let unheard = "Unexpected termination: health check failed";
        assert_eq!(told(lost, "DEAD", unheard), [drain]);
        assert_eq!(told(lost, "ALIVE", ""), [drain]);
        assert_eq!(told(killed, "DEAD", unheard), [drain]);
        assert!(told(killed, "ALIVE", "").is_empty());
        assert!(told(stopped, "ALIVE", "").is_empty());
        let idle = "Terminated due to idle (no Ray activity): idle";
        assert!(told(lost, "DEAD", idle).is_empty());
    }

    #[test]
    fn the_drivers_last_word_counts_before_all() {
        let word = ExitRecord {
            exit: AttemptExit::OutOfMemory,
            evidence: AttemptEvidence::default(),
            stages: None,
        };
        let job = job(r#"{"status": "FAILED", "driver_exit_code": 91, "message": "m"}"#);
        let traces = Traces {
            job: &job,
            node: None,
            cause: None,
            last_word: Some(word),
            stop_ordered: false,
        };
        assert_eq!(end(traces, UnixMillis(7)).exit, AttemptExit::OutOfMemory);
    }
}
