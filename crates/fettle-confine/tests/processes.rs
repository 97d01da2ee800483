//! Confinement, tying and termination of real processes.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in its helper functions"
)]
#![expect(clippy::print_stderr, reason = "a skipped test must say so")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fettle_confine::{
    ATTEMPT_MARKER_ENV, AttemptGroup, Confinement, GroupError, TerminationScope, WorkerGroup,
    WorkerSeat, detect, identify, is_alive, sample, terminate,
};
use fettle_model::AttemptId;
use fettle_model::evidence::MemoryEnforcement;

const FIXTURE: &str = env!("CARGO_BIN_EXE_fettle-confine-fixture");
const MIB: u64 = 1 << 20;
/// Long enough for a busy machine; a test that needs it has failed anyway.
const PATIENCE: Duration = Duration::from_secs(20);

static NEXT: AtomicU32 = AtomicU32::new(1);

/// An attempt's group that is removed at the end.
struct Attempt(AttemptGroup);

impl Attempt {
    fn new(confinement: &Confinement) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id: AttemptId = format!("job_test{}-a{number}", std::process::id())
            .parse()
            .unwrap();
        Self(AttemptGroup::create(confinement, &id).unwrap())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.0.remove().is_err() && Instant::now() < deadline {
            self.0.kill_all().unwrap();
        }
    }
}

/// The confinement of this machine, or a loud word and nothing when it has no usable cgroup.
fn cgroups() -> Option<Confinement> {
    let confinement = detect();
    if confinement.counts_oom_kills() {
        return Some(confinement);
    }
    eprintln!(
        "SKIPPED: this machine has no usable cgroup: {:?}",
        confinement.rejected
    );
    None
}

fn without_cgroups(kind: MemoryEnforcement) -> Confinement {
    Confinement {
        kind,
        base: None,
        rejected: Vec::new(),
    }
}

