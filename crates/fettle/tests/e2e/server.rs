//! A real `fettle serve` in its own data directory, and the calls that tests make.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The key that tests set.
pub const KEY: &str = "fk_test_0123456789abcdefghijklmnopqrstuv";

/// Nothing in these tests needs longer; a slow machine gets this much, an emulated one what `FETTLE_TEST_PATIENCE_S` says.
pub fn patience() -> Duration {
    const USUAL_S: u64 = 120;
    let told = std::env::var("FETTLE_TEST_PATIENCE_S").ok();
    Duration::from_secs(told.and_then(|told| told.parse().ok()).unwrap_or(USUAL_S))
}

/// A server that is killed, with its drivers, when it is dropped.
pub struct Server {
    child: Child,
    data_dir: PathBuf,
    port: u16,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// A program that starts the server, with its arguments; none starts it directly.
    under: Vec<String>,
    pub http: reqwest::blocking::Client,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// Starts a server that may read files below `root`.
    pub fn start(data_dir: &Path, root: &Path, extra: &[&str]) -> Self {
        Self::start_with(data_dir, root, extra, Vec::new())
    }

    /// The same with more environment.
    pub fn start_with(
        data_dir: &Path,
        root: &Path,
        extra: &[&str],
        env: Vec<(String, String)>,
    ) -> Self {
        Self::start_under(data_dir, root, extra, env, &[])
    }

    /// The same, started by another program such as `setpriv`, which must replace itself with the server.
    pub fn start_under(
        data_dir: &Path,
        root: &Path,
        extra: &[&str],
        env: Vec<(String, String)>,
        under: &[&str],
    ) -> Self {
        let under: Vec<String> = under.iter().map(|arg| (*arg).to_owned()).collect();
        let mut args = vec!["--allow-file-root".to_owned(), root.display().to_string()];
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        let port = free_port();
        let http = reqwest::blocking::Client::builder()
            .timeout(patience())
            .build()
            .unwrap();
        let child = spawn(data_dir, port, &args, &env, &under);
        let server = Self {
            child,
            data_dir: data_dir.to_owned(),
            port,
            args,
            env,
            under,
            http,
        };
        server.wait_until_it_answers();
        server
    }

