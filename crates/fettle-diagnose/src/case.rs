//! Cases: typed findings of the engines.
//!
//! Owns what one engine says about one job or batch. It must not rank cases against each other; that is the verdict's work.

use fettle_model::{AttemptId, FailureCategory, InfraEvent, JobId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::finding::EvidenceLine;
use crate::remedy::RemedyAction;

/// What an engine found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What it is.
    pub kind: CaseKind,
    /// What it has to do with how the batch ended.
    pub standing: Standing,
    /// The category it implies; `None` when nothing failed by it (a cancel, a wait).
    pub category: Option<FailureCategory>,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// The tier it is about.
    pub tier_num: Option<u32>,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// The attempt it is about.
    pub attempt: Option<AttemptId>,
    /// When it first showed.
    pub at: UnixMillis,
    /// One or two sentences for people.
    pub reason: String,
    /// What would decide it, where the evidence does not.
    pub would_decide: Vec<String>,
    /// What it rests on.
    pub evidence: Vec<EvidenceLine>,
    /// What befell the infrastructure.
    pub events: Vec<InfraEvent>,
    /// What to do, for people.
    pub recommendations: Vec<String>,
    /// What to do, for programs.
    pub actions: Vec<RemedyAction>,
}

impl Case {
    /// A case about the whole batch; engines fill in what they know.
    #[must_use]
    pub(crate) fn new(kind: CaseKind, standing: Standing, at: UnixMillis) -> Self {
        Self {
            kind,
            standing,
            category: None,
            confidence: 0.0,
            tier_num: None,
            job_id: None,
            attempt: None,
            at,
            reason: String::new(),
            would_decide: Vec::new(),
            evidence: Vec::new(),
            events: Vec::new(),
            recommendations: Vec::new(),
            actions: Vec::new(),
        }
    }
}

/// What a case has to do with how the batch ended. The order is the order of weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may be why the batch, or a job of it, ended as it did.
    Cause,
    /// It concerns something that still runs or waits, and may pass.
    Concern,
    /// It happened and the work went on, or it was overtaken by a later attempt.
    Aside,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// What a case is. Each has a section in docs/failures.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CaseKind {
            $($(#[$doc])* $name,)*
        }

        impl CaseKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in answers and in docs/failures.md.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// A memory limit ended a process.
    OutOfMemory => "out_of_memory",
    /// Memory may have run out; the evidence is weak.
    MemorySuspected => "memory_suspected",
    /// A worker ended by a fault of its own code (SIGSEGV, SIGABRT, …).
    WorkerCrashed => "worker_crashed",
    /// A worker ended by itself with an error.
    WorkerExited => "worker_exited",
    /// A worker was ended from outside and nothing says by whom.
    WorkerKilled => "worker_killed",
    /// Rows took longer than their limit, and the attempt could not go on.
    RowTimeout => "row_timeout",
    /// Workers stood still and were ended.
    WorkerStuck => "worker_stuck",
    /// The extractor could not be started.
    ExtractorFailed => "extractor_failed",
    /// Something that the driver needs was gone.
    DriverFailed => "driver_failed",
    /// The driver crashed.
    DriverCrashed => "driver_crashed",
    /// The driver ended without a word.
    DriverDied => "driver_died",
    /// The attempt was stopped and nobody had asked for it.
    StoppedFromOutside => "stopped_from_outside",
    /// The backend no longer knows the attempt.
    AttemptLost => "attempt_lost",
    /// The attempt finished and rows have no outcome.
    RowsLost => "rows_lost",
    /// The job asks for more than there could ever be.
    RequestRefused => "request_refused",
    /// The job's rows could not be prepared.
    RowsNotPrepared => "rows_not_prepared",
    /// The backend did not start the attempt.
    BackendRefused => "backend_refused",
    /// Rows failed.
    DocumentErrors => "document_errors",
    /// Somebody asked for the end.
    Canceled => "canceled",
    /// A job waits for cores, memory or an earlier batch.
    WaitingForCapacity => "waiting_for_capacity",
    /// A job waits for machines that the cluster does not have at present.
    WaitingForNodes => "waiting_for_nodes",
    /// A job waits for the end of a back-off.
    BackingOff => "backing_off",
    /// An attempt was handed over and its driver has not reported yet.
    SlowStart => "slow_start",
    /// A running attempt has stopped reporting.
    Silent => "silent",
    /// A running attempt reports and finishes no rows.
    NoProgress => "no_progress",
}
