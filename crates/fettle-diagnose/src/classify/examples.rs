//! Texts that a rule must read, and such that it must not.
//!
//! Owns checking them. They are part of the rule files, so that a rule says itself what it is for. It must not judge.

use std::fmt;

use super::rule::Rule;
use super::{FailureText, RuleSet};

/// A text that belongs to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example<'a> {
    /// The rule.
    pub rule_id: &'a str,
    /// The text.
    pub text: &'a str,
    /// Whether the rule must read it; otherwise it must not.
    pub is_read: bool,
}

/// An example that is not read as its rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleFault {
    /// The rule.
    pub rule_id: String,
    /// The text.
    pub text: String,
    /// Whether it should be read.
    pub is_read: bool,
}

impl fmt::Display for ExampleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rule, text) = (&self.rule_id, &self.text);
        if self.is_read {
            write!(f, "rule `{rule}` does not read its example `{text}`")
        } else {
            write!(f, "rule `{rule}` reads its counterexample `{text}`")
        }
    }
}

impl Example<'_> {
    /// What is wrong with it, if it is not read as its rule says.
    #[must_use]
    pub fn fault(&self, rules: &RuleSet) -> Option<ExampleFault> {
        let readings = rules.readings(&FailureText {
            text: self.text,
            exit_code: None,
            backend: None,
        });
        (readings.contains(self.rule_id) != self.is_read).then(|| ExampleFault {
            rule_id: self.rule_id.to_owned(),
            text: self.text.to_owned(),
            is_read: self.is_read,
        })
    }
}

/// The examples and counterexamples of a rule.
pub(super) fn of(rule: &Rule) -> impl Iterator<Item = Example<'_>> {
    let read = rule.examples.iter().map(|text| (text, true));
    let not_read = rule.counterexamples.iter().map(|text| (text, false));
    read.chain(not_read).map(|(text, is_read)| Example {
        rule_id: &rule.id,
        text,
        is_read,
    })
}
