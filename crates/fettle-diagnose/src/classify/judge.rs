//! From matches to one verdict.
//!
//! Owns the joins: what a rule requires, what was made good again, whose lines count, which of several findings decides, and how sure
//! that is. It must not read patterns.

mod exit_code;

use std::collections::{BTreeMap, BTreeSet};

use fettle_model::FailureCategory;

use self::exit_code::ExitFinding;
use super::clean::{self, Cleaned, Line, Speaker};
use super::rule::{Recovers, Rule, Strength, Verdict};
use super::scan::{Match, ScanWork, Scanner};
use super::{FailureText, TextVerdict};

/// Factor when an equally strong finding says something else: one of the two is an echo.
const CONTRADICTED: f64 = 0.85;
/// Most that a verdict is sure of which rests on lines about the whole node or cluster: they may speak of others.
const NODE_WIDE_MAX: f64 = 0.7;
/// How sure "nothing in it decides" is.
const NOTHING_FOUND: f64 = 0.45;
/// How sure it is that what was made good again did not fail the work.
const RECOVERED: f64 = 0.75;
/// Most rules that are named beside the deciding one.
const AGREEING_MAX: usize = 4;

/// A match of a rule whose conditions hold.
#[derive(Debug, Clone, Copy)]
struct Finding<'a> {
    rule: &'a Rule,
    verdict: Option<Verdict>,
    line: &'a Line,
    start: usize,
    end: usize,
    strength: Strength,
    node_wide: bool,
}

impl Finding<'_> {
    /// The stronger first, then what names something, then the first in the order of causes.
    fn rank(&self) -> (std::cmp::Reverse<Strength>, bool, (usize, usize)) {
        (
            std::cmp::Reverse(self.strength),
            self.rule.vague,
            self.line.order,
        )
    }
}

/// Judges a text.
pub(super) fn judge(
    rules: &[Rule],
    scanner: &Scanner,
    text: &FailureText<'_>,
) -> (TextVerdict, ScanWork) {
    let mut work = ScanWork::default();
    let lines = scanner.lines(text.text, &mut work);
    let cleaned = clean::clean(text.text, lines.into_iter());
    let matches = scanner.matches(rules, &cleaned, &mut work);
    let findings = findings(rules, &cleaned, &matches, text);
    let (standing, recovered) = without_recovered(findings, text.exit_code);
    let exit = text.exit_code.and_then(exit_code::read);
    let verdict = decide(text.text, &cleaned, &own_first(standing), &recovered, exit);
    (verdict, work)
}

/// The rules that read something in a text: a pattern matches and their conditions hold.
pub(super) fn readings(
    rules: &[Rule],
    scanner: &Scanner,
    text: &FailureText<'_>,
) -> BTreeSet<String> {
    let mut work = ScanWork::default();
    let lines = scanner.lines(text.text, &mut work);
    let cleaned = clean::clean(text.text, lines.into_iter());
    let matches = scanner.matches(rules, &cleaned, &mut work);
    let findings = findings(rules, &cleaned, &matches, text);
    let read = findings.iter().map(|finding| finding.rule.id.clone());
    read.collect()
}

/// Matches of rules whose conditions hold, the deciding one first.
fn findings<'a>(
    rules: &'a [Rule],
    cleaned: &'a Cleaned,
    matches: &[Match],
    text: &FailureText<'_>,
) -> Vec<Finding<'a>> {
    let together = together(cleaned, matches);
    let mut findings: Vec<Finding<'a>> = matches
        .iter()
        .filter(|found| {
            let needed = rules[found.rule].at_least;
            needed == 1 || together[&place(cleaned, found)].len() >= needed
        })
        .filter_map(|found| finding(&rules[found.rule], cleaned, found))
        .collect();
    let matched: BTreeSet<&str> = findings
        .iter()
        .map(|finding| finding.rule.id.as_str())
        .collect();
    findings.retain(|finding| {
        let holds = |name: &String| condition(name, finding, &matched, text);
        let required = &finding.rule.requires;
        (required.is_empty() || required.iter().any(holds))
            && !finding.rule.unless.iter().any(holds)
    });
    if killed_by_nobody(&findings, text.exit_code) {
        for finding in findings.iter_mut().filter(|one| one.rule.names_sender) {
            finding.strength = finding.strength.max(Strength::Symptom);
        }
    }
    findings.sort_by(|a, b| {
        let surer = b.rule.confidence.total_cmp(&a.rule.confidence);
        // On one line the surer reading counts, wherever it begins.
        let earlier = a.start.cmp(&b.start);
        a.rank().cmp(&b.rank()).then(surer).then(earlier)
    });
    findings
}

