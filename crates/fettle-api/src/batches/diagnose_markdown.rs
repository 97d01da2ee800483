//! A diagnosis as Markdown, for a ticket or a chat.
//!
//! Owns what is told in which order, and how much. Every text that is not ours is escaped and shown without secrets.

use fettle_wire::diagnose::{
    ComparedJob, DiagnoseResponse, EvidenceLine, RecommendedAction, TierDiagnosis,
};
use fettle_wire::time::Timestamp;
use serde_json::Value;

use crate::markdown::{block, code, table, text};

/// Facts in the table at most; a ticket is read on one screen, the rest is in the JSON.
const EVIDENCE_MAX: usize = 20;
/// Logs that are quoted at most, and how many characters of the end of each.
const QUOTES_MAX: usize = 2;
const QUOTE_CHARS_MAX: usize = 1_500;
/// Kinds of failed documents at most.
const GROUPS_MAX: usize = 10;
/// Timeline entries at most, the latest.
const TIMELINE_MAX: usize = 20;
/// Characters of a quoted message or value.
const MESSAGE_CHARS_MAX: usize = 200;

/// The diagnosis as Markdown; links begin with `base`, the server's address.
pub(super) fn markdown(told: &DiagnoseResponse, base: &str) -> String {
    let parts = [
        head(told, base),
        what_to_do(told),
        section("Evidence", evidence(&told.evidence, base)),
        section("Tiers", tiers(&told.per_tier)),
        section("Failed documents", failed(told, base)),
        section("Changed since the last good run", compared(told)),
        section("Infrastructure events", events(told, base)),
        section("Timeline", timeline(told)),
    ];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("\n")
}

fn section(title: &str, body: String) -> String {
    if body.is_empty() {
        return body;
    }
    format!("## {title}\n\n{body}")
}

fn head(told: &DiagnoseResponse, base: &str) -> String {
    let sure = |what: String| match told.confidence {
        Some(confidence) => format!("{what} ({:.0} % sure)", confidence * 100.0),
        None => what,
    };
    let link = |name: &String, url: &Option<String>| link(name, url.as_deref(), base);
    let case = told
        .case
        .as_ref()
        .map(|case| link(case, &told.case_docs_url));
    let category = told.failure_category.as_ref();
    let category = category.map(|category| sure(link(category, &told.docs_url)));
    let failed = (told.failed_document_count > 0).then(|| told.failed_document_count.to_string());
    let books = match (told.audit.all_balanced, told.audit.has_lost_objects) {
        (_, true) => Some("**rows are lost**".to_owned()),
        (true, _) => Some("balanced".to_owned()),
        (false, _) => None,
    };
    let rows: Vec<Vec<String>> = [
        ("category", category),
        ("finding", case),
        ("failed documents", failed),
        ("accounting", books),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]))
    .collect();
    let facts = table(&["", ""], &rows);
    format!(
        "# Batch {}: {}\n\n{}\n\n{facts}",
        code(&told.batch_id, MESSAGE_CHARS_MAX),
        text(&told.status),
        text(&told.summary)
    )
}

fn what_to_do(told: &DiagnoseResponse) -> String {
    let advice: String = told
        .recommendations
        .iter()
        .map(|line| format!("- {}\n", text(line)))
        .collect();
    let calls: String = told.recommended_actions.iter().map(call).collect();
    section("What to do", [advice, calls].concat())
}

fn call(action: &RecommendedAction) -> String {
    let body = if action.body.is_empty() {
        String::new()
    } else {
        format!("\n\n{}", Value::Object(action.body.clone()))
    };
    let request = format!("{} {}{body}", action.method, action.path);
    format!(
        "\n{} → {} ({:.0} % sure to help)\n\n{}",
        text(&action.reason),
        text(&action.expected_effect),
        action.confidence * 100.0,
        block(&request, "http")
    )
}

fn evidence(lines: &[EvidenceLine], base: &str) -> String {
    let row = |line: &EvidenceLine| {
        let worker = line
            .worker
            .map_or(String::new(), |w| format!(", worker {w}"));
        let of = line.attempt_id.as_deref().unwrap_or_default();
        vec![
            at(line.at),
            format!("{}{worker}", text(of)),
            text(&line.what),
            text(&line.source),
            link(&line.supports, Some(&line.docs_url), base),
        ]
    };
    let rows: Vec<Vec<String>> = lines.iter().take(EVIDENCE_MAX).map(row).collect();
    let facts = table(&["when", "of", "what was seen", "where", "supports"], &rows);
    let is_log = |line: &&EvidenceLine| line.raw.as_ref().is_some_and(|raw| raw.contains('\n'));
    let quotes = lines.iter().filter(is_log).take(QUOTES_MAX);
    let quotes: String = quotes.map(quote).collect();
    [facts, quotes].concat()
}

/// The end of a quoted log.
fn quote(line: &EvidenceLine) -> String {
    let raw = line.raw.as_deref().unwrap_or_default();
    let over = raw.chars().count().saturating_sub(QUOTE_CHARS_MAX);
    let end: String = raw.chars().skip(over).collect();
    format!("\n{}:\n\n{}", text(&line.source), block(&end, "text"))
}

