//! The cost of a verdict grows with the length of the text, not faster.
//!
//! Owns the count of work: bytes that were scanned and looked at, which no clock can blur.

use fettle_diagnose::{FailureText, RuleSet};

fn work(text: &str) -> (u64, u64) {
    let (_, work) = RuleSet::builtin().classify_counted(&FailureText {
        text,
        exit_code: None,
        backend: Some("ray"),
    });
    (work.scanned_bytes, work.verified_bytes)
}

/// Work of a text and of one twice as long, in bytes a byte.
fn check(name: &str, unit: &str) {
    let mut last = 0;
    for doublings in 0..5 {
        let text = unit.repeat((4_096 / unit.len().max(1) + 1) << doublings);
        let (scanned, verified) = work(&text);
        let length = text.len() as u64;
        assert!(
            scanned <= 3 * length,
            "{name}: {scanned} bytes scanned of {length}"
        );
        let total = scanned + verified;
        assert!(
            last == 0 || total <= last * 5 / 2,
            "{name}: {last} became {total} for twice the text"
        );
        last = total;
    }
}

#[test]
fn twice_the_text_takes_at_most_twice_the_work() {
    check(
        "harmless lines",
        "2026-01-01 INFO loader: 512 rows in 0.4 s\n",
    );
    check(
        "nothing but hits",
        "Killed SIGKILL OOM out of memory timed out\n",
    );
    check("one endless line of hits", "out of memory ");
    check("nearly matches", "exited with code with code with code ");
    check("guesses without an end", "possible causes ");
    check("brackets", "((((((((");
    check("escapes", "\u{1b}[3");
}

#[test]
fn a_long_log_is_judged_by_the_line_that_matters() {
    let mut text = "2026-01-01 10:00:00 INFO loader: 512 rows in 0.4 s\n".repeat(20_000);
    text.push_str("kernel: Memory cgroup out of memory: Killed process 7 (python)\n");
    text.push_str(&"2026-01-01 10:00:09 INFO metrics: flushed\n".repeat(20_000));
    let (verdict, _) = RuleSet::builtin().classify_counted(&FailureText {
        text: &text,
        exit_code: Some(137),
        backend: Some("local"),
    });
    assert_eq!(verdict.rule_ids[0], "kernel.oom");
    assert_eq!(
        verdict.root_cause_line.as_deref(),
        Some("kernel: Memory cgroup out of memory: Killed process 7 (python)")
    );
}

#[test]
fn common_words_do_not_crowd_out_the_telling_line() {
    let noise = "2026-01-01 10:00:00 ERROR loader: code 7 in file, row skipped, exit of node\n"
        .repeat(20_000);
    let text =
        format!("{noise}kernel: Memory cgroup out of memory: Killed process 7 (python)\n{noise}");
    let (verdict, _) = RuleSet::builtin().classify_counted(&FailureText {
        text: &text,
        exit_code: Some(137),
        backend: Some("local"),
    });
    assert_eq!(verdict.rule_ids[0], "kernel.oom");
}
