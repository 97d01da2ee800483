//! The gauntlet under the policy `auto`: every fault in a batch of 500 rows, which must end by itself, with every row done once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::fault::{Expect, Fault, Rows, Run, Seen};
use super::inject;
use crate::server::{Server, text};

/// Rows of a batch.
const ROWS: usize = 500;
/// What a row takes, in seconds.
const ROW_S: f64 = 0.03;
/// The row that does harm, or that marks the moment of a shot from outside.
const MARKED: usize = 200;
/// A trial ends within this; an endless loop is tried three times, and longer each time.
const LIMIT: Duration = Duration::from_secs(400);
/// From a death to its verdict, in milliseconds.
const DEATH_MS_MAX: u128 = 1_000;
/// From a standstill to its finding, in milliseconds: the limit of a silent worker is ten seconds where rows are quick.
const HANG_MS_MAX: u128 = 20_000;
/// The same for a driver, which is waited for longer.
const SILENCE_MS_MAX: u128 = 30_000;
/// Rows that may be done more than once, in percent.
const REDONE_PERCENT_MAX: f64 = 5.0;

/// A fault and what must come of it.
struct Trial {
    name: &'static str,
    extractor: &'static str,
    rows: Rows,
    memory_mib: u64,
    shoot: Option<fn(&Run<'_>) -> bool>,
    /// The fault is found when the diagnosis holds this.
    told: &'static str,
    /// From the fault to that, in milliseconds; none where rows come to it in their turn.
    found_ms_max: Option<u128>,
    status: &'static str,
    failed_rows: u64,
}

/// What was seen of a trial.
struct Line {
    name: &'static str,
    status: String,
    remedies: String,
    balance: String,
    redone_percent: f64,
    found_ms: Option<u128>,
    recovered_ms: Option<u128>,
    wrong: Vec<String>,
}

fn marked(n: usize, deed: Value) -> Option<Value> {
    let work = json!({"deed": "work", "with": ROW_S});
    Some(if n == MARKED { deed } else { work })
}

/// Long enough to be hit.
fn pause(n: usize) -> Option<Value> {
    marked(n, json!({"deed": "sleep", "with": 0.4}))
}

/// Rows that fail, one in a batch.
const fn poison(
    name: &'static str,
    deed: fn(usize) -> Option<Value>,
    told: &'static str,
    found_ms_max: Option<u128>,
) -> Trial {
    Trial {
        name,
        extractor: "fault",
        rows: Rows::Deeds(deed),
        memory_mib: 256,
        shoot: None,
        told,
        found_ms_max,
        status: "COMPLETED_WITH_ERRORS",
        failed_rows: 1,
    }
}

/// Something from outside that is outlived.
const fn outlived(
    name: &'static str,
    shoot: fn(&Run<'_>) -> bool,
    told: &'static str,
    found_ms_max: u128,
) -> Trial {
    Trial {
        shoot: Some(shoot),
        status: "COMPLETED",
        failed_rows: 0,
        ..poison(name, pause, told, Some(found_ms_max))
    }
}

/// What no other attempt outlives.
const fn lasting(name: &'static str, extractor: &'static str, told: &'static str) -> Trial {
    Trial {
        extractor,
        status: "FAILED",
        failed_rows: 0,
        ..poison(name, |n| marked(n, json!({"deed": "work"})), told, None)
    }
}

const DEATHS: &[Trial] = &[
    outlived(
        "SIGKILL of the worker",
        inject::kill_workers_once,
        "SIGKILL",
        DEATH_MS_MAX,
    ),
    outlived(
        "SIGTERM of the worker",
        inject::terminate_workers_once,
        "SIGTERM",
        DEATH_MS_MAX,
    ),
    outlived(
        "SIGKILL of the driver",
        inject::kill_driver_once,
        "driver_died",
        DEATH_MS_MAX,
    ),
    outlived(
        "SIGTERM of the driver, a preemption",
        inject::terminate_driver_once,
        "stopped",
        DEATH_MS_MAX,
    ),
    outlived(
        "out of memory of the driver",
        inject::starve_driver_once,
        "driver_died",
        2 * DEATH_MS_MAX,
    ),
    poison(
        "exception in a row",
        |n| marked(n, json!({"deed": "refuse"})),
        "ValueError",
        None,
    ),
    poison(
        "wrong vector",
        |n| marked(n, json!({"deed": "wrong vector"})),
        "3 numbers",
        None,
    ),
    poison(
        "segfault of a plugin",
        |n| marked(n, json!({"deed": "segfault"})),
        "SIGSEGV",
        None,
    ),
    poison(
        "abort of a plugin",
        |n| marked(n, json!({"deed": "abort"})),
        "SIGABRT",
        None,
    ),
    poison(
        "exit of a plugin",
        |n| marked(n, json!({"deed": "exit", "with": 3})),
        "exit status 3",
        None,
    ),
    poison(
        "segfault of the worker in a row",
        |n| marked(n, json!({"deed": "hurt worker", "with": "SIGSEGV"})),
        "SIGSEGV",
        Some(DEATH_MS_MAX),
    ),
    poison(
        "disk full in a row",
        |n| marked(n, json!({"deed": "fill disk", "with": "/dev/full"})),
        "No space left",
        None,
    ),
];

const MEMORY: &[Trial] = &[
    Trial {
        status: "COMPLETED",
        failed_rows: 0,
        ..poison(
            "out of memory in one row",
            |n| marked(n, json!({"deed": "touch", "with": 400})),
            "oom_kill",
            Some(DEATH_MS_MAX),
        )
    },
    Trial {
        status: "COMPLETED",
        failed_rows: 0,
        memory_mib: 96,
        ..poison(
            "out of memory in every row",
            |_| Some(json!({"deed": "touch", "with": 100})),
            "oom_kill",
            Some(DEATH_MS_MAX),
        )
    },
];

const STANDSTILLS: &[Trial] = &[
    outlived(
        "SIGSTOP of the worker",
        inject::stop_workers_once,
        "was stopped by a signal",
        HANG_MS_MAX,
    ),
    outlived(
        "SIGSTOP of the driver",
        inject::stop_driver_once,
        "has not reported",
        SILENCE_MS_MAX,
    ),
    poison(
        "row that stops its worker",
        |n| marked(n, json!({"deed": "hurt worker", "with": "SIGSTOP"})),
        "was stopped by a signal",
        Some(HANG_MS_MAX),
    ),
    poison(
        "row that hangs",
        |n| marked(n, json!({"deed": "sleep", "with": 3600})),
        "used neither CPU nor IO",
        Some(HANG_MS_MAX),
    ),
];

/// On a server whose floors are a second, as this is tried for a whole limit three times.
const SPINNING: &[Trial] = &[poison(
    "row that computes without an end",
    |n| marked(n, json!({"deed": "loop"})),
    "has computed for",
    Some(HANG_MS_MAX),
)];

const LASTING: &[Trial] = &[
    lasting("missing module", "lacks_module", "surely_absent_module"),
    lasting("exception at start", "raises_at_start", "licence has ended"),
    lasting("exit at start", "exits_at_start", "SystemExit"),
    Trial {
        memory_mib: 1 << 24,
        ..lasting("too much memory asked for", "fault", "request_refused")
    },
];

const BLOBS: &[Trial] = &[
    Trial {
        status: "COMPLETED",
        failed_rows: 0,
        ..of_blob(
            "blob server away for eight seconds",
            |_, http| addresses(http, "away"),
            "status 503",
        )
    },
    of_blob(
        "blob server says 403",
        |_, http| addresses(http, "403"),
        "status 403",
    ),
    of_blob(
        "blob server says 404",
        |_, http| addresses(http, "404"),
        "404",
    ),
];

const fn of_blob(
    name: &'static str,
    addresses: fn(&Path, &str) -> Vec<String>,
    told: &'static str,
) -> Trial {
    Trial {
        extractor: "universal_extractor",
        rows: Rows::Addresses(addresses),
        ..poison(name, pause, told, None)
    }
}

/// Blobs of a server, one of them answered otherwise.
fn addresses(http: &str, marked: &str) -> Vec<String> {
    let way = |n: usize| if n == MARKED { marked } else { "200" };
    (0..ROWS)
        .map(|n| format!("{http}/{}/{n}.txt", way(n)))
        .collect()
}

/// Runs everything, prints the table, and writes it to the file that `FETTLE_GAUNTLET_AUTO` names. `FETTLE_GAUNTLET_ONLY` chooses by name.
#[test]
#[ignore = "it takes minutes and measures; `make gauntlet` runs it"]
fn gauntlet_under_auto() {
    let mut lines = Vec::new();
    for trials in [DEATHS, MEMORY, STANDSTILLS, LASTING, BLOBS] {
        lines.extend(run_all(trials, &[]));
    }
    lines.extend(run_all(SPINNING, &["--stuck-after", "1"]));
    let table = table(&lines);
    println!("{table}");
    if let Ok(path) = std::env::var("FETTLE_GAUNTLET_AUTO") {
        std::fs::write(path, page(&table, &lines)).unwrap();
    }
    let wrong: Vec<String> = lines
        .iter()
        .filter(|line| !line.wrong.is_empty())
        .map(|line| format!("{}: {:?}", line.name, line.wrong))
        .collect();
    assert!(wrong.is_empty(), "does not hold: {wrong:#?}");
}

#[expect(
    clippy::print_stderr,
    reason = "it takes minutes; one sees how far it is"
)]
fn run_all(trials: &[Trial], extra: &[&str]) -> Vec<Line> {
    let only = std::env::var("FETTLE_GAUNTLET_ONLY").unwrap_or_default();
    let mut chosen = trials
        .iter()
        .filter(|trial| trial.name.contains(&only))
        .peekable();
    if chosen.peek().is_none() {
        return Vec::new();
    }
    let dir = tempfile::tempdir().unwrap();
    let blobs = super::http::start();
    let server = super::server(dir.path(), &blobs, extra, "");
    let policy = json!({"healing": {"mode": "auto"}});
    server.call("PATCH", "/v1/namespaces/default", Some(policy));
    // A history to judge by.
    let clean = Trial {
        status: "COMPLETED",
        failed_rows: 0,
        ..poison(
            "clean",
            |n| marked(n, json!({"deed": "work", "with": ROW_S})),
            "",
            None,
        )
    };
    run_one(&server, dir.path(), &blobs, &clean);
    chosen
        .map(|trial| {
            let line = run_one(&server, dir.path(), &blobs, trial);
            eprintln!("{}", shown(&line));
            line
        })
        .collect()
}

