//! What the diagnosis advises at the end of an attempt, so that the core can decide about a remedy in the same step.

use fettle_core::{Advice, Batch, FailedRows, JobState, Overrides};
use fettle_diagnose::{RemedyKind, ResourceOverrides, Standing};
use fettle_model::{
    AttemptExit, AttemptId, AttemptStatus, BatchStatus, Cause, DocumentErrorClass, HealingMode,
    UnixMillis, WorkStatus,
};

use crate::control::Control;
use crate::error::RequestError;

impl Control {
    /// Advice about an attempt that has just ended; none where the policy would not follow it. Its evidence must be in the store.
    pub(crate) async fn advice(
        &self,
        batch: &Batch,
        attempt: &AttemptId,
        exit: &AttemptExit,
    ) -> Result<Advice, RequestError> {
        if *exit == AttemptExit::Finished {
            return Ok(Advice {
                transient_rows: self.transient_rows(batch, attempt).await?,
                ..Advice::default()
            });
        }
        let asks = matches!(
            exit,
            AttemptExit::OutOfMemory | AttemptExit::WorkersKeepDying
        );
        if batch.healing.mode != HealingMode::Auto || !asks {
            return Ok(Advice::default());
        }
        let over = as_if_over(batch, attempt, exit, self.clock().now());
        let diagnosis = fettle_diagnose::diagnose(&self.facts_of(&over).await?);
        let about = diagnosis.cases.iter().filter(|case| {
            case.attempt.as_ref() == Some(attempt) && case.standing != Standing::Aside
        });
        let overrides = about
            .flat_map(|case| &case.actions)
            .find_map(|action| match &action.kind {
                RemedyKind::RetryTier { overrides, .. } => Some(*overrides),
                _ => None,
            })
            .unwrap_or_default();
        Ok(Advice {
            overrides: core_overrides(overrides),
            transient_rows: 0,
        })
    }

    /// Failed rows of an attempt's job whose error may pass, where the policy would try them again.
    async fn transient_rows(
        &self,
        batch: &Batch,
        attempt: &AttemptId,
    ) -> Result<u64, RequestError> {
        let job = attempt.split().map(|(job, _)| job);
        let Some(job) = job.filter(|_| batch.healing.limit(Cause::TransientErrors) > 0) else {
            return Ok(0);
        };
        let which = FailedRows {
            classes: vec![DocumentErrorClass::Transient],
            ..FailedRows::default()
        };
        Ok(self.store().count_failed_rows(&job, &which).await?)
    }
}

/// The same in the core's words.
pub(crate) fn core_overrides(overrides: ResourceOverrides) -> Overrides {
    let ResourceOverrides {
        memory_bytes,
        num_cpus,
        num_gpus,
        requires_gpu,
        priority,
    } = overrides;
    Overrides {
        num_cpus,
        num_gpus,
        memory_bytes,
        requires_gpu,
        priority,
    }
}

/// The batch as it would be if this end were the last word: what the diagnosis then recommends is what is to be done now.
fn as_if_over(batch: &Batch, attempt: &AttemptId, exit: &AttemptExit, now: UnixMillis) -> Batch {
    let mut over = batch.clone();
    over.status = BatchStatus::Failed;
    over.ended_at = Some(now);
    for tier in &mut over.tiers {
        let ended = tier.jobs.iter_mut().find(|job| job.is_current(attempt));
        let Some(job) = ended else { continue };
        if let Some(last) = job.attempts.last_mut() {
            last.status = AttemptStatus::Ended;
            last.exit = Some(exit.clone());
            last.ended_at = Some(now);
        }
        job.state = JobState::Done {
            status: WorkStatus::Failed,
            reason: None,
        };
        tier.status = WorkStatus::Failed;
    }
    over
}
