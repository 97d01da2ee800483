//! Each built-in rule reads its own examples, also when names, numbers, paths and hosts are others and a log collector was at them.
//!
//! Owns the dress that examples are put into. A rule that fits its example by accident does not survive it.

use fettle_diagnose::{Example, ExampleFault, FailureText, RuleSet};

/// What is done to an example, by name.
type Dress = (&'static str, fn(&str) -> String);

const DRESSES: [Dress; 6] = [
    ("as it is", str::to_owned),
    ("other numbers", renumbered),
    ("other names", renamed),
    ("coloured", |text| {
        each_line(text, |line| format!("\u{1b}[31m{line}\u{1b}[0m"))
    }),
    ("of a container", |text| {
        each_line(text, |line| {
            format!("2026-03-02T10:11:12.000000001Z stderr F {line}")
        })
    }),
    ("among other lines", |text| {
        format!("INFO loader: opened shard 14 of 200\n{text}\nINFO metrics: flushed 12 series\n")
    }),
];

fn each_line(text: &str, change: impl Fn(&str) -> String) -> String {
    text.lines().map(change).collect::<Vec<_>>().join("\n")
}

/// Numbers of six digits or more become others; shorter ones are statuses, signals and ports that mean something.
fn renumbered(text: &str) -> String {
    let mut changed = String::new();
    let mut number = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let is_id = number.len() >= 6;
        changed.extend(
            number
                .drain(..)
                .map(|digit| if is_id { '7' } else { digit }),
        );
        changed.extend(Some(letter).filter(|letter| *letter != '\0'));
    }
    changed
}

/// Hosts, paths and files get other names.
fn renamed(text: &str) -> String {
    let names = [
        ("/app/", "/srv/other/"),
        ("/data/in/", "/mnt/a b/"),
        ("/tmp/", "/scratch/"),
        ("10.4.0.8", "192.168.77.201"),
        ("10.0.0.", "172.31.9."),
        ("n12", "gpu-b-0417"),
        ("n04", "gpu-b-0418"),
        ("node-17", "ip-10-0-40-247.ec2.internal"),
        ("embed-", "umbenannt-7f-"),
    ];
    let rename = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    names.iter().fold(text.to_owned(), rename)
}

fn fault(example: &Example<'_>, dress: &Dress) -> Option<ExampleFault> {
    let rules = RuleSet::builtin();
    let text = dress.1(example.text);
    let readings = rules.readings(&FailureText {
        text: &text,
        exit_code: None,
        backend: None,
    });
    (readings.contains(example.rule_id) != example.is_read).then(|| ExampleFault {
        rule_id: example.rule_id.to_owned(),
        text,
        is_read: example.is_read,
    })
}

#[test]
fn every_rule_reads_its_examples_in_any_dress() {
    let examples: Vec<Example<'_>> = RuleSet::builtin().examples().collect();
    assert!(
        examples.len() > RuleSet::builtin().len(),
        "and some counterexamples"
    );
    let faults: Vec<String> = DRESSES
        .iter()
        .flat_map(|dress| {
            let faults = examples.iter().filter_map(|example| fault(example, dress));
            faults.map(|fault| format!("{}: {fault}", dress.0))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
