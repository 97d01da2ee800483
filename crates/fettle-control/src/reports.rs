//! What drivers and workers report. An answer means that it is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use fettle_core::healing::fails_too_much;
use fettle_core::{Event, TimelineEntry, TimelineKind};
use fettle_diagnose::fingerprint;
use fettle_model::report::{
    DriverCommand, ExitReport, Heartbeat, HeartbeatAck, ROWS_PER_REPORT_MAX, RowReport, RowsAck,
    RowsReport,
};
use fettle_model::{
    AttemptEvidence, AttemptId, AttemptSpec, AttemptStatus, CollectionId, KillOrder, RowCounts,
    RowOutcome, WorkerDeath,
};
use fettle_ports::{Document, FailedRow, NamedVector, RowsCommit};

use crate::control::Control;
use crate::error::{ReportError, RequestError};
use crate::fence::{Fence, LiveAttempt};
use crate::orchestrator::tell;
use crate::replace::Made;
use crate::{grant, heal, replace, spec, summary};

/// Deaths that are remembered as told; a driver repeats those of one heartbeat at most.
const DEATHS_MAX: usize = fettle_model::evidence::WORKER_DEATHS_KEPT_MAX;

impl Control {
    /// What an attempt is to do, for a driver on another machine. One that is over or is to end is not known.
    pub async fn attempt_spec(&self, attempt: &AttemptId) -> Result<AttemptSpec, RequestError> {
        let live = self.shared.fences.get(attempt);
        let live = live.filter(|live| live.status != AttemptStatus::Cancelling);
        let batch = live.and_then(|live| self.shared.batch(&live.fence.batch_id));
        let batch = batch.ok_or_else(|| RequestError::NoSuch {
            kind: "attempt",
            id: attempt.to_string(),
        })?;
        spec::build(&self.shared, &batch, attempt).await
    }

