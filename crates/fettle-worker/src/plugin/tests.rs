//! Real plugin processes: Python and programs, with all the ways in which they fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::extract::{InputValue, LoadedBlob};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    fs::create_dir(folder.path().join("scratch")).unwrap();
    folder
}

fn place(folder: &Path, row_timeout: Option<Duration>) -> PluginPlace {
    PluginPlace {
        folder: folder.to_owned(),
        scratch_dir: folder.join("scratch"),
        row_timeout,
        attempt_id: "job_x-a1".parse().unwrap(),
        group_file: folder.join("group.json"),
        worker: 0,
    }
}

fn wanted(parameters: Value) -> ExtractorRef {
    ExtractorRef {
        name: "p".into(),
        version: "v1".into(),
        parameters: parameters.as_object().unwrap().clone(),
    }
}

fn row(text: &str) -> RowInput {
    RowInput {
        inputs: BTreeMap::from([("text".to_owned(), InputValue::Text(text.to_owned()))]),
        source_id: format!("obj_{text}"),
    }
}

const PYTHON: &str = "name = \"p\"\nversion = \"v1\"\nkind = \"python\"\nentry = \"code:run\"\n[parameters.properties.add]\ntype = \"integer\"\ndefault = 1\n";

const CODE: &str = r#"
import os, signal, sys, time
print("noise on standard output")

def run(rows, parameters):
    return [one(row, parameters) for row in rows]

def one(row, parameters):
    text = row["text"]
    if text == "raise":
        raise ValueError("on purpose")
    if text == "return":
        return KeyError("given back")
    if text == "crash":
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if text == "hang":
        time.sleep(600)
    if text == "many":
        return [{"n": 1}, {"n": 2}]
    return {"length": len(text) + parameters["add"], "source": row["_source_id"]}
"#;

fn python(code: &str, row_timeout: Option<Duration>) -> (tempfile::TempDir, Engine) {
    let folder = folder(&[("fettle-plugin.toml", PYTHON), ("code.py", code)]);
    let engine = start(&wanted(json!({})), place(folder.path(), row_timeout)).unwrap();
    (folder, engine)
}

#[test]
fn a_python_plugin_gets_rows_and_parameters_and_fails_rows_one_by_one() {
    let (_folder, mut engine) = python(CODE, None);
    let results = engine.extractor.extract(&[
        row("ab"),
        row("raise"),
        row("return"),
        row("many"),
        row("abc"),
    ]);
    assert_eq!(results[0].as_ref().unwrap()[0].fields["length"], 3);
    assert_eq!(results[0].as_ref().unwrap()[0].fields["source"], "obj_ab");
    let raised = results[1].as_ref().unwrap_err();
    assert_eq!(raised.message, "ValueError: on purpose");
    assert!(
        raised.traceback.as_ref().unwrap().contains("in one"),
        "{raised:?}"
    );
    assert!(
        results[2]
            .as_ref()
            .unwrap_err()
            .message
            .contains("given back")
    );
    assert_eq!(results[3].as_ref().unwrap().len(), 2);
    assert_eq!(results[4].as_ref().unwrap()[0].fields["length"], 4);
}

#[test]
fn a_crash_fails_the_row_alone_and_the_plugin_is_started_again() {
    let (_folder, mut engine) = python(CODE, None);
    let results = engine
        .extractor
        .extract(&[row("a"), row("crash"), row("b")]);
    assert!(results[0].is_ok() && results[2].is_ok());
    let crash = results[1].as_ref().unwrap_err();
    assert!(crash.message.contains("signal 11 (SIGSEGV)"), "{crash:?}");
    assert!(crash.traceback.as_ref().unwrap().contains("about to crash"));
    assert_eq!(crash.class, DocumentErrorClass::Permanent);
}

#[test]
fn a_hang_is_ended_and_the_row_may_be_tried_again_later() {
    let (_folder, mut engine) = python(CODE, Some(Duration::from_secs(1)));
    let results = engine.extractor.extract(&[row("hang")]);
    let hang = results[0].as_ref().unwrap_err();
    assert!(hang.message.contains("1000 ms"), "{hang:?}");
    assert_eq!(hang.class, DocumentErrorClass::Transient);
    assert!(engine.extractor.extract(&[row("a")])[0].is_ok());
}

