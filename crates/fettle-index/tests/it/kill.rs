//! Killing the process that writes: what was acknowledged is there afterwards, once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::common::{collection, document, id, limits, namespace, spec, unit_vector, vector};
use fettle_index::{EdgeIndex, Limits};
use fettle_ports::{DocumentQuery, Index};
use serde_json::json;

/// Tells the child, which is this test again, where to write and from which round.
const ROOT: &str = "FETTLE_INDEX_KILL_ROOT";
const ROUND: &str = "FETTLE_INDEX_KILL_ROUND";
/// Kills with different timing.
const ROUNDS: u64 = 6;
/// Callers that write at once in the child.
const WRITERS: u64 = 4;

/// What the child acknowledged of each document, by number: its last version, or that it was deleted. A change that was
/// begun may have happened or not.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<u64, Option<u64>>,
    begun: BTreeMap<u64, BTreeSet<Option<u64>>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    if let (Ok(root), Ok(round)) = (std::env::var(ROOT), std::env::var(ROUND)) {
        write_until_killed(Path::new(&root), round.parse().unwrap()).await;
    }
    let root = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let lines = run_and_kill(root.path(), round);
        told.read(&lines);
        check(root.path(), &mut told).await;
    }
    assert!(
        told.acknowledged.len() > 50,
        "the child did too little to tell"
    );
}

/// Runs the child until it has told enough, kills it, and returns what it told.
fn run_and_kill(root: &Path, round: u64) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kill::a_killed_writer_loses_nothing_that_it_acknowledged",
            "--nocapture",
        ])
        .env(ROOT, root)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut told = String::new();
    let mut lines = 0;
    // Different lengths hit different moments of a group.
    while lines < 40 + 13 * round {
        assert!(
            out.read_line(&mut told).unwrap() > 0,
            "the child ended by itself:\n{told}"
        );
        lines += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    out.read_to_string(&mut told).unwrap();
    told
}

async fn write_until_killed(root: &Path, round: u64) -> ! {
    // Without any log files the shard is opened again after every group, so kills hit that too.
    let limits = Limits {
        log_files_max: if round.is_multiple_of(2) { 0 } else { 2 },
        ..limits()
    };
    let index = Arc::new(EdgeIndex::open_with(root, limits).unwrap());
    let (ns, col) = (namespace(), collection("a"));
    index.ensure(&ns, &col, &[spec("text", 16)]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let index = Arc::clone(&index);
        tasks.spawn(async move {
            // Each writer has its own documents, so that what it told is in order.
            for step in 0_u64.. {
                let version = round * 1_000_000 + step;
                let numbers: Vec<_> = (0..5)
                    .map(|n| writer * 1000 + (step * 3 + n) % 60)
                    .collect();
                if writer == 0 && step == 4 {
                    let extra = spec(&format!("extra{round}-{step}"), 4);
                    index
                        .ensure(&namespace(), &collection("a"), &[extra])
                        .await
                        .unwrap();
                } else if step % 7 == 6 {
                    delete(&index, &numbers[..2]).await;
                } else {
                    upsert(&index, &numbers, version).await;
                }
            }
        });
    }
    tasks.join_next().await;
    unreachable!("writers go on until they are killed");
}

async fn upsert(index: &EdgeIndex, numbers: &[u64], version: u64) {
    say("begin", numbers, Some(version));
    let documents = numbers.iter().map(|number| {
        // Some documents are large, so that log files fill and kills hit their change.
        let text = "word ".repeat(if number.is_multiple_of(10) {
            100_000
        } else {
            50
        });
        let mut document = document(
            number,
            json!({"version": version, "number": number, "text": text}),
        );
        document.vectors = vec![vector("text", &unit_vector(version, 16))];
        document
    });
    index
        .upsert(&namespace(), &collection("a"), documents.collect())
        .await
        .unwrap();
    say("done", numbers, Some(version));
}

async fn delete(index: &EdgeIndex, numbers: &[u64]) {
    say("begin", numbers, None);
    let ids: Vec<_> = numbers.iter().map(id).collect();
    index
        .delete(&namespace(), &collection("a"), &ids)
        .await
        .unwrap();
    say("done", numbers, None);
}

/// One write for a line, so that a kill does not tear lines of different writers.
fn say(word: &str, numbers: &[u64], version: Option<u64>) {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    let version = version.map_or("-".to_owned(), |v| v.to_string());
    let line = format!("@{word} {version} {}\n", numbers.join(" "));
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

impl Told {
    fn read(&mut self, lines: &str) {
        // The test harness writes too, and the last line may be torn.
        let whole = lines
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        for line in whole.filter_map(|line| line.trim().split_once('@')) {
            let mut words = line.1.split(' ');
            let word = words.next().unwrap();
            let version = words.next().unwrap().parse().ok();
            for number in words.map(|n| n.parse().unwrap()) {
                if word == "begin" {
                    self.begun.entry(number).or_default().insert(version);
                } else {
                    self.acknowledged.insert(number, version);
                    self.begun.remove(&number);
                }
            }
        }
    }
}

/// Compares what is there with what was told, and takes it as the state from which the next round goes on.
async fn check(root: &Path, told: &mut Told) {
    let index = crate::common::open(root);
    let (ns, col) = (namespace(), collection("a"));
    let query = DocumentQuery {
        limit: 10_000,
        with_vectors: true,
        ..DocumentQuery::default()
    };
    let page = index.list(&ns, &col, &query).await.unwrap();
    let mut found = BTreeMap::new();
    for document in page.documents {
        let number = document.payload["number"].as_u64().unwrap();
        let version = document.payload["version"].as_u64().unwrap();
        assert_eq!(document.id, id(number));
        assert_eq!(
            document.vectors.len(),
            1,
            "document {number} has lost its vector"
        );
        assert_eq!(
            found.insert(number, version),
            None,
            "document {number} is there twice"
        );
    }
    assert_eq!(
        index.count(&ns, &col, &query).await.unwrap(),
        found.len() as u64
    );
    let numbers: BTreeSet<_> = told
        .acknowledged
        .keys()
        .chain(told.begun.keys())
        .copied()
        .collect();
    for number in numbers {
        let is = found.get(&number).copied();
        let was = told.acknowledged.get(&number).copied().flatten();
        let may_be = told
            .begun
            .get(&number)
            .is_some_and(|begun| begun.contains(&is));
        assert!(
            is == was || may_be,
            "document {number} is {is:?}, acknowledged {was:?}, begun {:?}",
            told.begun.get(&number)
        );
    }
    told.acknowledged = found
        .into_iter()
        .map(|(number, version)| (number, Some(version)))
        .collect();
    told.begun.clear();
    // The index can be written to as before.
    index
        .upsert(
            &ns,
            &col,
            vec![document(99_999, json!({"version": 0, "number": 99_999}))],
        )
        .await
        .unwrap();
    assert_eq!(index.delete(&ns, &col, &[id(99_999)]).await.unwrap(), 1);
}
