//! `fettle classify` and `fettle rules check`: what a failure text means, without a server.

use std::io::BufRead as _;
use std::path::Path;

use anyhow::Context as _;
use fettle_cli::ClassifyArgs;
use fettle_diagnose::{FailureText, RuleSet, TextVerdict, check_rules};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::work;

/// A line of `--jsonl` input.
#[derive(Deserialize)]
struct Line {
    id: Value,
    text: String,
    #[serde(default)]
    exit_code: Option<i32>,
    #[serde(default)]
    backend: Option<String>,
}

impl Line {
    fn failure(&self) -> FailureText<'_> {
        FailureText {
            text: &self.text,
            exit_code: self.exit_code,
            backend: self.backend.as_deref(),
        }
    }
}

/// Classifies files or standard input.
pub(crate) fn run(args: &ClassifyArgs, json: bool) -> anyhow::Result<()> {
    let rules = match &args.rules {
        None => RuleSet::builtin().clone(),
        Some(file) => {
            let with = RuleSet::with_user_rules(&read(file)?);
            with.with_context(|| format!("failed to use {}", file.display()))?
        }
    };
    let inputs: Vec<Option<&Path>> = match args.files.as_slice() {
        [] => vec![None],
        files => files.iter().map(|file| Some(file.as_path())).collect(),
    };
    let mut unread = 0;
    for input in inputs {
        let shown = input.map_or_else(
            || "standard input".to_owned(),
            |file| file.display().to_string(),
        );
        if args.jsonl {
            let bad = lines(&rules, input);
            unread += bad.with_context(|| format!("failed to classify {shown}"))?;
        } else {
            let text = condensed(&rules, input);
            let text = text.with_context(|| format!("failed to read {shown}"))?;
            let backend = args.backend.as_deref();
            let verdict = rules.classify(&FailureText {
                text: &text,
                exit_code: args.exit_code,
                backend,
            });
            print(&json!(shown), &verdict, json);
        }
    }
    anyhow::ensure!(
        unread == 0,
        "{unread} line(s) could not be read; each has an object with `error` in its place"
    );
    Ok(())
}

/// Says whether a rule file can be used, and which of its examples are not read as its rules say.
pub(crate) fn check(file: &Path) -> anyhow::Result<()> {
    let report = check_rules(&read(file)?);
    let report = report.with_context(|| format!("failed to use {}", file.display()))?;
    for fault in &report.faults {
        work::complain(&format!("{}: {fault}", file.display()));
    }
    anyhow::ensure!(
        report.faults.is_empty(),
        "{} of {} example(s) are not read as their rules say",
        report.faults.len(),
        report.examples
    );
    work::say(&format!(
        "{}: {} rule(s) can be used, {} example(s) are read as they say",
        file.display(),
        report.rule_ids.len(),
        report.examples
    ));
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
}

/// How much of a log is read at once: small enough to stay in the processor's caches while it is looked at.
const PIECE_BYTES: usize = 256 << 10;

/// What can matter of a log, which may be larger than the memory.
fn condensed(rules: &RuleSet, input: Option<&Path>) -> std::io::Result<String> {
    let mut reader: Box<dyn std::io::Read> = match input {
        Some(file) => Box::new(std::fs::File::open(file)?),
        None => Box::new(std::io::stdin().lock()),
    };
    let mut condenser = rules.condenser();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(condenser.finish()),
            Ok(bytes) => condenser.push(&piece[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Classifies each line and says how many could not be read. Such a line gets an error object in its place, so that the output stays
/// in step with the input.
fn lines(rules: &RuleSet, input: Option<&Path>) -> anyhow::Result<u64> {
    let mut reader: Box<dyn std::io::BufRead> = match input {
        Some(file) => Box::new(std::io::BufReader::new(std::fs::File::open(file)?)),
        None => Box::new(std::io::stdin().lock()),
    };
    let mut unread = 0;
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&bytes);
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Line>(&line) {
            Ok(line) => print(&line.id, &rules.classify(&line.failure()), true),
            Err(error) => {
                unread += 1;
                let error = format!("line {number} is not {{\"id\", \"text\", …}}: {error}");
                work::say(&json!({"id": id_of(&line), "error": error}).to_string());
            }
        }
    }
    Ok(unread)
}

/// The id of a line that cannot be used otherwise; null if even that cannot be read.
fn id_of(line: &str) -> Value {
    let line: Option<Value> = serde_json::from_str(line).ok();
    let id = line.and_then(|line| line.get("id").cloned());
    id.unwrap_or(Value::Null)
}

fn print(id: &Value, verdict: &TextVerdict, as_json: bool) {
    let event = verdict.event.map_or("none", |event| event.as_str());
    let class = verdict
        .document_error_class
        .map_or("none", |class| class.as_str());
    if as_json {
        let line = json!({
            "id": id,
            "failure_category": verdict.category.as_str(),
            "event_type": event,
            "document_error_class": class,
            "confidence": verdict.confidence,
            "root_cause_line": verdict.root_cause_line,
            "rule_ids": verdict.rule_ids,
            "explanation": verdict.explanation,
        });
        return work::say(&line.to_string());
    }
    let percent = verdict.confidence * 100.0;
    let category = verdict.category.as_str();
    work::say(&format!(
        "{}: {category} / {event} (confidence {percent:.0} %)",
        id.as_str().unwrap_or("text")
    ));
    if let Some(line) = &verdict.root_cause_line {
        work::say(&format!("  cause: {line}"));
    }
    work::say(&format!("  {}", verdict.explanation));
    if !verdict.rule_ids.is_empty() {
        work::say(&format!("  rules: {}", verdict.rule_ids.join(", ")));
    }
}
