//! The state that calls share, and the acts that go on in the background.
//!
//! Owns who waits for what: children are reaped and ends are captured by tasks, and no attempt holds up another. What is
//! kept here is only what a restart makes void.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fettle_confine::{
    AttemptDir, AttemptGroup, Confinement, GroupError, NodeFacts, ProcessIdentity, node_facts,
    write_atomically,
};
use fettle_model::{AttemptId, ProcessExit};
use fettle_ports::executor::Observation;
use tokio::process::Child;

use super::config::LocalConfig;
use super::end::{self, CaptureError};
use super::folder::{self, Look};
use crate::blocking;
use crate::record::{StopRecord, now};

/// An end is captured within this, as a rule; what takes longer is told in the next round, so that one attempt's leftovers
/// never hold up the others.
const CAPTURE_WAIT: Duration = Duration::from_millis(200);

/// The kernel clears a group away shortly after its last process; a group that stays longer is tried again later.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What all calls share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: LocalConfig,
    pub(super) confinement: Confinement,
    pub(super) node: NodeFacts,
    /// One start or stop order at a time, so that none is overtaken by another of the same attempt.
    pub(super) ordering: tokio::sync::Mutex<()>,
    /// Drivers that are children of this process and whose exit status has not been written down.
    unreaped: Mutex<BTreeSet<AttemptId>>,
    /// Attempts whose end is being captured.
    capturing: Mutex<BTreeSet<AttemptId>>,
    /// Why the last capture of an attempt failed.
    complaints: Mutex<BTreeMap<AttemptId, String>>,
}

impl Inner {
    pub(super) fn new(config: LocalConfig, confinement: Confinement) -> Self {
        Self {
            config,
            confinement,
            node: node_facts(),
            ordering: tokio::sync::Mutex::default(),
            unreaped: Mutex::default(),
            capturing: Mutex::default(),
            complaints: Mutex::default(),
        }
    }

    pub(super) fn dir(&self, attempt: &AttemptId) -> AttemptDir {
        AttemptDir::new(self.config.data_dir.join("attempts").join(attempt.as_str()))
    }

    /// Waits for a child in the background and writes down how it ended.
    pub(super) fn reap(self: &Arc<Self>, attempt: &AttemptId, mut child: Child) {
        let (inner, attempt) = (Arc::clone(self), attempt.clone());
        let identity = child
            .id()
            .and_then(|pid| fettle_confine::identify(pid).ok());
        held(&inner.unreaped).insert(attempt.clone());
        tokio::spawn(async move {
            let waited = child.wait().await;
            if let Err(error) = inner.keep(&attempt, identity, waited).await {
                tracing::warn!(%attempt, %error, "the driver's exit status could not be kept");
            }
            held(&inner.unreaped).remove(&attempt);
        });
    }

    pub(super) async fn keep(
        &self,
        attempt: &AttemptId,
        child: Option<ProcessIdentity>,
        waited: io::Result<std::process::ExitStatus>,
    ) -> io::Result<()> {
        use std::os::unix::process::ExitStatusExt;
        let status = waited?;
        let exit = ProcessExit {
            code: status.code(),
            signal: status.signal(),
        };
        let dir = self.dir(attempt);
        blocking(move || folder::keep_driver_exit(&dir, child.as_ref(), exit)).await
    }

    pub(super) async fn look(&self, attempt: &AttemptId) -> io::Result<Look> {
        let dir = self.dir(attempt);
        let found = blocking(move || folder::look(&dir)).await?;
        // Its exit status is about to be written down and belongs to the evidence.
        let pending = matches!(found, Look::Over) && held(&self.unreaped).contains(attempt);
        Ok(if pending { Look::Alive } else { found })
    }

    pub(super) async fn observe_one(self: &Arc<Self>, attempt: &AttemptId) -> Observation {
        let looked = match self.look(attempt).await {
            Ok(Look::Over) => {
                self.capture(attempt).await;
                self.look(attempt).await
            }
            other => other,
        };
        match looked {
            Ok(Look::Unknown) => Observation::Unknown,
            Ok(Look::Alive) => Observation::Running,
            Ok(Look::Ended(end)) => Observation::from(*end),
            Ok(Look::Over) => match held(&self.complaints).get(attempt) {
                Some(message) => Observation::Unreachable {
                    message: message.clone(),
                },
                None => Observation::Running,
            },
            Err(error) => Observation::Unreachable {
                message: format!("the folder of the attempt cannot be read: {error}"),
            },
        }
    }

    /// Captures the end in the background and waits a moment for it. There is at most one capture of an attempt at a time.
    pub(super) async fn capture(self: &Arc<Self>, attempt: &AttemptId) {
        if !held(&self.capturing).insert(attempt.clone()) {
            return;
        }
        let (inner, id) = (Arc::clone(self), attempt.clone());
        let task = tokio::spawn(async move {
            let captured = end::capture(&inner.dir(&id), &id, &inner.node.hostname, now()).await;
            inner.note(&id, captured);
            held(&inner.capturing).remove(&id);
        });
        // Past the wait the task goes on by itself.
        let _ = tokio::time::timeout(CAPTURE_WAIT, task).await;
    }

    pub(super) fn note(&self, attempt: &AttemptId, captured: Result<(), CaptureError>) {
        let mut complaints = held(&self.complaints);
        match captured {
            Ok(()) => {
                complaints.remove(attempt);
            }
            Err(error) => {
                tracing::warn!(%attempt, %error, "the end of an attempt could not be captured");
                complaints.insert(attempt.clone(), error.to_string());
            }
        }
    }

    pub(super) async fn order_stop(&self, attempt: &AttemptId) -> io::Result<()> {
        let _ordered = self.ordering.lock().await;
        let dir = self.dir(attempt);
        blocking(move || {
            folder::make(&dir)?;
            write_atomically(&dir.stop(), &serde_json::to_vec(&StopRecord { at: now() })?)
        })
        .await
    }

    pub(super) async fn remove_group(&self, attempt: &AttemptId) -> Result<(), GroupError> {
        let dir = self.dir(attempt);
        let Some(group) = AttemptGroup::open(&dir.group())? else {
            return Ok(());
        };
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        loop {
            match group.remove() {
                Err(GroupError::Busy { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }
}

/// A panic while holding one of these locks leaves a set that is still a set.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
