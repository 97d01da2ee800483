//! Carries out committed effects, each until it is done or has become pointless.

use std::sync::Arc;
use std::time::Duration;

use fettle_core::{Effect, Event, PreparedRows};
use fettle_model::{AttemptId, AttemptStatus, BatchId, JobId};
use fettle_ports::{EffectId, ExecutorError, Started};

use crate::control::Shared;
use crate::error::RequestError;
use crate::failures::Over;
use crate::orchestrator::{is_settled, tell};
use crate::{rows, spec, token};

/// The wait before an effect that could not be reported is tried again; the store or the backend is away.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Carries the effect out beside the loop.
pub(crate) fn spawn(shared: &Arc<Shared>, id: EffectId, batch_id: BatchId, effect: Effect) {
    let shared = shared.clone();
    let stopping = shared.stopping.clone();
    shared.tasks.clone().spawn(async move {
        tokio::select! {
            // What is not done when `serve` stops is in the outbox for the next start.
            () = stopping.cancelled() => {}
            () = carry_out(&shared, id, &batch_id, &effect) => {}
        }
    });
}

async fn carry_out(shared: &Arc<Shared>, id: EffectId, batch_id: &BatchId, effect: &Effect) {
    loop {
        match act(shared, batch_id, effect).await {
            Ok(()) => break,
            Err(error) if is_settled(&error) => break,
            Err(error) if shared.failures.failed(id, &error.to_string()) => {
                tracing::warn!(batch = %batch_id, ?effect, %error, "an effect, and each that fails like it, will be tried again until it is done");
            }
            Err(error) => tracing::debug!(batch = %batch_id, ?effect, %error, "not yet"),
        }
        tokio::time::sleep(RETRY_WAIT).await;
    }
    for over in shared.failures.done(id) {
        let Over {
            error,
            effects,
            seconds,
        } = over;
        tracing::warn!(error, effects, seconds, "what failed so is done by now");
    }
    if let Err(error) = shared.ports.store.effect_done(id).await {
        tracing::warn!(batch = %batch_id, ?effect, %error, "an effect will be repeated at the next start");
    }
}

async fn act(
    shared: &Arc<Shared>,
    batch_id: &BatchId,
    effect: &Effect,
) -> Result<(), RequestError> {
    match effect {
        Effect::BuildManifest { job } => build_manifest(shared, batch_id, job).await,
        Effect::StartAttempt { attempt } => start(shared, batch_id, attempt).await,
        Effect::StopAttempt { attempt } => stop(shared, attempt).await,
        Effect::ForgetAttempt { attempt } => Ok(shared.ports.executor.forget(attempt).await?),
    }
}

async fn build_manifest(
    shared: &Arc<Shared>,
    batch_id: &BatchId,
    job_id: &JobId,
) -> Result<(), RequestError> {
    let Some(batch) = shared.batch(batch_id) else {
        return Ok(());
    };
    let Some((_, preparing)) = batch.job(job_id) else {
        return Ok(());
    };
    let generation = preparing.generation;
    let job = job_id.clone();
    let event = match rows::build(shared, &batch, job_id).await {
        Ok((manifest, skipped)) => {
            let counts = shared.ports.store.job_counts(job_id).await?.rows;
            Event::ManifestBuilt {
                job,
                rows: PreparedRows {
                    generation,
                    manifest,
                    counts,
                    skipped,
                },
            }
        }
        Err(error) => Event::ManifestFailed {
            job,
            retryable: error.is_retryable(),
            message: error.to_string(),
        },
    };
    tell(shared, batch_id, event).await.map(drop)
}

async fn start(
    shared: &Arc<Shared>,
    batch_id: &BatchId,
    attempt: &AttemptId,
) -> Result<(), RequestError> {
    let Some(live) = shared.fences.get(attempt) else {
        return Ok(());
    };
    let _one_at_a_time = live.fence.backend.lock().await;
    // Looked at again under the lock: a cancel may have come first. One that has reported may have been begun by somebody else.
    let current = shared.fences.get(attempt);
    let is_wanted = current.is_some_and(|live| live.status != AttemptStatus::Cancelling);
    let Some(batch) = shared.batch(batch_id).filter(|_| is_wanted) else {
        return Ok(());
    };
    let event = match spec::build(shared, &batch, attempt).await {
        Ok(spec) => {
            let secret = token::token(&shared.config.token_secret, attempt);
            submitted(attempt, shared.ports.executor.start(&spec, &secret).await)
        }
        Err(error) if is_settled(&error) || matches!(error, RequestError::Invalid { .. }) => {
            Event::AttemptRefused {
                attempt: attempt.clone(),
                message: error.to_string(),
                retryable: false,
            }
        }
        Err(error) => return Err(error),
    };
    tell(shared, batch_id, event).await.map(drop)
}

fn submitted(attempt: &AttemptId, outcome: Result<Started, ExecutorError>) -> Event {
    let attempt = attempt.clone();
    match outcome {
        Ok(started) => Event::AttemptSubmitted {
            attempt,
            is_found: started == Started::Found,
        },
        Err(error) => Event::AttemptRefused {
            attempt,
            retryable: !matches!(error, ExecutorError::Refused { .. }),
            message: error.to_string(),
        },
    }
}

async fn stop(shared: &Arc<Shared>, attempt: &AttemptId) -> Result<(), RequestError> {
    let Some(live) = shared.fences.get(attempt) else {
        return Ok(());
    };
    let _one_at_a_time = live.fence.backend.lock().await;
    let outcome = shared.ports.executor.stop(attempt).await?;
    if !outcome.proven_gone {
        tracing::error!(%attempt, message = outcome.message, "processes of a stopped attempt are left");
    }
    shared.look.notify_one();
    Ok(())
}
