//! Runs that the server does not know, with real processes: taken over where they count, ended with proof where they do not.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::plugins::install;
use crate::server::{Server, drivers, signal, text, text_files, wait};

const ROWS: usize = 1_000;

/// The first file keeps its worker for ever; the others leave time to look at it.
const SLEEPS: &str = r#"
import time

def run(rows):
    return [one(open(row["text"]["path"]).read()) for row in rows]

def one(text):
    time.sleep(3600 if "number 0." in text else 0.03)
    return {"length": len(text)}
"#;

fn processed(server: &Server, batch: &str) -> u64 {
    server.batch(batch)["progress"]["processed"]
        .as_u64()
        .unwrap_or(0)
}

fn timeline(server: &Server, bucket: &str, batch: &str) -> String {
    let path = format!("/v1/buckets/{bucket}/batches/{batch}/diagnose");
    server.get(&path)["timeline"].to_string()
}

/// The end, and that every row was done once.
fn check_books(server: &Server, bucket: &str, batch: &str, collection: &str) -> Value {
    let ended = server.wait_for_end(batch);
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
    let audit = server.get(&format!("/v1/buckets/{bucket}/batches/{batch}/audit"));
    assert_eq!(audit["all_balanced"], true, "{audit:#}");
    assert_eq!(audit["tiers"][0]["processed"], ROWS, "{audit:#}");
    let count = server.get(&format!("/v1/collections/{collection}/documents/count"));
    assert!(count.to_string().contains(&ROWS.to_string()), "{count}");
    ended
}

/// Copies a folder's files.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The folder of the newest attempt.
pub fn attempt_folder(server: &Server) -> PathBuf {
    let entries = std::fs::read_dir(server.data_dir().join("attempts")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.pop().unwrap()
}

/// A second driver of an attempt, from a copy of its folder: it reports with the attempt's own token.
fn second_driver(folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fettle"));
    command
        .args(["job", "--spec"])
        .arg(folder.join("spec.json"))
        .current_dir(folder);
    let log = std::fs::File::create(folder.join("second.log")).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

#[test]
fn a_superseded_run_is_ended_with_proof_and_what_it_says_late_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), ROWS + 1);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    install(&server, "sleeper", "", SLEEPS);
    let bucket = server.bucket("superseded");
    let collection = server.collection("slow", &bucket, "sleeper", json!({}));
    let objects = server.objects(&bucket, &files[1..]);
    // It must outlive the look for runs that do not count, which comes every ten seconds.
    let one_cpu = json!({"resources": {"0": {"num_cpus": 1}}});
    let batch = server.submit(&bucket, &objects, one_cpu);
    wait("rows are finished", || {
        (processed(&server, &batch) >= 20).then_some(())
    });
    let (late, deaf) = (dir.path().join("late"), dir.path().join("deaf"));
    for twin in [&late, &deaf] {
        copy(&attempt_folder(&server), twin);
        let _ = std::fs::remove_file(twin.join("lock"));
    }
    drivers(server.data_dir())
        .into_iter()
        .for_each(|driver| signal("KILL", driver));
    wait("the next attempt runs", || {
        let next = attempt_folder(&server);
        (next.display().to_string().ends_with("-a2")).then_some(())
    });
    // One speaks, is told that it does not count, and ends by itself; the other hears nothing and is ended.
    let mut late_driver = second_driver(&late);
    let mut deaf_driver = second_driver(&deaf);
    signal("STOP", deaf_driver.id());
    wait("the late driver ends", || late_driver.try_wait().unwrap());
    let status = wait("the deaf driver is ended", || {
        deaf_driver.try_wait().unwrap()
    });
    let said = std::fs::read_to_string(late.join("second.log")).unwrap();
    assert!(!status.success());
    let ended = check_books(&server, &bucket, &batch, &collection);
    let told = timeline(&server, &bucket, &batch);
    assert!(told.contains("a run that does not count"), "{told}\n{said}");
    assert_eq!(ended["tier_tasks"][0]["retry_count"], 1, "{ended:#}");
}

#[test]
fn a_run_that_a_lost_memory_had_begun_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), ROWS + 1);
    let mut server = Server::start(
        &dir.path().join("data"),
        dir.path(),
        &["--capacity-cpus", "2"],
    );
    install(&server, "sleeper", "", SLEEPS);
    let one_cpu = json!({"resources": {"0": {"num_cpus": 1}}});
    let sleepers = server.bucket("sleepers");
    server.collection("sleeping", &sleepers, "sleeper", json!({}));
    let sleeping = server.objects(&sleepers, &files[..1]);
    let sleeping = server.submit(&sleepers, &sleeping, one_cpu.clone());
    let bucket = server.bucket("orphans");
    let collection = server.collection("slow", &bucket, "sleeper", json!({}));
    let objects = server.objects(&bucket, &files[1..]);
    let batch = server.submit(&bucket, &objects, one_cpu);
    let job = text(&server.batch(&batch)["tier_tasks"][0]["ray_job_id"]);
    let driver_of =
        |attempt: u32| crate::server::processes(&["job", "--spec", &format!("{job}-a{attempt}")]);
    wait("rows are finished", || {
        (processed(&server, &batch) >= 20).then_some(())
    });

    // A preemption is waited out for a second at least; what is stored in that time knows no second attempt.
    driver_of(1)
        .into_iter()
        .for_each(|driver| signal("TERM", driver));
    wait("the next attempt waits", || {
        timeline(&server, &bucket, &batch)
            .contains("retry in")
            .then_some(())
    });
    server.kill();
    assert!(driver_of(2).is_empty(), "the server was not killed in time");
    let stored = dir.path().join("stored");
    copy(server.data_dir(), &stored);
    server.restart();
    let begun = wait("the second attempt runs", || driver_of(2).first().copied());
    wait("it does rows", || {
        (processed(&server, &batch) >= 100).then_some(())
    });
    server.kill();
    for name in ["state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(server.data_dir().join(name));
    }
    copy(&stored, server.data_dir());
    // Now there is room for the sleeper alone, so the job goes on waiting, while its next attempt runs already.
    server.replace_argument("--capacity-cpus", "1");
    server.restart();
    wait("the run is taken over", || {
        timeline(&server, &bucket, &batch)
            .contains("was found running and is taken over")
            .then_some(())
    });
    assert_eq!(driver_of(2), [begun], "the run itself goes on");
    server.post(
        &format!("/v1/buckets/{sleepers}/batches/{sleeping}/cancel"),
        json!({}),
    );
    check_books(&server, &bucket, &batch, &collection);
    assert!(drivers(server.data_dir()).is_empty());
}
