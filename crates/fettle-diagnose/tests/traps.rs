//! Texts that mislead: what they must not be read as.
//!
//! Owns one test for each kind of trap. The texts here are our own.

use fettle_diagnose::{FailureText, TextVerdict, classify};

fn read(text: &str, exit_code: Option<i32>, backend: &str) -> TextVerdict {
    classify(&FailureText {
        text,
        exit_code,
        backend: Some(backend),
    })
}

fn check(text: &str, exit_code: Option<i32>, backend: &str, expected: &str) -> TextVerdict {
    let verdict = read(text, exit_code, backend);
    let event = verdict.event.map_or("none", |event| event.as_str());
    let found = format!("{}/{event}", verdict.category.as_str());
    assert_eq!(found, expected, "{text}\n{verdict:?}");
    verdict
}

#[test]
fn a_list_of_possible_causes_is_no_cause() {
    check(
        "Worker exits. Some common causes include: (1) the OOM killer, (2) spot preemption, or (3) SIGSEGV.\nThe worker died unexpectedly while executing this task.",
        None,
        "ray",
        "infrastructure/unknown",
    );
}

#[test]
fn the_word_memory_is_no_lack_of_memory() {
    check(
        "memory in use 3.2 GiB of 8 GiB\nRuntimeError: CUDA error: an illegal memory access was encountered",
        Some(1),
        "local",
        "pipeline/none",
    );
    check(
        "pool: memory limit is 8 GiB, in use 3 GiB",
        None,
        "local",
        "unknown/none",
    );
}

#[test]
fn a_cancelled_state_after_an_oom_kill_is_the_consequence() {
    check(
        "slurmstepd: error: Detected 3 oom_kill events in StepId=7.0.\nslurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***",
        None,
        "slurm",
        "infrastructure/oom",
    );
}

#[test]
fn a_run_that_recovered_did_not_fail() {
    let verdict = check(
        "ERROR upload: Connection reset by peer\nINFO upload: retry 2 succeeded\nINFO job completed successfully",
        Some(0),
        "local",
        "unknown/none",
    );
    assert_eq!(
        verdict.root_cause_line.as_deref(),
        Some("ERROR upload: Connection reset by peer")
    );
}

#[test]
fn success_words_do_not_undo_a_failing_status() {
    check(
        "ValueError: Vector dimension error: expected dim: 3, got 4\nINFO cleanup job completed successfully",
        Some(1),
        "local",
        "pipeline/none",
    );
}

#[test]
fn the_first_error_beats_the_louder_last_one() {
    let verdict = check(
        "OSError: [Errno 28] No space left on device\n\nDuring handling of the above exception, another exception occurred:\n\nRuntimeError: could not save checkpoint\nworker exited with code 1",
        Some(1),
        "local",
        "infrastructure/unknown",
    );
    assert!(
        verdict
            .root_cause_line
            .expect("a line")
            .contains("Errno 28")
    );
}

#[test]
fn the_innermost_java_cause_comes_first() {
    let verdict = read(
        "java.io.IOException: Connection reset\n\tat a.B.c(B.java:1)\nCaused by: java.net.SocketException: Broken pipe\n\tat d.E.f(E.java:2)\n\t... 3 more",
        None,
        "spark",
    );
    assert!(
        verdict
            .root_cause_line
            .expect("a line")
            .starts_with("Caused by")
    );
}

#[test]
fn lines_about_others_do_not_decide_over_the_jobs_own() {
    let others = "(raylet) 3 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed\n(autoscaler +9s) Error: No available node types can fulfill resource request {'GPU': 1.0}\n";
    let own = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'";
    check(&format!("{others}{own}"), Some(1), "ray", "pipeline/none");
    let alone = check(others, None, "ray", "infrastructure/oom");
    assert!(alone.confidence <= 0.7, "it may speak of others");
}

#[test]
fn program_text_in_a_traceback_is_no_message() {
    let verdict = check(
        "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in run\n    raise TimeLimitExceeded('out of memory')\nKeyError: 'speed'",
        Some(1),
        "local",
        "pipeline/none",
    );
    assert_eq!(
        verdict.root_cause_line.as_deref(),
        Some("KeyError: 'speed'")
    );
}

#[test]
fn exit_137_alone_is_not_called_out_of_memory() {
    let verdict = check(
        "epoch 3 loss 0.2",
        Some(137),
        "local",
        "infrastructure/unknown",
    );
    assert!(verdict.confidence < 0.8);
}

#[test]
fn a_program_that_ended_well_got_over_its_own_errors() {
    let text = "could not parse /in/33.pdf: EOF marker not found\nwriting 12 pages";
    check(text, Some(0), "local", "unknown/none");
    check(text, Some(1), "local", "pipeline/none");
    // What the scheduler decided stands whatever the status.
    let text =
        "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***";
    check(text, Some(0), "slurm", "infrastructure/preemption");
}

#[test]
fn memory_that_is_said_not_to_be_the_reason_is_not_the_reason() {
    let text = "{\"State\": {\"Status\": \"exited\", \"OOMKilled\": false, \"ExitCode\": 137}}";
    check(text, Some(137), "local", "infrastructure/unknown");
    check("worker 7 was not OOM killed", None, "local", "unknown/none");
}

#[test]
fn words_that_name_who_ends_work_explain_a_kill_without_a_sender() {
    let killed = "embed-0 got SIGTERM, 12 documents unfinished";
    check(killed, None, "kubernetes", "infrastructure/unknown");
    for (sender, expected) in [
        (
            "fleetd: stopping the instances of the previous release",
            "infrastructure/rolling_update",
        ),
        (
            "fleetd: low-priority workers are displaced from node n7",
            "infrastructure/preemption",
        ),
        ("fleetd: stop requested from the console", "unknown/none"),
    ] {
        check(&format!("{sender}\n{killed}"), None, "kubernetes", expected);
    }
}

#[test]
fn words_count_together_only_on_one_line() {
    check(
        "the registry is up\nthe index is gone stale",
        None,
        "other",
        "unknown/none",
    );
    check(
        "the run's registry entry is gone",
        None,
        "other",
        "orphaned/none",
    );
}

#[test]
fn a_traceback_without_its_program_text_still_names_its_exception() {
    check(
        "  File \"/app/embed.py\", line 12, in forward\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        Some(1),
        "local",
        "infrastructure/oom",
    );
    check(
        "  File \"/app/embed.py\", line 12, in forward\n    raise OutOfMemoryError(text)\nKeyError: 'page'",
        Some(1),
        "local",
        "pipeline/none",
    );
}

#[test]
fn work_that_was_started_after_all_was_not_refused() {
    let waits = "Warning  FailedScheduling  4m  default-scheduler  0/3 nodes are available: 3 Insufficient cpu.";
    check(waits, None, "kubernetes", "validation/none");
    check(
        &format!(
            "{waits}\nNormal  Scheduled  9s  default-scheduler  Successfully assigned ingest/embed-0 to n7"
        ),
        None,
        "kubernetes",
        "unknown/none",
    );
}

#[test]
fn nothing_to_go_on_is_unknown() {
    for text in [
        "",
        "\n\n",
        "hello",
        "\u{1b}[",
        "\u{0}\u{1}",
        "ü(",
        "(",
        "[rank",
        ")]}",
    ] {
        let verdict = check(text, None, "local", "unknown/none");
        assert!(verdict.confidence < 0.5, "{text:?}");
    }
}
