//! The loop: one event at a time goes through the core, is committed, made visible, and acted upon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fettle_core::{Batch, Effects, Event, step};
use fettle_model::BatchId;
use fettle_ports::{BatchCommit, HistoryEntry, StoreError, Submission};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::control::Shared;
use crate::error::RequestError;
use crate::{effects, history, reconcile};

/// Messages that may wait for the loop; a sender beyond that waits, which slows reporters down instead of filling memory.
pub(crate) const MESSAGES_MAX: usize = 1024;
/// How often back-offs and admission are looked at without a cause; an event looks at once.
const TICK: Duration = Duration::from_millis(200);

/// The answer to a message: the batch as committed.
pub(crate) type Answer = Result<Arc<Batch>, RequestError>;

/// What the loop is told.
pub(crate) enum Message {
    /// A plan became a batch.
    Submitted {
        /// The batch, not stored yet.
        batch: Box<Batch>,
        /// What its submission decided.
        effects: Effects,
        /// Its record, which names its task, and the task.
        submission: Box<Submission>,
        /// Who waits for the commit.
        reply: oneshot::Sender<Answer>,
    },
    /// Something happened.
    Happened {
        /// To which batch.
        batch_id: BatchId,
        /// What.
        event: Event,
        /// Who waits for the commit.
        reply: oneshot::Sender<Answer>,
    },
}

/// The loop's own state.
pub(crate) struct Orchestrator {
    shared: Arc<Shared>,
    batches: BTreeMap<BatchId, Arc<Batch>>,
}

/// What a step writes beside the batch's state.
#[derive(Default)]
struct Beside {
    submission: Option<Submission>,
    history: Option<HistoryEntry>,
}

impl Orchestrator {
    /// Loads the batches that are not over and takes up the effects that were not carried out.
    pub(crate) async fn load(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let mut batches = BTreeMap::new();
        for batch in shared.ports.store.active_batches().await? {
            let batch = Arc::new(batch);
            shared.publish(&batch);
            batches.insert(batch.id.clone(), batch);
        }
        for pending in shared.ports.store.pending_effects().await? {
            effects::spawn(&shared, pending.id, pending.batch_id, pending.effect);
        }
        Ok(Self { shared, batches })
    }

    /// Runs until `serve` stops.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.shared.stopping.clone();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                message = messages.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                _ = tick.tick() => {}
            }
            self.reconcile().await;
            self.shared.beat.set(self.shared.ports.clock.now());
        }
    }

    async fn take(&mut self, message: Message) {
        let (answer, reply) = match message {
            Message::Submitted {
                batch,
                effects,
                submission,
                reply,
            } => {
                let beside = Beside {
                    submission: Some(*submission),
                    ..Beside::default()
                };
                (self.commit(*batch, effects, beside).await, reply)
            }
            Message::Happened {
                batch_id,
                event,
                reply,
            } => (self.happened(&batch_id, event).await, reply),
        };
        // Whoever asked may have gone away; the commit stands.
        let _ = reply.send(answer);
    }

    async fn happened(&mut self, id: &BatchId, event: Event) -> Answer {
        let mut batch = match self.batches.get(id) {
            Some(batch) => Batch::clone(batch),
            None => self.load_resting(id).await?,
        };
        let ended = match &event {
            Event::AttemptEnded { attempt, .. } | Event::AttemptLost { attempt, .. } => {
                Some(attempt.clone())
            }
            _ => None,
        };
        let effects = step(&mut batch, self.shared.ports.clock.now(), event)?;
        let history = match ended {
            Some(attempt) => history::entry(&self.shared, &batch, &attempt).await?,
            None => None,
        };
        let beside = Beside {
            history,
            ..Beside::default()
        };
        self.commit(batch, effects, beside).await
    }

    /// A batch that is over or held; a retry or its submission takes it up again.
    async fn load_resting(&self, id: &BatchId) -> Result<Batch, RequestError> {
        let found = self.shared.ports.store.get_batch(None, id).await?;
        let (_, state) = found.ok_or_else(|| RequestError::no_batch(id))?;
        state.ok_or_else(|| RequestError::NotPossible {
            what: "this",
            present: "the batch is DRAFT; submit it first".to_owned(),
        })
    }

    /// Commits, then makes visible, then acts.
    async fn commit(&mut self, batch: Batch, decided: Effects, beside: Beside) -> Answer {
        let Effects {
            effects,
            timeline,
            remedies,
            reopen_rows,
            skip_rows,
        } = decided;
        let commit = BatchCommit {
            batch: batch.clone(),
            timeline,
            effects: effects.clone(),
            remedies,
            reopen_rows,
            skip_rows,
            submission: beside.submission,
            history: beside.history.into_iter().collect(),
        };
        let ids = match self.shared.ports.store.commit(commit).await {
            Ok(ids) => ids,
            Err(error) => return Err(self.reload(&batch.id, error).await),
        };
        let batch = Arc::new(batch);
        self.shared.publish(&batch);
        if batch.is_at_rest() {
            self.batches.remove(&batch.id);
        } else {
            self.batches.insert(batch.id.clone(), batch.clone());
        }
        for (id, effect) in ids.into_iter().zip(effects) {
            effects::spawn(&self.shared, id, batch.id.clone(), effect);
        }
        Ok(batch)
    }

    /// The commit may have happened: memory is dropped and read anew.
    async fn reload(&mut self, id: &BatchId, error: StoreError) -> RequestError {
        tracing::warn!(batch = %id, %error, "a step was not committed; reading the batch again");
        // Where it cannot be read, memory holds what was last known to be committed.
        if let Ok(Some((_, Some(batch)))) = self.shared.ports.store.get_batch(None, id).await {
            let batch = Arc::new(batch);
            self.shared.publish(&batch);
            self.batches.insert(id.clone(), batch);
        }
        RequestError::Store(error)
    }

    /// Level-triggered: looks at what is, not at what happened.
    async fn reconcile(&mut self) {
        for (batch_id, event) in reconcile::due(&self.shared).await {
            if let Err(error) = self.happened(&batch_id, event).await {
                tracing::warn!(batch = %batch_id, %error, "a due step was not taken; it will be tried again");
            }
        }
    }
}

/// Sends an event to the loop and waits until it is committed or refused.
pub(crate) async fn tell(shared: &Shared, batch_id: &BatchId, event: Event) -> Answer {
    let (reply, answer) = oneshot::channel();
    let message = Message::Happened {
        batch_id: batch_id.clone(),
        event,
        reply,
    };
    send(shared, message, answer).await
}

/// Sends a message to the loop and waits for its answer.
pub(crate) async fn send(
    shared: &Shared,
    message: Message,
    answer: oneshot::Receiver<Answer>,
) -> Answer {
    shared
        .messages
        .send(message)
        .await
        .map_err(|_closed| RequestError::Stopping)?;
    answer.await.map_err(|_dropped| RequestError::Stopping)?
}

/// Whether an error means that the event is over and done with, and not that the store failed.
pub(crate) fn is_settled(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::NotPossible { .. } | RequestError::NoSuch { .. }
    )
}
