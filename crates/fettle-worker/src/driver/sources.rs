//! Where the driver's events come from.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::beat::Answer;
use super::outbox::Posted;
use super::worker_process::WorkerEvent;

/// Where events come from.
pub(super) struct Sources {
    pub(super) workers: mpsc::Receiver<WorkerEvent>,
    pub(super) answers: mpsc::UnboundedReceiver<Answer>,
    pub(super) posted: mpsc::UnboundedReceiver<Posted>,
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
}

impl Sources {
    /// These, and the signals that end the driver.
    pub(super) fn new(
        workers: mpsc::Receiver<WorkerEvent>,
        answers: mpsc::UnboundedReceiver<Answer>,
        posted: mpsc::UnboundedReceiver<Posted>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            workers,
            answers,
            posted,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}