    /// Ends it without warning, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits for its exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap()
    }

    /// Starts it again on the same data and port.
    pub fn restart(&mut self) {
        let (args, env, under) = (&self.args, &self.env, &self.under);
        self.child = spawn(&self.data_dir, self.port, args, env, under);
        self.wait_until_it_answers();
    }

    /// The next start is with another value of this argument.
    pub fn replace_argument(&mut self, name: &str, value: &str) {
        let at = self.args.iter().position(|arg| arg == name).unwrap();
        value.clone_into(&mut self.args[at + 1]);
    }

    fn wait_until_it_answers(&self) {
        let url = self.url("/v1/health/liveness");
        wait("the server answers", || {
            let answer = self.http.get(&url).timeout(Duration::from_secs(2)).send();
            answer
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(())
        });
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A call that must succeed.
    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.try_call(method, path, body);
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// A call and its status.
    pub fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, self.url(path)).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, None)
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, Some(body))
    }

    /// A bucket for files, by name.
    pub fn bucket(&self, name: &str) -> String {
        let schema = json!({"properties": {"file": {"type": "text"}}});
        let bucket = self.post(
            "/v1/buckets",
            json!({"bucket_name": name, "bucket_schema": schema}),
        );
        text(&bucket["bucket_id"])
    }

    /// A collection over a bucket.
    pub fn collection(
        &self,
        name: &str,
        bucket: &str,
        extractor: &str,
        parameters: Value,
    ) -> String {
        let source = json!({"type": "bucket", "bucket_ids": [bucket]});
        self.collection_from(name, source, extractor, parameters)
    }

    /// A collection over any source.
    pub fn collection_from(
        &self,
        name: &str,
        source: Value,
        extractor: &str,
        parameters: Value,
    ) -> String {
        let extractor = json!({"feature_extractor_name": extractor, "version": "v1", "parameters": parameters, "input_mappings": mappings(extractor)});
        let body =
            json!({"collection_name": name, "source": source, "feature_extractor": extractor});
        text(&self.post("/v1/collections", body)["collection_id"])
    }

    /// Objects with one `file://` blob each; returns their ids.
    pub fn objects(&self, bucket: &str, files: &[PathBuf]) -> Vec<String> {
        let address = |file: &PathBuf| format!("file://{}", file.display());
        let addresses: Vec<String> = files.iter().map(address).collect();
        self.objects_at(bucket, &addresses)
    }

    /// Objects with one blob each at these addresses; returns their ids.
    pub fn objects_at(&self, bucket: &str, addresses: &[String]) -> Vec<String> {
        let mut ids = Vec::new();
        for chunk in addresses.chunks(100) {
            let objects: Vec<Value> = chunk
                .iter()
                .map(|data| json!({"blobs": [{"property": "file", "type": "text", "data": data}]}))
                .collect();
            let path = format!("/v1/buckets/{bucket}/objects/batch");
            let answer = self.post(&path, json!({"objects": objects}));
            assert_eq!(answer["failed_count"], 0, "{answer}");
            for object in answer["succeeded"].as_array().unwrap() {
                ids.push(text(&object["object_id"]));
            }
        }
        ids
    }

    /// A submitted batch of these objects.
    pub fn submit(&self, bucket: &str, objects: &[String], submission: Value) -> String {
        let created = self.post(
            &format!("/v1/buckets/{bucket}/batches"),
            json!({"object_ids": objects}),
        );
        let batch = text(&created["batch_id"]);
        self.post(
            &format!("/v1/buckets/{bucket}/batches/{batch}/submit"),
            submission,
        );
        batch
    }

    pub fn batch(&self, batch: &str) -> Value {
        self.get(&format!("/v1/batches/{batch}"))
    }

    /// Waits for a terminal status.
    pub fn wait_for_end(&self, batch: &str) -> Value {
        wait(&format!("batch {batch} ends"), || {
            let now = self.batch(batch);
            let status = now["status"].as_str().unwrap_or_default();
            let over = ["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELED"];
            over.contains(&status).then_some(now)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Drivers, and plugins that never look up, outlive their server on purpose; a test must not leave them.
        for left in processes(&[&self.data_dir.display().to_string()]) {
            signal("KILL", left);
        }
    }
}

fn spawn(
    data_dir: &Path,
    port: u16,
    args: &[String],
    env: &[(String, String)],
    under: &[String],
) -> Child {
    std::fs::create_dir_all(data_dir).unwrap();
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data_dir.join("serve.log"))
        .unwrap();
    let mut words = under.iter().map(String::as_str);
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(env!("CARGO_BIN_EXE_fettle"));
            command
        }
        None => Command::new(env!("CARGO_BIN_EXE_fettle")),
    };
    command
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--data-dir",
        ])
        .arg(data_dir)
        .args(args)
        .env("FETTLE_API_KEY", KEY)
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A JSON string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

/// Waits for a condition, with a limit.
#[track_caller]
pub fn wait<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_for(patience().as_secs(), what, condition)
}

/// The same with a limit of its own, in seconds.
#[track_caller]
pub fn wait_for<T>(limit_s: u64, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(limit_s),
            "waited {limit_s} s until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Process ids whose command line holds all of these words.
pub fn processes(words: &[&str]) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words_here: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        !line.is_empty()
            && words.iter().all(|word| {
                words_here.iter().any(|here| {
                    here.windows(word.len())
                        .any(|window| window == word.as_bytes())
                })
            })
    })
    .collect()
}

/// Drivers that work for this data directory.
pub fn drivers(data_dir: &Path) -> Vec<u32> {
    processes(&["job", "--spec", &data_dir.display().to_string()])
}

/// Workers that work for this data directory.
pub fn workers(data_dir: &Path) -> Vec<u32> {
    processes(&["worker", "--attempt-dir", &data_dir.display().to_string()])
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
}

/// `count` small text files.
pub fn text_files(dir: &Path, count: usize) -> Vec<PathBuf> {
    std::fs::create_dir_all(dir).unwrap();
    (0..count)
        .map(|n| {
            let path = dir.join(format!("file-{n:05}.txt"));
            let body = format!(
                "File number {n}. A line about apples.\n\nAnother about rivers and number {n}."
            );
            std::fs::write(&path, body).unwrap();
            path
        })
        .collect()
}

/// Plugins must be told what to read; what is built in takes what fits.
fn mappings(extractor: &str) -> Value {
    match extractor {
        built_in if built_in.ends_with("_extractor") => json!({}),
        _ => json!({"text": "file"}),
    }
}
