//! One situation a test: each kind, and what must not be taken for it.

use fettle_model::{Stage, StepHistory, WaitsFor};

use super::*;

const NOW: i64 = 10_000_000;

fn ago(ms: i64) -> UnixMillis {
    UnixMillis(NOW - ms)
}

/// A worker that took its last step `age_ms` ago and has not moved since.
fn still(age_ms: i64) -> Pulse {
    Pulse {
        is_ready: true,
        rows_held: 3,
        row: Some(RowAtWork {
            row: 7,
            source_id: "obj_7".into(),
            size_bytes: 1_000,
            stage: Stage::Processing,
            stage_since: ago(age_ms),
            stopped_before: 0,
        }),
        last_step_at: ago(age_ms),
        cpu_ms: Some(0),
        io_bytes: Some(0),
        cpu_moved_at: ago(age_ms),
        io_moved_at: ago(age_ms),
        cpu_wait_ms: Some(0),
        memory_wait_ms: None,
        waits_for: None,
        wchan: Some("futex_wait_queue".into()),
    }
}

/// One that has computed since, and read and written nothing.
fn computing(age_ms: i64) -> Pulse {
    Pulse {
        cpu_ms: Some(age_ms as u64),
        cpu_moved_at: ago(0),
        ..still(age_ms)
    }
}

fn warm() -> StepHistory {
    let mut history = StepHistory::default();
    for _ in 0..1_000 {
        history.step(50, 50);
        history.row_finished(1_000);
    }
    history
}

fn look(state: &str, pulse: Pulse, steps: StepHistory) -> Option<StuckFinding> {
    let worker = WorkerBeat {
        worker: 1,
        pid: 42,
        state: state.into(),
        pulse: Some(pulse),
        ..WorkerBeat::default()
    };
    let beat = Heartbeat {
        at: UnixMillis(NOW),
        workers: vec![worker],
        ..Heartbeat::default()
    };
    let attempt = attempt();
    let word = LastWord {
        attempt: &attempt,
        tier_num: 0,
        beat: &beat,
        steps: &steps,
        silent_ms: 500,
    };
    examine(&word, &StuckLimits::default()).pop()
}

fn attempt() -> AttemptId {
    AttemptId::of(&fettle_model::JobId::from_entropy([1; 15]), 1)
}

#[track_caller]
fn check(state: &str, pulse: Pulse, steps: StepHistory, expected: Option<StuckKind>) {
    let found = look(state, pulse, steps);
    assert_eq!(
        found.as_ref().map(|found| found.kind),
        expected,
        "{found:#?}"
    );
}

#[test]
fn a_worker_without_a_sign_of_life_is_hung_when_rows_never_took_so_long() {
    check("S", still(9_000), warm(), None);
    check("S", still(10_001), warm(), Some(StuckKind::Hung));
    check("D", still(10_001), warm(), Some(StuckKind::Hung));
}

#[test]
fn without_a_history_it_is_given_two_minutes_and_believed_after_ten() {
    let cold = StepHistory::default;
    check("S", still(119_000), cold(), Some(StuckKind::SlowRow));
    let found = look("S", still(121_000), cold()).unwrap();
    assert_eq!(
        (found.kind, found.is_called_stuck()),
        (StuckKind::Hung, false)
    );
    assert!(look("S", still(600_001), cold()).unwrap().is_called_stuck());
}

#[test]
fn a_stopped_process_is_hung_after_three_seconds_whatever_is_known_and_whatever_it_waits_for() {
    let waiting = Pulse {
        waits_for: Some(WaitsFor::Store),
        ..still(3_500)
    };
    assert!(look("T", still(2_900), warm()).is_none());
    for pulse in [still(3_500), waiting] {
        let found = look("T", pulse, StepHistory::default()).unwrap();
        assert_eq!(
            (found.kind, found.is_called_stuck(), found.is_stopped),
            (StuckKind::Hung, true, true)
        );
        assert!(found.summary.contains("stopped"), "{}", found.summary);
    }
}