    /// Writes documents, then outcomes; rows that have an outcome keep it. A report that has come is dealt with to its end, though its worker
    /// dies and nobody waits for the answer: documents without outcomes would be counted nowhere.
    pub async fn record_rows(
        &self,
        attempt: &AttemptId,
        report: RowsReport,
    ) -> Result<RowsAck, ReportError> {
        let (control, attempt) = (self.clone(), attempt.clone());
        let whole = async move { control.record_whole(&attempt, report).await };
        let recorded = self.shared.tasks.spawn(whole).await;
        // A task that nobody aborts ends early by a panic alone, which goes on here.
        recorded.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn record_whole(
        &self,
        attempt: &AttemptId,
        report: RowsReport,
    ) -> Result<RowsAck, ReportError> {
        let live = self.counted(attempt).await?;
        let open = live.fence.gate.read().await;
        if !*open {
            return Err(superseded("its end has been counted"));
        }
        let (documents, mut commit) = sort(attempt, &live.fence, report.rows)?;
        let (namespace, batch) = (&live.fence.namespace_id, &live.fence.batch_id);
        for (collection, made) in documents {
            let old = replace::write(self, namespace, batch, &collection, made).await?;
            commit.replaced += old.replaced;
            commit.deleted += old.deleted;
        }
        let counts = self.store().record_rows(commit).await?;
        self.stop_what_fails_too_much(&live.fence, counts.rows)
            .await;
        Ok(RowsAck {
            finished_rows: counts.rows.total(),
        })
    }

    /// Takes a heartbeat; the answer tells the driver whether to go on.
    pub async fn heartbeat(
        &self,
        attempt: &AttemptId,
        mut beat: Heartbeat,
    ) -> Result<HeartbeatAck, ReportError> {
        let live = self.counted(attempt).await?;
        let deaths = std::mem::take(&mut beat.worker_deaths);
        self.keep_deaths(attempt, &live.fence, deaths).await?;
        let kills = self.keep_beat(attempt, beat);
        if matches!(
            live.status,
            AttemptStatus::Planned | AttemptStatus::Submitted
        ) {
            let event = Event::AttemptReported {
                attempt: attempt.clone(),
            };
            // A refusal means that it was reported already, or is over; a store error will meet the next heartbeat.
            if let Err(error) = tell(&self.shared, &live.fence.batch_id, event).await {
                tracing::debug!(%attempt, %error, "a first report was not taken");
            }
        }
        let command = match live.status {
            AttemptStatus::Cancelling => DriverCommand::Stop,
            _ => DriverCommand::Continue,
        };
        Ok(HeartbeatAck {
            command,
            kills,
            workers_max: grant::workers_max(&self.shared, attempt),
        })
    }

    /// The latest word counts; the workers that the driver is to end.
    fn keep_beat(&self, attempt: &AttemptId, beat: Heartbeat) -> Vec<KillOrder> {
        let mut map = self
            .shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = map.entry(attempt.clone()).or_default();
        if beat.seq >= known.beat.seq {
            known.beat = beat;
            known.heard_at = Some(self.clock().now());
        }
        known.forget_carried_out();
        known.kills.clone()
    }

    /// Takes a driver's last word: its evidence is kept at once; its end is believed when the backend shows it.
    pub async fn exited(&self, attempt: &AttemptId, report: ExitReport) -> Result<(), ReportError> {
        let live = self.counted(attempt).await?;
        let batch = &live.fence.batch_id;
        let ExitReport {
            evidence, stages, ..
        } = report;
        self.store()
            .put_evidence(batch, attempt, &evidence, Some(&stages))
            .await?;
        self.shared.look.notify_one();
        Ok(())
    }

    /// Tells the core of failed rows where the policy bears no more of them.
    async fn stop_what_fails_too_much(&self, fence: &Fence, counts: RowCounts) {
        let Some(batch) = self.shared.batch(&fence.batch_id) else {
            return;
        };
        let rows = batch
            .job(&fence.job_id)
            .and_then(|(_, job)| job.manifest.as_ref())
            .map_or(0, |manifest| manifest.rows);
        if !fails_too_much(&batch.healing, rows, &counts) {
            return;
        }
        let event = Event::RowsCounted {
            job: fence.job_id.clone(),
            counts,
        };
        // A refusal means that it is being stopped already; a store error will meet the next report.
        if let Err(error) = tell(&self.shared, &fence.batch_id, event).await {
            tracing::debug!(job = %fence.job_id, %error, "a count of failed rows was not taken");
        }
    }

    async fn counted(&self, attempt: &AttemptId) -> Result<LiveAttempt, ReportError> {
        let fences = &self.shared.fences;
        if fences.get(attempt).is_none() {
            heal::take_over(&self.shared, attempt).await;
        }
        let live = fences.get(attempt);
        live.ok_or_else(|| superseded("it has ended or never was"))
    }

    /// Evidence before anything else: deaths are in the store before the driver forgets them.
    async fn keep_deaths(
        &self,
        attempt: &AttemptId,
        fence: &Arc<Fence>,
        new: Vec<WorkerDeath>,
    ) -> Result<(), ReportError> {
        if new.is_empty() {
            return Ok(());
        }
        let reported = AttemptEvidence {
            worker_deaths: new.clone(),
            ..Default::default()
        };
        let store = self.store();
        store
            .put_evidence(&fence.batch_id, attempt, &reported, None)
            .await?;
        let untold = self.with_told_deaths(attempt, |told| {
            let is_new = |death: &WorkerDeath| !told.iter().any(|known| known.is_same(death));
            new.into_iter().filter(is_new).collect::<Vec<_>>()
        });
        let entries = untold.iter().map(|death| TimelineEntry {
            at: death.at,
            kind: TimelineKind::WorkerDied,
            message: summary::of_death(death),
            tier_num: Some(fence.tier_num),
            job_id: Some(fence.job_id.clone()),
            attempt_id: Some(attempt.clone()),
        });
        let entries: Vec<TimelineEntry> = entries.collect();
        store.append_timeline(&fence.batch_id, entries).await?;
        self.with_told_deaths(attempt, |told| {
            told.extend(untold);
            let over = told.len().saturating_sub(DEATHS_MAX);
            told.drain(..over);
        });
        Ok(())
    }

    /// Works on the deaths of an attempt that the timeline has been told of.
    fn with_told_deaths<T>(
        &self,
        attempt: &AttemptId,
        work: impl FnOnce(&mut Vec<WorkerDeath>) -> T,
    ) -> T {
        let mut map = self
            .shared
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work(&mut map.entry(attempt.clone()).or_default().deaths)
    }
}

fn superseded(present: &str) -> ReportError {
    ReportError::Superseded {
        present: present.to_owned(),
    }
}

fn invalid(message: String) -> ReportError {
    ReportError::Invalid { message }
}

type Documents = BTreeMap<CollectionId, Made>;

/// Checks a report and sorts it by where its parts go.
fn sort(
    attempt: &AttemptId,
    fence: &Fence,
    rows: Vec<RowReport>,
) -> Result<(Documents, RowsCommit), ReportError> {
    if rows.len() > ROWS_PER_REPORT_MAX {
        let given = rows.len();
        return Err(invalid(format!(
            "{given} rows in one report; at most {ROWS_PER_REPORT_MAX}"
        )));
    }
    let mut documents = Documents::new();
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut errors = Vec::new();
    for row in rows {
        if !fence.collections.contains(&row.collection_id) {
            let collection = row.collection_id;
            return Err(invalid(format!(
                "collection {collection} is not one of this job's"
            )));
        }
        if (row.outcome == RowOutcome::Failed) != row.error.is_some() {
            return Err(invalid(format!(
                "row {}: a failed row, and no other, has an error",
                row.row
            )));
        }
        let written = u32::try_from(row.documents.len()).unwrap_or(u32::MAX);
        outcomes.push((row.row, row.outcome, written));
        errors.extend(row.error.map(|error| FailedRow {
            fingerprint: fingerprint(&error.message),
            error,
            collection_id: row.collection_id.clone(),
        }));
        let made = documents.entry(row.collection_id).or_default();
        if row.documents.is_empty() && row.outcome != RowOutcome::Failed {
            made.without.extend(row.source_id);
        }
        for document in row.documents {
            made.documents.push(decode(document)?);
        }
    }
    let commit = RowsCommit {
        batch_id: fence.batch_id.clone(),
        attempt_id: attempt.clone(),
        job_id: fence.job_id.clone(),
        tier_num: fence.tier_num,
        outcomes,
        errors,
        replaced: 0,
        deleted: 0,
    };
    Ok((documents, commit))
}

fn decode(document: fettle_model::report::DocumentReport) -> Result<Document, ReportError> {
    let vectors = document.vectors.iter().map(|vector| {
        let values = vector.decode().ok_or_else(|| {
            invalid(format!(
                "vector `{}` is not base64 of finite 32-bit floats",
                vector.name
            ))
        })?;
        Ok(NamedVector {
            name: vector.name.clone(),
            values,
        })
    });
    let vectors = vectors.collect::<Result<_, ReportError>>()?;
    Ok(Document {
        id: document.id,
        payload: document.payload,
        vectors,
    })
}
