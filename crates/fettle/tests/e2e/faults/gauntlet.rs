//! The gauntlet: every fault one after the other, timed, and then mended by what the diagnosis recommends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::fault::{Fault, ROWS, Run, Seen};
use super::table::{
    BLOB_DISK_FAULTS, BLOB_FAULTS, CGROUP_FAULTS, DISK_FAULTS, PARAMETER_FAULTS, PROCESS_FAULTS,
    RLIMIT_FAULTS, ROW_FAULTS,
};
use crate::server::{Server, text};

/// Retries that are followed: what the kernel cut off is only a lower bound of the need.
const RETRIES_MAX: usize = 3;
/// From a death or a lack of memory to its finding, in milliseconds.
const FOUND_MS_MAX: u128 = 1_000;

/// One line of the table.
struct Line {
    fault: Fault,
    said: String,
    confidence: Option<f64>,
    wrong: Option<String>,
    found_ms: Option<u128>,
    ended_ms: Option<u128>,
    recovery: String,
    redone_percent: Option<f64>,
}

/// Runs everything, prints the table, and writes it to the file that `FETTLE_GAUNTLET` names.
#[test]
#[ignore = "it takes minutes and measures; `make gauntlet` runs it"]
fn gauntlet() {
    let mut lines = Vec::new();
    let two_seconds = ["--row-timeout", "2"];
    lines.extend(run_all(
        &[ROW_FAULTS, PARAMETER_FAULTS, BLOB_FAULTS].concat(),
        &two_seconds,
        "",
    ));
    lines.extend(run_all(&[PROCESS_FAULTS, CGROUP_FAULTS].concat(), &[], ""));
    lines.extend(run_all(RLIMIT_FAULTS, &[], "rlimit"));
    lines.extend(run_on_full_disks());
    let table = table(&lines);
    println!("{table}");
    if let Ok(path) = std::env::var("FETTLE_GAUNTLET") {
        std::fs::write(path, page(&table, &lines)).unwrap();
    }
    let wrong: Vec<&str> = lines
        .iter()
        .filter(|line| line.wrong.is_some())
        .map(|line| line.fault.name)
        .collect();
    assert!(wrong.is_empty(), "not named right: {wrong:?}");
}

fn run_all(faults: &[Fault], extra: &[&str], confinement: &str) -> Vec<Line> {
    let dir = tempfile::tempdir().unwrap();
    let blobs = super::http::start();
    let server = super::server(dir.path(), &blobs, extra, confinement);
    let run = |fault: &Fault| run_one(&server, dir.path(), &blobs, *fault);
    faults.iter().map(run).collect()
}

/// None where no small disk can be mounted.
fn run_on_full_disks() -> Vec<Line> {
    let blobs = super::http::start();
    let mut lines = Vec::new();
    if let Some((dir, _disk, server)) = super::on_small_data_disk(&blobs) {
        lines.extend(
            DISK_FAULTS
                .iter()
                .map(|fault| run_one(&server, dir.path(), &blobs, *fault)),
        );
    }
    if let Some((dir, _disk, server)) = super::on_full_blob_disk(&blobs) {
        lines.extend(
            BLOB_DISK_FAULTS
                .iter()
                .map(|fault| run_one(&server, dir.path(), &blobs, *fault)),
        );
    }
    lines
}

#[expect(
    clippy::print_stderr,
    reason = "it takes minutes; one sees how far it is"
)]
fn run_one(server: &Server, root: &Path, blobs: &str, fault: Fault) -> Line {
    eprintln!("{} …", fault.name);
    let run = Run::start(server, root, blobs, fault);
    let Seen {
        diagnosis,
        found_ms,
        ended_ms,
    } = run.finish();
    let word = |key: &str| diagnosis[key].as_str().unwrap_or("–").to_owned();
    let wrong = run.what_is_wrong(&diagnosis);
    let recovery = recover(&run, diagnosis.clone());
    Line {
        fault,
        said: format!(
            "{} / {} / {}",
            word("failure_category"),
            event(&diagnosis),
            word("case")
        ),
        confidence: diagnosis["confidence"].as_f64(),
        wrong,
        found_ms,
        ended_ms,
        recovery,
        redone_percent: redone_percent(&run.trace()),
    }
}

fn event(diagnosis: &Value) -> &str {
    let events = diagnosis["infrastructure_events"].as_array().unwrap();
    events
        .first()
        .map_or("–", |event| event["event_type"].as_str().unwrap())
}