#[test]
fn an_endless_loop_is_spinning_after_its_own_longer_limit() {
    check("R", computing(59_000), warm(), Some(StuckKind::SlowRow));
    let found = look("R", computing(61_000), warm()).unwrap();
    assert_eq!(
        (found.kind, found.is_called_stuck()),
        (StuckKind::Spinning, true)
    );
}

#[test]
fn what_reads_or_writes_is_never_stuck() {
    for state in ["R", "S", "D"] {
        let reading = Pulse {
            io_moved_at: ago(300),
            io_bytes: Some(1 << 30),
            ..computing(3_600_000)
        };
        check(state, reading, warm(), Some(StuckKind::SlowRow));
    }
}

#[test]
fn what_used_a_little_cpu_a_moment_ago_is_neither_hung_nor_spinning() {
    let trickle = Pulse {
        cpu_ms: Some(2_000),
        cpu_moved_at: ago(300),
        ..still(120_000)
    };
    check("S", trickle, warm(), Some(StuckKind::SlowRow));
}

#[test]
fn who_waits_in_line_for_a_cpu_is_starved_and_who_gets_one_is_not() {
    let starved = Pulse {
        cpu_ms: Some(1_000),
        cpu_wait_ms: Some(100_000),
        ..still(120_000)
    };
    check("R", starved, warm(), Some(StuckKind::Starved));
    let many_threads = Pulse {
        cpu_wait_ms: Some(500_000),
        ..computing(120_000)
    };
    check("R", many_threads, warm(), Some(StuckKind::Spinning));
    let short_of_memory = Pulse {
        memory_wait_ms: Some(90_000),
        ..still(120_000)
    };
    check("D", short_of_memory, warm(), Some(StuckKind::Starved));
}

#[test]
fn who_waits_for_the_store_is_blocked_and_not_to_be_ended() {
    let blocked = Pulse {
        waits_for: Some(WaitsFor::Store),
        ..still(3_600_000)
    };
    let found = look("S", blocked, warm()).unwrap();
    assert_eq!(found.kind, StuckKind::Blocked);
    assert_eq!(found.kill_order(), None);
}

#[test]
fn a_worker_without_rows_is_at_rest_and_one_that_never_got_ready_is_not() {
    let idle = Pulse {
        rows_held: 0,
        row: None,
        ..still(3_600_000)
    };
    check("S", idle.clone(), warm(), None);
    let starting = Pulse {
        is_ready: false,
        ..idle
    };
    check("S", starting.clone(), warm(), Some(StuckKind::Hung));
    let just_begun = Pulse {
        last_step_at: ago(100_000),
        cpu_moved_at: ago(100_000),
        io_moved_at: ago(100_000),
        ..starting
    };
    // The rows of others say nothing about a start.
    check("S", just_begun, warm(), Some(StuckKind::SlowRow));
}

#[test]
fn an_order_follows_from_the_finding_and_is_the_same_a_second_time() {
    let order = look("T", still(10_500), warm())
        .unwrap()
        .kill_order()
        .unwrap();
    assert_eq!(order.id, "kill-w1-p42-r7");
    assert_eq!((order.pid, order.last_step_at), (42, ago(10_500)));
    let again = look("T", still(10_500), warm()).unwrap().kill_order();
    assert_eq!(again, Some(order));
}

#[test]
fn of_a_driver_that_fell_silent_nothing_old_is_concluded() {
    let attempt = attempt();
    let (beat, steps) = (Heartbeat::default(), StepHistory::default());
    let word = |silent_ms| LastWord {
        attempt: &attempt,
        tier_num: 0,
        beat: &beat,
        steps: &steps,
        silent_ms,
    };
    let found = |silent_ms| examine(&word(silent_ms), &StuckLimits::default());
    assert_eq!(found(19_000), []);
    let silent = found(21_000).pop().unwrap();
    assert_eq!((silent.kind, silent.worker), (StuckKind::Hung, None));
    assert!(!silent.is_killable() && silent.kill_order().is_none());
}
