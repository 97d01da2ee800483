//! Plugins: registered, run in their own process, and wrong in every way without stopping a batch.

use std::io::{Cursor, Write as _};

use serde_json::{Value, json};

use crate::server::{KEY, Server, text};

const PYTHON: &str = r#"
name = "word_count"
version = "v1"
kind = "python"
entry = "words:run"

[[inputs]]
key = "text"

[[vectors]]
name = "word_count_v1_length"
dimensions = 2
"#;

const WORDS: &str = r#"
import os

def run(rows):
    return [count(open(row["text"]["path"]).read()) for row in rows]

def count(text):
    if "boom" in text:
        return ValueError("this text goes boom")
    if "crash" in text:
        os.abort()
    words = text.split()
    return {"words": len(words), "vectors": {"word_count_v1_length": [float(len(words)), 1.0]}}
"#;

const SHELL: &str = r#"
name = "shout"
version = "v1"
kind = "exec"
entry = ["sh", "shout.sh"]

[[inputs]]
key = "text"
"#;

const SHOUT: &str = r#"
while read -r line; do
    echo '{"documents": [{"shouted": true}]}'
done
"#;

pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub fn register(server: &Server, archive: Vec<u8>) -> (u16, Value) {
    let request = server.http.post(server.url("/v1/plugins")).bearer_auth(KEY);
    let answer = request
        .header("content-type", "application/zip")
        .body(archive)
        .send()
        .unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().unwrap())
}

/// Registers a Python module as the plugin `name`, which reads files; `more` stands in its manifest too.
pub fn install(server: &Server, name: &str, more: &str, module: &str) {
    let manifest = format!(
        "name = \"{name}\"\nversion = \"v1\"\nkind = \"python\"\nentry = \"{name}:run\"\n{more}\n[[inputs]]\nkey = \"text\"\n"
    );
    let module = (format!("{name}.py"), module);
    let files = [
        ("fettle-plugin.toml", manifest.as_str()),
        (&module.0, module.1),
    ];
    let (status, answer) = register(server, archive(&files));
    assert!((200..300).contains(&status), "{status} {answer}");
}

fn write(dir: &std::path::Path, texts: &[&str]) -> Vec<std::path::PathBuf> {
    std::fs::create_dir_all(dir).unwrap();
    let file = |(n, text): (usize, &&str)| {
        let path = dir.join(format!("{n}.txt"));
        std::fs::write(&path, text).unwrap();
        path
    };
    texts.iter().enumerate().map(file).collect()
}

#[test]
fn a_python_plugin_fails_rows_and_crashes_and_the_others_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let texts = ["one two", "boom", "three", "crash", "four five six"];
    let files = write(&dir.path().join("files"), &texts);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    let (status, plugin) = register(
        &server,
        archive(&[("fettle-plugin.toml", PYTHON), ("words.py", WORDS)]),
    );
    assert!((200..300).contains(&status), "{status} {plugin}");
    let bucket = server.bucket("plugged");
    let collection = server.collection("counted", &bucket, "word_count", json!({}));
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED_WITH_ERRORS", "{ended:#}");
    let params = &ended["tier_tasks"][0]["submission_params"];
    assert_eq!(
        params["plugin_archives"].as_array().map(Vec::len),
        Some(1),
        "{params}"
    );
    let failed = server.get(&format!(
        "/v1/buckets/{bucket}/batches/{batch}/failed-documents"
    ));
    let failed = failed.to_string();
    assert!(failed.contains("this text goes boom"), "{failed}");
    assert!(failed.contains("SIGABRT"), "{failed}");
    let documents = server.post(
        &format!("/v1/collections/{collection}/documents/list"),
        json!({"limit": 10}),
    );
    let words: Vec<u64> = documents["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["words"].as_u64().unwrap())
        .collect();
    assert_eq!(words.iter().sum::<u64>(), 2 + 1 + 3, "{documents:#}");
}

#[test]
fn an_exec_plugin_is_any_program_that_answers_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let files = write(&dir.path().join("files"), &["a", "b", "c"]);
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    let (status, plugin) = register(
        &server,
        archive(&[("fettle-plugin.toml", SHELL), ("shout.sh", SHOUT)]),
    );
    assert!((200..300).contains(&status), "{status} {plugin}");
    let bucket = server.bucket("loud");
    server.collection("shouts", &bucket, "shout", json!({}));
    let objects = server.objects(&bucket, &files);
    let batch = server.submit(&bucket, &objects, json!({}));
    let ended = server.wait_for_end(&batch);
    assert_eq!(ended["status"], "COMPLETED", "{ended:#}");
}

#[test]
fn an_archive_that_would_escape_its_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), dir.path(), &[]);
    let escaping = archive(&[("fettle-plugin.toml", SHELL), ("../../evil.sh", "echo")]);
    let (status, answer) = register(&server, escaping);
    assert_eq!(status, 422, "{answer}");
    assert!(
        text(&answer["error"]["message"]).contains("evil.sh"),
        "{answer}"
    );
}
