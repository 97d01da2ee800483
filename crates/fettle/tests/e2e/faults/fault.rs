//! One fault: what the rows do, what is done from outside, and what the diagnosis must say.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::server::{Server, patience, processes, text, wait};

/// Between two looks at the diagnosis.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Rows of a batch.
pub const ROWS: usize = 12;

/// A fault and what is to be said of it.
#[derive(Clone, Copy)]
pub struct Fault {
    /// For people; also the name of its bucket.
    pub name: &'static str,
    /// The extractor; `fault` does what its rows say.
    pub extractor: &'static str,
    /// Parameters of the extractor, as JSON.
    pub parameters: &'static str,
    /// What its rows are.
    pub rows: Rows,
    /// How many.
    pub rows_total: usize,
    /// Memory limit of a worker, in MiB.
    pub memory_mib: u64,
    /// What is done from outside, again and again until it says that it is done.
    pub shoot: Option<fn(&Run<'_>) -> bool>,
    pub expect: Expect,
}

/// The rows of a batch.
#[derive(Clone, Copy)]
pub enum Rows {
    /// What row `n` does; none means that it works.
    Deeds(fn(usize) -> Option<Value>),
    /// The addresses of their blobs, given a folder and a server that answers with any status.
    Addresses(fn(&Path, &str) -> Vec<String>),
}

/// What the diagnosis must say.
#[derive(Clone, Copy)]
pub struct Expect {
    pub status: &'static str,
    /// None where nothing failed.
    pub category: Option<&'static str>,
    /// An event that must be told.
    pub event: Option<&'static str>,
    /// The case that the verdict rests on.
    pub case: Option<&'static str>,
    /// Texts that the evidence must hold.
    pub evidence: &'static [&'static str],
}

/// A fault that runs.
pub struct Run<'a> {
    pub server: &'a Server,
    pub fault: Fault,
    pub dir: PathBuf,
    pub bucket: String,
    pub batch: String,
    pub job: String,
    /// Set when something was done from outside for the first time.
    shot_at: OnceLock<u128>,
    /// Rows that were answered with a shot.
    pub shots: AtomicUsize,
    is_over: AtomicBool,
}

/// What was seen of a fault.
pub struct Seen {
    pub diagnosis: Value,
    /// From the fault to the first diagnosis that names the case or the event.
    pub found_ms: Option<u128>,
    /// From the fault to the end of the batch.
    pub ended_ms: Option<u128>,
}

/// Milliseconds since the epoch, as the plugin writes them.
pub fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

