//! A host with real processes: it does what its driver would do beside a worker, and says what a driver must know.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::adopt::{attempt_folder, copy};
use crate::plugins::install;
use crate::server::{Server, patience, signal, text_files, wait};

const SLEEPS: &str = r#"
import time

def run(rows):
    time.sleep(0.3 * len(rows))
    return [{"length": len(open(row["text"]["path"]).read())} for row in rows]
"#;

/// A `fettle host`, as an actor has it.
struct Host {
    child: Child,
    input: ChildStdin,
    said: Receiver<Value>,
}

impl Host {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fettle"))
            .args(["host", "--worker", "7", "--spec"])
            .arg(folder.join("spec.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if say.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, input, said }
    }

    fn tell(&mut self, order: &Value) {
        writeln!(self.input, "{order}").unwrap();
    }

    /// The next word of this type for which `is_it` holds.
    fn hears(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let word = self.said.recv_timeout(patience()).unwrap();
            assert_ne!(word["type"], "failed", "{word}");
            if word["type"] == kind && is_it(&word) {
                return word;
            }
        }
    }

    /// Starts the worker; its process.
    fn starts(&mut self) -> u32 {
        self.tell(&json!({"type": "start"}));
        let started = self.hears("started", |_| true);
        self.hears("said", |word| word["frame"]["type"] == "ready");
        started["pid"].as_u64().unwrap() as u32
    }
}

#[test]
fn a_host_runs_watches_and_ends_a_worker_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let files = text_files(&dir.path().join("files"), 1_000);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    install(&server, "sleeper", "", SLEEPS);
    let bucket = server.bucket("hosted");
    server.collection("slow", &bucket, "sleeper", json!({}));
    let objects = server.objects(&bucket, &files);
    let one_cpu = json!({"resources": {"0": {"num_cpus": 1}}});
    let batch = server.submit(&bucket, &objects, one_cpu);
    wait("the batch runs", || {
        let model = server.batch(&batch);
        (model["progress"]["processed"].as_u64() > Some(0)).then_some(())
    });
    let folder = dir.path().join("host");
    copy(&attempt_folder(&server), &folder);

    let mut host = Host::start(&folder);
    let first = host.starts();
    host.tell(&json!({"type": "frame", "frame": {"type": "run", "rows": [998, 999]}}));
    host.hears("said", |word| {
        word["frame"]["type"] == "finished" && word.to_string().contains("999")
    });
    let seen = host.hears("seen", |word| !word["glimpse"]["process"].is_null());
    assert_eq!(seen["glimpse"]["process"]["pid"], first);
    assert!(
        seen["glimpse"]["memory"]["current_bytes"].as_u64() > Some(0),
        "{seen}"
    );

    signal("KILL", first);
    let ended = host.hears("ended", |_| true);
    assert_eq!(ended["exit"]["signal"], 9, "{ended}");

    let second = host.starts();
    assert_ne!(second, first);
    host.tell(&json!({"type": "stand", "last_step_at": 5}));
    let stood = host.hears("stood", |_| true);
    assert!(
        stood["stand"]
            .as_str()
            .unwrap()
            .contains(&format!("process {second}")),
        "{stood}"
    );
    host.tell(&json!({"type": "order", "order": "kill"}));
    let killed = host.hears("killed", |_| true);
    assert!(
        killed["threads"]
            .as_str()
            .unwrap()
            .contains("threads when it was ended")
    );
    host.hears("ended", |word| word["exit"]["signal"] == 9);

    let third = host.starts();
    drop(host.input);
    let status = wait("the host ends with its input", || {
        host.child.try_wait().unwrap()
    });
    assert!(status.success(), "{status}");
    wait("its worker is gone", || {
        (!Path::new(&format!("/proc/{third}")).exists()).then_some(())
    });
}
