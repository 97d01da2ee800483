//! The first start: a key that is shown once, and an address that it must not guard.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::server::{patience, signal};

fn serve(data_dir: &Path, listen: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fettle"))
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
        .env_remove("FETTLE_API_KEY")
        .output()
        .unwrap()
}

/// Neither start gets as far as listening, so both end by themselves.
#[test]
fn a_new_key_is_shown_even_when_the_server_then_refuses_to_listen() {
    let dir = tempfile::tempdir().unwrap();
    let first = serve(dir.path(), "0.0.0.0:1");
    assert_eq!(first.status.code(), Some(9));
    let refusal = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(refusal.contains("FETTLE_API_KEY"), "{refusal}");
    let shown = String::from_utf8_lossy(&first.stdout).into_owned();
    let key = shown
        .split_whitespace()
        .find(|word| word.starts_with("fk_"))
        .unwrap();
    assert!(key.len() > 40, "{shown}");
    assert!(!refusal.contains(key), "the key is in the log");
    let again = serve(dir.path(), "0.0.0.0:1");
    assert!(again.stdout.is_empty(), "a key is shown once");
    let kept = std::fs::read(dir.path().join("state.sqlite")).unwrap();
    let is_kept = kept
        .windows(key.len())
        .any(|window| window == key.as_bytes());
    assert!(!is_kept, "the key itself is stored");
}

/// A server on `data_dir` with no key given, until it is dropped.
struct Plain {
    child: Child,
    url: String,
    said: mpsc::Receiver<String>,
}

impl Plain {
    fn start(data_dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_fettle"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
            .arg("--data-dir")
            .arg(data_dir)
            .env_remove("FETTLE_API_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (say, said) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            said,
        }
    }

    /// What `fettle` answers with this key, once the server does.
    fn ask(&self, key: &str, args: &[&str]) -> Output {
        let since = Instant::now();
        loop {
            let output = Command::new(env!("CARGO_BIN_EXE_fettle"))
                .args(args)
                .args(["--url", &self.url])
                .env("FETTLE_API_KEY", key)
                .output()
                .unwrap();
            let is_away = output.status.code() == Some(UNREACHABLE);
            if !is_away || since.elapsed() > patience() {
                return output;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        signal("TERM", self.child.id());
        let _ = self.child.wait();
    }
}

/// The exit code of a command that finds no server.
const UNREACHABLE: i32 = 5;

fn run(folder: &Path, data_dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fettle"))
        .arg("run")
        .arg(folder)
        .arg("--data-dir")
        .arg(data_dir)
        .env_remove("FETTLE_API_KEY")
        .env_remove("FETTLE_URL")
        .env_remove("FETTLE_MODEL_DIR")
        .output()
        .unwrap()
}

#[test]
fn after_a_run_of_its_own_a_server_shows_its_key_and_later_runs_leave_that_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (files, data) = (dir.path().join("files"), dir.path().join("data"));
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("good.txt"), "A line about apples.").unwrap();
    std::fs::write(files.join("bad.pdf"), "%PDF-1.7 and nothing more").unwrap();
    let first = run(&files, &data);
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    let again = format!("fettle serve --data-dir {}", data.display());
    assert!(told.contains(&again), "{told}");
    let batch = told
        .lines()
        .find_map(|line| line.split("fettle batch failed ").nth(1))
        .unwrap_or_else(|| panic!("no next step: {told}"));
    let batch = batch.trim_end_matches('`');

    let server = Plain::start(&data);
    let mut lines = std::iter::from_fn(|| server.said.recv_timeout(patience()).ok());
    let key = lines.find(|line| line.starts_with("fk_")).unwrap();
    let failed = server.ask(&key, &["batch", "failed", batch, "--json"]);
    let failed: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(failed["total"], 1, "{failed:#}");
    drop(server);

    assert!(run(&files, &data).status.code().is_some());
    let server = Plain::start(&data);
    let listed = server.ask(&key, &["batch", "list"]);
    assert!(listed.status.success(), "{listed:?}");
}
