//! What the kept log of a dead process says, joined with how it died.
//!
//! Owns logs as evidence of a death: which text belongs to it, what a text may explain, and how a case says so. It makes no case of its
//! own: the engine that has the death asks. It must not let a text contradict what was counted or seen; deaths that the kernel's counter
//! explains are `memory`'s and are never read here.

use fettle_model::FailureCategory::{
    Infrastructure, Orphaned, Pipeline, Timeout, Unknown, Validation,
};
use fettle_model::evidence::LogEvidence;
use fettle_model::{AttemptEvidence, InfraEventType, ProcessExit, WorkerDeath};

use crate::case::{Case, CaseKind};
use crate::classify::{FailureText, RuleSet, TextVerdict};
use crate::facts::ErrorGroup;
use crate::finding::EvidenceLine;
use crate::fingerprint::fingerprint;
use crate::scope::{AttemptScope, line_offset};
use crate::{signals, words};

/// A verdict from here on names the cause: on the corpus nine of ten from 0.7 to 0.8 are right, nearly all above (docs/failures.md).
const CONFIDENT: f64 = 0.8;
/// A verdict from here on may show its line where it agrees with what the case says anyway.
const WORTH_SHOWING: f64 = 0.6;
/// Most that a text can make a case sure of: only the kernel's counters go beyond.
const CONFIDENCE_MAX: f64 = 0.94;
/// Logs that are read of one attempt's deaths: they mostly say the same, and a diagnosis must stay quick.
const LOGS_READ_MAX: usize = 8;
/// Groups of row errors that are read, the most frequent ones: they decide what befell most rows.
const ROW_ERRORS_READ_MAX: usize = 8;
/// Rules that read a refused allocation. All others that say `oom` speak of a kill, which a counter would have seen.
const REFUSALS: [&str; 4] = [
    "python.memory-error",
    "local.bad-alloc",
    "cuda.out-of-memory",
    "cuda.ray-task-oom",
];

/// Who said what the backend said.
const BACKEND: &str = "backend message";

/// One text, and who said it.
struct Named<'a> {
    verdict: TextVerdict,
    line: String,
    by: Vec<&'a WorkerDeath>,
}

impl Named<'_> {
    fn is_like(&self, other: &TextVerdict, line: &str) -> bool {
        self.verdict.rule_ids.first() == other.rule_ids.first()
            && self.verdict.event == other.event
            && fingerprint(&self.line) == fingerprint(line)
    }
}

/// Lets the logs of dead workers say why they died.
pub(crate) fn join_workers(case: &mut Case, scope: &AttemptScope<'_>, deaths: &[&WorkerDeath]) {
    let Some(named) = most_named(scope, deaths) else {
        return;
    };
    let workers: Vec<String> = named.by.iter().map(|d| d.worker.to_string()).collect();
    let of_workers = format!("the log of worker(s) {}", workers.join(", "));
    if !adopt(case, &named.verdict, &named.line) {
        return;
    }
    let what = told(&of_workers, case, &named.verdict);
    let first = named.by[0];
    let mut line = scope.death_line(first, case.kind, "worker's standard error", what);
    line.raw = Some(named.line.clone());
    line.log_offset = line_offset(&named.line, &first.log_tail, first.log.as_ref());
    line.rule_ids = named.verdict.rule_ids.clone();
    case.evidence.insert(0, line);
    if let Some(event) = event_of(case, &named.verdict) {
        case.events = named
            .by
            .iter()
            .map(|death| {
                let exit = death.exit.describe();
                let raw = format!("worker {}: {exit}; {}", death.worker, named.line);
                scope.event_of_worker(event, death, raw)
            })
            .collect();
    }
}

