//! `fettle classify` as a filter: what comes in, what goes out, and in which order.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn classify(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fettle"))
        .arg("classify")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_line_that_cannot_be_read_gets_its_error_in_place_and_the_rest_is_judged() {
    let mut input = br#"{"id": "a", "text": "MemoryError", "exit_code": 1}
{"id": "b", "text": 7}
not json

[1, 2]
{"id": 5, "text": "MemoryError: "#
        .to_vec();
    input.extend_from_slice(b"\xff\"}\n");
    input.extend_from_slice(br#"{"id": null, "text": "", "exit_code": "one"}"#);
    let output = classify(&["--jsonl"], &input);
    let objects = objects(&output);
    let ids: Vec<&Value> = objects.iter().map(|object| &object["id"]).collect();
    let null = Value::Null;
    assert_eq!(
        ids,
        [&"a".into(), &"b".into(), &null, &null, &5.into(), &null]
    );
    let unread: Vec<bool> = objects.iter().map(|o| o["error"].is_string()).collect();
    assert_eq!(unread, [false, true, true, true, false, true]);
    assert_eq!(objects[4]["event_type"], "oom");
    assert!(objects[2]["error"].as_str().unwrap().contains("line 3"));
    assert!(!output.status.success(), "some lines were not judged");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("4 line(s) could not be read"),
        "{complaint}"
    );
}

#[test]
fn lines_that_can_all_be_read_end_well() {
    let output = classify(&["--jsonl"], b"{\"id\": 1, \"text\": \"Killed\"}\n\n");
    assert!(output.status.success());
    assert_eq!(objects(&output).len(), 1);
}

#[test]
fn a_rule_file_is_checked_with_its_examples() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rules.toml");
    let rules = r#"
family = "acme"
[[rule]]
id = "acme.licence"
patterns = ["licence server refused seat"]
strength = "proof"
category = "pipeline"
confidence = 0.9
why = "No seat is free."
examples = ["Licence server refused seat 4"]
"#;
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fettle"));
        command
            .args(["rules", "check"])
            .arg(&file)
            .output()
            .unwrap()
    };
    let good = check(rules);
    assert!(good.status.success());
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(
        said.contains("1 rule(s) can be used, 1 example(s)"),
        "{said}"
    );
    let bad = check(&rules.replace("refused seat 4", "gave seat 4"));
    assert!(!bad.status.success());
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(said.contains("`acme.licence` does not read"), "{said}");
}
