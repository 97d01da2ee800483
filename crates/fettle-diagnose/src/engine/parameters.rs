//! Errors that blame a parameter of the job itself.
//!
//! Owns one join: an error that refuses something, in one sentence with the name of a parameter that the job was given, is about the request
//! and not about the program or the rows. It makes no case of its own: the engines of row errors and of extractors that do not start ask.

use fettle_model::FailureCategory;
use serde_json::{Map, Value};

use crate::case::Case;
use crate::facts::JobFacts;
use crate::finding::EvidenceLine;
use crate::redact::redact;
use crate::words;

/// The name alone may be a common word, so it is never as sure as what was counted.
const CONFIDENCE: f64 = 0.85;
/// Shorter names stand in texts by chance.
const NAME_BYTES_MIN: usize = 3;
/// How programs refuse a value. Lower case.
const REFUSALS: [&str; 16] = [
    "invalid",
    "must",
    "unknown",
    "unsupported",
    "not supported",
    "unexpected",
    "not one of",
    "one of",
    "not allowed",
    "not a valid",
    "out of range",
    "cannot be",
    "should be",
    "required",
    "bad",
    "no such",
];

/// The parameter that a message refuses, with its value.
pub(crate) fn refused<'a>(job: &'a JobFacts, message: &str) -> Option<(&'a String, &'a Value)> {
    let message = message.to_ascii_lowercase();
    let refuses = |line: &&str| REFUSALS.iter().any(|word| names(line, word));
    let parameters: &Map<String, Value> = &job.profile.extractor.parameters;
    message.lines().filter(refuses).find_map(|line| {
        let is_named =
            |(name, _): &(&String, &Value)| name.len() >= NAME_BYTES_MIN && names(line, name);
        parameters.iter().find(is_named)
    })
}

/// Lets a refusal of a parameter speak for the case.
pub(crate) fn blame(case: &mut Case, (name, value): (&String, &Value), who: &str, message: &str) {
    let setting = redact(&format!("{name}={value}"));
    case.category = Some(FailureCategory::Validation);
    case.confidence = CONFIDENCE;
    case.evidence.insert(
        0,
        EvidenceLine {
            at: Some(case.at),
            tier_num: case.tier_num,
            attempt: case.attempt.clone(),
            worker: None,
            what: format!("{who} refuses a parameter of the job: {setting}"),
            source: "parameters of the job".to_owned(),
            raw: words::tail(message).map(|(_, raw)| raw.to_owned()),
            log_offset: None,
            rule_ids: Vec::new(),
            supports: case.kind,
        },
    );
    case.recommendations.insert(
        0,
        format!("Mend the parameter `{name}` of the collection's extractor, then retry; as it is, every row gives the same."),
    );
}

/// Whether a text holds a word or phrase as a whole; both in lower case.
fn names(text: &str, word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(&word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use fettle_model::AttemptExit;
    use serde_json::json;

    fn named(message: &str) -> Option<String> {
        let mut facts = fixture::failed(AttemptExit::ExtractorFailed, vec![]);
        let job = &mut facts.tiers[0].jobs[0];
        job.profile.extractor.parameters = Map::from_iter([
            ("mode".to_owned(), json!("nope")),
            ("chunk_size".to_owned(), json!(0)),
        ]);
        refused(job, message).map(|(name, _)| name.clone())
    }

    #[test]
    fn a_refusal_names_the_parameter() {
        for (message, expected) in [
            ("ValueError: mode: 'nope' is not one of fast, exact", "mode"),
            ("chunk_size must be at least 1", "chunk_size"),
            (
                "Traceback:\n  run(rows)\nKeyError: unknown MODE 'nope'",
                "mode",
            ),
        ] {
            assert_eq!(named(message).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn an_error_that_names_no_parameter_or_refuses_nothing_blames_none() {
        for message in [
            "ValueError: this row is wrong",
            "the model must be loaded first",
            "mode changed\nthe row is invalid",
            "in mode fast 3 rows were read",
            "chunk_sizes must be numbers",
        ] {
            assert_eq!(named(message), None, "{message}");
        }
    }
}