fn refusal(files: &[(&str, &str)], parameters: Value) -> String {
    let folder = folder(files);
    let refused = start(&wanted(parameters), place(folder.path(), None))
        .err()
        .unwrap();
    crate::extract::chain(&refused)
}

#[test]
fn plugins_that_cannot_start_say_why() {
    let broken = refusal(
        &[
            ("fettle-plugin.toml", PYTHON),
            ("code.py", "import nowhere_to_be_found"),
        ],
        json!({}),
    );
    assert!(broken.contains("ModuleNotFoundError"), "{broken}");
    let nameless = refusal(
        &[("fettle-plugin.toml", PYTHON), ("code.py", "x = 1")],
        json!({}),
    );
    assert!(nameless.contains("no function `run`"), "{nameless}");
    let leaving = refusal(
        &[
            ("fettle-plugin.toml", PYTHON),
            ("code.py", "import sys; sys.exit(3)"),
        ],
        json!({}),
    );
    assert!(leaving.contains("SystemExit"), "{leaving}");
    let parameters = refusal(
        &[("fettle-plugin.toml", PYTHON), ("code.py", CODE)],
        json!({"x": 1}),
    );
    assert!(parameters.contains("no parameter `x`"), "{parameters}");
    let packages = PYTHON.replace("[parameters", "requirements = [\"numpy\"]\n[parameters");
    let unready = refusal(
        &[("fettle-plugin.toml", &packages), ("code.py", CODE)],
        json!({}),
    );
    assert!(unready.contains("register the plugin again"), "{unready}");
    let program = "name = \"p\"\nversion = \"v1\"\nkind = \"exec\"\nentry = \"./no-such-tool\"\n";
    assert!(refusal(&[("fettle-plugin.toml", program)], json!({})).contains("no-such-tool"));
}

const SHELL: &str = r#"name = "p"
version = "v1"
kind = "exec"
entry = ["sh", "tool.sh"]
"#;

#[test]
fn a_program_gets_a_row_a_line_and_sees_no_secrets() {
    let tool = "while read -r line; do\n\
        case \"$line\" in *die*) echo dying >&2; exit 7;; esac\n\
        printf '{\"seen\": %s, \"secret\": \"%s\"}\\n' \"$line\" \"$CARGO_MANIFEST_DIR\"\n\
        done\n";
    let folder = folder(&[("fettle-plugin.toml", SHELL), ("tool.sh", tool)]);
    let mut engine = start(&wanted(json!({})), place(folder.path(), None)).unwrap();
    let results = engine.extractor.extract(&[row("a"), row("die"), row("b")]);
    let fields = &results[0].as_ref().unwrap()[0].fields;
    assert_eq!(fields["seen"]["inputs"]["text"], "a");
    assert_eq!(fields["secret"], "");
    let died = results[1].as_ref().unwrap_err();
    assert!(died.message.contains("exit status 7"), "{died:?}");
    assert_eq!(died.traceback.as_deref(), Some("dying"));
    assert!(results[2].is_ok());
}

#[test]
fn a_blob_is_a_file_while_its_row_is_worked_on() {
    let code = "def run(rows):\n    return [{'size': len(open(r['blob']['path'], 'rb').read()), 'path': r['blob']['path']} for r in rows]\n";
    let (_folder, mut engine) = python(code, None);
    let blob = LoadedBlob {
        property: "p".into(),
        filename: Some("f".into()),
        mime_type: None,
        bytes: bytes::Bytes::from_static(b"12345"),
    };
    let input = RowInput {
        inputs: BTreeMap::from([("blob".to_owned(), InputValue::Blob(blob))]),
        source_id: "obj".into(),
    };
    let results = engine.extractor.extract(&[input]);
    let fields = &results[0].as_ref().unwrap()[0].fields;
    assert_eq!(fields["size"], 5);
    assert!(!Path::new(fields["path"].as_str().unwrap()).exists());
}