/// Sends what is recommended, until the batch completes or nothing is. What came from outside has ceased by then; a lack of memory has not.
fn recover(run: &Run<'_>, mut diagnosis: Value) -> String {
    if run.fault.shoot.is_some() {
        run.cure();
    }
    for tries in 0..=RETRIES_MAX {
        let status = text(&diagnosis["status"]);
        if status == "COMPLETED" {
            return match tries {
                0 => "by itself".to_owned(),
                1 => "completed after the recommended retry".to_owned(),
                more => format!("completed after {more} recommended retries"),
            };
        }
        let action = &diagnosis["recommended_actions"][0];
        let is_promising = action["confidence"].as_f64() > Some(0.25);
        if !is_promising || tries == RETRIES_MAX {
            return match status.as_str() {
                "COMPLETED_WITH_ERRORS" => {
                    let failed = &diagnosis["failed_document_count"];
                    format!(
                        "the other {} rows are done",
                        ROWS as u64 - failed.as_u64().unwrap()
                    )
                }
                _ => "needs a mend by hand".to_owned(),
            };
        }
        let (method, path) = (text(&action["method"]), text(&action["path"]));
        run.server
            .call(&method, &path, Some(action["body"].clone()));
        diagnosis = run.finish_again();
    }
    unreachable!("the last round returns");
}

/// Rows that were done more than once, in percent of all.
fn redone_percent(trace: &str) -> Option<f64> {
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for line in trace.lines() {
        let mut words = line.split(' ');
        if let (Some("end"), Some(row)) = (words.next(), words.next()) {
            *ends.entry(row).or_default() += 1;
        }
    }
    let redone: u32 = ends.values().map(|count| count - 1).sum();
    (!trace.is_empty()).then(|| f64::from(redone) / ROWS as f64 * 100.0)
}

fn table(lines: &[Line]) -> String {
    let mut table = "| fault | category / event / case | confidence | right | found after | ended after | recovery | redone |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let ms =
        |ms: Option<u128>| ms.map_or("–".to_owned(), |ms| format!("{:.2} s", ms as f64 / 1e3));
    for line in lines {
        let right = line
            .wrong
            .as_deref()
            .map_or("yes".to_owned(), |wrong| format!("NO: {wrong}"));
        let redone = line
            .redone_percent
            .map_or("–".to_owned(), |p| format!("{p:.0} %"));
        let (name, said, recovery) = (line.fault.name, &line.said, &line.recovery);
        let (found, ended) = (ms(line.found_ms), ms(line.ended_ms));
        let sure = line
            .confidence
            .map_or("–".to_owned(), |sure| format!("{sure:.2}"));
        let _ = writeln!(
            table,
            "| {name} | {said} | {sure} | {right} | {found} | {ended} | {recovery} | {redone} |"
        );
    }
    table
}

fn page(table: &str, lines: &[Line]) -> String {
    let right = lines.iter().filter(|line| line.wrong.is_none()).count();
    let deaths = lines.iter().filter(|line| {
        let case = line.fault.expect.case.unwrap_or("worker_killed");
        ["worker", "driver", "out_of_memory"]
            .iter()
            .any(|death| case.starts_with(death))
    });
    let mut found: Vec<u128> = deaths.filter_map(|line| line.found_ms).collect();
    found.sort_unstable();
    let late = found.iter().filter(|ms| **ms >= FOUND_MS_MAX).count();
    let median = found.get(found.len() / 2).copied().unwrap_or_default();
    format!(
        "# The gauntlet\n\n\
         `make gauntlet` injects every fault for real on this machine, one after the other, and writes this page. Each batch has {ROWS} rows.\n\n\
         - *found after*: from the fault (the signal sent, or the first row that does harm) to the first diagnosis that names the case or the event.\n\
         - *confidence*: of the verdict, at the end of the batch.\n\
         - *ended after*: from the fault to the end of the batch; retries within the budgets are in it.\n\
         - *recovery*: what came of sending `recommended_actions[0]` as it stands. What came from outside had ceased by then.\n\
         - *redone*: rows that were finished more than once, over all attempts.\n\n\
         {right} of {} are right. Deaths and lacks of memory: found after {median} ms in the median, {late} of {} later than {FOUND_MS_MAX} ms.\n\n\
         {table}",
        lines.len(),
        found.len(),
    )
}
