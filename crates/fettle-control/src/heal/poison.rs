//! Rows that end their workers.
//!
//! While an attempt runs its driver tries them alone and fails them by itself. What is left to do is an attempt that gave up before: its rows
//! that were there at every death are failed here, and the rest goes on.

use std::collections::{BTreeMap, BTreeSet};

use fettle_core::{Event, FailedRows, Job};
use fettle_diagnose::fingerprint;
use fettle_manifest::{ManifestReader, ManifestRow};
use fettle_model::{
    AttemptExit, AttemptId, DocumentErrorClass, ErrorCategory, RowError, RowNumber, RowOutcome,
    Stage, WorkStatus, WorkerDeath,
};
use fettle_ports::{FailedRow, RowsCommit};

use super::{Done, HealFinding, HealOutcome, HealStep, Site};
use crate::error::RequestError;
use crate::orchestrator::tell;
use crate::summary;

/// Deaths at which a row must have been in flight before it is failed where it was not alone: one can be another row's doing.
const DEATHS_MIN: usize = 2;
/// Deaths that are enough where the row was alone in its worker: the driver asks for as many.
const LONE_DEATHS_MIN: usize = 2;
/// How sure it is of a row that was not alone.
const SHARED_CONFIDENCE: f64 = 0.7;

/// The deaths at which one row was in flight.
#[derive(Default)]
struct Suspicion {
    deaths: Vec<String>,
    alone: usize,
}

pub(super) async fn heal(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let batch = site.state().await?;
    let deaths = deaths(site).await?;
    let mut findings = Vec::new();
    let mut continued = Vec::new();
    let jobs = batch.jobs().filter(|(num, _)| *num == site.tier_num);
    for (_, job) in jobs {
        let Some(attempt) = job.last_attempt() else {
            continue;
        };
        let Some(deaths) = deaths.get(&attempt.id) else {
            continue;
        };
        let finished = site.control.store().finished_rows(&job.id).await?;
        let suspects = suspects(deaths, &finished.into_iter().collect());
        let is_over = batch.status.is_terminal() && job.status() == WorkStatus::Failed;
        if !is_over || attempt.exit != Some(AttemptExit::WorkersKeepDying) {
            let alone = "its driver tries it alone, or it is tried again with the attempt's remedy";
            let told = |(row, suspicion)| {
                told(row, suspicion, &attempt.id).then(
                    HealStep::Nothing,
                    Done::because(HealOutcome::NothingToDo, alone),
                )
            };
            findings.extend(suspects.into_iter().map(told));
            continue;
        }
        let poison = suspects.into_iter().filter(|(_, suspicion)| {
            suspicion.alone >= LONE_DEATHS_MIN || suspicion.deaths.len() >= DEATHS_MIN
        });
        let poison: Vec<(RowNumber, Suspicion)> = poison.collect();
        if poison.is_empty() {
            continue;
        }
        let outcome = if site.dry_run {
            HealOutcome::WouldDo
        } else {
            fail(site, job, &attempt.id, &poison).await?;
            continued.push((job.id.clone(), 0));
            HealOutcome::Done
        };
        let told = |(row, suspicion)| {
            told(row, suspicion, &attempt.id).then(HealStep::FailRows, Done::plain(outcome))
        };
        findings.extend(poison.into_iter().map(told));
    }
    if !continued.is_empty() {
        go_on(site, continued).await?;
    }
    Ok(findings)
}

/// Worker deaths of the batch's attempts: of those that have ended, and of those that run.
async fn deaths(site: &Site<'_>) -> Result<BTreeMap<AttemptId, Vec<WorkerDeath>>, RequestError> {
    let kept = site.control.store().evidence(site.batch).await?;
    Ok(kept
        .into_iter()
        .map(|(attempt, evidence, _)| (attempt, evidence.worker_deaths))
        .filter(|(_, deaths)| !deaths.is_empty())
        .collect())
}