/// Lets the driver's log, else the backend's messages, say why the attempt ended. The driver runs no code of users, so only what befell
/// the infrastructure can have ended it; the backend also knows that it forgot the attempt, or that what was asked for cannot be.
pub(crate) fn join_driver(case: &mut Case, scope: &AttemptScope<'_>) {
    let Some(evidence) = scope.evidence() else {
        return;
    };
    let log = log_text(&evidence.driver_log_tail, evidence.driver_log.as_ref());
    let said = evidence.driver_message.as_deref();
    let recorded = scope.at.told().filter(|_| scope.is_decisive);
    let sources = [
        ("driver's standard error", log),
        (
            "driver's exit report",
            said.or(recorded).unwrap_or_default().to_owned(),
        ),
    ];
    // A driver whose backend is gone says what it missed; what the backend is sure of comes first.
    let of_backend = hear(scope, evidence, BACKEND, &backend_text(evidence));
    let is_sure = of_backend
        .as_ref()
        .is_some_and(|heard| heard.verdict.confidence >= CONFIDENT);
    let of_driver = || {
        let mut heard = sources
            .iter()
            .filter_map(|(source, text)| hear(scope, evidence, source, text));
        heard.next()
    };
    let found = if is_sure {
        of_backend
    } else {
        of_driver().or(of_backend)
    };
    if let Some(heard) = found {
        take_over(case, scope, evidence, heard);
    }
}

/// Lets the backend say what befell an attempt that was told to stop, where it is sure that its node or the cluster was lost.
pub(crate) fn join_backend(case: &mut Case, scope: &AttemptScope<'_>) {
    let Some(evidence) = scope.evidence() else {
        return;
    };
    let heard = hear(scope, evidence, BACKEND, &backend_text(evidence));
    let is_loss = |verdict: &TextVerdict| {
        let is_named = verdict
            .event
            .is_some_and(|event| event != InfraEventType::Unknown);
        verdict.confidence >= CONFIDENT && (is_named || verdict.category == Orphaned)
    };
    if let Some(heard) = heard.filter(|heard| is_loss(&heard.verdict)) {
        take_over(case, scope, evidence, heard);
    }
}

/// What a text says of the end of an attempt.
struct Heard {
    source: &'static str,
    verdict: TextVerdict,
    line: String,
}

fn backend_text(evidence: &AttemptEvidence) -> String {
    evidence.backend_messages.join("\n")
}

fn hear(
    scope: &AttemptScope<'_>,
    evidence: &AttemptEvidence,
    source: &'static str,
    text: &str,
) -> Option<Heard> {
    let exit = evidence.driver_exit.unwrap_or_default();
    let counted = evidence.attempt_memory.as_ref().and_then(|m| m.oom_kills);
    let (verdict, line) = read(scope, text, exit, counted)?;
    let is_heard = match verdict.category {
        Infrastructure => true,
        Orphaned | Timeout | Validation => source == BACKEND,
        Pipeline | Unknown => false,
    };
    is_heard.then_some(Heard {
        source,
        verdict,
        line,
    })
}

fn take_over(
    case: &mut Case,
    scope: &AttemptScope<'_>,
    evidence: &AttemptEvidence,
    Heard {
        source,
        verdict,
        line: root,
    }: Heard,
) {
    if !adopt(case, &verdict, &root) {
        return;
    }
    let what = told(&format!("the {source}"), case, &verdict);
    let mut line = scope.line(case.kind, source, what);
    line.raw = Some(root.clone());
    line.log_offset = line_offset(
        &root,
        &evidence.driver_log_tail,
        evidence.driver_log.as_ref(),
    );
    line.rule_ids = verdict.rule_ids.clone();
    case.evidence.insert(0, line);
    // A backend forgets what runs on it when its head, or all of it, is replaced.
    let is_forgotten = case.category == Some(Orphaned);
    let event = is_forgotten.then_some(InfraEventType::RollingUpdate);
    // What the backend says of its own node is so, although the text alone could mean another.
    let of_backend = verdict.event.filter(|_| source == BACKEND);
    if let Some(event) = event.or(of_backend).or(event_of(case, &verdict)) {
        case.events = vec![scope.event(event, scope.ended_at(), root)];
    }
}

