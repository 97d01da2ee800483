//! The steps of the story: what is called, what is shown, what must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use fettle_wire::batch::{BatchAudit, BatchModel, ListBatchesResponse};
use fettle_wire::diagnose::RecommendedAction;
use jiff::Timestamp;
use serde_json::json;

use super::claims;
use super::pick::Picked;
use super::story::Story;
use crate::answer::{self, list, maybe};
use crate::args::{DemoArgs, GlobalArgs};
use crate::batch;
use crate::connection::{Connection, batch_path, segment};
use crate::error::CliError;
use crate::extractor::ExtractorName;
use crate::folder::{self, Plan, Prepared, TierAsk};
use crate::output::Printer;
use crate::progress;
use crate::run;
use crate::search as searching;
use crate::text;

/// The tier that is given too little.
pub(super) const STARVED_TIER: u32 = 1;
/// Time between two looks at the batch.
const INTERVAL: Duration = Duration::from_millis(250);
/// Recommended calls that the demo follows at most: each at least raises the limit by half.
const ROUNDS_MAX: u32 = 4;
/// Words of such a sentence.
const SENTENCE_WORDS: usize = 20;
/// Documents among which a sentence for the search is chosen.
const SENTENCE_CANDIDATES: usize = 200;
/// A question that documentation of almost any kind answers somewhere.
const QUESTION: &str = "how do I report a bug or a security problem?";

pub(super) fn tell_files(story: &Story, picked: &Picked) -> Result<(), CliError> {
    let kinds: Vec<String> = picked
        .counts()
        .iter()
        .map(|(kind, count)| format!("{} {kind}", text::count(*count as u64)))
        .collect();
    let bytes: u64 = picked.files.iter().map(|file| file.size_bytes).sum();
    story.line(format_args!(
        "{} ({}), {} in all",
        text::plural(picked.files.len() as u64, "real file"),
        kinds.join(", "),
        text::size(bytes)
    ))?;
    for root in &picked.roots {
        story.line(format_args!("   from {}", root.display()))?;
    }
    Ok(())
}

pub(super) async fn prepare(
    connection: &Connection,
    namespace: &str,
    args: &DemoArgs,
    picked: &Picked,
    story: &Story,
) -> Result<Prepared, CliError> {
    let plan = Plan {
        name: format!("demo-{}", Timestamp::now().strftime("%Y%m%d-%H%M%S")),
        extractor: ExtractorName::parse("universal"),
        plugins: Vec::new(),
    };
    let prepared =
        folder::prepare(connection, namespace, &plan, &picked.files, &mut |_| {}).await?;
    claims::check(prepared.refused.is_empty(), || {
        format!("objects were refused: {:?}", prepared.refused)
    })?;
    story.line("tier 0: universal_extractor reads each file: text, HTML, images")?;
    story.line(
        "tier 1: text_extractor cuts that text into chunks and embeds them with all-MiniLM-L6-v2",
    )?;
    let weights = args
        .model_dir
        .as_ref()
        .and_then(|folder| std::fs::metadata(folder.join("model.safetensors")).ok())
        .map_or_else(String::new, |file| {
            format!("; the model's weights alone are {}", text::size(file.len()))
        });
    story.line(format_args!(
        "tier 1 is submitted with {} for each worker{weights}",
        args.memory
    ))?;
    let num_cpus = Some(run::cores());
    let starved = TierAsk {
        memory_bytes: Some(args.memory.bytes),
        num_cpus,
    };
    let asks = [
        TierAsk {
            memory_bytes: None,
            num_cpus,
        },
        starved,
    ];
    folder::submit(connection, &prepared, &asks).await?;
    story.line(format_args!("submitted as {}", prepared.batch_id))?;
    Ok(prepared)
}

pub(super) async fn run_and_fail(
    connection: &Connection,
    prepared: &Prepared,
    story: &Story,
) -> Result<(), CliError> {
    let (last, _) =
        progress::follow(connection, story.printer(), &prepared.batch_id, INTERVAL).await?;
    for tier in &last.tier_tasks {
        story.line(format_args!(
            "tier {}: {}, {} of {} rows",
            tier.tier_num,
            story.printer().state(&tier.status),
            text::count(tier.audit.processed + tier.audit.failed + tier.audit.skipped),
            tier.audit
                .submitted
                .map_or_else(|| "?".to_owned(), text::count),
        ))?;
    }
    claims::died_as_meant(&last)
}

/// Follows the diagnosis until the batch completes. A killed worker's peak is only a lower bound of what it needs, so this can
/// take more than one round; each has its own evidence.
pub(super) async fn mend_until_it_completes(
    connection: &Connection,
    args: &DemoArgs,
    prepared: &Prepared,
    story: &mut Story,
) -> Result<(), CliError> {
    let mut given = args.memory.bytes;
    for round in 1..=ROUNDS_MAX {
        story.step("why?  fettle batch diagnose")?;
        let action = diagnose(connection, given, prepared, story).await?;
        given = claims::recommends_more_memory(&action, given)?;
        story.step("the mend: the recommended call, as it stands")?;
        let last = mend(connection, &action, prepared, story).await?;
        if last.status != "FAILED" {
            return claims::completed(&last);
        }
        if round < ROUNDS_MAX {
            story.line("it got further and died again: a peak under a limit is only a lower bound of the need")?;
        }
    }
    claims::check(false, || {
        format!("{ROUNDS_MAX} recommended calls should be enough")
    })
}

