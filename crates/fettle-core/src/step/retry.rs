//! A user wants the unfinished and failed rows of a tier tried again.

use fettle_model::{BatchStatus, WorkStatus};

use crate::batch::{Batch, Budgets, Job, JobState, Wait};
use crate::effect::Effect;
use crate::event::Overrides;
use crate::step::{Context, Refusal};
use crate::timeline::TimelineKind;

const WHAT: &str = "retrying the tier";

pub(super) fn requested(
    batch: &mut Batch,
    tier_num: u32,
    overrides: Overrides,
    context: &mut Context,
) -> Result<(), Refusal> {
    let at = check(batch, tier_num)?;
    context.note_tier(
        TimelineKind::Requested,
        tier_num,
        format!("retry{}", describe(&overrides)),
    );
    let tier = &mut batch.tiers[at];
    tier.status = WorkStatus::InProgress;
    tier.ended_at = None;
    tier.started_at.get_or_insert(context.now);
    for job in tier
        .jobs
        .iter_mut()
        .filter(|job| job.status() != WorkStatus::Completed)
    {
        reopen(job, &overrides, context);
    }
    // Later tiers read what this one will still write; their finished rows keep their outcomes.
    for tier in &mut batch.tiers[at + 1..] {
        tier.status = WorkStatus::Pending;
        tier.ended_at = None;
        for job in &mut tier.jobs {
            job.state = JobState::Pending;
            job.budgets = Budgets::default();
            job.cancel = None;
        }
    }
    batch.status = BatchStatus::Queued;
    batch.ended_at = None;
    batch.cancel = None;
    Ok(())
}

fn check(batch: &Batch, tier_num: u32) -> Result<usize, Refusal> {
    let at = batch
        .tiers
        .iter()
        .position(|tier| tier.num == tier_num)
        .ok_or_else(|| Refusal::NoSuch {
            kind: "tier",
            id: tier_num.to_string(),
        })?;
    let refuse = |present: String| {
        Err(Refusal::NotPossible {
            what: WHAT,
            present,
        })
    };
    if !batch.status.is_terminal() {
        let status = batch.status.as_str();
        return refuse(format!(
            "the batch is {status}; wait for its end or cancel it first"
        ));
    }
    match batch.tiers[at].status {
        WorkStatus::Failed | WorkStatus::Canceled | WorkStatus::CompletedWithErrors => Ok(at),
        WorkStatus::Completed => refuse(format!(
            "tier {tier_num} is COMPLETED; it has no unfinished and no failed row"
        )),
        WorkStatus::Skipped | WorkStatus::Pending | WorkStatus::InProgress => {
            let ended = batch.tiers[..at]
                .iter()
                .rev()
                .find(|tier| tier.started_at.is_some());
            let earlier = ended.map_or(0, |tier| tier.num);
            refuse(format!(
                "tier {tier_num} never ran; retry tier {earlier}, which ended the batch"
            ))
        }
    }
}

fn reopen(job: &mut Job, overrides: &Overrides, context: &mut Context) {
    overrides.apply(&mut job.resources);
    job.budgets = Budgets::default();
    job.cancel = None;
    job.ended_at = None;
    job.started_at.get_or_insert(context.now);
    if job.counts.failed > 0 {
        job.counts.failed = 0;
        context.reopen_failed_rows(&job.id);
    }
    if job.manifest.is_some() {
        job.state = JobState::Waiting(Wait::Capacity { since: context.now });
    } else {
        job.state = JobState::Preparing;
        context.act(Effect::BuildManifest {
            job: job.id.clone(),
        });
    }
}

fn describe(overrides: &Overrides) -> String {
    let Overrides {
        num_cpus,
        num_gpus,
        memory_bytes,
        requires_gpu,
        priority,
    } = *overrides;
    let parts = [
        num_cpus.map(|v| format!("num_cpus={v}")),
        num_gpus.map(|v| format!("num_gpus={v}")),
        memory_bytes.map(|v| format!("memory_bytes={v}")),
        requires_gpu.map(|v| format!("requires_gpu={v}")),
        priority.map(|v| format!("priority={v}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" with {}", parts.join(", "))
    }
}
