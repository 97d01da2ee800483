//! Real faults, injected for real, on the local backend: each must be named right, with its evidence.

use std::path::Path;

use serde_json::{Value, json};

use crate::server::Server;

#[path = "faults/auto.rs"]
mod auto;
#[path = "faults/auto_table.rs"]
mod auto_table;
#[path = "faults/fault.rs"]
mod fault;
#[path = "faults/gauntlet.rs"]
mod gauntlet;
#[path = "faults/http.rs"]
mod http;
#[path = "faults/inject.rs"]
mod inject;
#[path = "faults/plugin.rs"]
mod plugin;
#[path = "faults/table.rs"]
mod table;

use fault::{Fault, Run};

/// Everything may run at once: most of the time is spent waiting.
const AT_ONCE: [&str; 2] = ["--capacity-cpus", "64"];

/// A server for faults; `blobs` is where an HTTP server answers.
fn server(root: &Path, blobs: &str, extra: &[&str], confinement: &str) -> Server {
    let host = blobs.trim_start_matches("http://");
    let args = [&AT_ONCE, &["--allow-private-host", host], extra].concat();
    let env = vec![("FETTLE_CONFINEMENT".to_owned(), confinement.to_owned())];
    let server = Server::start_under(&root.join("data"), root, &args, env, &without_override());
    plugin::register_all(&server);
    server
}

/// Root may read every file; without these capabilities it may not, so that refused permissions can be tested as root too.
fn without_override() -> Vec<&'static str> {
    let is_there = std::process::Command::new("setpriv")
        .arg("--version")
        .output();
    let id = std::process::Command::new("id").arg("-u").output().unwrap();
    match is_there {
        Ok(_) if id.stdout == b"0\n" => vec![
            "setpriv",
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-dac_override,-dac_read_search",
        ],
        _ => Vec::new(),
    }
}

/// Runs faults at once and checks what is said of each.
fn check(server: &Server, root: &Path, blobs: &str, faults: &[Fault]) {
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || {
                let run = Run::start(server, root, blobs, *fault);
                run.check(&run.finish().diagnosis);
            });
        }
    });
}

#[test]
fn faults_of_single_rows_and_blobs_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = http::start();
    let server = server(dir.path(), &blobs, &["--row-timeout", "2"], "");
    check(&server, dir.path(), &blobs, table::ROW_FAULTS);
    check(&server, dir.path(), &blobs, table::PARAMETER_FAULTS);
    check(&server, dir.path(), &blobs, table::BLOB_FAULTS);
}

#[test]
fn parameters_that_are_known_to_be_bad_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), "http://127.0.0.1:9", &[], "");
    let bucket = server.bucket("b");
    let collection = |extractor: &str, parameters: Value, mappings: Value| {
        json!({
            "collection_name": "refused",
            "source": {"type": "bucket", "bucket_ids": [bucket]},
            "feature_extractor": {"feature_extractor_name": extractor, "version": "v1",
                "parameters": parameters, "input_mappings": mappings},
        })
    };
    let text = json!({"text": "body"});
    for (extractor, parameters, named) in [
        ("picky", json!({"mode": 7}), "mode"),
        ("picky", json!({}), "mode"),
        ("picky", json!({"mode": "fast", "pace": 1}), "pace"),
        ("text_extractor", json!({"chunk_size": 0}), "chunk_size"),
        ("text_extractor", json!({"embedding": "big"}), "embedding"),
    ] {
        let body = collection(extractor, parameters, text.clone());
        let (status, answer) = server.try_call("POST", "/v1/collections", Some(body));
        assert_eq!(status, 422, "{answer:#}");
        assert_eq!(answer["error"]["type"], "ValidationError", "{answer:#}");
        let details = answer["error"]["details"].to_string();
        assert!(details.contains(named), "{named} is not named: {answer:#}");
    }
}

#[test]
fn ends_of_workers_and_drivers_and_extractors_that_do_not_start_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = http::start();
    let server = server(dir.path(), &blobs, &[], "");
    check(&server, dir.path(), &blobs, table::PROCESS_FAULTS);
}

#[test]
fn memory_that_the_kernel_took_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = http::start();
    let server = server(dir.path(), &blobs, &[], "");
    check(&server, dir.path(), &blobs, table::CGROUP_FAULTS);
}

#[test]
fn memory_that_was_refused_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = http::start();
    let server = server(dir.path(), &blobs, &[], "rlimit");
    check(&server, dir.path(), &blobs, table::RLIMIT_FAULTS);
}

/// A small disk that goes with its mount.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None`, and a word on standard error, where mounting is not allowed.
    #[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
    fn mount(path: std::path::PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path);
        match mount.status() {
            Ok(status) if status.success() => Some(Self(path)),
            _ => {
                eprintln!("SKIPPED: a small disk cannot be mounted here; it takes root");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

/// A server whose data folder, which holds the plugins' temporary files too, is on a small disk. What is dropped first comes last.
fn on_small_data_disk(blobs: &str) -> Option<(tempfile::TempDir, SmallDisk, Server)> {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path().join("data"), "400m")?;
    let server = server(dir.path(), blobs, &[], "");
    Some((dir, disk, server))
}

/// A server whose blob store takes nothing more.
fn on_full_blob_disk(blobs: &str) -> Option<(tempfile::TempDir, SmallDisk, Server)> {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path().join("blobs"), "1m")?;
    let address = format!("file://{}", disk.0.display());
    let server = server(dir.path(), blobs, &["--blobs", &address], "");
    let filler = std::fs::write(disk.0.join("filler"), vec![0; 2 << 20]);
    assert!(filler.is_err(), "the small disk is not small");
    Some((dir, disk, server))
}

#[test]
fn a_full_disk_of_temporary_files_is_named() {
    let blobs = http::start();
    if let Some((dir, _disk, server)) = on_small_data_disk(&blobs) {
        check(&server, dir.path(), &blobs, table::DISK_FAULTS);
    }
}

#[test]
fn a_full_disk_of_blobs_is_named() {
    let blobs = http::start();
    if let Some((dir, _disk, server)) = on_full_blob_disk(&blobs) {
        check(&server, dir.path(), &blobs, table::BLOB_DISK_FAULTS);
    }
}
