//! What the diagnosis advises at the end of an attempt, so that the core can decide about a remedy in the same step.

use fettle_core::{Advice, Batch, FailedRows, JobState, Overrides};
use fettle_diagnose::{
    BatchFacts, CaseKind, RemedyKind, ResourceOverrides, Standing, TierFacts, next_memory,
    sizing_input,
};
use fettle_model::{
    AttemptExit, AttemptId, AttemptStatus, BatchStatus, Cause, DocumentErrorClass, HealingMode,
    JobId, UnixMillis, WorkStatus,
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
            return self.advice_about_rows(batch, attempt).await;
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
            ..Advice::default()
        })
    }

    /// About the rows of an attempt that did all of them: which of the failed ones are worth another try, and with what.
    async fn advice_about_rows(
        &self,
        batch: &Batch,
        attempt: &AttemptId,
    ) -> Result<Advice, RequestError> {
        let Some((job, _)) = attempt.split() else {
            return Ok(Advice::default());
        };
        let (cause, class) = (Cause::TransientErrors, DocumentErrorClass::Transient);
        let transient_rows = self.failed_rows(batch, &job, cause, class).await?;
        let (cause, class) = (Cause::OutOfMemory, DocumentErrorClass::Resource);
        let resource_rows = self.failed_rows(batch, &job, cause, class).await?;
        let mut advice = Advice {
            transient_rows,
            resource_rows,
            ..Advice::default()
        };
        if resource_rows == 0 && !batch.healing.memory_shrinks {
            return Ok(advice);
        }
        let exit = AttemptExit::Finished;
        let over = as_if_over(batch, attempt, &exit, self.clock().now());
        let facts = self.facts_of(&over).await?;
        if resource_rows > 0 {
            advice.overrides = core_overrides(lane(&facts, &job));
        } else {
            let next = sizing_input(&facts, &job).map(|input| next_memory(&input));
            advice.memory_enough_bytes = next.and_then(|next| Some(next.grant()?.memory_bytes));
        }
        Ok(advice)
    }

    /// Failed rows of a class, where the policy would try them again.
    async fn failed_rows(
        &self,
        batch: &Batch,
        job: &JobId,
        cause: Cause,
        class: DocumentErrorClass,
    ) -> Result<u64, RequestError> {
        if batch.healing.limit(cause) == 0 {
            return Ok(0);
        }
        let which = FailedRows {
            classes: vec![class],
            ..FailedRows::default()
        };
        Ok(self.store().count_failed_rows(job, &which).await?)
    }
}

/// What rows that were failed for lack of memory need.
fn lane(facts: &BatchFacts, job: &JobId) -> ResourceOverrides {
    let of_job = |tier: &&TierFacts| tier.jobs.iter().any(|known| known.job_id == *job);
    let tier = facts.tiers.iter().find(of_job).map(|tier| tier.tier_num);
    let cases = fettle_diagnose::diagnose(facts).cases;
    let about = cases
        .iter()
        .filter(|case| case.kind == CaseKind::DocumentErrors && case.tier_num == tier);
    about
        .flat_map(|case| &case.actions)
        .find_map(|action| match &action.kind {
            RemedyKind::RetryTier { overrides, .. } => Some(*overrides),
            _ => None,
        })
        .unwrap_or_default()
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
    let (status, work) = if *exit == AttemptExit::Finished {
        (
            BatchStatus::CompletedWithErrors,
            WorkStatus::CompletedWithErrors,
        )
    } else {
        (BatchStatus::Failed, WorkStatus::Failed)
    };
    let mut over = batch.clone();
    over.status = status;
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
            status: work,
            reason: None,
        };
        tier.status = work;
    }
    over
}
