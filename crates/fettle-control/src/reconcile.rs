//! Level-triggered work: what is waiting and may go on, and what the backend shows of the attempts.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fettle_core::admission::{Room, Verdict, Waiting, admit};
use fettle_core::{Advice, Batch, Event, Job, JobState, Submission, Wait};
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptId, AttemptStatus, BatchId, JobId, NamespaceId, RowCounts,
    StageTimings,
};
use fettle_ports::Observation;

use crate::control::{Control, Lack, Shared};
use crate::error::RequestError;
use crate::fence::{Fence, LiveAttempt};
use crate::orchestrator::tell;
use crate::{policy, spec, summary};

/// How often the backend is looked at: the death of a local driver is seen well within a second.
const OBSERVE_EVERY: Duration = Duration::from_millis(200);

/// The events that are due: back-offs that are over, and admissions.
pub(crate) async fn due(shared: &Shared) -> Vec<(BatchId, Event)> {
    let mut events: Vec<(BatchId, Event)> = shared
        .elapsed_backoffs()
        .into_iter()
        .map(|(batch, job)| (batch, Event::BackoffElapsed { job }))
        .collect();
    for decided in admissions(shared) {
        match decided {
            Decided::Refused {
                batch,
                job,
                message,
            } => {
                events.push((batch, Event::JobRefused { job, message }));
            }
            Decided::Admitted {
                batch,
                namespace,
                job,
            } => {
                events.push((batch, admitted(shared, &namespace, &job).await));
            }
        }
    }
    events
}

/// What admission decided about a job that need not wait on.
enum Decided {
    Admitted {
        batch: BatchId,
        namespace: NamespaceId,
        job: Box<Job>,
    },
    Refused {
        batch: BatchId,
        job: JobId,
        message: String,
    },
}

fn admissions(shared: &Shared) -> Vec<Decided> {
    let active = shared.active.read().unwrap_or_else(PoisonError::into_inner);
    let jobs: Vec<(&Arc<Batch>, &Job)> = active
        .values()
        .flat_map(|batch| batch.jobs().map(move |(_, job)| (batch, job)))
        .collect();
    let waiting: Vec<Waiting> = jobs.iter().filter_map(|(_, job)| waiting(job)).collect();
    let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.clear();
    if waiting.is_empty() {
        return Vec::new();
    }
    let capacity = shared.ports.executor.capacity();
    let now = shared.ports.clock.now();
    let verdicts = admit(&waiting, &capacity, used(&jobs), now);
    let mut decided = Vec::new();
    for (id, verdict) in verdicts {
        let Some((batch, job)) = jobs.iter().find(|(_, job)| job.id == id) else {
            continue;
        };
        let (batch, namespace) = (batch.id.clone(), batch.namespace_id.clone());
        match verdict {
            Verdict::Admit => {
                let job = Box::new(Job::clone(job));
                decided.push(Decided::Admitted {
                    batch,
                    namespace,
                    job,
                });
            }
            Verdict::Refuse { message } => {
                decided.push(Decided::Refused {
                    batch,
                    job: id,
                    message,
                });
            }
            Verdict::Wait {
                lacks: what,
                is_for_nodes,
            } => queue.push(Lack {
                job: id,
                what,
                is_for_nodes,
            }),
        }
    }
    decided
}

fn waiting(job: &Job) -> Option<Waiting> {
    match &job.state {
        JobState::Waiting(Wait::Capacity { since }) => Some(Waiting {
            job: job.id.clone(),
            resources: job.resources.clone(),
            since: *since,
        }),
        _ => None,
    }
}

pub(crate) fn used(jobs: &[(&Arc<Batch>, &Job)]) -> Room {
    let active = jobs
        .iter()
        .filter(|(_, job)| matches!(job.state, JobState::Active));
    active.fold(Room::default(), |sum, (_, job)| Room {
        num_cpus: sum.num_cpus + job.resources.num_cpus,
        num_gpus: sum.num_gpus + job.resources.num_gpus,
        memory_bytes: sum
            .memory_bytes
            .saturating_add(job.resources.memory_total_bytes()),
        jobs: sum.jobs + 1,
    })
}

async fn admitted(shared: &Shared, namespace: &NamespaceId, job: &Job) -> Event {
    let attempt = AttemptId::of(&job.id, job.next_number());
    Event::JobAdmitted {
        job: job.id.clone(),
        submission: submission(shared, namespace, job, &attempt).await,
    }
}

/// What an attempt is submitted with, for those who look at it.
pub(crate) async fn submission(
    shared: &Shared,
    namespace: &NamespaceId,
    job: &Job,
    attempt: &AttemptId,
) -> Submission {
    let executor = &shared.ports.executor;
    let source = spec::source(shared, namespace, &job.extractor).await;
    // An extractor that is gone is found again, with its error, when the attempt is started.
    let (plugin_archives, plugin_dependencies) = source.map(spec::shipped).unwrap_or_default();
    Submission {
        entrypoint: executor.entrypoint(attempt),
        deployment_mode: executor.name().to_owned(),
        env_vars_keys: executor.env_vars_keys(),
        plugin_archives,
        plugin_dependencies,
    }
}

