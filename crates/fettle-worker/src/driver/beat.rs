//! Heartbeats: one at a time, the latest wins, but each death is reported until `serve` has acknowledged it.

use std::sync::Arc;

use fettle_client::{AttemptClient, AttemptError};
use fettle_model::evidence::WORKER_DEATHS_KEPT_MAX;
use fettle_model::{KillOrder, WorkerDeath};
use fettle_wire::internal::{DriverCommand, Heartbeat, HeartbeatAck};
use tokio::sync::mpsc;

/// Refusals in a row after which the driver believes that its reports will never be taken: at one a second this outlasts a hiccup.
const REFUSALS_MAX: u32 = 15;

/// What a heartbeat brought.
#[derive(Debug)]
pub(super) struct Answer {
    deaths: usize,
    /// What `serve` answered.
    pub(super) result: Result<HeartbeatAck, AttemptError>,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Continue {
        /// Workers to end.
        kills: Vec<KillOrder>,
        /// The most workers that it may have for now, if that is said.
        workers_max: Option<u32>,
    },
    /// End: cancelled or superseded.
    Stop(String),
    /// `serve` refuses everything.
    Refused(String),
}

/// Sends heartbeats.
pub(super) struct Heart {
    client: Arc<AttemptClient>,
    answers: mpsc::UnboundedSender<Answer>,
    seq: u64,
    is_beating: bool,
    unreported: Vec<WorkerDeath>,
    refusals: u32,
}

impl Heart {
    /// A heart whose answers come through `answers`.
    pub(super) fn new(client: Arc<AttemptClient>, answers: mpsc::UnboundedSender<Answer>) -> Self {
        Self {
            client,
            answers,
            seq: 0,
            is_beating: false,
            unreported: Vec::new(),
            refusals: 0,
        }
    }

    /// A death to be reported. The evidence keeps what is too much for heartbeats.
    pub(super) fn death(&mut self, death: WorkerDeath) {
        if self.unreported.len() < WORKER_DEATHS_KEPT_MAX {
            self.unreported.push(death);
        }
    }

    /// Whether workers died while the last beat was on its way.
    pub(super) fn has_more_to_tell(&self) -> bool {
        !self.unreported.is_empty()
    }

    /// Sends `beat`, unless the one before is still on its way.
    pub(super) fn beat(&mut self, make: impl FnOnce(u64, Vec<WorkerDeath>) -> Heartbeat) {
        if self.is_beating {
            return;
        }
        self.is_beating = true;
        self.seq += 1;
        let beat = make(self.seq, self.unreported.clone());
        let (client, answers) = (Arc::clone(&self.client), self.answers.clone());
        tokio::spawn(async move {
            let result = client.heartbeat(&beat).await;
            // Without a driver's loop nobody waits for the answer.
            let _ = answers.send(Answer {
                deaths: beat.worker_deaths.len(),
                result,
            });
        });
    }

    /// Takes an answer in.
    pub(super) fn answered(&mut self, answer: Answer) -> Verdict {
        self.is_beating = false;
        let refused = matches!(answer.result, Err(AttemptError::Refused(_)));
        self.refusals = if refused { self.refusals + 1 } else { 0 };
        match answer.result {
            Ok(ack) => {
                self.unreported
                    .drain(..answer.deaths.min(self.unreported.len()));
                match ack.command {
                    DriverCommand::Continue => Verdict::Continue {
                        kills: ack.kills,
                        workers_max: ack.workers_max,
                    },
                    DriverCommand::Stop => Verdict::Stop("serve said so".to_owned()),
                }
            }
            Err(AttemptError::Superseded { message }) => Verdict::Stop(message),
            Err(error) if self.refusals >= REFUSALS_MAX => Verdict::Refused(error.to_string()),
            Err(error) => {
                tracing::debug!(%error, "a heartbeat was lost");
                Verdict::Continue {
                    kills: Vec::new(),
                    workers_max: None,
                }
            }
        }
    }
}