fn run_one(server: &Server, root: &Path, blobs: &str, trial: &Trial) -> Line {
    let fault = Fault {
        name: trial.name,
        extractor: trial.extractor,
        parameters: "{}",
        rows: trial.rows,
        rows_total: ROWS,
        memory_mib: trial.memory_mib,
        shoot: trial.shoot,
        expect: Expect {
            status: trial.status,
            category: None,
            event: None,
            case: None,
            evidence: &[],
        },
    };
    let run = Run::start(server, root, blobs, fault);
    let told = |diagnosis: &Value| {
        let keys = [
            "case",
            "evidence",
            "infrastructure_events",
            "error_groups",
            "timeline",
        ];
        keys.iter()
            .any(|key| diagnosis[*key].to_string().contains(trial.told))
    };
    let Seen {
        diagnosis,
        found_ms,
        ended_ms,
    } = run.finish_when(LIMIT, told);
    let fault_at = death_at(&diagnosis)
        .filter(|_| trial.shoot.is_none())
        .or(run.fault_at());
    let began = run.fault_at();
    let found_at = began.zip(found_ms).map(|(began, ms)| began + ms);
    let since_fault = |at: u128| Some(at.saturating_sub(fault_at?));
    let recovered_at = found_at
        .and_then(|found| next_end(&run.trace(), found))
        .or_else(|| Some(began? + ended_ms?));
    let mut line = Line {
        name: trial.name,
        status: text(&diagnosis["status"]),
        remedies: remedies(&diagnosis),
        balance: balance(server, &run),
        redone_percent: redone_percent(&run.trace()),
        found_ms: found_at.and_then(since_fault),
        recovered_ms: recovered_at
            .zip(found_at)
            .map(|(at, found)| at.saturating_sub(found)),
        wrong: Vec::new(),
    };
    line.wrong = wrong(trial, &line);
    line
}

