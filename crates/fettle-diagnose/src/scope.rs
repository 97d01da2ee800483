//! Attempts in their place: which attempt decided its job's end, and what a death in it can have caused.
//!
//! Owns the rule that evidence belongs to its actor: an engine only sees an attempt together with its job and tier. It must not judge
//! the evidence itself.

use fettle_model::evidence::{KilledByDriver, LogEvidence};
use fettle_model::{
    AttemptEvidence, AttemptExit, AttemptStatus, InfraEvent, InfraEventType, UnixMillis,
    WorkStatus, WorkerDeath,
};

use crate::case::{Case, CaseKind, Standing};
use crate::facts::{AttemptFacts, BatchFacts, JobFacts, TierFacts};
use crate::finding::EvidenceLine;

/// A job in its tier.
#[derive(Clone, Copy)]
pub(crate) struct JobScope<'a> {
    pub(crate) facts: &'a BatchFacts,
    pub(crate) tier: &'a TierFacts,
    pub(crate) job: &'a JobFacts,
}

/// An attempt in its job.
#[derive(Clone, Copy)]
pub(crate) struct AttemptScope<'a> {
    pub(crate) at: JobScope<'a>,
    pub(crate) attempt: &'a AttemptFacts,
    /// Whether it is the job's last one and the job's end followed from it.
    pub(crate) is_decisive: bool,
}

/// All jobs, in order.
pub(crate) fn jobs(facts: &BatchFacts) -> impl Iterator<Item = JobScope<'_>> {
    facts.tiers.iter().flat_map(move |tier| {
        tier.jobs
            .iter()
            .map(move |job| JobScope { facts, tier, job })
    })
}

/// All attempts, in order.
pub(crate) fn attempts(facts: &BatchFacts) -> impl Iterator<Item = AttemptScope<'_>> {
    jobs(facts).flat_map(|at| {
        let last = at.job.attempts.len().saturating_sub(1);
        let refused = at.was_refused_after_its_last_attempt();
        at.job
            .attempts
            .iter()
            .enumerate()
            .map(move |(index, attempt)| AttemptScope {
                at,
                attempt,
                is_decisive: index == last && !refused,
            })
    })
}

impl JobScope<'_> {
    /// Whether the job failed with resources that no attempt was ever given: then it was the request for them that ended it,
    /// and what the last attempt died of is history.
    pub(crate) fn was_refused_after_its_last_attempt(&self) -> bool {
        let tried = self.job.params.as_ref().map(|params| &params.resources);
        self.job.status == WorkStatus::Failed
            && !self.job.attempts.is_empty()
            && tried.is_some_and(|tried| *tried != self.job.resources)
    }

    /// A case about this job.
    pub(crate) fn case(&self, kind: CaseKind, standing: Standing, at: UnixMillis) -> Case {
        let mut case = Case::new(kind, standing, at);
        case.tier_num = Some(self.tier.tier_num);
        case.job_id = Some(self.job.job_id.clone());
        case
    }

    /// A fact about this job.
    pub(crate) fn line(&self, supports: CaseKind, source: &str, what: String) -> EvidenceLine {
        EvidenceLine {
            at: None,
            tier_num: Some(self.tier.tier_num),
            attempt: None,
            worker: None,
            what,
            source: source.to_owned(),
            raw: None,
            log_offset: None,
            rule_ids: Vec::new(),
            supports,
        }
    }

    /// When the job ended, or the best that is known of it.
    pub(crate) fn ended_at(&self) -> UnixMillis {
        let known = self.job.ended_at.or(self.tier.ended_at);
        known.or(self.facts.ended_at).unwrap_or(self.facts.now)
    }

    /// The recorded reason of its end without the words that the cases say themselves.
    pub(crate) fn told(&self) -> Option<&str> {
        let reason = self.job.end_reason.as_deref()?;
        let bare = REASON_OPENINGS
            .iter()
            .find_map(|opening| reason.strip_prefix(opening));
        let told = bare.map_or(reason, |bare| bare.trim_start_matches(':').trim());
        Some(told).filter(|told| !told.is_empty())
    }

    /// `of tier 1`, for sentences.
    pub(crate) fn of_tier(&self) -> String {
        format!("of tier {}", self.tier.tier_num)
    }
}