/// Whether something was killed and who did it is not said.
fn killed_by_nobody(findings: &[Finding<'_>], exit_code: Option<i32>) -> bool {
    let by_status = exit_code.and_then(exit_code::read);
    by_status.is_some_and(|exit| exit.outweighs(Strength::Hint))
        || findings
            .iter()
            .any(|finding| finding.rule.vague && finding.strength == Strength::Symptom)
}

/// A rule, and where the line begins on which it was found.
fn place(cleaned: &Cleaned, found: &Match) -> (usize, usize) {
    let line = cleaned.line_of(found.range.start);
    (found.rule, line.map_or(0, |line| line.start))
}

/// The patterns of a rule that stand on one line.
fn together(cleaned: &Cleaned, matches: &[Match]) -> BTreeMap<(usize, usize), BTreeSet<usize>> {
    let mut patterns: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for found in matches {
        let on_line = patterns.entry(place(cleaned, found)).or_default();
        on_line.insert(found.pattern);
    }
    patterns
}

fn finding<'a>(rule: &'a Rule, cleaned: &'a Cleaned, found: &Match) -> Option<Finding<'a>> {
    let blanks = cleaned.bytes[found.range.clone()]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let line = cleaned.line_of(found.range.start + blanks)?;
    if excepted(rule, cleaned, found.range.start + blanks) {
        return None;
    }
    let strength = if line.program_text {
        // A name in the program's text was not said by the run.
        Strength::Fact
    } else {
        rule.strength
    };
    let of_others = line.speaker != Speaker::Job && !rule.own_word;
    Some(Finding {
        rule,
        verdict: rule.verdict,
        line,
        start: found.range.start,
        end: found.range.end,
        strength,
        node_wide: rule.node_wide || of_others,
    })
}

/// Whether the line says itself that the rule does not count there.
fn excepted(rule: &Rule, cleaned: &Cleaned, position: usize) -> bool {
    let line = cleaned.text_of_line(position);
    let mut patterns = rule.except.iter().filter_map(|except| except.regex());
    patterns.any(|regex| regex.is_match(line))
}

/// Whether a condition holds: another rule matched, or something that is known about the text.
fn condition(
    name: &str,
    finding: &Finding<'_>,
    matched: &BTreeSet<&str>,
    text: &FailureText<'_>,
) -> bool {
    match name.strip_prefix('@') {
        None => matched.contains(name),
        Some("raylet") => finding.line.speaker == Speaker::Raylet,
        Some("autoscaler") => finding.line.speaker == Speaker::Autoscaler,
        Some(known) => match known.split_once(':') {
            Some(("backend", backend)) => text.backend == Some(backend),
            Some(("exit", code)) => text.exit_code.is_some_and(|exit| code == exit.to_string()),
            _ => false,
        },
    }
}

/// What still stands, and what was made good again.
fn without_recovered(
    findings: Vec<Finding<'_>>,
    exit_code: Option<i32>,
) -> (Vec<Finding<'_>>, Vec<Finding<'_>>) {
    let failed = exit_code.is_some_and(|code| code != 0);
    // A program that ended well got over its own errors and those of single documents, whether it says so or not.
    let outlived = |finding: &Finding<'_>| {
        let is_own = |verdict: Verdict| {
            verdict.category == FailureCategory::Pipeline || verdict.class.is_some()
        };
        exit_code == Some(0)
            && finding.strength < Strength::Proof
            && finding.verdict.is_some_and(is_own)
    };
    let signs: Vec<Finding<'_>> = findings
        .iter()
        .filter(|finding| finding.rule.recovers != Recovers::Nothing)
        .copied()
        .collect();
    let made_good = |finding: &Finding<'_>| {
        signs.iter().any(|sign| {
            finding.start < sign.end
                && match &sign.rule.recovers {
                    Recovers::Nothing => false,
                    // What the kernel or the scheduler decided is not undone by a cheerful last line.
                    Recovers::All => !failed && finding.strength < Strength::Proof,
                    Recovers::These(ids) => ids.contains(&finding.rule.id),
                }
        })
    };
    findings
        .into_iter()
        .filter(|finding| finding.verdict.is_some())
        .partition(|finding| !made_good(finding) && !outlived(finding))
}

