//! Attempts as processes on this machine.
//!
//! Owns the port's implementation; each act is in a file below. Drivers outlive this process, and
//! whoever opens the same data folder next takes them up.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use fettle_confine::{AttemptDir, Confinement, TerminationScope, detect, terminate};
use fettle_model::{AttemptId, AttemptSpec};
use fettle_ports::Capacity;
use fettle_ports::executor::{
    Executor, ExecutorError, LogChunk, LogName, Observation, Run, Started, StopOutcome,
};

use crate::{blocking, logs};

use config::{LocalConfig, OpenError};
use folder::Look;
use inner::Inner;

mod census;
pub mod config;
mod end;
mod folder;
mod inner;
mod start;

/// Runs attempts as processes on this machine.
#[derive(Debug, Clone)]
pub struct LocalExecutor {
    inner: Arc<Inner>,
}

impl LocalExecutor {
    /// Opens the backend: makes the folder for attempts and finds out how workers can be confined.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(config: LocalConfig) -> Result<Self, OpenError> {
        let attempts = AttemptDir::new(config.data_dir.join("attempts"));
        folder::make(&attempts).map_err(|source| OpenError::Folder {
            path: attempts.path().to_owned(),
            source,
        })?;
        let confinement = detect();
        tracing::info!(%confinement, "workers are confined");
        Ok(Self {
            inner: Arc::new(Inner::new(config, confinement)),
        })
    }

    /// How workers are confined on this machine.
    #[must_use]
    pub fn confinement(&self) -> &Confinement {
        &self.inner.confinement
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn name(&self) -> &'static str {
        "local"
    }

    fn env_vars_keys(&self) -> Vec<String> {
        start::env_vars_keys()
    }

    fn entrypoint(&self, attempt: &AttemptId) -> String {
        let program = self
            .inner
            .config
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        format!(
            "{program} job --spec {}",
            self.inner.dir(attempt).spec().display()
        )
    }

    fn capacity(&self) -> Capacity {
        self.inner.config.capacity(&self.inner.node)
    }

    async fn start(&self, spec: &AttemptSpec, token: &str) -> Result<Started, ExecutorError> {
        let inner = &self.inner;
        let attempt = &spec.attempt_id;
        let _ordered = inner.ordering.lock().await;
        let dir = inner.dir(attempt);
        let prepared = {
            let (dir, confinement) = (dir.clone(), inner.confinement.clone());
            let (spec, token) = (spec.clone(), token.to_owned());
            blocking(move || Ok(start::prepare(&dir, &confinement, &spec, &token))).await
        };
        match prepared.map_err(|error| unavailable(attempt, error))? {
            Ok(true) => {}
            Ok(false) => return Ok(Started::Begun),
            Err(error) => return Err(unavailable(attempt, error)),
        }
        let child =
            start::spawn(&inner.config, &dir, spec).map_err(|error| unavailable(attempt, error))?;
        inner.reap(attempt, child);
        Ok(Started::Begun)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Vec<(AttemptId, Observation)> {
        let mut seen = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            seen.push((attempt.clone(), self.inner.observe_one(attempt).await));
        }
        seen
    }

    async fn stop(&self, attempt: &AttemptId) -> Result<StopOutcome, ExecutorError> {
        self.inner
            .order_stop(attempt)
            .await
            .map_err(|error| unavailable(attempt, error))?;
        let scope = folder::scope(&self.inner.dir(attempt), attempt);
        if scope.pids().is_empty() {
            let message = "no process of the attempt was left".to_owned();
            return Ok(StopOutcome {
                proven_gone: true,
                message,
            });
        }
        let ended = terminate(&scope, self.inner.config.stop_grace).await;
        Ok(StopOutcome {
            proven_gone: ended.proven_gone,
            message: ended.describe(),
        })
    }

    async fn list(&self) -> Result<Vec<Run>, ExecutorError> {
        let data_dir = self.inner.config.data_dir.clone();
        let listed = blocking(move || Ok(census::runs(&data_dir))).await;
        listed.map_err(|error| ExecutorError::Unlistable {
            message: error.to_string(),
        })
    }

    async fn end_run(&self, run: &Run) -> Result<StopOutcome, ExecutorError> {
        if run.is_the_attempts {
            return self.stop(&run.attempt).await;
        }
        let Some(leader) = census::driver_named(&run.name) else {
            let message = "it is over".to_owned();
            return Ok(StopOutcome {
                proven_gone: true,
                message,
            });
        };
        // Neither the group nor the marker: the attempt's own run may have the same.
        let scope = TerminationScope {
            leader: Some(leader),
            ..TerminationScope::default()
        };
        let ended = terminate(&scope, self.inner.config.stop_grace).await;
        Ok(StopOutcome {
            proven_gone: ended.proven_gone,
            message: ended.describe(),
        })
    }

    async fn forget(&self, attempt: &AttemptId) -> Result<(), ExecutorError> {
        match self
            .inner
            .look(attempt)
            .await
            .map_err(|error| unavailable(attempt, error))?
        {
            Look::Unknown => return Ok(()),
            Look::Alive => return Err(unavailable(attempt, "it still runs")),
            // Its evidence would go with the group.
            Look::Over => self.inner.capture(attempt).await,
            Look::Ended(_) => {}
        }
        self.inner
            .remove_group(attempt)
            .await
            .map_err(|error| unavailable(attempt, error.explain()))?;
        match std::fs::remove_file(self.inner.dir(attempt).token()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(unavailable(attempt, error))
            }
            _ => Ok(()),
        }
    }

    async fn logs(&self, attempt: &AttemptId) -> Result<Vec<LogName>, ExecutorError> {
        let dir = self.inner.dir(attempt);
        match blocking(move || logs::list(&dir)).await {
            // An attempt that never ran here has no logs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| unavailable(attempt, error)),
        }
    }

    async fn read_log(
        &self,
        attempt: &AttemptId,
        log: &LogName,
        offset: i64,
        limit_bytes: u64,
    ) -> Result<LogChunk, ExecutorError> {
        logs::chunk(&self.inner.dir(attempt), attempt, log, offset, limit_bytes).await
    }
}

fn unavailable(attempt: &AttemptId, message: impl ToString) -> ExecutorError {
    ExecutorError::Unavailable {
        attempt: attempt.clone(),
        message: message.to_string(),
    }
}