/// The first death of a worker; memory takes a while to be eaten up.
fn death_at(diagnosis: &Value) -> Option<u128> {
    let attempt = &diagnosis["per_tier"][0]["jobs"][0]["attempts"][0];
    let at = attempt["worker_deaths"][0]["at"].as_u64()?;
    Some(u128::from(at))
}

/// When the first row after `found` was finished.
fn next_end(trace: &str, found: u128) -> Option<u128> {
    let ends = trace.lines().filter(|line| line.starts_with("end"));
    ends.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .filter(|at| *at > found)
        .min()
}

fn remedies(diagnosis: &Value) -> String {
    let timeline = diagnosis["timeline"].as_array().unwrap();
    let told = timeline.iter().filter(|entry| entry["kind"] == "remedy");
    let told: Vec<&str> = told.filter_map(|entry| entry["message"].as_str()).collect();
    told.join("; ")
}

/// What the books say: empty when nothing is lost and nothing doubled, else what is wrong.
fn balance(server: &Server, run: &Run<'_>) -> String {
    let path = format!("/v1/buckets/{}/batches/{}", run.bucket, run.batch);
    let audit = server.get(&format!("{path}/audit"));
    let tier = &audit["tiers"][0];
    let counts = ["submitted", "processed", "failed"].map(|key| tier[key].as_u64().unwrap_or(0));
    let documents = server.batch(&run.batch)["documents_written"].as_u64();
    let is_whole = audit["has_lost_objects"] == false && documents == Some(counts[1]);
    format!(
        "{} of {}, {} failed{}",
        counts[1],
        counts[0],
        counts[2],
        if is_whole { "" } else { ": LOST OR DOUBLED" }
    )
}

