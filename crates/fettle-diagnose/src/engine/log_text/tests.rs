//! Logs that explain a death, and logs that must not.

use super::*;
use crate::engine::{all_cases, process_death};
use crate::facts::BatchFacts;
use crate::fixture::{self, death};
use fettle_model::evidence::LogPiece;
use fettle_model::{AttemptEvidence, AttemptExit};

const MISSING: &str = "Traceback (most recent call last):\n  File \"plugin.py\", line 1, in <module>\n    import torch\nModuleNotFoundError: No module named 'torch'\n";
const GPU: &str = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n";
const FULL: &str = "OSError: [Errno 28] No space left on device: '/scratch/x'\n";
const OOM_KILLED: &str = "worker process was killed by the out-of-memory killer: OOMKilled\n";

fn code(code: i32) -> ProcessExit {
    ProcessExit {
        code: Some(code),
        signal: None,
    }
}

fn signal(signal: i32) -> ProcessExit {
    ProcessExit {
        code: None,
        signal: Some(signal),
    }
}

/// Workers that died alike with these logs.
fn died(exit: ProcessExit, logs: &[&str]) -> BatchFacts {
    let deaths = logs.iter().zip(0..).map(|(log, worker)| {
        let mut death = death().exit(exit).log(log).build();
        death.worker = worker;
        death
    });
    fixture::failed(AttemptExit::WorkersKeepDying, deaths.collect())
}

/// The one case of these deaths.
#[track_caller]
fn case(facts: &BatchFacts) -> Case {
    let found = process_death::cases(facts);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        process_death::cases(facts),
        found,
        "a second run changes nothing"
    );
    found.into_iter().next().unwrap()
}

#[test]
fn a_log_names_the_cause_and_the_line_is_the_evidence() {
    let case = case(&died(code(1), &[MISSING]));
    assert_eq!(case.kind, CaseKind::WorkerExited);
    assert_eq!(case.category, Some(Pipeline));
    assert!(case.confidence >= 0.85, "{}", case.confidence);
    let line = &case.evidence[0];
    let root = "ModuleNotFoundError: No module named 'torch'";
    assert_eq!(line.raw.as_deref(), Some(root));
    assert!(line.what.contains("python.import"), "{}", line.what);
    assert!(case.reason.contains(root), "{}", case.reason);
}

#[test]
fn one_text_of_several_workers_is_one_cause() {
    let logs = [GPU, GPU, GPU];
    let case = case(&died(code(1), &logs));
    assert_eq!(case.kind, CaseKind::OutOfMemory);
    assert_eq!(case.category, Some(Infrastructure));
    let what = &case.evidence[0].what;
    assert!(what.contains("worker(s) 0, 1, 2"), "{what}");
    assert_eq!(case.events.len(), 3, "an event each");
    assert!(
        case.events
            .iter()
            .all(|e| e.event_type == InfraEventType::Oom)
    );
}

#[test]
fn a_text_that_few_of_many_like_deaths_have_is_not_their_cause() {
    let case = case(&died(code(1), &[FULL, "", ""]));
    assert_eq!(case.category, Some(Pipeline));
    assert!(case.confidence < 0.8);
}

#[test]
fn a_full_disk_is_infrastructure_although_the_worker_ended_by_itself() {
    let case = case(&died(code(1), &[FULL]));
    assert_eq!(case.category, Some(Infrastructure));
    assert_eq!(case.events[0].event_type, InfraEventType::Unknown);
}

#[test]
fn a_program_s_own_error_does_not_explain_a_kill_from_outside() {
    for exit in [signal(9), signal(15), code(137)] {
        let case = case(&died(exit, &[MISSING]));
        assert_eq!(case.kind, CaseKind::WorkerKilled, "{exit:?}");
        assert!(case.confidence <= 0.5, "{exit:?}");
        assert!(!case.would_decide.is_empty(), "{exit:?}");
    }
}

