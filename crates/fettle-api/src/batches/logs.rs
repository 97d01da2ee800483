//! The ends of a batch's logs.

use axum::Json;
use axum::extract::State;
use fettle_core::{Attempt, Job};
use fettle_ports::{ExecutorError, LogName};
use fettle_wire::diagnose::{BatchLogs, LogText};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, batch_at, submitted};
use crate::body::{InPath, Params};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Bytes of each log's end when nobody says otherwise.
const TAIL_BYTES_DEFAULT: u64 = 64 * 1024;
/// Bytes of each log's end at most.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of one answer at most; the logs of later attempts go first when it is full.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Attempts of a job whose logs are shown, the latest: earlier ones tell the same.
const ATTEMPTS_MAX: usize = 5;

#[derive(Deserialize, JsonSchema)]
pub(super) struct LogsQuery {
    tier_num: Option<u32>,
    ray_job_id: Option<String>,
    attempt: Option<u32>,
    tail_bytes: Option<u64>,
}

pub(super) async fn logs(
    state: State<ApiState>,
    tenant: Tenant,
    InPath(at): InPath<At>,
    Params(query): Params<LogsQuery>,
) -> Result<Json<BatchLogs>, ApiError> {
    let (record, run) = batch_at(&state, &tenant, &at).await?;
    let run = submitted(run, "reading logs")?;
    let tail_bytes = query.tail_bytes.unwrap_or(TAIL_BYTES_DEFAULT);
    if !(1..=TAIL_BYTES_MAX).contains(&tail_bytes) {
        return Err(ApiError::invalid_query(
            "tail_bytes",
            format!("must be from 1 to {TAIL_BYTES_MAX}"),
        ));
    }
    if let Some(num) = query
        .tier_num
        .filter(|num| run.tiers.iter().all(|tier| tier.num != *num))
    {
        return Err(ApiError::not_found("tier", &num.to_string()));
    }
    let mut logs: Vec<LogText> = Vec::new();
    let mut room = ANSWER_BYTES_MAX;
    for (tier_num, job) in run.jobs() {
        let is_wanted = query.tier_num.is_none_or(|num| num == tier_num)
            && query
                .ray_job_id
                .as_ref()
                .is_none_or(|id| id == job.id.as_str());
        if !is_wanted {
            continue;
        }
        for attempt in attempts(job, query.attempt) {
            for log in
                of_attempt(&state, tier_num, job, attempt, tail_bytes.min(room as u64)).await?
            {
                room = room.saturating_sub(log.text.len());
                logs.push(log);
            }
        }
    }
    Ok(Json(BatchLogs {
        batch_id: record.batch_id.to_string(),
        logs,
        tail_bytes,
    }))
}

fn attempts(job: &Job, wanted: Option<u32>) -> impl Iterator<Item = &Attempt> {
    let skip = if wanted.is_some() {
        0
    } else {
        job.attempts.len().saturating_sub(ATTEMPTS_MAX)
    };
    job.attempts
        .iter()
        .skip(skip)
        .filter(move |attempt| wanted.is_none_or(|number| attempt.number == number))
}

async fn of_attempt(
    state: &ApiState,
    tier_num: u32,
    job: &Job,
    attempt: &Attempt,
    tail_bytes: u64,
) -> Result<Vec<LogText>, ApiError> {
    let executor = state.control().executor();
    let names = match executor.logs(&attempt.id).await {
        // An attempt that was never started has none.
        Err(ExecutorError::NoSuchLog { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let mut logs = Vec::with_capacity(names.len());
    for name in names {
        let offset = -i64::try_from(tail_bytes.max(1)).unwrap_or(i64::MAX);
        let chunk = match executor
            .read_log(&attempt.id, &name, offset, tail_bytes.max(1))
            .await
        {
            Err(ExecutorError::NoSuchLog { .. }) => continue,
            other => other?,
        };
        logs.push(LogText {
            tier_num,
            ray_job_id: job.id.to_string(),
            attempt_id: attempt.id.to_string(),
            attempt: attempt.number,
            log: match name {
                LogName::Driver => "driver".to_owned(),
                LogName::Worker(number) => format!("worker-{number}"),
            },
            text: String::from_utf8_lossy(&chunk.bytes).into_owned(),
            total_bytes: chunk.total_bytes,
            is_cut: chunk.offset > 0,
        });
    }
    Ok(logs)
}
