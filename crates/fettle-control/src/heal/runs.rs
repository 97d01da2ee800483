//! What runs on the backend, against what is believed to run: orphans and duplicates.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fettle_core::{Batch, Event, can_be_adopted};
use fettle_model::{AppliedBy, AttemptId, BatchId, HealingMode, NamespaceId};
use fettle_ports::{ExecutorError, Run};

use super::{Done, HealFinding, HealOutcome, HealStep, Site};
use crate::control::{Control, Shared};
use crate::error::RequestError;
use crate::orchestrator::tell;
use crate::reconcile;

/// How often the backend is asked what runs on it: a look reads the process table, which costs milliseconds, and what must not run does
/// no harm but that it takes up room.
const LOOK_EVERY: Duration = Duration::from_secs(4);

/// What a run is to its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The attempt that counts.
    Counts,
    /// A second run of the attempt that counts.
    Second,
    /// An attempt that does not count any more.
    Superseded,
    /// The next attempt of a job that has none: it can be taken over.
    Orphan,
    /// Nothing that the batch ever planned or could take over.
    Stray,
}

fn standing(batch: &Batch, run: &Run) -> Standing {
    let known = run.attempt.split().and_then(|(id, number)| {
        let (_, job) = batch.job(&id)?;
        Some((job, number))
    });
    let Some((job, number)) = known else {
        return Standing::Stray;
    };
    if job.is_current(&run.attempt) {
        return if run.is_the_attempts {
            Standing::Counts
        } else {
            Standing::Second
        };
    }
    if job.attempts.iter().any(|attempt| attempt.number == number) {
        Standing::Superseded
    } else if run.is_the_attempts && can_be_adopted(job, &run.attempt) {
        Standing::Orphan
    } else {
        Standing::Stray
    }
}

pub(super) async fn kill_duplicates(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let mut findings = Vec::new();
    for (run, standing) in seen(site).await? {
        let (kind, what) = match standing {
            Standing::Second => ("duplicate", "a second run of the attempt that counts"),
            Standing::Superseded => ("superseded", "a run of an attempt that has ended"),
            Standing::Counts | Standing::Orphan | Standing::Stray => continue,
        };
        let done = end(site, &run).await?;
        findings.push(told(kind, what, &run).then(HealStep::EndRun, done));
    }
    Ok(findings)
}

pub(super) async fn adopt_orphans(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let mut findings = Vec::new();
    for (run, standing) in seen(site).await? {
        let finding = match standing {
            Standing::Orphan => {
                let done = adopt(site, &run).await?;
                told("orphan", "a run that the batch does not know", &run)
                    .then(HealStep::Adopt, done)
            }
            Standing::Stray => {
                let done = end(site, &run).await?;
                let what = "a run that the batch does not know and cannot take over";
                told("stray", what, &run).then(HealStep::EndRun, done)
            }
            Standing::Counts | Standing::Second | Standing::Superseded => continue,
        };
        findings.push(finding);
    }
    Ok(findings)
}

fn told(kind: &'static str, what: &str, run: &Run) -> HealFinding {
    HealFinding {
        age_ms: run.age_ms,
        evidence: vec![run.evidence.clone()],
        ..HealFinding::new(kind, format!("{what} is alive: {}", run.attempt)).about(&run.attempt)
    }
}

/// The tier's runs. The batch is read after them, so that an attempt that was begun meanwhile is known.
async fn seen(site: &Site<'_>) -> Result<Vec<(Run, Standing)>, RequestError> {
    let runs = match site.control.executor().list().await {
        // Where nobody can say what runs, nothing is concluded; what is believed to run is asked for by name all the same.
        Err(ExecutorError::Unlistable { message }) => {
            tracing::info!(message, "orphans and duplicates were not looked for");
            return Ok(Vec::new());
        }
        other => other?,
    };
    let batch = site.state().await?;
    let of_tier = runs
        .into_iter()
        .filter(|run| run.batch_id == *site.batch && run.tier_num == site.tier_num);
    Ok(of_tier
        .map(|run| {
            let standing = standing(&batch, &run);
            (run, standing)
        })
        .collect())
}