/// Lines about the whole node or cluster count only where the job says nothing itself.
fn own_first(findings: Vec<Finding<'_>>) -> Vec<Finding<'_>> {
    let speaks =
        |finding: &Finding<'_>| !finding.node_wide && finding.strength >= Strength::Symptom;
    if !findings.iter().any(speaks) {
        return findings;
    }
    findings
        .into_iter()
        .filter(|finding| !finding.node_wide)
        .collect()
}

fn decide(
    text: &str,
    cleaned: &Cleaned,
    standing: &[Finding<'_>],
    recovered: &[Finding<'_>],
    exit: Option<ExitFinding>,
) -> TextVerdict {
    match (standing.first(), exit) {
        (Some(first), Some(exit)) if exit.outweighs(first.strength) => {
            by_exit_code(text, cleaned, &exit)
        }
        (Some(first), _) => by_finding(text, first, standing),
        (None, _) if !recovered.is_empty() => by_recovery(text, &recovered[0]),
        (None, Some(exit)) => by_exit_code(text, cleaned, &exit),
        (None, None) => by_nothing(text, cleaned),
    }
}

fn by_finding(text: &str, first: &Finding<'_>, standing: &[Finding<'_>]) -> TextVerdict {
    let verdict = first.verdict.unwrap_or(UNDECIDED);
    let same = |finding: &&Finding<'_>| finding.verdict.is_some_and(|other| other.agrees(&verdict));
    let contradicted = standing
        .iter()
        .find(|finding| finding.strength == first.strength && !same(finding));
    let mut confidence = first.rule.confidence;
    if contradicted.is_some() {
        confidence *= CONTRADICTED;
    }
    if first.node_wide {
        confidence = confidence.min(NODE_WIDE_MAX);
    }
    let mut rule_ids = vec![first.rule.id.clone()];
    for finding in standing.iter().filter(same) {
        if rule_ids.len() <= AGREEING_MAX && !rule_ids.contains(&finding.rule.id) {
            rule_ids.push(finding.rule.id.clone());
        }
    }
    TextVerdict {
        category: verdict.category,
        event: verdict.event,
        document_error_class: verdict.class,
        confidence,
        root_cause_line: line_text(text, first.line),
        rule_ids,
        explanation: explanation(first, contradicted),
    }
}

fn explanation(first: &Finding<'_>, contradicted: Option<&Finding<'_>>) -> String {
    let mut sentences = vec![first.rule.why.clone()];
    if first.node_wide {
        sentences.push(
            "The line is about the whole node or cluster and may speak of other jobs.".to_owned(),
        );
    }
    if let Some(other) = contradicted {
        sentences.push(format!(
            "`{}` reads something else further on, which is less likely the first cause.",
            other.rule.id
        ));
    }
    if !first.rule.remedy.is_empty() {
        sentences.push(first.rule.remedy.clone());
    }
    sentences.join(" ")
}

fn by_recovery(text: &str, strongest: &Finding<'_>) -> TextVerdict {
    TextVerdict {
        category: FailureCategory::Unknown,
        event: None,
        document_error_class: strongest.verdict.and_then(|verdict| verdict.class),
        confidence: RECOVERED,
        root_cause_line: line_text(text, strongest.line),
        rule_ids: vec![strongest.rule.id.clone()],
        explanation: "The text names an error, and the work went on without it, as the text or its exit status says; so that error failed nothing.".to_owned(),
    }
}

fn by_exit_code(text: &str, cleaned: &Cleaned, exit: &ExitFinding) -> TextVerdict {
    TextVerdict {
        category: exit.verdict.category,
        event: exit.verdict.event,
        document_error_class: None,
        confidence: exit.confidence,
        root_cause_line: last_line(text, cleaned),
        rule_ids: vec![exit.rule_id.to_owned()],
        explanation: exit.why.to_owned(),
    }
}

fn by_nothing(text: &str, cleaned: &Cleaned) -> TextVerdict {
    TextVerdict {
        category: UNDECIDED.category,
        event: None,
        document_error_class: None,
        confidence: NOTHING_FOUND,
        root_cause_line: warning(text, cleaned).or_else(|| last_line(text, cleaned)),
        rule_ids: Vec::new(),
        explanation: "No rule reads a cause in this text. The exit status, the memory counters of its group and the log before it would decide.".to_owned(),
    }
}

const UNDECIDED: Verdict = Verdict {
    category: FailureCategory::Unknown,
    event: None,
    class: None,
};

fn line_text(text: &str, line: &Line) -> Option<String> {
    text.get(line.raw.clone()).map(str::to_owned)
}

/// The first line that its own program calls a warning.
fn warning(text: &str, cleaned: &Cleaned) -> Option<String> {
    let mut lines = cleaned.lines.iter();
    let warns = |line: &&Line| {
        let words = text.get(line.raw.clone()).unwrap_or_default();
        words.contains("WARN") || words.contains("=warn")
    };
    lines.find(warns).and_then(|line| line_text(text, line))
}

/// Where nothing names a cause, the last words are the best place to start reading.
fn last_line(text: &str, cleaned: &Cleaned) -> Option<String> {
    let last = cleaned.lines.iter().rev().find(|line| !line.raw.is_empty());
    last.and_then(|line| line_text(text, line))
}
