//! The form of a rule file, and what can be wrong with it.
//!
//! Owns reading rules from TOML. It must not match anything.

use fettle_model::{DocumentErrorClass, FailureCategory, InfraEventType};
use serde::Deserialize;

use super::pattern::Pattern;
use super::rule::{Recovers, Rule, Strength, Verdict};

/// Largest rule file, in bytes: the built-in ones have a tenth of it.
pub(super) const RULE_FILE_BYTES_MAX: usize = 1 << 20;
/// Most rules of one file: more would make the scan's automaton larger than the caches.
pub(super) const RULES_MAX: usize = 2_000;
/// Most patterns of one rule: more are several rules.
pub(super) const PATTERNS_MAX: usize = 64;

/// Why a rule file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleFileError {
    /// It is not TOML of this form.
    #[error("read the rule file: {message}")]
    Form {
        /// What the TOML reader says, with line and column.
        message: String,
    },
    /// It is too large.
    #[error("the rule file has {bytes} bytes; at most {bytes_max} are read")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It has too many rules.
    #[error("the file has {rules} rules; at most {rules_max} are read")]
    TooManyRules {
        /// Rules in the file.
        rules: usize,
        /// The limit.
        rules_max: usize,
    },
    /// A rule cannot be used.
    #[error("rule `{id}`: {problem}")]
    Rule {
        /// The rule's id.
        id: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    family: String,
    #[serde(default)]
    rule: Vec<Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    patterns: Vec<String>,
    #[serde(default = "one")]
    at_least: usize,
    #[serde(default)]
    except: Vec<String>,
    strength: Strength,
    category: Option<FailureCategory>,
    event: Option<InfraEventType>,
    class: Option<DocumentErrorClass>,
    confidence: Option<f64>,
    #[serde(default)]
    why: String,
    #[serde(default)]
    remedy: String,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    node_wide: bool,
    #[serde(default)]
    vague: bool,
    #[serde(default)]
    names_sender: bool,
    #[serde(default)]
    own_word: bool,
    #[serde(default)]
    case_sensitive: bool,
    #[serde(default)]
    recovers: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    counterexamples: Vec<String>,
}

fn one() -> usize {
    1
}

/// Reads the rules of one file.
pub(super) fn read(toml_text: &str) -> Result<Vec<Rule>, RuleFileError> {
    if toml_text.len() > RULE_FILE_BYTES_MAX {
        return Err(RuleFileError::TooLarge {
            bytes: toml_text.len(),
            bytes_max: RULE_FILE_BYTES_MAX,
        });
    }
    let file: File = toml::from_str(toml_text).map_err(|error| RuleFileError::Form {
        message: error.to_string(),
    })?;
    if file.rule.len() > RULES_MAX {
        return Err(RuleFileError::TooManyRules {
            rules: file.rule.len(),
            rules_max: RULES_MAX,
        });
    }
    let family = file.family;
    file.rule
        .into_iter()
        .map(|written| {
            let id = written.id.clone();
            checked(&family, written).map_err(|problem| RuleFileError::Rule { id, problem })
        })
        .collect()
}

fn checked(family: &str, written: Written) -> Result<Rule, String> {
    if written
        .id
        .strip_prefix(family)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_none_or(str::is_empty)
    {
        return Err(format!(
            "its id must begin with the file's family: `{family}.…`"
        ));
    }
    if written.patterns.is_empty() || written.patterns.len() > PATTERNS_MAX {
        return Err(format!("it needs 1 to {PATTERNS_MAX} patterns"));
    }
    if !(1..=written.patterns.len()).contains(&written.at_least) {
        return Err("`at_least` is at least 1 and at most the number of its patterns".to_owned());
    }
    let recovers = recovers(&written.recovers);
    let verdict = verdict(&written, &recovers)?;
    let confidence = written.confidence.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&confidence) {
        return Err(format!(
            "its confidence {confidence} is not between 0 and 1"
        ));
    }
    let parse = |texts: &[String]| -> Result<Vec<Pattern>, String> {
        let parsed = texts.iter().map(|text| {
            Pattern::parse(text, written.case_sensitive)
                .map_err(|problem| format!("pattern `{text}`: {problem}"))
        });
        parsed.collect()
    };
    Ok(Rule {
        patterns: parse(&written.patterns)?,
        except: parse(&written.except)?,
        at_least: written.at_least,
        id: written.id,
        strength: written.strength,
        verdict,
        confidence,
        why: written.why,
        remedy: written.remedy,
        requires: written.requires,
        unless: written.unless,
        node_wide: written.node_wide,
        vague: written.vague,
        names_sender: written.names_sender,
        own_word: written.own_word,
        recovers,
        examples: written.examples,
        counterexamples: written.counterexamples,
    })
}

fn recovers(names: &[String]) -> Recovers {
    match names {
        [] => Recovers::Nothing,
        names if names.iter().any(|name| name == "*") => Recovers::All,
        names => Recovers::These(names.to_vec()),
    }
}

/// What the rule implies, if it is complete and agrees with itself.
fn verdict(written: &Written, recovers: &Recovers) -> Result<Option<Verdict>, String> {
    if written.strength == Strength::Fact || *recovers != Recovers::Nothing {
        return match written.category {
            None => Ok(None),
            Some(_) => Err("a fact or a sign of recovery has no category".to_owned()),
        };
    }
    let category = written
        .category
        .ok_or("it needs a `category` (or `strength = \"fact\"`)")?;
    if written.why.trim().is_empty() {
        return Err("it needs a `why`: what it reads, and why that means what it means".to_owned());
    }
    if written.confidence.is_none() {
        return Err("it needs a `confidence` between 0 and 1".to_owned());
    }
    let infrastructure = category == FailureCategory::Infrastructure;
    if infrastructure != written.event.is_some() {
        return Err("an `event` goes with category infrastructure, and only with it".to_owned());
    }
    Ok(Some(Verdict {
        category,
        event: written.event,
        class: written.class,
    }))
}