impl<'a> AttemptScope<'a> {
    /// What was captured of it.
    pub(crate) fn evidence(&self) -> Option<&'a AttemptEvidence> {
        self.attempt.evidence.as_ref()
    }

    /// Deaths of workers that nobody intended; what the driver ended on purpose is not a crash, unless it stood in for the kernel.
    pub(crate) fn deaths(&self) -> Vec<&'a WorkerDeath> {
        self.evidence()
            .into_iter()
            .flat_map(|evidence| &evidence.worker_deaths)
            .filter(|death| {
                death.killed_by_driver.is_none()
                    || death.driver_s_reason() == Some(KilledByDriver::OverLimit)
            })
            .collect()
    }

    /// When it ended, or when it was planned.
    pub(crate) fn ended_at(&self) -> UnixMillis {
        self.attempt.ended_at.unwrap_or(self.attempt.planned_at)
    }

    /// What the end of the attempt itself has to do with the job's end.
    pub(crate) fn end_standing(&self) -> Standing {
        match (self.is_decisive, self.at.job.status) {
            (true, WorkStatus::Failed) => Standing::Cause,
            (true, WorkStatus::InProgress) => Standing::Concern,
            _ => Standing::Aside,
        }
    }

    /// What deaths of workers have to do with the job's end: only an attempt that ended *because of* its workers can have been ended by
    /// them. `share` is the part of all deaths that this is about; what was the exception did not decide.
    pub(crate) fn deaths_standing(&self, share: f64) -> Standing {
        let by_workers = matches!(
            self.attempt.exit,
            Some(
                AttemptExit::OutOfMemory
                    | AttemptExit::WorkersKeepDying
                    | AttemptExit::ExtractorFailed
            )
        );
        match self.end_standing() {
            Standing::Cause if !by_workers || share < 0.5 => Standing::Aside,
            Standing::Concern if self.attempt.exit == Some(AttemptExit::Finished) => {
                Standing::Aside
            }
            other => other,
        }
    }

    /// A case about this attempt.
    pub(crate) fn case(&self, kind: CaseKind, standing: Standing, at: UnixMillis) -> Case {
        let mut case = self.at.case(kind, standing, at);
        case.attempt = Some(self.attempt.attempt_id.clone());
        case
    }

    /// A fact about this attempt.
    pub(crate) fn line(&self, supports: CaseKind, source: &str, what: String) -> EvidenceLine {
        let mut line = self.at.line(supports, source, what);
        line.attempt = Some(self.attempt.attempt_id.clone());
        line.at = self.attempt.ended_at;
        line
    }

    /// A fact about a worker of this attempt.
    pub(crate) fn death_line(
        &self,
        death: &WorkerDeath,
        supports: CaseKind,
        source: &str,
        what: String,
    ) -> EvidenceLine {
        let mut line = self.line(supports, source, what);
        line.worker = Some(death.worker);
        line.at = Some(death.at);
        line
    }

    /// The last lines of the driver as a fact.
    pub(crate) fn driver_log_line(&self, supports: CaseKind) -> Option<EvidenceLine> {
        let evidence = self.evidence()?;
        let what = "the last lines of the driver".to_owned();
        let mut line = self.line(supports, "driver's standard error", what);
        let begins_at = tail_offset(evidence.driver_log.as_ref());
        line.quote(&evidence.driver_log_tail, begins_at);
        line.raw.is_some().then_some(line)
    }

    /// An event that befell this attempt.
    pub(crate) fn event(
        &self,
        event_type: InfraEventType,
        at: UnixMillis,
        raw: String,
    ) -> InfraEvent {
        InfraEvent {
            event_type,
            detected_at: at,
            raw_signal: raw,
            node_id: self.evidence().and_then(|evidence| evidence.node.clone()),
            attempt: self.attempt.attempt_id.clone(),
        }
    }

    /// An event that befell a worker, on its node.
    pub(crate) fn event_of_worker(
        &self,
        event_type: InfraEventType,
        death: &WorkerDeath,
        raw: String,
    ) -> InfraEvent {
        let event = self.event(event_type, death.at, raw);
        InfraEvent {
            node_id: death.node.clone().or(event.node_id),
            ..event
        }
    }

    /// The backend's messages as facts; they are shown, not read.
    pub(crate) fn backend_lines(&self, supports: CaseKind) -> Vec<EvidenceLine> {
        let messages = self.evidence().map_or(&[][..], |e| &e.backend_messages);
        let newest = messages.len().saturating_sub(BACKEND_MESSAGES_SHOWN_MAX);
        let shown = messages[newest..].iter().map(|message| {
            let what = "the backend said of the attempt".to_owned();
            let mut line = self.line(supports, "backend message", what);
            line.quote(message, None);
            line
        });
        shown.collect()
    }

    /// How many of the job's attempts in a row, up to this one, ended the same way.
    pub(crate) fn like_ends(&self) -> usize {
        let same = |other: &&AttemptFacts| {
            other.exit == self.attempt.exit
                && (other.status == AttemptStatus::Lost)
                    == (self.attempt.status == AttemptStatus::Lost)
        };
        let earlier = self.at.job.attempts.iter().rev();
        earlier
            .skip_while(|other| other.number > self.attempt.number)
            .take_while(same)
            .count()
    }
}

/// Where the kept last lines of a log begin in its file, in bytes.
pub(crate) fn tail_offset(log: Option<&LogEvidence>) -> Option<u64> {
    log.map(|log| log.tail_offset)
}

/// Where a line stands in a log's file, in bytes: among its last lines, or in what else was kept of it.
pub(crate) fn line_offset(line: &str, tail: &str, log: Option<&LogEvidence>) -> Option<u64> {
    let log = log?;
    let pieces = [&log.first_error, &log.last_error].map(Option::as_ref);
    let pieces = pieces.into_iter().flatten();
    let pieces = pieces.map(|piece| (piece.offset, piece.text.as_str()));
    let mut kept = pieces.chain([(log.tail_offset, tail)]);
    kept.find_map(|(begins_at, text)| Some(begins_at + text.find(line)? as u64))
}

/// How recorded reasons begin; a case that says the same in its own words would repeat it. Another opening is merely kept.
const REASON_OPENINGS: [&str; 4] = [
    "the extractor could not be started",
    "the driver failed",
    "its rows could not be prepared",
    "the backend did not start it",
];

/// The newest messages tell most; a backend that repeats itself must not bury the rest.
const BACKEND_MESSAGES_SHOWN_MAX: usize = 5;
