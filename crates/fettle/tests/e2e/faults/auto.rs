//! The gauntlet under the policy `auto`: every fault in a batch of 500 rows, which must end by itself, with every row done once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::auto_table::{
    BLOB_DISK, BLOBS, CLEAN, DEATHS, DISK, LASTING, MEMORY, RLIMIT, ROWS, SPINNING, STANDSTILLS,
    Trial,
};
use super::fault::{Expect, Fault, Run, Seen};
use crate::server::{Server, text};

/// A trial ends within this; an endless loop is tried three times, and longer each time.
const LIMIT: Duration = Duration::from_secs(400);
/// Rows that may be done more than once, in percent.
const REDONE_PERCENT_MAX: f64 = 5.0;

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

/// Runs everything, prints the table, and writes it to the file that `FETTLE_GAUNTLET_AUTO` names. `FETTLE_GAUNTLET_ONLY` chooses by name.
#[test]
#[ignore = "it takes minutes and measures; `make gauntlet` runs it"]
fn gauntlet_under_auto() {
    let usual = [DEATHS, MEMORY, STANDSTILLS, LASTING, BLOBS].concat();
    let mut lines = run_all(&usual, &[], "");
    lines.extend(run_all(SPINNING, &["--stuck-after", "1"], ""));
    lines.extend(run_all(RLIMIT, &[], "rlimit"));
    lines.extend(run_on_full_disks());
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

/// Those that were asked for.
fn chosen(trials: &[Trial]) -> Vec<&Trial> {
    let only = std::env::var("FETTLE_GAUNTLET_ONLY").unwrap_or_default();
    let is_chosen = |trial: &&Trial| trial.name.contains(&only);
    trials.iter().filter(is_chosen).collect()
}

fn run_all(trials: &[Trial], extra: &[&str], confinement: &str) -> Vec<Line> {
    let chosen = chosen(trials);
    if chosen.is_empty() {
        return Vec::new();
    }
    let dir = tempfile::tempdir().unwrap();
    let blobs = super::http::start();
    let server = super::server(dir.path(), &blobs, extra, confinement);
    // A history to judge by.
    run_under_auto(&server, dir.path(), &blobs, &[&CLEAN]);
    run_under_auto(&server, dir.path(), &blobs, &chosen)
}

/// None where no small disk can be mounted.
fn run_on_full_disks() -> Vec<Line> {
    let blobs = super::http::start();
    let mut lines = Vec::new();
    if let Some((dir, _disk, server)) = super::on_small_data_disk(&blobs) {
        lines.extend(run_under_auto(&server, dir.path(), &blobs, &chosen(DISK)));
    }
    if let Some((dir, _disk, server)) = super::on_full_blob_disk(&blobs) {
        lines.extend(run_under_auto(
            &server,
            dir.path(),
            &blobs,
            &chosen(BLOB_DISK),
        ));
    }
    lines
}

#[expect(
    clippy::print_stderr,
    reason = "it takes minutes; one sees how far it is"
)]
fn run_under_auto(server: &Server, root: &Path, blobs: &str, trials: &[&Trial]) -> Vec<Line> {
    let policy = json!({"healing": {"mode": "auto"}});
    server.call("PATCH", "/v1/namespaces/default", Some(policy));
    let line = |trial: &&Trial| {
        let line = run_one(server, root, blobs, trial);
        eprintln!("{}", shown(&line));
        line
    };
    trials.iter().map(line).collect()
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