fn suspects(
    deaths: &[WorkerDeath],
    finished: &BTreeSet<RowNumber>,
) -> BTreeMap<RowNumber, Suspicion> {
    let mut suspects = BTreeMap::<RowNumber, Suspicion>::new();
    for death in deaths {
        for held in &death.in_flight {
            if finished.contains(&held.row) {
                continue;
            }
            let suspicion = suspects.entry(held.row).or_default();
            suspicion.deaths.push(summary::of_death(death));
            suspicion.alone += usize::from(death.in_flight.len() == 1);
        }
    }
    suspects
}

fn told(row: RowNumber, suspicion: Suspicion, attempt: &AttemptId) -> HealFinding {
    let (deaths, alone) = (suspicion.deaths.len(), suspicion.alone);
    let summary = format!(
        "row {row} was in flight at {deaths} worker death(s), alone at {alone} of them, and has no outcome"
    );
    HealFinding {
        rows: vec![row],
        confidence: if alone >= LONE_DEATHS_MIN {
            1.0
        } else {
            SHARED_CONFIDENCE
        },
        evidence: suspicion.deaths,
        ..HealFinding::new("poison", summary).about(attempt)
    }
}

/// Gives the rows the outcome "failed", with what was seen.
async fn fail(
    site: &Site<'_>,
    job: &Job,
    attempt: &AttemptId,
    poison: &[(RowNumber, Suspicion)],
) -> Result<(), RequestError> {
    let numbers: Vec<RowNumber> = poison.iter().map(|(row, _)| *row).collect();
    let rows = rows(site, job, &numbers).await?;
    let now = site.control.clock().now();
    let failed = |(row, (_, suspicion)): (ManifestRow, &(RowNumber, Suspicion))| {
        let message = format!(
            "the row was in flight at {} deaths of its worker, and was quarantined; the traceback names them",
            suspicion.deaths.len()
        );
        FailedRow {
            fingerprint: fingerprint(&message),
            collection_id: row.collection_id,
            error: RowError {
                row: row.row,
                source_id: row.source_id,
                category: ErrorCategory::Runtime,
                class: DocumentErrorClass::Permanent,
                stage: Stage::Processing,
                message,
                component: job.extractor.id(),
                traceback: Some(suspicion.deaths.join("\n")),
                at: now,
            },
        }
    };
    let commit = RowsCommit {
        batch_id: site.batch.clone(),
        attempt_id: attempt.clone(),
        job_id: job.id.clone(),
        tier_num: site.tier_num,
        outcomes: numbers
            .iter()
            .map(|row| (*row, RowOutcome::Failed, 0))
            .collect(),
        errors: rows.into_iter().zip(poison).map(failed).collect(),
        replaced: 0,
        deleted: 0,
    };
    let counts = site.control.store().record_rows(commit).await?;
    let event = Event::RowsQuarantined {
        job: job.id.clone(),
        counts: counts.rows,
    };
    let answer = tell(&site.control.shared, site.batch, event).await;
    Done::of(answer, HealOutcome::Done)?;
    let message = format!("quarantined row(s) {numbers:?}, which ended their workers");
    site.note(attempt, message).await
}

async fn rows(
    site: &Site<'_>,
    job: &Job,
    numbers: &[RowNumber],
) -> Result<Vec<ManifestRow>, RequestError> {
    let Some(manifest) = &job.manifest else {
        return Ok(Vec::new());
    };
    let bytes = site.control.blobs().get(&manifest.key).await?;
    let unreadable = |error: fettle_manifest::ManifestError| RequestError::Invalid {
        message: format!("the manifest cannot be read: {error}"),
        field: None,
    };
    let reader = ManifestReader::open(bytes).map_err(unreadable)?;
    reader.read(numbers).map_err(unreadable)
}

/// The rest of the jobs is tried again; the rows that were failed stay failed.
async fn go_on(site: &Site<'_>, jobs: Vec<(fettle_model::JobId, u64)>) -> Result<(), RequestError> {
    let batch = site.state().await?;
    let event = Event::FailedRowsRetryRequested {
        version: batch.version,
        which: FailedRows::default(),
        jobs,
    };
    // Refused when the batch has moved meanwhile: then somebody else has taken it up.
    Done::of(
        tell(&site.control.shared, site.batch, event).await,
        HealOutcome::Done,
    )
    .map(drop)
}