/// Looks at the backend until `serve` stops.
pub(crate) async fn observe_attempts(shared: Arc<Shared>) {
    let mut outage = Outage::default();
    loop {
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = shared.look.notified() => {}
            () = tokio::time::sleep(OBSERVE_EVERY) => {}
        }
        let attempts = shared.fences.all();
        if attempts.is_empty() {
            continue;
        }
        let ids: Vec<AttemptId> = attempts.iter().map(|(id, _)| id.clone()).collect();
        let seen = shared.ports.executor.observe(&ids).await;
        outage.tell(&seen);
        for (id, observation) in seen {
            let Some((_, live)) = attempts.iter().find(|(known, _)| *known == id) else {
                continue;
            };
            take(&shared, &id, live, observation).await;
        }
    }
}

/// A time in which the backend cannot be asked: its beginning and its end are told once, and not with each look.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    fn tell(&mut self, seen: &[(AttemptId, Observation)]) {
        let mut away = seen.iter().filter_map(|(_, seen)| match seen {
            Observation::Unreachable { message } => Some(message),
            _ => None,
        });
        let attempts = away.clone().count();
        match (away.next(), self.since) {
            (Some(message), None) => {
                tracing::warn!(
                    attempts,
                    message,
                    "the backend cannot be asked; what runs there goes on"
                );
                self.since = Some(Instant::now());
            }
            (None, Some(since)) => {
                let seconds = since.elapsed().as_secs();
                tracing::warn!(seconds, "the backend can be asked again");
                self.since = None;
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// Believes what the backend shows of an attempt.
pub(crate) async fn take(
    shared: &Arc<Shared>,
    id: &AttemptId,
    live: &LiveAttempt,
    observation: Observation,
) {
    // Its start is in the outbox, and tells first what it came to.
    if live.status == AttemptStatus::Planned {
        return;
    }
    // An attempt that is just being started or stopped is looked at in the next round.
    let Ok(_settled) = live.fence.backend.try_lock() else {
        return;
    };
    let queued = match &observation {
        Observation::Queued { message } => Some(message.clone()),
        _ => None,
    };
    shared.seen_queued(id, queued);
    match observation {
        // An outage ends nothing; that there is one is told once, by who looks.
        Observation::Running | Observation::Queued { .. } | Observation::Unreachable { .. } => {}
        Observation::Ended {
            exit,
            evidence,
            stages,
            ..
        } => {
            ended(
                shared,
                id,
                live,
                exit,
                *evidence,
                stages.map(|stages| *stages),
            )
            .await;
        }
        Observation::Unknown => lost(shared, id, live).await,
    }
}

async fn ended(
    shared: &Arc<Shared>,
    id: &AttemptId,
    live: &LiveAttempt,
    exit: AttemptExit,
    evidence: AttemptEvidence,
    stages: Option<StageTimings>,
) {
    // From here on no report of this attempt is taken, so the counts are final.
    *live.fence.gate.write().await = false;
    let stages = {
        let known = shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        stages.or_else(|| known.get(id).map(|known| known.beat.stages))
    };
    let fence = &live.fence;
    let kept = shared
        .ports
        .store
        .put_evidence(&fence.batch_id, id, &evidence, stages.as_ref())
        .await;
    let summary = match kept {
        Ok(all) => summary::of(&exit, &all),
        Err(error) => {
            // Evidence first: without it the end is not believed, and the next round tries again.
            return tracing::warn!(attempt = %id, %error, "evidence was not kept");
        }
    };
    let Some(counts) = counts(shared, &fence.job_id).await else {
        return;
    };
    let advice = match advice(shared, id, &fence.batch_id, &exit).await {
        Ok(advice) => advice,
        Err(error) => return tracing::warn!(attempt = %id, %error, "an end waits for its advice"),
    };
    let event = Event::AttemptEnded {
        attempt: id.clone(),
        exit,
        counts,
        summary,
        advice,
    };
    report(shared, id, fence, event).await;
}

/// What the diagnosis advises, under the policy that is in force now.
async fn advice(
    shared: &Arc<Shared>,
    id: &AttemptId,
    batch_id: &BatchId,
    exit: &AttemptExit,
) -> Result<Advice, RequestError> {
    policy::put_in_force(shared, batch_id).await?;
    let Some(batch) = shared.batch(batch_id) else {
        return Ok(Advice::default());
    };
    let control = Control {
        shared: shared.clone(),
    };
    control.advice(&batch, id, exit).await
}

async fn lost(shared: &Shared, id: &AttemptId, live: &LiveAttempt) {
    *live.fence.gate.write().await = false;
    let Some(counts) = counts(shared, &live.fence.job_id).await else {
        return;
    };
    let event = Event::AttemptLost {
        attempt: id.clone(),
        counts,
    };
    report(shared, id, &live.fence, event).await;
}

async fn counts(shared: &Shared, job: &JobId) -> Option<RowCounts> {
    match shared.ports.store.job_counts(job).await {
        Ok(counts) => Some(counts.rows),
        Err(error) => {
            tracing::warn!(%job, %error, "rows could not be counted; the next round tries again");
            None
        }
    }
}

async fn report(shared: &Shared, id: &AttemptId, fence: &Fence, event: Event) {
    match tell(shared, &fence.batch_id, event).await {
        Ok(_) => {
            let mut live = shared.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.remove(id);
            shared.forget_steps(fence);
        }
        Err(error) => tracing::warn!(attempt = %id, %error, "an end was not taken"),
    }
}