impl<'a> Run<'a> {
    /// Makes the rows and submits them.
    pub fn start(server: &'a Server, root: &Path, http: &str, fault: Fault) -> Self {
        let name = fault
            .name
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let dir = root.join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        let bucket = server.bucket(&name);
        let parameters = serde_json::from_str(fault.parameters).unwrap();
        server.collection(&name, &bucket, fault.extractor, parameters);
        let addresses = match fault.rows {
            Rows::Deeds(deed) => orders(&dir, deed, fault.rows_total),
            Rows::Addresses(addresses) => addresses(&dir, http),
        };
        let objects = server.objects_at(&bucket, &addresses);
        let memory_bytes = fault.memory_mib << 20;
        let submission = json!({"resources": {"0": {"memory_bytes": memory_bytes, "num_cpus": 1}}});
        let batch = server.submit(&bucket, &objects, submission);
        let job = text(&server.batch(&batch)["tier_tasks"][0]["ray_job_id"]);
        Self {
            server,
            fault,
            dir,
            bucket,
            batch,
            job,
            shot_at: OnceLock::new(),
            shots: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Waits for the end, while shooting.
    pub fn finish(&self) -> Seen {
        self.finish_when(patience(), |diagnosis| self.is_found(diagnosis))
    }

    /// The same with a limit of its own, and with a word of its own for what is found.
    pub fn finish_when(&self, limit: Duration, is_found: impl Fn(&Value) -> bool) -> Seen {
        std::thread::scope(|scope| {
            if let Some(shoot) = self.fault.shoot {
                scope.spawn(move || {
                    while !self.is_over.load(Ordering::Relaxed) && !shoot(self) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                });
            }
            let seen = self.watch(limit, is_found);
            self.is_over.store(true, Ordering::Relaxed);
            seen
        })
    }

    fn watch(&self, limit: Duration, is_found: impl Fn(&Value) -> bool) -> Seen {
        let begin = Instant::now();
        let mut found = None;
        loop {
            let asked = Instant::now();
            let diagnosis = self.diagnosis();
            let took = asked.elapsed();
            let at = now_ms();
            if found.is_none() && is_found(&diagnosis) {
                found = Some(at);
            }
            let status = diagnosis["status"].as_str().unwrap_or_default();
            if ["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELED"].contains(&status) {
                let since = |at: u128| Some(at.saturating_sub(self.fault_at()?));
                return Seen {
                    diagnosis,
                    found_ms: found.and_then(since),
                    ended_ms: since(at),
                };
            }
            assert!(
                begin.elapsed() < limit,
                "{} does not end: {diagnosis:#}",
                self.fault.name
            );
            // Asking must not take the machine from what is asked about, where an emulated processor needs seconds for an answer.
            std::thread::sleep(LOOK_EVERY.max(3 * took));
        }
    }

    /// Waits for the end of what was begun again; its diagnosis.
    pub fn finish_again(&self) -> Value {
        self.server.wait_for_end(&self.batch);
        self.diagnosis()
    }

    pub fn diagnosis(&self) -> Value {
        let (bucket, batch) = (&self.bucket, &self.batch);
        let path = format!("/v1/buckets/{bucket}/batches/{batch}/diagnose");
        // An emulated machine may take longer over the first one than a request may take.
        wait("a diagnosis is made in time", || {
            let (status, answer) = self.server.try_call("GET", &path, None);
            (status != 504).then(|| {
                assert_eq!(status, 200, "{answer}");
                answer
            })
        })
    }

    /// Whether the diagnosis names what is expected, be it as an aside.
    fn is_found(&self, diagnosis: &Value) -> bool {
        let expect = &self.fault.expect;
        let has = |list: &Value, key: &str, wanted: &str| {
            let list = list.as_array().map_or(&[][..], Vec::as_slice);
            list.iter().any(|one| one[key] == wanted)
        };
        let case = expect.case;
        case.is_some_and(|case| has(&diagnosis["evidence"], "supports", case))
            || expect
                .event
                .is_some_and(|event| has(&diagnosis["infrastructure_events"], "event_type", event))
    }

    /// When the fault was: the first shot, else the first row that did what it was told.
    pub fn fault_at(&self) -> Option<u128> {
        let by_row = || {
            let trace = self.trace();
            let line = trace.lines().find(|line| line.starts_with("fault"))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        self.shot_at.get().copied().or_else(by_row)
    }

    /// What the rows wrote down: `begin`, `fault` or `end`, the row, the time.
    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.dir.join("trace")).unwrap_or_default()
    }

    /// Makes the rows behave from now on.
    pub fn cure(&self) {
        std::fs::write(self.dir.join("cure"), "").unwrap();
    }

    /// Notes that something is done from outside now.
    pub fn shot(&self) {
        let _ = self.shot_at.set(now_ms());
    }

    /// The folder that it shares with the server.
    pub fn root(&self) -> &Path {
        self.dir.parent().unwrap()
    }

    pub fn workers(&self) -> Vec<u32> {
        processes(&["worker", "--attempt-dir", &self.job])
    }

    pub fn drivers(&self) -> Vec<u32> {
        processes(&["job", "--spec", &self.job])
    }

    /// How often a row has done what it was told to.
    pub fn deeds(&self) -> usize {
        self.trace().matches("fault").count()
    }

    /// Panics unless the diagnosis says what is expected; what it says otherwise.
    pub fn check(&self, diagnosis: &Value) {
        if let Some(wrong) = self.what_is_wrong(diagnosis) {
            panic!("{}: {wrong}\n{}", self.fault.name, shown(diagnosis));
        }
    }

    /// The first thing that the diagnosis does not say as expected.
    pub fn what_is_wrong(&self, diagnosis: &Value) -> Option<String> {
        let expect = &self.fault.expect;
        let differs = |what: &str, found: &Value, wanted: Option<&str>| {
            (found.as_str() != wanted).then(|| format!("{what} is {found}, not {wanted:?}"))
        };
        let events = diagnosis["infrastructure_events"].as_array().unwrap();
        let event_is_told = expect
            .event
            .is_none_or(|event| events.iter().any(|e| e["event_type"] == event));
        let evidence = format!("{}{}", diagnosis["evidence"], diagnosis["error_groups"]);
        let missing = expect
            .evidence
            .iter()
            .find(|text| !evidence.contains(**text));
        differs("status", &diagnosis["status"], Some(expect.status))
            .or_else(|| differs("case", &diagnosis["case"], expect.case))
            .or_else(|| differs("category", &diagnosis["failure_category"], expect.category))
            .or_else(|| (!event_is_told).then(|| format!("no event {:?}", expect.event)))
            .or_else(|| missing.map(|text| format!("no evidence holds `{text}`")))
    }
}

/// What matters of a diagnosis.
fn shown(diagnosis: &Value) -> String {
    let keys = [
        "status",
        "failure_category",
        "case",
        "confidence",
        "failure_reason",
        "summary",
        "infrastructure_events",
        "evidence",
        "error_groups",
        "timeline",
    ];
    let shown: serde_json::Map<String, Value> = keys
        .iter()
        .map(|key| ((*key).to_owned(), diagnosis[*key].clone()))
        .collect();
    format!("{:#}", Value::Object(shown))
}

/// A file for each row, with its order.
fn orders(dir: &Path, deed: fn(usize) -> Option<Value>, count: usize) -> Vec<String> {
    let row = |n: usize| {
        let mut order = deed(n).unwrap_or_else(|| json!({"deed": "work"}));
        order["row"] = json!(n);
        order["trace"] = json!(dir.join("trace"));
        order["cure"] = json!(dir.join("cure"));
        let path = dir.join(format!("row-{n}.txt"));
        std::fs::write(&path, order.to_string()).unwrap();
        format!("file://{}", path.display())
    };
    (0..count).map(row).collect()
}
