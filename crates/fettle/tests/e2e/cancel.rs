//! Cancels and deletions at every level, in the middle of trouble: no process is left, and what was written is kept and counted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::plugins::install;
use crate::server::{Server, processes, signal, text, text_files, wait};

/// The row with this number computes for ever; the others leave time for trouble.
const MODULE: &str = r#"
import time

def run(rows):
    return [one(open(row["text"]["path"]).read()) for row in rows]

def one(text):
    while "number 60." in text:
        pass
    time.sleep(0.02)
    return {"length": len(text)}
"#;

/// A batch in the middle of its rows.
struct Running<'a> {
    server: &'a Server,
    bucket: String,
    collection: String,
    batch: String,
    job: String,
}

impl<'a> Running<'a> {
    fn start(server: &'a Server, name: &str, files: &[std::path::PathBuf]) -> Self {
        let bucket = server.bucket(name);
        let collection = server.collection(name, &bucket, "pacer", json!({}));
        let objects = server.objects(&bucket, files);
        let batch = server.submit(&bucket, &objects, json!({}));
        let job = text(&server.batch(&batch)["tier_tasks"][0]["ray_job_id"]);
        let running = Self {
            server,
            bucket,
            collection,
            batch,
            job,
        };
        wait("rows are finished", || {
            let done = running.server.batch(&running.batch)["progress"]["processed"].as_u64();
            (done >= Some(10)).then_some(())
        });
        running
    }

    fn path(&self) -> String {
        format!("/v1/buckets/{}/batches/{}", self.bucket, self.batch)
    }

    fn processes(&self, words: &[&str]) -> Vec<u32> {
        processes(&[words, &[self.job.as_str()]].concat())
    }

    /// Cancels by this call; what must hold then.
    fn cancel(&self, call: &str) -> Value {
        self.server
            .post(&format!("{}{call}", self.path()), json!({}));
        let ended = self.server.wait_for_end(&self.batch);
        assert_eq!(ended["status"], "CANCELED", "{call}: {ended:#}");
        assert_eq!(
            self.processes(&[]),
            Vec::<u32>::new(),
            "{call}: left behind"
        );
        let audit = self.server.get(&format!("{}/audit", self.path()));
        let processed = audit["tiers"][0]["processed"].as_u64();
        let path = format!("/v1/collections/{}/documents/count", self.collection);
        let count = self.server.get(&path);
        assert!(processed >= Some(10), "{call}: {audit:#}");
        assert_eq!(
            ended["documents_written"].as_u64(),
            processed,
            "{call}: {ended:#}"
        );
        assert!(
            count.to_string().contains(&processed.unwrap().to_string()),
            "{call}: {count}"
        );
        ended
    }
}

#[test]
fn cancels_at_every_level_in_the_middle_of_trouble_leave_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 400);
    let good: Vec<_> = files
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != 60)
        .map(|(_, file)| file.clone())
        .collect();
    let arguments = ["--capacity-cpus", "8"];
    let server = Server::start(&dir.path().join("data"), dir.path(), &arguments);
    install(&server, "pacer", "batch_rows = 1", MODULE);

    let halted = Running::start(&server, "halted", &good);
    halted
        .processes(&["worker"])
        .into_iter()
        .for_each(|pid| signal("STOP", pid));
    let job = halted.job.clone();
    halted.cancel(&format!("/tiers/0/jobs/{job}/cancel"));

    let deaf = Running::start(&server, "deaf", &good);
    deaf.processes(&["job", "--spec"])
        .into_iter()
        .for_each(|pid| signal("STOP", pid));
    deaf.cancel("/tiers/0/cancel");

    let looping = Running::start(&server, "looping", &files);
    // Rows that are in work together with the endless one have no outcome yet, however quick they were.
    let mut seen = (None, Instant::now());
    wait("the endless row is reached", || {
        let done = server.batch(&looping.batch)["progress"]["processed"].as_u64();
        if done != seen.0 {
            seen = (done, Instant::now());
        }
        (done >= Some(20) && seen.1.elapsed() > Duration::from_secs(2)).then_some(())
    });
    let (status, refused) = server.try_call("DELETE", &looping.path(), None);
    assert_eq!(status, 409, "what runs is not deleted: {refused}");
    looping.cancel("/cancel?reason=enough");

    let waiting = Running::start(&server, "waiting", &good);
    waiting
        .processes(&["job", "--spec"])
        .into_iter()
        .for_each(|pid| signal("TERM", pid));
    wait("the next attempt waits", || {
        let diagnosis = server.get(&format!("{}/diagnose", waiting.path()));
        diagnosis["timeline"]
            .to_string()
            .contains("retry in")
            .then_some(())
    });
    waiting.cancel("/cancel");

    server.call("DELETE", &waiting.path(), None);
    let (status, _) = server.try_call("GET", &waiting.path(), None);
    assert_eq!(status, 404);
    for of in [&halted, &deaf, &looping, &waiting] {
        let path = format!("/v1/buckets/{}?force_foreclose=true", of.bucket);
        server.call("DELETE", &path, None);
        let path = format!("/v1/collections/{}", of.collection);
        server.call("DELETE", &path, None);
    }
    assert!(processes(&["job", "--spec", &server.data_dir().display().to_string()]).is_empty());
}
