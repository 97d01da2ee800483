//! Poison rows among many good ones: exactly they are given up, and they cost few workers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::plugins::install;
use crate::server::{Server, drivers, text, text_files, wait_for, workers};

const ROWS: usize = 1_000;

/// Good rows are quick; the kind of a poison stands in its text. `worker` is done to the worker, else it hits the plugin alone.
const MODULE: &str = r#"
import ctypes, os, signal, time

def run(rows):
    return [count(open(row["text"]["path"]).read()) for row in rows]

def count(text):
    if "poison" in text:
        poison(text)
    return {"words": len(text.split())}

def poison(text):
    if "segfault-worker" in text:
        # The first is taken for a stack overflow by Rust's handler, which stands down.
        for _ in range(2):
            os.kill(os.getppid(), signal.SIGSEGV)
            time.sleep(0.05)
        time.sleep(600)
    if "segfault" in text:
        ctypes.string_at(0)
    if "memory" in text:
        hoard = []
        while True:
            hoard.append(b"x" * (16 << 20))
    if "loop" in text:
        while True:
            pass
    if "exit" in text:
        os._exit(3)
"#;

/// Which rows are poisoned, and what a dead-letter list must say of each.
const POISON: [(usize, &str, &str); 7] = [
    (61, "poison segfault", "SIGSEGV"),
    (160, "poison loop", "stood still"),
    (301, "poison memory", "out of memory"),
    (433, "poison exit", "exit status 3"),
    (434, "poison segfault-worker", "SIGSEGV"),
    (700, "poison memory", "out of memory"),
    (998, "poison exit", "exit status 3"),
];

fn poisoned_files(dir: &Path) -> Vec<PathBuf> {
    let files = text_files(dir, ROWS);
    for (at, kind, _) in POISON {
        std::fs::write(&files[at], format!("{kind} and nothing else")).unwrap();
    }
    files
}

fn worker_deaths(diagnosis: &Value) -> Vec<Value> {
    let attempts = diagnosis["per_tier"][0]["jobs"][0]["attempts"].as_array();
    let deaths = attempts
        .unwrap()
        .iter()
        .flat_map(|attempt| attempt["worker_deaths"].as_array().unwrap());
    deaths.cloned().collect()
}

#[test]
fn seven_poison_rows_of_four_kinds_among_a_thousand_are_given_up_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let files = poisoned_files(&dir.path().join("files"));
    let arguments = ["--stuck-after", "1", "--capacity-cpus", "4"];
    let server = Server::start(&dir.path().join("data"), dir.path(), &arguments);
    install(&server, "word_count", "", MODULE);
    let bucket = server.bucket("poisoned");
    let collection = server.collection("counted", &bucket, "word_count", json!({}));
    let objects = server.objects(&bucket, &files);
    let resources = json!({"0": {"num_cpus": 4, "memory_bytes": 256 << 20}});
    let batch = server.submit(&bucket, &objects, json!({"resources": resources}));
    // An endless loop is given far longer than the slowest row took, and four times that when it is tried alone again.
    let ended = wait_for(600, "the batch ends", || {
        let now = server.batch(&batch);
        now["completed_at"].is_string().then_some(now)
    });
    assert_eq!(ended["status"], "COMPLETED_WITH_ERRORS", "{ended:#}");

    let path = format!("/v1/buckets/{bucket}/batches/{batch}");
    let list = server.get(&format!("{path}/failed-documents?limit=100"));
    let failed = list["failed_documents"].as_array().unwrap();
    let found: BTreeSet<String> = failed.iter().map(|row| text(&row["document_id"])).collect();
    let expected: BTreeSet<String> = POISON.iter().map(|(at, ..)| objects[*at].clone()).collect();
    assert_eq!(found, expected, "{list:#}");
    for (at, kind, said) in POISON {
        let row = failed
            .iter()
            .find(|row| row["document_id"] == *objects[at])
            .unwrap();
        assert!(
            row.to_string().contains(said),
            "{kind}: no `{said}` in {row:#}"
        );
    }

    let audit = server.get(&format!("{path}/audit"));
    assert_eq!(audit["all_balanced"], true, "{audit:#}");
    let count = server.get(&format!("/v1/collections/{collection}/documents/count"));
    assert!(
        count
            .to_string()
            .contains(&(ROWS - POISON.len()).to_string()),
        "{count}"
    );
    let deaths = worker_deaths(&server.get(&format!("{path}/diagnose")));
    // Among others once, and twice alone; log2 of 1,000 rows would be ten for each.
    assert!(
        deaths.len() <= 3 * POISON.len(),
        "{} deaths: {deaths:#?}",
        deaths.len()
    );
    assert_eq!(drivers(server.data_dir()), Vec::<u32>::new());
    assert_eq!(workers(server.data_dir()), Vec::<u32>::new());
    println!(
        "{} deaths of workers for {} poison rows",
        deaths.len(),
        POISON.len()
    );
}