#[test]
fn a_text_does_not_contradict_a_counter_that_stands_at_zero() {
    let case = case(&died(signal(9), &[OOM_KILLED]));
    assert_eq!(case.kind, CaseKind::WorkerKilled);
    assert_eq!(case.events[0].event_type, InfraEventType::Unknown);
}

#[test]
fn without_a_counter_the_kernel_s_line_about_that_process_is_believed() {
    let mut dead = death().exit(signal(9)).rlimit(1 << 20).build();
    let kernel =
        "Memory cgroup out of memory: Killed process 4242 (fettle) total-vm:1kB, anon-rss:1kB";
    dead.kernel_lines = vec![kernel.to_owned()];
    let case = case(&fixture::failed(AttemptExit::WorkersKeepDying, vec![dead]));
    assert_eq!(case.kind, CaseKind::OutOfMemory);
    assert_eq!(case.events[0].event_type, InfraEventType::Oom);
    assert_eq!(case.evidence[0].raw.as_deref(), Some(kernel));
}

#[test]
fn a_list_of_possible_causes_is_not_evidence() {
    let guess = "The worker died unexpectedly. Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) No module named torch.";
    let case = case(&died(code(1), &[guess]));
    assert!(case.confidence < 0.8, "{}", case.reason);
    assert_eq!(case.category, Some(Pipeline));
}

#[test]
fn a_first_error_outlives_the_flood_after_it() {
    let mut dead = death().exit(code(1)).log("flood\nflood\n").build();
    dead.log = Some(LogEvidence {
        tail_offset: 9_000,
        first_error: Some(LogPiece {
            offset: 10,
            text: MISSING.to_owned(),
        }),
        ..LogEvidence::default()
    });
    let case = case(&fixture::failed(AttemptExit::WorkersKeepDying, vec![dead]));
    assert!(case.evidence[0].what.contains("python.import"));
}

#[test]
fn an_extractor_that_lacks_a_module_is_told_by_its_worker_s_log() {
    let dead = death().not_ready().exit(code(82)).log(MISSING).build();
    let facts = fixture::failed(AttemptExit::ExtractorFailed, vec![dead]);
    let cases = super::super::extractor::cases(&facts);
    assert_eq!(cases[0].kind, CaseKind::ExtractorFailed);
    assert!(cases[0].evidence[0].what.contains("python.import"));
}

#[test]
fn an_extractor_that_finds_no_room_on_the_gpu_is_out_of_memory() {
    let dead = death().not_ready().exit(code(82)).log(GPU).build();
    let facts = fixture::failed(AttemptExit::ExtractorFailed, vec![dead]);
    let cases = super::super::extractor::cases(&facts);
    assert_eq!(cases[0].kind, CaseKind::OutOfMemory);
    assert_eq!(cases[0].category, Some(Infrastructure));
}

#[test]
fn the_kernel_s_counter_outranks_every_text() {
    let dead = death().oom().log(MISSING).build();
    let facts = fixture::failed(AttemptExit::OutOfMemory, vec![dead]);
    let found = all_cases(&facts);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].kind, CaseKind::OutOfMemory);
    assert!(
        found[0]
            .evidence
            .iter()
            .all(|line| !line.what.contains("python.import"))
    );
}

#[test]
fn a_driver_is_explained_by_what_befell_its_machine_and_by_nothing_else() {
    let driver = |log: &str| {
        let mut facts = fixture::failed(AttemptExit::DriverFailed, vec![]);
        facts.tiers[0].jobs[0].attempts[0].evidence = Some(AttemptEvidence {
            driver_exit: Some(code(93)),
            driver_log_tail: log.to_owned(),
            ..AttemptEvidence::default()
        });
        super::super::driver::cases(&facts).remove(0)
    };
    assert!(driver(FULL).confidence >= 0.85);
    assert!(driver(MISSING).confidence < 0.8);
}