/// The text that most of the deaths have, if at least half of those read have it.
fn most_named<'a>(scope: &AttemptScope<'_>, deaths: &[&'a WorkerDeath]) -> Option<Named<'a>> {
    let mut all: Vec<Named<'a>> = Vec::new();
    let read_deaths = &deaths[..deaths.len().min(LOGS_READ_MAX)];
    for death in read_deaths {
        let text = text_of(death);
        let counted = death.memory.oom_kills;
        let Some((verdict, line)) = read(scope, &text, death.exit, counted) else {
            continue;
        };
        match all.iter_mut().find(|named| named.is_like(&verdict, &line)) {
            Some(named) => named.by.push(death),
            None => all.push(Named {
                verdict,
                line,
                by: vec![death],
            }),
        }
    }
    // Of equally frequent texts the first in time: `max_by_key` would take the last.
    let most = all.into_iter().rev().max_by_key(|named| named.by.len())?;
    (most.by.len() * 2 >= read_deaths.len()).then_some(most)
}

/// What a log says of an end, unless what was seen of that end speaks against it.
fn read(
    scope: &AttemptScope<'_>,
    text: &str,
    exit: ProcessExit,
    oom_kills: Option<u64>,
) -> Option<(TextVerdict, String)> {
    if text.trim().is_empty() {
        return None;
    }
    let params = scope.at.job.params.as_ref();
    let verdict = RuleSet::builtin().classify(&FailureText {
        text,
        exit_code: exit.code.or(exit.signal.map(|signal| -signal)),
        backend: params.map(|params| params.deployment_mode.as_str()),
    });
    let line = verdict.root_cause_line.clone()?;
    // What an exit status says is known without the text.
    let by_text = verdict
        .rule_ids
        .first()
        .is_some_and(|id| !id.starts_with("exit."));
    let stands = by_text
        && verdict.confidence >= WORTH_SHOWING
        && verdict.category != Unknown
        && may_explain(&verdict, exit, oom_kills);
    stands.then_some((verdict, line))
}

/// Whether an end like this can have such a cause.
fn may_explain(verdict: &TextVerdict, exit: ProcessExit, oom_kills: Option<u64>) -> bool {
    let event = verdict.event.unwrap_or(InfraEventType::Unknown);
    let refused = verdict
        .rule_ids
        .first()
        .is_some_and(|id| REFUSALS.contains(&id.as_str()));
    // The kernel counted, and it counted nothing: no process of this group was killed for memory, whatever the text says.
    if event == InfraEventType::Oom && oom_kills == Some(0) && !refused {
        return false;
    }
    match signals::signal_of(&exit) {
        Some(signal) if signals::OWN_FAULTS.contains(&signal) => match verdict.category {
            Pipeline => true,
            Infrastructure => matches!(event, InfraEventType::Oom | InfraEventType::Unknown),
            _ => false,
        },
        // From outside: only who sends signals can have done it; an error that the program prints kills nobody.
        Some(_) => match verdict.category {
            Infrastructure => event != InfraEventType::Unknown && !refused,
            Timeout => true,
            _ => false,
        },
        None => exit.code != Some(0),
    }
}

/// Lets the errors of rows say what failed most of them, where that was the machine or a limit on time: then the rows and the extractor
/// are not to blame. `groups` are of one tier, the most frequent first.
pub(crate) fn join_rows(case: &mut Case, groups: &[&ErrorGroup]) -> Option<InfraEventType> {
    let total: u64 = groups.iter().map(|group| group.count).sum();
    let mut named: Vec<(TextVerdict, u64)> = Vec::new();
    for group in groups.iter().take(ROW_ERRORS_READ_MAX) {
        let verdict = read_row(group);
        match named.iter_mut().find(|(v, _)| is_alike(v, &verdict)) {
            Some((_, count)) => *count += group.count,
            None => named.push((verdict, group.count)),
        }
    }
    let (verdict, count) = named.into_iter().rev().max_by_key(|(_, count)| *count)?;
    let is_sure = verdict.confidence >= CONFIDENT && count * 2 > total;
    if !is_sure || !matches!(verdict.category, Infrastructure | Timeout) {
        return None;
    }
    case.category = Some(verdict.category);
    case.confidence = verdict.confidence.min(CONFIDENCE_MAX);
    case.evidence.insert(
        0,
        EvidenceLine {
            at: groups.first().map(|group| group.example.at),
            tier_num: case.tier_num,
            attempt: None,
            worker: None,
            what: told(&format!("the error of {count} rows"), case, &verdict),
            source: "row errors".to_owned(),
            raw: verdict.root_cause_line,
            log_offset: None,
            rule_ids: verdict.rule_ids,
            supports: case.kind,
        },
    );
    case.recommendations.insert(0, verdict.explanation);
    verdict.event
}

/// What the error of a row says.
fn read_row(group: &ErrorGroup) -> TextVerdict {
    let error = &group.example;
    let traceback = error.traceback.as_deref().unwrap_or_default();
    RuleSet::builtin().classify(&FailureText {
        text: &format!("{}\n{traceback}", error.message),
        exit_code: None,
        backend: None,
    })
}

fn is_alike(a: &TextVerdict, b: &TextVerdict) -> bool {
    (a.category, a.event) == (b.category, b.event)
}

/// Takes the text's verdict over where it is sure, or keeps the case as it is where the text merely agrees; false when it is neither.
fn adopt(case: &mut Case, verdict: &TextVerdict, line: &str) -> bool {
    let agrees = case.category == Some(verdict.category);
    if verdict.confidence < CONFIDENT && !agrees {
        return false;
    }
    if !case.reason.contains(words::clause(line)) {
        let line = words::clause(line);
        case.reason
            .push_str(&format!(" The log names the cause: {line}."));
    }
    if verdict.confidence < CONFIDENT {
        return true;
    }
    let text_confidence = verdict.confidence.min(CONFIDENCE_MAX);
    case.would_decide.clear();
    if agrees {
        case.confidence = case.confidence.max(text_confidence);
    } else {
        case.confidence = text_confidence;
        case.category = Some(verdict.category);
    }
    if verdict.event == Some(InfraEventType::Oom) {
        case.kind = CaseKind::OutOfMemory;
        for line in &mut case.evidence {
            line.supports = case.kind;
        }
    }
    case.recommendations.insert(0, verdict.explanation.clone());
    true
}

/// The event that a sure text names.
fn event_of(case: &Case, verdict: &TextVerdict) -> Option<InfraEventType> {
    let is_sure = verdict.confidence >= CONFIDENT && case.category == Some(verdict.category);
    verdict.event.filter(|_| is_sure)
}

fn told(who: &str, case: &Case, verdict: &TextVerdict) -> String {
    let names = if verdict.confidence >= CONFIDENT && case.category == Some(verdict.category) {
        "names the cause"
    } else {
        "shows an error that fits"
    };
    let rules = verdict.rule_ids.join(", ");
    format!("{who} {names} (rules {rules}): {}", verdict.explanation)
}

/// The kernel's own lines about the process, then its log.
fn text_of(death: &WorkerDeath) -> String {
    let mut text = death.kernel_lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&log_of(death));
    text
}

/// What was kept of a worker's log.
pub(crate) fn log_of(death: &WorkerDeath) -> String {
    log_text(&death.log_tail, death.log.as_ref())
}

/// What was kept of a log, in its order: errors that stand before the last lines, then these.
fn log_text(tail: &str, log: Option<&LogEvidence>) -> String {
    let mut text = String::new();
    let pieces = log
        .into_iter()
        .flat_map(|log| {
            [&log.first_error, &log.last_error].map(|piece| (piece.as_ref(), log.tail_offset))
        })
        .filter_map(|(piece, tail_offset)| piece.filter(|piece| piece.offset < tail_offset));
    for piece in pieces {
        if !text.contains(&piece.text) {
            text.push_str(&piece.text);
            text.push('\n');
        }
    }
    text.push_str(tail);
    text
}

#[cfg(test)]
mod tests;