fn tiers(tiers: &[TierDiagnosis]) -> String {
    let times = tiers.iter().map(|tier| {
        let phases = tier.phases;
        vec![
            tier.tier_num.to_string(),
            text(&tier.status),
            tier.duration_seconds.map_or(String::new(), seconds),
            seconds(phases.waiting_seconds),
            seconds(phases.starting_seconds),
            seconds(phases.running_seconds),
            seconds(phases.finalising_seconds),
            shares(tier),
        ]
    });
    let use_of = tiers.iter().map(|tier| {
        let requested = tier.resources.requested;
        let used = &tier.resources.used;
        vec![
            tier.tier_num.to_string(),
            against(
                used.num_cpus.map(cores),
                requested.map(|r| cores(r.num_cpus)),
            ),
            against(
                used.memory_peak_bytes.map(bytes),
                used.memory_limit_bytes.map(bytes),
            ),
            against(
                used.num_gpus.map(cores),
                requested.map(|r| cores(r.num_gpus)),
            ),
        ]
    });
    let times = table(
        &[
            "tier",
            "status",
            "took",
            "waiting",
            "starting",
            "running",
            "finalising",
            "stages",
        ],
        &times.collect::<Vec<_>>(),
    );
    let use_of = table(
        &["tier", "cores", "memory of a worker", "GPUs"],
        &use_of.collect::<Vec<_>>(),
    );
    let meanings = tiers.iter().filter_map(|tier| {
        let bottleneck = tier.bottleneck.as_ref()?;
        Some(format!(
            "- tier {}: {}\n",
            tier.tier_num,
            text(&bottleneck.meaning)
        ))
    });
    let meanings: String = meanings.collect();
    if times.is_empty() {
        return times;
    }
    format!("{times}\n{use_of}\n{meanings}")
}

fn shares(tier: &TierDiagnosis) -> String {
    let share = |stage: &fettle_wire::diagnose::StageShare| {
        format!("{} {:.0} %", text(&stage.name), stage.share * 100.0)
    };
    tier.stages.iter().map(share).collect::<Vec<_>>().join(", ")
}

fn failed(told: &DiagnoseResponse, base: &str) -> String {
    let groups = told.error_groups.iter().take(GROUPS_MAX).map(|group| {
        vec![
            group.count.to_string(),
            link(&group.error_type, Some(&group.docs_url), base),
            text(&group.category),
            text(&group.stage),
            code(&group.example, MESSAGE_CHARS_MAX),
            code(&group.example_document_id, MESSAGE_CHARS_MAX),
        ]
    });
    table(
        &[
            "count",
            "class",
            "category",
            "stage",
            "message of one",
            "document",
        ],
        &groups.collect::<Vec<_>>(),
    )
}

fn compared(told: &DiagnoseResponse) -> String {
    let jobs = told.compared_with_last_good.iter().flat_map(|c| &c.jobs);
    let rows = |job: &ComparedJob| {
        let tier = job.tier_num.to_string();
        let good = code(&job.last_good_batch_id, MESSAGE_CHARS_MAX);
        let differences = job.differences.iter().map(move |found| {
            vec![
                tier.clone(),
                code(&found.what, MESSAGE_CHARS_MAX),
                code(&found.last_good.to_string(), MESSAGE_CHARS_MAX),
                code(&found.now.to_string(), MESSAGE_CHARS_MAX),
                good.clone(),
            ]
        });
        differences.collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = jobs.flat_map(rows).collect();
    table(
        &["tier", "what", "last good run", "now", "last good batch"],
        &rows,
    )
}

fn events(told: &DiagnoseResponse, base: &str) -> String {
    let rows = told.infrastructure_events.iter().map(|event| {
        let url = event.docs_url.as_deref();
        vec![
            at(event.detected_at),
            link(&event.event_type, url, base),
            text(event.node_id.as_deref().unwrap_or_default()),
            code(
                event.raw_signal.as_deref().unwrap_or_default(),
                MESSAGE_CHARS_MAX,
            ),
        ]
    });
    let rows: Vec<Vec<String>> = rows.take(EVIDENCE_MAX).collect();
    table(&["when", "event", "node", "signal"], &rows)
}

fn timeline(told: &DiagnoseResponse) -> String {
    let over = told.timeline.len().saturating_sub(TIMELINE_MAX);
    let rows = told.timeline[over..].iter().map(|entry| {
        let tier = entry.tier_num.map_or(String::new(), |num| num.to_string());
        vec![
            at(Some(entry.at)),
            tier,
            text(&entry.kind),
            text(&entry.message),
        ]
    });
    table(&["when", "tier", "what", ""], &rows.collect::<Vec<_>>())
}

/// A word of ours with the page that explains it.
fn link(name: &str, url: Option<&str>, base: &str) -> String {
    match url {
        Some(url) => format!("[{}]({base}{url})", text(name)),
        None => text(name),
    }
}

fn against(used: Option<String>, asked: Option<String>) -> String {
    match (used, asked) {
        (Some(used), Some(asked)) => format!("{used} of {asked}"),
        (Some(used), None) => used,
        (None, Some(asked)) => format!("not measured, asked for {asked}"),
        (None, None) => String::new(),
    }
}

fn at(time: Option<Timestamp>) -> String {
    time.map_or(String::new(), |time| time.to_string())
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

fn cores(number: f64) -> String {
    format!("{number:.2}")
}

fn bytes(count: u64) -> String {
    format!("{:.0} MiB", count as f64 / f64::from(1 << 20))
}