async fn diagnose(
    connection: &Connection,
    given: u64,
    prepared: &Prepared,
    story: &Story,
) -> Result<RecommendedAction, CliError> {
    let (diagnosis, _) = batch::diagnosis(connection, &prepared.batch_id).await?;
    if story.is_told() {
        batch::print_verdict(story.printer(), &diagnosis)?;
        batch::print_evidence(story.printer(), &diagnosis)?;
    }
    claims::says_out_of_memory(&diagnosis)?;
    if claims::has_kernel_evidence(&diagnosis) {
        story.line(format_args!(
            "it was given {}; the kernel's own counter says that this was too little",
            text::size(given)
        ))?;
    } else {
        story.line("this machine gave Fettle no cgroup that it may use, so there is no counter of the kernel: the limit was an rlimit,")?;
        story.line("and the verdict rests on how the worker ended and on its memory as sampled. `fettle doctor` says what is missing.")?;
    }
    batch::recommended(&diagnosis).cloned()
}

async fn mend(
    connection: &Connection,
    action: &RecommendedAction,
    prepared: &Prepared,
    story: &Story,
) -> Result<BatchModel, CliError> {
    if story.is_told() {
        batch::print_call(story.printer(), connection.url(), action)?;
    }
    let answer = batch::carry_out_recommended(connection, action).await?;
    story.line(format_args!("answer: {}", maybe(&answer, "message")))?;
    let (last, _) =
        progress::follow(connection, story.printer(), &prepared.batch_id, INTERVAL).await?;
    if story.is_told() && last.status != "FAILED" {
        let (diagnosis, _) = batch::diagnosis(connection, &prepared.batch_id).await?;
        batch::print_summary(story.printer(), &last, &diagnosis, None)?;
    }
    Ok(last)
}

pub(super) async fn audit(
    connection: &Connection,
    prepared: &Prepared,
    story: &Story,
) -> Result<(), CliError> {
    let path = format!(
        "{}/audit",
        batch_path(&prepared.bucket_id, &prepared.batch_id)
    );
    let answer = connection.get(&path, &[]).await?;
    let audit: BatchAudit = answer::typed(connection.url(), &answer)?;
    if story.is_told() {
        batch::print_audit(story.printer(), &audit)?;
    }
    claims::balances(&audit)
}

pub(super) async fn search(
    connection: &Connection,
    prepared: &Prepared,
    story: &Story,
) -> Result<(), CliError> {
    let collection = prepared
        .chunks_collection
        .as_deref()
        .ok_or(CliError::Answer {
            field: "collection_id",
        })?;
    let found = searching::search(connection, collection, QUESTION, 3).await?;
    story.line(format_args!("“{QUESTION}”"))?;
    if story.is_told() {
        searching::print(story.printer(), &found)?;
    }
    claims::check(!found.is_empty(), || "the search found nothing".to_owned())?;
    let (sentence, path) = sentence(connection, collection).await?;
    let found =
        searching::search(connection, collection, &sentence, searching::RESULTS_MAX).await?;
    story.line(format_args!(
        "a sentence taken from {path}: “{}”",
        text::short(&sentence, 100)
    ))?;
    let place = claims::place_of(&found, &sentence, &path)?;
    story.line(format_args!("found again at place {place}"))
}

/// Words out of the middle of a document's text, and the document's path. Of a short text they are so large a part that others like it,
/// such as the notes of many releases, are less like them.
async fn sentence(connection: &Connection, collection: &str) -> Result<(String, String), CliError> {
    let path = format!("/v1/collections/{}/documents/list", segment(collection));
    let answer = connection
        .post_query(&path, &json!({ "limit": SENTENCE_CANDIDATES }))
        .await?;
    let documents = list(&answer, "results");
    let best = documents
        .iter()
        .filter(|document| prose(maybe(document, "text")) >= SENTENCE_WORDS)
        .min_by_key(|document| maybe(document, "text").len())
        .or_else(|| documents.iter().max_by_key(|it| prose(maybe(it, "text"))))
        .ok_or_else(|| CliError::Claim {
            claim: "tier 1 has no documents".to_owned(),
        })?;
    let words: Vec<&str> = maybe(best, "text").split_whitespace().collect();
    let middle = words.len() / 3;
    let sentence = words[middle..words.len().min(middle + SENTENCE_WORDS)].join(" ");
    Ok((sentence, maybe(best, "path").to_owned()))
}

/// How much of a text is running prose: its lower-case words, each counted once.
fn prose(text: &str) -> usize {
    let words = text.split_whitespace().filter(|word| word.len() > 3);
    words
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect::<BTreeSet<_>>()
        .len()
}

/// Jobs outlive their server on purpose; those of a demo that failed are of no use.
pub(super) async fn cancel_what_runs(global: &GlobalArgs, printer: &Printer) {
    let cancelled = async {
        let connection = Connection::new(global)?;
        let answer = connection
            .post_query("/v1/batches/list", &json!({}))
            .await?;
        let page: ListBatchesResponse = answer::typed(connection.url(), &answer)?;
        for batch in page
            .results
            .iter()
            .filter(|batch| !progress::is_over(&batch.status))
        {
            let path = format!("{}/cancel", batch_path(&batch.bucket_id, &batch.batch_id));
            connection.post(&path, &json!({})).await?;
            progress::follow(&connection, printer, &batch.batch_id, INTERVAL).await?;
        }
        Ok::<(), CliError>(())
    };
    if let Err(error) = cancelled.await {
        printer.note(format_args!(
            "the demo's batch could not be cancelled: {error}"
        ));
    }
}
