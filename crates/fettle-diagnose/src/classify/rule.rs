//! A rule: what it reads, what that implies, and why.
//!
//! Owns the vocabulary of rules. It must not read files or texts.

use fettle_model::{DocumentErrorClass, FailureCategory, InfraEventType};
use serde::Deserialize;

use super::pattern::Pattern;

/// How directly a text names the cause. Of two findings the stronger decides; of equally strong ones the first in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Strength {
    /// No verdict of its own: another rule may require it.
    Fact,
    /// Says only that something went wrong: a line at level ERROR.
    Mark,
    /// A generic sign: an exception, a non-zero status.
    Hint,
    /// Says that something ended, not why.
    Symptom,
    /// Names an error without its cause.
    Error,
    /// Names the cause.
    Cause,
    /// The one who knows says it: the kernel, the scheduler, the component that took the decision.
    Proof,
}

/// What a text implies that a rule reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) category: FailureCategory,
    pub(super) event: Option<InfraEventType>,
    pub(super) class: Option<DocumentErrorClass>,
}

impl Verdict {
    /// Whether two findings say the same about the failure as a whole.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.category == other.category && self.event == other.event
    }
}

/// What a rule makes up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recovers {
    /// It says nothing of recovery.
    Nothing,
    /// All that stands before it.
    All,
    /// What these rules found before it.
    These(Vec<String>),
}

/// A rule that was checked.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) patterns: Vec<Pattern>,
    /// So many of the patterns must stand on one line.
    pub(super) at_least: usize,
    /// Where one of these stands on the same line, the rule does not count there.
    pub(super) except: Vec<Pattern>,
    pub(super) strength: Strength,
    /// None for facts and for signs of recovery.
    pub(super) verdict: Option<Verdict>,
    pub(super) confidence: f64,
    pub(super) why: String,
    pub(super) remedy: String,
    /// At least one of these rules must match too; names with `@` are facts that the engine knows.
    pub(super) requires: Vec<String>,
    /// None of these may match.
    pub(super) unless: Vec<String>,
    /// It speaks of the node or the cluster as a whole, perhaps of other jobs.
    pub(super) node_wide: bool,
    /// It says that the work failed, and of how nothing: of equally strong findings it counts last.
    pub(super) vague: bool,
    /// It says who ends work from outside: beside a kill without a sender it counts as much as the kill.
    pub(super) names_sender: bool,
    /// It counts on lines of the raylet or the autoscaler as much as on the job's own.
    pub(super) own_word: bool,
    pub(super) recovers: Recovers,
    /// Texts that it must read.
    pub(super) examples: Vec<String>,
    /// Texts that it must not read although they look like it.
    pub(super) counterexamples: Vec<String>,
}