struct Fixture {
    child: Child,
    /// Held open: the fixture ends when its input does.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Fixture {
    fn start(seat: &WorkerSeat, what: &[&str]) -> Self {
        let mut command = Command::new(FIXTURE);
        command.args(seat.to_args()).arg("--").args(what);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        self.child.wait().unwrap()
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn the_kernel_kills_a_worker_over_its_limit_and_counts_it() {
    let Some(confinement) = cgroups() else { return };
    let attempt = Attempt::new(&confinement);
    let worker = attempt.0.worker(0, 64 * MIB).unwrap();
    let neighbour = attempt.0.worker(1, 64 * MIB).unwrap();
    let mut hog = Fixture::start(&worker.seat(), &["hog", "512"]);
    assert_eq!(hog.line(), "seated");
    assert_eq!(hog.line(), "", "the hog must not get all it asks for");
    assert_eq!(hog.end().signal(), Some(9));
    let reading = worker.read();
    assert_eq!(reading.enforcement, confinement.kind);
    assert!(reading.oom_kills >= Some(1), "{reading:?}");
    assert_ne!(
        reading.limit_hits,
        Some(0),
        "a count that is not kept must not read as zero: {reading:?}"
    );
    assert_eq!(reading.limit_bytes, Some(64 * MIB));
    if let Some(peak) = reading.peak_bytes {
        assert!((60 * MIB..=64 * MIB).contains(&peak), "{reading:?}");
    }
    assert_eq!(
        neighbour.read().oom_kills,
        Some(0),
        "the neighbour's counter must not move"
    );
    assert!(
        attempt.0.read().unwrap().oom_kills >= Some(1),
        "the attempt's count includes it"
    );
}

#[test]
fn a_restarted_worker_begins_with_counters_at_zero() {
    let Some(confinement) = cgroups() else { return };
    let attempt = Attempt::new(&confinement);
    let first = attempt.0.worker(0, 32 * MIB).unwrap();
    Fixture::start(&first.seat(), &["hog", "200"]).end();
    assert!(first.read().oom_kills >= Some(1));
    let again = attempt.0.worker(0, 96 * MIB).unwrap();
    assert_eq!(again.read().oom_kills, Some(0));
    assert_eq!(again.read().limit_bytes, Some(96 * MIB));
}

#[test]
fn a_group_that_is_occupied_is_not_given_to_another_worker() {
    let Some(confinement) = cgroups() else { return };
    let attempt = Attempt::new(&confinement);
    let worker = attempt.0.worker(0, 64 * MIB).unwrap();
    let mut fixture = Fixture::start(&worker.seat(), &["hog", "1"]);
    assert_eq!(
        (fixture.line(), fixture.line()),
        ("seated".into(), "held 1".into())
    );
    let pid = fixture.child.id();
    assert!(
        matches!(attempt.0.worker(0, 64 * MIB), Err(GroupError::Busy { pids, .. }) if pids == [pid])
    );
    assert_eq!(worker.pids(), [pid]);
    assert!(worker.read().current_bytes > 0);
    assert!(worker.cpu_ms().is_some());
    fixture.end();
    wait_until("the group is removed", || worker.remove().is_ok());
}

#[test]
fn a_group_is_found_again_by_its_file() {
    let Some(confinement) = cgroups() else { return };
    let attempt = Attempt::new(&confinement);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("group.json");
    assert_eq!(AttemptGroup::open(&file).unwrap(), None);
    attempt.0.save(&file).unwrap();
    assert_eq!(
        AttemptGroup::open(&file).unwrap().as_ref(),
        Some(&attempt.0)
    );
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("/fettle/", "/other/")).unwrap();
    assert!(matches!(
        AttemptGroup::open(&file),
        Err(GroupError::NotOurs { .. })
    ));
}

#[test]
fn without_cgroups_an_allocation_over_the_limit_fails() {
    let attempt = Attempt::new(&without_cgroups(MemoryEnforcement::Rlimit));
    let worker = attempt.0.worker(0, 64 * MIB).unwrap();
    let mut hog = Fixture::start(&worker.seat(), &["hog", "512"]);
    assert_eq!(
        (hog.line(), hog.line()),
        ("seated".into(), "allocation failed".into())
    );
    assert_eq!(hog.end().code(), Some(12));
    assert_eq!(
        worker.read().oom_kills,
        None,
        "there is no counter, so there is no number"
    );
}

#[test]
fn without_cgroups_memory_above_the_limit_is_sampled() {
    let attempt = Attempt::new(&without_cgroups(MemoryEnforcement::Rlimit));
    let worker = attempt.0.worker(0, 16 * MIB).unwrap();
    let mut hog = Fixture::start(&worker.seat(), &["hog", "40"]);
    assert_eq!(
        (hog.line(), hog.line()),
        ("seated".into(), "held 40".into())
    );
    worker.watch(hog.child.id());
    let reading = worker.read();
    assert!(reading.is_over_limit(), "{reading:?}");
    assert!(reading.peak_bytes >= Some(40 * MIB), "{reading:?}");
    hog.end();
    assert!(
        worker.read().peak_bytes >= Some(40 * MIB),
        "the peak outlives the process"
    );
    assert_eq!(worker.read().current_bytes, 0);
}

/// A worker whose parent, a shell, is killed.
#[test]
fn a_worker_dies_with_its_driver() {
    let script = format!("{FIXTURE} --parent-pid $$ -- hog 1 & echo $!; wait");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    let mut driver = Fixture::spawn(command);
    let mut lines = [driver.line(), driver.line()];
    lines.sort();
    assert_eq!(lines[1], "seated");
    let worker = identify(lines[0].parse().unwrap()).unwrap();
    driver.child.kill().unwrap();
    wait_until("the worker has died", || !is_alive(&worker));
    driver.end();
}

#[test]
fn a_worker_that_finds_another_parent_does_not_start() {
    let seat = WorkerSeat {
        parent_pid: 1,
        ..WorkerSeat::default()
    };
    let mut fixture = Fixture::start(&seat, &[]);
    assert_eq!(fixture.line(), "seat refused: the driver 1 has ended");
    assert_eq!(fixture.end().code(), Some(3));
}

#[test]
fn a_process_leaves_its_session_also_when_it_leads_a_group() {
    for leads_group in [false, true] {
        let mut command = Command::new(FIXTURE);
        command.args(["--", "new-session"]);
        if leads_group {
            command.process_group(0);
        }
        let mut fixture = Fixture::spawn(command);
        assert_eq!(
            (fixture.line(), fixture.line()),
            ("seated".into(), "leader".into())
        );
        let pid = fixture.child.id().to_string();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(
            (fields[2], fields[3]),
            (pid.as_str(), pid.as_str()),
            "group and session"
        );
        fixture.end();
    }
}

/// A shell in a session of its own that runs `script`; its identity and the shell.
fn session(script: &str, marker: &str) -> Fixture {
    let mut command = Command::new("/usr/bin/setsid");
    command
        .args(["/bin/sh", "-c", script])
        .env(ATTEMPT_MARKER_ENV, marker);
    Fixture::spawn(command)
}

fn scope(leader: &Fixture, marker: &str) -> TerminationScope {
    TerminationScope {
        leader: Some(identify(leader.child.id()).unwrap()),
        group: None,
        marker: Some(marker.to_owned()),
    }
}

#[tokio::test]
async fn a_polite_process_ends_on_the_first_word() {
    let mut polite = session(
        "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done",
        "job_t-a1",
    );
    assert_eq!(polite.line(), "ready");
    let outcome = terminate(&scope(&polite, "job_t-a1"), Duration::from_secs(10)).await;
    assert!(
        outcome.proven_gone && outcome.killed_pids.is_empty(),
        "{outcome:?}"
    );
    assert_eq!(polite.end().code(), Some(0));
}

#[tokio::test]
async fn a_deaf_process_is_killed_after_the_grace() {
    let mut deaf = session(
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        "job_t-a2",
    );
    assert_eq!(deaf.line(), "ready");
    let pid = deaf.child.id();
    let outcome = terminate(&scope(&deaf, "job_t-a2"), Duration::from_millis(200)).await;
    assert!(outcome.proven_gone, "{outcome:?}");
    assert!(outcome.killed_pids.contains(&pid), "{outcome:?}");
    assert_eq!(deaf.end().signal(), Some(9));
}

/// One grandchild is in another process group, one in another session and adopted by init.
#[tokio::test]
async fn those_that_ran_away_are_found() {
    // The fixture is its own group by taking its seat; its input is held open by `tail`.
    let script = format!(
        "tail -f /dev/null | {FIXTURE} -- hog 1 >/dev/null & a=$!; (setsid sleep 1000 & echo $! $a); \
         trap '' TERM; while :; do sleep 0.05; done"
    );
    let mut leader = session(&script, "job_t-a3");
    let line = leader.line();
    let away: Vec<_> = line
        .split_whitespace()
        .map(|pid| identify(pid.parse().unwrap()).unwrap())
        .collect();
    let outcome = terminate(&scope(&leader, "job_t-a3"), Duration::from_millis(100)).await;
    assert!(outcome.proven_gone, "{outcome:?}");
    assert!(away.iter().all(|one| !is_alive(one)), "{outcome:?}");
    leader.end();
}

#[tokio::test]
async fn the_orphans_of_a_dead_leader_are_ended_and_strangers_are_not() {
    let mut leader = session("sleep 1000 & echo $!; exec cat", "job_t-a4");
    let orphan = identify(leader.line().parse().unwrap()).unwrap();
    let mut scope = scope(&leader, "job_t-a4");
    leader.child.kill().unwrap();
    leader.end();
    assert!(is_alive(&orphan));
    // The same session under another attempt's name is a stranger.
    scope.marker = Some("job_other-a1".to_owned());
    assert!(terminate(&scope, Duration::ZERO).await.proven_gone);
    assert!(is_alive(&orphan));
    scope.marker = Some("job_t-a4".to_owned());
    let outcome = terminate(&scope, Duration::from_millis(500)).await;
    assert!(outcome.proven_gone, "{outcome:?}");
    assert!(!is_alive(&orphan));
}

#[tokio::test]
async fn everything_in_the_group_is_ended() {
    let Some(confinement) = cgroups() else { return };
    let attempt = Attempt::new(&confinement);
    let worker: WorkerGroup = attempt.0.worker(0, 64 * MIB).unwrap();
    let mut fixture = Fixture::start(
        &worker.seat(),
        &["spawn-and-wait", "/usr/bin/setsid", "-f", "sleep", "1000"],
    );
    assert_eq!(fixture.line(), "seated");
    fixture.line();
    wait_until("the runaway is in the group", || {
        worker.pids().len() == 2
            && worker.pids().iter().all(|pid| {
                Path::new(&format!("/proc/{pid}/exe")).exists() && sample(*pid).is_some()
            })
    });
    let scope = TerminationScope {
        group: Some(attempt.0.clone()),
        ..Default::default()
    };
    let outcome = terminate(&scope, Duration::ZERO).await;
    assert!(outcome.proven_gone, "{outcome:?}");
    assert!(worker.pids().is_empty());
    fixture.end();
    worker.kill_all().await.unwrap();
}