async fn end(site: &Site<'_>, run: &Run) -> Result<Done, RequestError> {
    if site.dry_run {
        return Ok(Done::plain(HealOutcome::WouldDo));
    }
    // Looked at again: it may have begun to count meanwhile.
    if run.is_the_attempts && site.control.shared.fences.get(&run.attempt).is_some() {
        return Ok(Done::because(HealOutcome::Declined, "it counts by now"));
    }
    let stopped = site.control.executor().end_run(run).await?;
    let name = &run.name;
    let message = format!(
        "a run that does not count ({name}) was ended: {}",
        stopped.message
    );
    site.note(&run.attempt, message).await?;
    let outcome = if stopped.proven_gone {
        HealOutcome::Done
    } else {
        HealOutcome::Failed
    };
    Ok(Done::because(outcome, stopped.message))
}

async fn adopt(site: &Site<'_>, run: &Run) -> Result<Done, RequestError> {
    if site.dry_run {
        return Ok(Done::plain(HealOutcome::WouldDo));
    }
    let shared = &site.control.shared;
    let batch = site.state().await?;
    let job = run.attempt.split().and_then(|(id, _)| batch.job(&id));
    let Some((_, job)) = job else {
        return Ok(Done::because(HealOutcome::Declined, "its job is gone"));
    };
    let submission = reconcile::submission(shared, site.namespace, job, &run.attempt).await;
    let event = Event::AttemptAdopted {
        attempt: run.attempt.clone(),
        submission,
    };
    Done::of(tell(shared, site.batch, event).await, HealOutcome::Done)
}

/// A run that speaks with the token of its job's next attempt, while the job waits, was begun by a server whose memory of it was lost. It is
/// taken over before it is told that it does not count.
pub(crate) async fn take_over(shared: &Shared, attempt: &AttemptId) {
    let Some((id, _)) = attempt.split() else {
        return;
    };
    let batch = {
        let active = shared.active.read();
        let active = active.unwrap_or_else(PoisonError::into_inner);
        active
            .values()
            .find(|batch| batch.job(&id).is_some())
            .cloned()
    };
    let may_be = batch.filter(|batch| batch.healing.mode != HealingMode::Off);
    let Some((batch, job)) = may_be
        .as_ref()
        .and_then(|batch| Some((batch, batch.job(&id)?.1)))
    else {
        return;
    };
    if !can_be_adopted(job, attempt) {
        return;
    }
    let submission = reconcile::submission(shared, &batch.namespace_id, job, attempt).await;
    let event = Event::AttemptAdopted {
        attempt: attempt.clone(),
        submission,
    };
    // A refusal means that the job has gone on meanwhile.
    if let Err(error) = tell(shared, &batch.id, event).await {
        tracing::info!(%attempt, %error, "a run that is not known was not taken over");
    }
}

/// Ends and takes over by itself what runs and is not believed to, until `serve` stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let control = Control { shared };
    while control.shared.pause(LOOK_EVERY).await {
        for (namespace, batch, tier_num) in suspects(&control).await {
            let site = Site {
                control: &control,
                namespace: &namespace,
                batch: &batch,
                tier_num,
                by: AppliedBy::Policy,
                dry_run: false,
            };
            if let Err(error) = settle(&site).await {
                tracing::warn!(%batch, tier_num, %error, "runs that do not count were not dealt with");
            }
        }
    }
}

async fn settle(site: &Site<'_>) -> Result<(), RequestError> {
    if site.state().await?.healing.mode == HealingMode::Off {
        return Ok(());
    }
    adopt_orphans(site).await?;
    kill_duplicates(site).await.map(drop)
}

/// Tiers with a run that is not the attempt that counts. Whose runs of batches that rest are not looked for in the store each time, but
/// only where there is such a run.
async fn suspects(control: &Control) -> BTreeSet<(NamespaceId, BatchId, u32)> {
    let runs = match control.executor().list().await {
        Ok(runs) => runs,
        Err(error) => {
            tracing::debug!(%error, "what runs on the backend is not known");
            return BTreeSet::new();
        }
    };
    let fences = &control.shared.fences;
    let counts = |run: &Run| run.is_the_attempts && fences.get(&run.attempt).is_some();
    let mut found = BTreeSet::new();
    for run in runs.into_iter().filter(|run| !counts(run)) {
        if let Some(namespace) = whose(control, &run.batch_id).await {
            found.insert((namespace, run.batch_id, run.tier_num));
        }
    }
    found
}

async fn whose(control: &Control, batch: &BatchId) -> Option<NamespaceId> {
    let active = {
        let active = control.shared.active.read();
        let active = active.unwrap_or_else(PoisonError::into_inner);
        active.get(batch).map(|batch| batch.namespace_id.clone())
    };
    if active.is_some() {
        return active;
    }
    let found = control.store().get_batch(None, batch).await.ok().flatten();
    found.map(|(record, _)| record.namespace_id)
}
