//! What a failure text says: its category, its event, and the line that names the cause.
//!
//! Owns the classifier of machine-printed texts (log tails, backend messages, kernel lines): cleaning, rules as data, one scan, one
//! judgement. A text is judged by what it shows, never by what it lists as possible. It must not do IO or look at anything but the
//! text, its exit code and its backend; joins with other evidence belong to the cases in `engine`.

mod anchors;
mod clean;
mod condense;
mod examples;
mod guesses;
mod judge;
mod pattern;
mod quoting;
mod rule;
mod rule_file;
mod rule_set;
mod scan;
mod selection;

use fettle_model::{DocumentErrorClass, FailureCategory, InfraEventType};

pub use condense::Condenser;
pub use examples::{Example, ExampleFault};
pub use rule_file::RuleFileError;
pub use rule_set::{RuleReport, RuleSet, check_rules};
pub use scan::ScanWork;

/// A text to be judged, with what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct FailureText<'a> {
    /// The text as it was printed.
    pub text: &'a str,
    /// How the process ended, if that is known: a status, or a signal as a negative number or 128 + signal.
    pub exit_code: Option<i32>,
    /// What ran it (`local`, `ray`, `kubernetes`, `slurm`, …).
    pub backend: Option<&'a str>,
}

/// What a text says.
#[derive(Debug, Clone, PartialEq)]
pub struct TextVerdict {
    /// Why it failed.
    pub category: FailureCategory,
    /// What befell the infrastructure; only with [`FailureCategory::Infrastructure`].
    pub event: Option<InfraEventType>,
    /// Whether trying the document again can help; none where the text is not about a document.
    pub document_error_class: Option<DocumentErrorClass>,
    /// How sure the verdict is, from 0 to 1.
    pub confidence: f64,
    /// The line that names the cause, as it stands in the text, without white space around it.
    pub root_cause_line: Option<String>,
    /// The rules that the verdict rests on, the deciding one first.
    pub rule_ids: Vec<String>,
    /// Why the text means that, and what to do, for people.
    pub explanation: String,
}

/// Judges a text by the built-in rules.
#[must_use]
pub fn classify(text: &FailureText<'_>) -> TextVerdict {
    RuleSet::builtin().classify(text)
}
