//! What a driver and a host say to each other: one JSON object a line, on the host's standard input and output.
//!
//! Owns the form of the frames. The two ends are always the same binary, so the form may change freely. A host has one worker at most.

use fettle_model::{ProcessExit, UnixMillis};
use serde::{Deserialize, Serialize};

use super::glimpse::Glimpse;
use super::remains::Remains;
use super::worker_process::Order;
use crate::frame::{FromWorker, ToWorker};

/// From the driver. The end of the input means: end all and go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToHost {
    /// Start the worker.
    Start,
    /// Tell the worker something.
    Frame {
        /// What.
        frame: ToWorker,
    },
    /// Signal the worker.
    Order {
        /// How.
        order: Order,
    },
    /// End all the worker's processes.
    Clear,
    /// Find out where the worker's processes stand.
    Stand {
        /// The worker's last step as the driver knows it; it comes back with the answer.
        last_step_at: UnixMillis,
    },
}

/// From a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromHost {
    /// The worker is started.
    Started {
        /// Its process id here.
        pid: u32,
    },
    /// The worker cannot be started here; the host ends.
    Failed {
        /// Why.
        message: String,
    },
    /// The worker said something.
    Said {
        /// What.
        frame: FromWorker,
    },
    /// The worker as it is now.
    Seen {
        /// A look at it.
        glimpse: Box<Glimpse>,
    },
    /// Where the worker's processes stand.
    Stood {
        /// The worker's process.
        pid: u32,
        /// From the question.
        last_step_at: UnixMillis,
        /// Where.
        stand: String,
    },
    /// Where the worker's threads stood when it was killed.
    Killed {
        /// Where.
        threads: String,
    },
    /// The worker has written to its log.
    Wrote {
        /// What.
        text: String,
    },
    /// The worker has ended, and all that it said has been told.
    Ended {
        /// How.
        exit: ProcessExit,
        /// What it left.
        remains: Box<Remains>,
    },
}
