//! Healing of a tier: what is believed is compared with what is, and the difference is told or mended.
//!
//! Owns the order of the looks and what is told of each. It must not end a process or change a state by itself: it asks the backend, the
//! drivers and the core, and each of them may refuse.

mod advised;
mod poison;
mod runs;
mod stuck;
mod sync;

use fettle_core::{Batch, TimelineEntry, TimelineKind};
use fettle_model::{AppliedBy, AttemptId, BatchId, JobId, NamespaceId, RowNumber};

use crate::control::Control;
use crate::error::RequestError;
use crate::orchestrator::is_settled;
use crate::policy;

pub(crate) use runs::{take_over, watch};

macro_rules! words {
    ($(#[$doc:meta])* $kind:ident { $($(#[$each:meta])* $name:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {
            $($(#[$each])* $name,)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in requests and answers.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

words! {
    /// What to look for.
    HealAction {
        /// Workers and drivers that will not go on by themselves; they are ended and their rows tried again.
        DetectStuck => "detect_stuck",
        /// Runs of attempts that do not count any more, and second runs of one that does; they are ended.
        KillDuplicates => "kill_duplicates",
        /// Attempts that are believed to run and do not; their ends are believed.
        SyncStatus => "sync_status",
        /// Runs that the batch does not know; they are taken over, or ended where they cannot be.
        AdoptOrphans => "adopt_orphans",
        /// Rows that end their workers and have no outcome; they are failed, so that the rest can go on.
        QuarantinePoison => "quarantine_poison",
        /// All of these, and then what the diagnosis recommends for a tier that is over.
        Auto => "auto",
    }
}

words! {
    /// What is done about a finding.
    HealStep {
        /// Nothing: it passes by itself, or there is no remedy.
        Nothing => "none",
        /// The worker is ended and its rows are tried again.
        EndWorker => "end_worker",
        /// The worker, which somebody has stopped, is set going again; where that is in vain it is ended.
        WakeWorker => "wake_worker",
        /// The attempt is ended and its unfinished rows are tried again.
        RestartAttempt => "restart_attempt",
        /// A run that must not be is ended.
        EndRun => "end_run",
        /// A run becomes the job's attempt.
        Adopt => "adopt",
        /// What the backend shows is believed.
        Believe => "believe",
        /// The rows are failed with the evidence, and the rest is tried again.
        FailRows => "fail_rows",
        /// The tier's unfinished and failed rows are tried again.
        RetryTier => "retry_tier",
    }
}

words! {
    /// What came of it.
    HealOutcome {
        /// A dry run: it would have been done.
        WouldDo => "would_do",
        /// It is done.
        Done => "done",
        /// It was ordered, and is under way.
        Ordered => "ordered",
        /// It was ordered before, and is under way.
        AlreadyOrdered => "already_ordered",
        /// It was not done; the detail says why.
        Declined => "declined",
        /// There was nothing to do.
        NothingToDo => "nothing_to_do",
        /// It was tried and did not succeed.
        Failed => "failed",
    }
}

/// One difference between what is and what should be.
#[derive(Debug, Clone, PartialEq)]
pub struct HealFinding {
    /// What it is, in one word: `hung`, `duplicate`, `orphan`, `lost`, `poison`, …
    pub kind: &'static str,
    /// Its job; none where a run names one that the batch does not have.
    pub job: Option<JobId>,
    /// Its attempt.
    pub attempt: Option<AttemptId>,
    /// Its worker.
    pub worker: Option<u32>,
    /// The worker's process.
    pub pid: Option<u32>,
    /// The rows that it is about.
    pub rows: Vec<RowNumber>,
    /// How long it has been so, in milliseconds, where that is known.
    pub age_ms: Option<u64>,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// In one sentence.
    pub summary: String,
    /// What it rests on, one fact a line.
    pub evidence: Vec<String>,
    /// What is done about it.
    pub step: HealStep,
    /// What came of that.
    pub outcome: HealOutcome,
    /// More about the outcome, for people.
    pub detail: Option<String>,
}

impl HealFinding {
    fn new(kind: &'static str, summary: String) -> Self {
        Self {
            kind,
            job: None,
            attempt: None,
            worker: None,
            pid: None,
            rows: Vec::new(),
            age_ms: None,
            confidence: 1.0,
            summary,
            evidence: Vec::new(),
            step: HealStep::Nothing,
            outcome: HealOutcome::NothingToDo,
            detail: None,
        }
    }

    fn about(mut self, attempt: &AttemptId) -> Self {
        self.job = attempt.split().map(|(job, _)| job);
        self.attempt = Some(attempt.clone());
        self
    }

    /// Says what was done about it.
    fn then(mut self, step: HealStep, done: Done) -> Self {
        self.step = step;
        self.outcome = done.outcome;
        self.detail = done.detail;
        self
    }
}

/// What came of a step.
struct Done {
    outcome: HealOutcome,
    detail: Option<String>,
}

impl Done {
    fn plain(outcome: HealOutcome) -> Self {
        Self {
            outcome,
            detail: None,
        }
    }

    fn because(outcome: HealOutcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: Some(detail.into()),
        }
    }

    /// What the core answered: a refusal is no error, the world has gone on.
    fn of<T>(answer: Result<T, RequestError>, done: HealOutcome) -> Result<Self, RequestError> {
        match answer {
            Ok(_) => Ok(Self::plain(done)),
            Err(error) if is_settled(&error) => {
                Ok(Self::because(HealOutcome::Declined, error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Where healing looks, and how far it may go.
struct Site<'a> {
    control: &'a Control,
    namespace: &'a NamespaceId,
    batch: &'a BatchId,
    tier_num: u32,
    by: AppliedBy,
    dry_run: bool,
}

impl Site<'_> {
    /// The batch as it is committed now.
    async fn state(&self) -> Result<Batch, RequestError> {
        let (_, state) = self.control.own(self.namespace, self.batch).await?;
        state.ok_or_else(|| RequestError::NotPossible {
            what: "healing the tier",
            present: "the batch is DRAFT; submit it first".to_owned(),
        })
    }

    async fn note(&self, attempt: &AttemptId, message: String) -> Result<(), RequestError> {
        let entry = TimelineEntry {
            at: self.control.clock().now(),
            kind: TimelineKind::Remedy,
            message,
            tier_num: Some(self.tier_num),
            job_id: attempt.split().map(|(job, _)| job),
            attempt_id: Some(attempt.clone()),
        };
        let store = self.control.store();
        Ok(store.append_timeline(self.batch, vec![entry]).await?)
    }
}

impl Control {
    /// Looks at a tier, and mends what it finds unless it is a dry run. A second time finds nothing more to do.
    ///
    /// # Errors
    /// When the tier does not exist, or the store or the backend fails. A remedy that is refused is no error but an outcome.
    pub async fn heal(
        &self,
        namespace: &NamespaceId,
        batch: &BatchId,
        tier_num: u32,
        action: HealAction,
        dry_run: bool,
    ) -> Result<(Batch, Vec<HealFinding>), RequestError> {
        let site = Site {
            control: self,
            namespace,
            batch,
            tier_num,
            by: AppliedBy::User,
            dry_run,
        };
        let state = site.state().await?;
        if !state.tiers.iter().any(|tier| tier.num == tier_num) {
            return Err(RequestError::NoSuch {
                kind: "tier",
                id: tier_num.to_string(),
            });
        }
        if !dry_run {
            policy::put_in_force(&self.shared, batch).await?;
        }
        let findings = match action {
            HealAction::DetectStuck => stuck::heal(&site).await?,
            HealAction::KillDuplicates => runs::kill_duplicates(&site).await?,
            HealAction::SyncStatus => sync::heal(&site).await?,
            HealAction::AdoptOrphans => runs::adopt_orphans(&site).await?,
            HealAction::QuarantinePoison => poison::heal(&site).await?,
            HealAction::Auto => auto(&site).await?,
        };
        Ok((site.state().await?, findings))
    }
}

/// What is must be known before anything is concluded from it, so the states are compared first.
async fn auto(site: &Site<'_>) -> Result<Vec<HealFinding>, RequestError> {
    let mut findings = sync::heal(site).await?;
    findings.extend(runs::adopt_orphans(site).await?);
    findings.extend(runs::kill_duplicates(site).await?);
    findings.extend(stuck::heal(site).await?);
    findings.extend(poison::heal(site).await?);
    // What quarantine let go on is not over any more, and then nothing is advised.
    findings.extend(advised::heal(site).await?);
    Ok(findings)
}
