//! A process that is killed while it writes: what it acknowledged is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use fettle_model::{RowNumber, RowOutcome};
use fettle_ports::Store;
use fettle_store::{OpenError, SqliteStore};

use crate::fixture::{Fixture, job, report};

/// Names the database to the child; without it the child's test does nothing.
const DATABASE: &str = "FETTLE_STORE_CRASH_DATABASE";
/// The first row that the child writes.
const FIRST_ROW: &str = "FETTLE_STORE_CRASH_FIRST_ROW";
/// Writers at once in the child, so that commits are shared.
const WRITERS: u32 = 8;
/// Rows in a report.
const ROWS: u32 = 16;
/// Reports seen before the kill.
const ACKS_BEFORE_KILL: usize = 60;

fn start_child(database: &Path, first_row: RowNumber) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::the_child_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(DATABASE, database)
        .env(FIRST_ROW, first_row.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn every_acknowledged_row_is_there_after_kill_9() {
    let fixture = Fixture::new();
    fixture.submitted(1, 1).await;
    let path = fixture.path();
    let Fixture { dir, store } = fixture;
    drop(store);
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let mut child = start_child(&path, round * 1_000_000);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks = 0;
        while acks < ACKS_BEFORE_KILL {
            let line = lines.next().expect("the child ended early").unwrap();
            acks += usize::from(take_ack(&line, &mut acknowledged));
        }
        let in_use = SqliteStore::open(&path).unwrap_err();
        assert!(
            matches!(&in_use, OpenError::InUse { holder, .. } if *holder == format!("process {}", child.id())),
            "{in_use:?}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            take_ack(&line.unwrap(), &mut acknowledged);
        }

        let store = SqliteStore::open(&path).unwrap();
        let present: BTreeSet<_> = store
            .finished_rows(&job(1, 0))
            .await
            .unwrap()
            .into_iter()
            .collect();
        let lost: Vec<_> = acknowledged.difference(&present).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let counts = store.job_counts(&job(1, 0)).await.unwrap();
        assert_eq!(counts.rows.total(), present.len() as u64);
        assert_eq!(
            present.len() % ROWS as usize,
            0,
            "a report is there whole or not at all"
        );
    }
    drop(dir);
}

/// Notes the rows of an acknowledgement; a line that was cut off by the kill or is not ours is none.
fn take_ack(line: &str, acknowledged: &mut BTreeSet<RowNumber>) -> bool {
    let numbers = line
        .strip_prefix("ack ")
        .and_then(|rest| rest.strip_suffix(" end"));
    let Some(first) = numbers.and_then(|text| text.parse::<RowNumber>().ok()) else {
        return false;
    };
    acknowledged.extend(first..first + ROWS);
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_writes_until_it_is_killed() {
    let Some(database) = std::env::var_os(DATABASE) else {
        return;
    };
    let first_row: RowNumber = std::env::var(FIRST_ROW).unwrap().parse().unwrap();
    let store = Arc::new(SqliteStore::open(Path::new(&database)).unwrap());
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write_for_ever(
                Arc::clone(&store),
                first_row + writer * 100_000,
            ))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn write_for_ever(store: Arc<SqliteStore>, first_row: RowNumber) {
    for report_number in 0..5_000 {
        let first = first_row + report_number * ROWS;
        let rows: Vec<_> = (first..first + ROWS)
            .map(|row| (row, RowOutcome::Processed, 1))
            .collect();
        store.record_rows(report(1, 0, 1, &rows)).await.unwrap();
        // One write, so that acknowledgements of several tasks do not mix.
        std::io::stdout()
            .write_all(format!("\nack {first} end\n").as_bytes())
            .unwrap();
    }
}