/// Rows that were done more than once, in percent of all.
fn redone_percent(trace: &str) -> f64 {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for line in trace.lines().filter(|line| line.starts_with("end")) {
        *ends
            .entry(line.split(' ').nth(1).unwrap_or_default())
            .or_default() += 1;
    }
    let redone: u32 = ends.values().map(|count| count - 1).sum();
    f64::from(redone) / ROWS as f64 * 100.0
}

fn wrong(trial: &Trial, line: &Line) -> Vec<String> {
    let mut wrong = Vec::new();
    if line.status != trial.status {
        wrong.push(format!("ended {}, not {}", line.status, trial.status));
    }
    let processed = ROWS as u64 - trial.failed_rows;
    let balance = format!("{processed} of {ROWS}, {} failed", trial.failed_rows);
    if trial.status != "FAILED" && line.balance != balance {
        wrong.push(format!("books say {}", line.balance));
    }
    if line.redone_percent >= REDONE_PERCENT_MAX {
        wrong.push(format!("{:.1} % redone", line.redone_percent));
    }
    match (line.found_ms, trial.found_ms_max) {
        (None, Some(_)) => wrong.push("never found".to_owned()),
        (Some(ms), Some(most)) if ms > most => {
            wrong.push(format!("found after {ms} ms, not {most}"))
        }
        _ => {}
    }
    wrong
}

fn shown(line: &Line) -> String {
    let seconds =
        |ms: Option<u128>| ms.map_or("–".to_owned(), |ms| format!("{:.2} s", ms as f64 / 1e3));
    let holds = if line.wrong.is_empty() {
        "yes".to_owned()
    } else {
        line.wrong.join(", ")
    };
    let remedies = if line.remedies.is_empty() {
        "–"
    } else {
        &line.remedies
    };
    format!(
        "| {} | {} | {} | {:.1} % | {} | {} | {remedies} | {holds} |",
        line.name,
        line.status,
        line.balance,
        line.redone_percent,
        seconds(line.found_ms),
        seconds(line.recovered_ms),
    )
}

fn table(lines: &[Line]) -> String {
    let mut table = "| fault | ended by itself | rows processed | redone | fault to verdict | verdict to recovery | remedies | holds |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for line in lines {
        let _ = writeln!(table, "{}", shown(line));
    }
    table
}

fn page(table: &str, lines: &[Line]) -> String {
    let held = lines.iter().filter(|line| line.wrong.is_empty()).count();
    format!(
        "# The gauntlet under `auto`\n\n\
         `make gauntlet` writes this page too. Each fault is injected for real into a batch of {ROWS} rows of 30 ms at one worker, whose healing policy is `auto`;\n\
         nobody does anything about it. A clean batch of the same extractor went before, so there is a history.\n\n\
         - *rows processed*: what the audit says, and that as many documents are there: nothing is lost, nothing is doubled.\n\
         - *redone*: rows that were finished more than once; it must be under {REDONE_PERCENT_MAX} %.\n\
         - *fault to verdict*: from the signal, the death, or the row that does harm, to the first diagnosis that names it.\n\
         - *verdict to recovery*: from there to the next row that is finished, or to the end of the batch.\n\n\
         {held} of {} hold.\n\n\
         {table}",
        lines.len(),
    )
}
