//! How fast and how large. Not a test of anything: run it with `--ignored --nocapture` and read what it says.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_index::EdgeIndex;
use fettle_ports::{DocumentQuery, Index};
use serde_json::json;

use crate::common::{collection, namespace, open, spec, typical, unit_vector, vector};

const DIMENSIONS: u32 = 384;
const PER_CALL: u64 = 64;

/// Resident memory: all of it, and that part of it which is not the cache of files.
fn memory_mib() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (kib("VmRSS:") / 1024, kib("RssAnon:") / 1024)
}

fn disk_mib(path: &Path) -> u64 {
    let out = std::process::Command::new("du")
        .args(["-sk"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!("p50 {:?} p95 {:?} max {:?}", at(50), at(95), at(100))
}

async fn fill(index: &Arc<EdgeIndex>, name: &'static str, total: u64, callers: u64) -> f64 {
    let (ns, col) = (namespace(), collection(name));
    index
        .ensure(&ns, &col, &[spec("text", DIMENSIONS)])
        .await
        .unwrap();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (index, ns, col) = (Arc::clone(index), ns.clone(), col.clone());
        tasks.spawn(async move {
            for call in (caller..total / PER_CALL).step_by(usize::try_from(callers).unwrap()) {
                let first = call * PER_CALL;
                let documents = (first..first + PER_CALL).map(|n| typical(n, DIMENSIONS as usize));
                index.upsert(&ns, &col, documents.collect()).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    total as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and takes minutes"]
async fn measure() {
    let root = tempfile::tempdir().unwrap();
    let index = Arc::new(open(root.path()));
    println!("memory at start: {:?} MiB (all, anonymous)", memory_mib());
    for (name, total, callers) in [("one", 6_400, 1), ("four", 6_400, 4), ("large", 20_480, 4)] {
        let rate = fill(&index, name, total, callers).await;
        println!(
            "{name}: {total} documents by {callers} callers: {rate:.0} documents/s, memory {:?} MiB",
            memory_mib()
        );
    }
    let (ns, col) = (namespace(), collection("large"));
    println!(
        "disk of 20480 documents: {} MiB",
        disk_mib(&root.path().join("ns_test/col_large"))
    );

    let mut times = Vec::new();
    for number in 0..100 {
        let one = vec![typical(1_000_000 + number, DIMENSIONS as usize)];
        let started = Instant::now();
        index.upsert(&ns, &col, one).await.unwrap();
        times.push(started.elapsed());
    }
    println!("upsert of 1 document: {}", percentiles(times));

    let mut times = Vec::new();
    for seed in 0..20 {
        let query = vector("text", &unit_vector(seed, DIMENSIONS as usize));
        let started = Instant::now();
        index.search(&ns, &col, &query, None, 10).await.unwrap();
        times.push(started.elapsed());
    }
    println!("search of 20480: {}", percentiles(times));
    let started = Instant::now();
    let query = DocumentQuery {
        limit: 100,
        ..DocumentQuery::default()
    };
    index.list(&ns, &col, &query).await.unwrap();
    println!("list of 100: {:?}", started.elapsed());
    let started = Instant::now();
    let rare =
        serde_json::from_value(json!({"field": "number", "operator": "lt", "value": 10})).unwrap();
    index
        .count(
            &ns,
            &col,
            &DocumentQuery {
                filter: Some(rare),
                ..query
            },
        )
        .await
        .unwrap();
    println!("count with a filter over 20480: {:?}", started.elapsed());

    drop(index);
    println!("memory when closed: {:?} MiB", memory_mib());
    let index = open(root.path());
    let started = Instant::now();
    index
        .count(&ns, &col, &DocumentQuery::default())
        .await
        .unwrap();
    println!(
        "reopening 20480 and counting: {:?}, memory {:?} MiB",
        started.elapsed(),
        memory_mib()
    );
    for number in 0..31 {
        index
            .ensure(
                &ns,
                &collection(&format!("empty{number}")),
                &[spec("text", DIMENSIONS)],
            )
            .await
            .unwrap();
    }
    println!(
        "with {} shards open: memory {:?} MiB",
        index.open_shards(),
        memory_mib()
    );
    println!(
        "disk of an empty collection: {} MiB",
        disk_mib(&root.path().join("ns_test/col_empty0"))
    );
    println!(
        "files open: {}, maps: {}",
        std::fs::read_dir("/proc/self/fd").unwrap().count(),
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    );
}
