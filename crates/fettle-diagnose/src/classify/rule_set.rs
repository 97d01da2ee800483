//! All rules together, ready to judge.
//!
//! Owns the built-in rule files and their union with a user's. It must not read from disk: the caller brings the text.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use super::condense::Condenser;
use super::examples::{self, Example, ExampleFault};
use super::rule::{Recovers, Rule};
use super::rule_file::{self, RuleFileError};
use super::scan::{ScanWork, Scanner};
use super::{FailureText, TextVerdict, judge};

/// The rule files, by family.
const BUILTIN: [&str; 11] = [
    include_str!("../../rules/local.toml"),
    include_str!("../../rules/kernel.toml"),
    include_str!("../../rules/ray.toml"),
    include_str!("../../rules/kubernetes.toml"),
    include_str!("../../rules/slurm.toml"),
    include_str!("../../rules/python.toml"),
    include_str!("../../rules/cuda.toml"),
    include_str!("../../rules/stores_networks.toml"),
    include_str!("../../rules/model_providers.toml"),
    include_str!("../../rules/media.toml"),
    include_str!("../../rules/words.toml"),
];

/// Rules that judge texts.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Arc<Vec<Rule>>,
    scanner: Arc<Scanner>,
}

/// What a rule file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    /// Ids of its rules, in their order.
    pub rule_ids: Vec<String>,
    /// Patterns of all its rules.
    pub patterns: usize,
    /// Examples and counterexamples of all its rules.
    pub examples: usize,
    /// Those that are not read as their rules say.
    pub faults: Vec<ExampleFault>,
}

impl RuleSet {
    /// The rules that come with Fettle.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
            RuleSet::new(builtin_rules()).expect("the built-in rules are checked by a test")
        });
        &RULES
    }

    /// The built-in rules and those of a user's file.
    ///
    /// # Errors
    /// If the file cannot be used; the error names the rule and what would be right.
    pub fn with_user_rules(toml_text: &str) -> Result<Self, RuleFileError> {
        let mut rules = builtin_rules();
        rules.extend(read_user_rules(toml_text)?);
        Self::new(rules)
    }

    /// Judges a text.
    #[must_use]
    pub fn classify(&self, text: &FailureText<'_>) -> TextVerdict {
        judge::judge(&self.rules, &self.scanner, text).0
    }

    /// Takes a log that comes in pieces, for [`RuleSet::classify`] to judge what it keeps of it.
    #[must_use]
    pub fn condenser(&self) -> Condenser<'_> {
        Condenser::new(&self.scanner)
    }

    /// Judges a text and counts the work, in bytes looked at.
    #[must_use]
    pub fn classify_counted(&self, text: &FailureText<'_>) -> (TextVerdict, ScanWork) {
        judge::judge(&self.rules, &self.scanner, text)
    }

    /// Ids of the rules that read something in a text, whichever of them decides.
    #[must_use]
    pub fn readings(&self, text: &FailureText<'_>) -> BTreeSet<String> {
        judge::readings(&self.rules, &self.scanner, text)
    }

    /// The examples of all rules: texts that they must read, and such that they must not.
    pub fn examples(&self) -> impl Iterator<Item = Example<'_>> {
        self.rules.iter().flat_map(examples::of)
    }

    /// The fixed texts that the one pass over a long text looks for, in lower case: each match of a pattern has one of them.
    #[must_use]
    pub fn fixed_texts(&self) -> &[String] {
        self.scanner.words()
    }

    /// How many rules it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    #[cfg(test)]
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn new(rules: Vec<Rule>) -> Result<Self, RuleFileError> {
        check_names(&rules)?;
        let scanner = Scanner::new(&rules).map_err(|message| RuleFileError::Form { message })?;
        Ok(Self {
            rules: Arc::new(rules),
            scanner: Arc::new(scanner),
        })
    }
}

/// Checks a user's rule file as it would be used: beside the built-in rules.
///
/// # Errors
/// As [`RuleSet::with_user_rules`].
pub fn check_rules(toml_text: &str) -> Result<RuleReport, RuleFileError> {
    let rules = read_user_rules(toml_text)?;
    let all = RuleSet::with_user_rules(toml_text)?;
    let examples: Vec<Example<'_>> = rules.iter().flat_map(examples::of).collect();
    Ok(RuleReport {
        rule_ids: rules.iter().map(|rule| rule.id.clone()).collect(),
        patterns: rules.iter().map(|rule| rule.patterns.len()).sum(),
        faults: examples
            .iter()
            .filter_map(|example| example.fault(&all))
            .collect(),
        examples: examples.len(),
    })
}

fn builtin_rules() -> Vec<Rule> {
    BUILTIN
        .iter()
        .flat_map(|text| rule_file::read(text).expect("the built-in rules are checked by a test"))
        .collect()
}

/// A user's patterns are compiled at once, so that one that is too large is refused and not passed over later.
fn read_user_rules(toml_text: &str) -> Result<Vec<Rule>, RuleFileError> {
    let rules = rule_file::read(toml_text)?;
    for rule in &rules {
        if rule
            .patterns
            .iter()
            .any(|pattern| pattern.regex().is_none())
        {
            return Err(problem(rule, "one of its patterns is too large: split it"));
        }
    }
    Ok(rules)
}

/// Ids are unique, and rules that are named exist.
fn check_names(rules: &[Rule]) -> Result<(), RuleFileError> {
    let mut ids = BTreeSet::new();
    for rule in rules {
        if !ids.insert(rule.id.as_str()) {
            return Err(problem(rule, "another rule has the same id"));
        }
    }
    for rule in rules {
        let recovered = match &rule.recovers {
            Recovers::These(names) => names.as_slice(),
            Recovers::Nothing | Recovers::All => &[],
        };
        let named = rule.requires.iter().chain(&rule.unless).chain(recovered);
        for name in named {
            if !name.starts_with('@') && !ids.contains(name.as_str()) {
                return Err(problem(rule, &format!("there is no rule `{name}`")));
            }
        }
    }
    Ok(())
}

fn problem(rule: &Rule, problem: &str) -> RuleFileError {
    RuleFileError::Rule {
        id: rule.id.clone(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
family = "acme"
[[rule]]
id = "acme.licence"
patterns = ["licence server refused seat"]
strength = "proof"
category = "pipeline"
class = "transient"
confidence = 0.9
why = "The licence server says that no seat is free."
remedy = "Wait for a seat."
"#;

    #[test]
    fn every_builtin_rule_is_complete_and_compiles() {
        for rule in builtin_rules() {
            for pattern in &rule.patterns {
                assert!(pattern.regex().is_some(), "{}", rule.id);
            }
            assert!(!rule.examples.is_empty(), "{} has no example", rule.id);
            if rule.verdict.is_some() {
                assert!(!rule.remedy.is_empty(), "{} has no remedy", rule.id);
            }
        }
        assert!(RuleSet::builtin().len() > 100);
    }

    #[test]
    fn a_users_rule_decides_beside_the_builtin_ones() {
        let rules = RuleSet::with_user_rules(GOOD).expect("a good file");
        let verdict = rules.classify(&FailureText {
            text: "start\nLicence server refused seat 4\n",
            exit_code: Some(1),
            backend: None,
        });
        assert_eq!(verdict.rule_ids[0], "acme.licence");
        assert_eq!(
            verdict.root_cause_line.as_deref(),
            Some("Licence server refused seat 4")
        );
        assert_eq!(check_rules(GOOD).expect("good").rule_ids, ["acme.licence"]);
    }

    #[test]
    fn examples_that_are_not_read_are_told() {
        let text = format!(
            "{GOOD}examples = [\"Licence server refused seat 4\", \"no licence\"]\ncounterexamples = [\"licence server refused seat\", \"all fine\"]\n"
        );
        let report = check_rules(&text).expect("a good file");
        assert_eq!(report.examples, 4);
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "rule `acme.licence` does not read its example `no licence`",
                "rule `acme.licence` reads its counterexample `licence server refused seat`"
            ]
        );
    }

    #[test]
    fn a_bad_rule_file_says_what_would_be_right() {
        let cases = [
            ("nonsense", "read the rule file"),
            (
                &*GOOD.replace("acme.licence", "other.licence"),
                "must begin with the file's family",
            ),
            (
                &GOOD.replace("licence server refused seat", r"\\d+"),
                "no fixed text",
            ),
            (
                &GOOD.replace("licence server refused seat", "seat("),
                "pattern `seat(`",
            ),
            (&GOOD.replace("0.9", "9"), "not between 0 and 1"),
            (
                &GOOD.replace("confidence = 0.9", ""),
                "needs a `confidence`",
            ),
            (
                &GOOD.replace("\"pipeline\"", "\"infrastructure\""),
                "`event` goes with",
            ),
            (&GOOD.replace("\"pipeline\"", "\"sad\""), "unknown variant"),
            (&GOOD.replace("category", "kategory"), "unknown field"),
            (&format!("{GOOD}at_least = 2\n"), "`at_least` is at least 1"),
            (
                &format!("{GOOD}requires = [\"no.such\"]\n"),
                "there is no rule `no.such`",
            ),
            (
                &GOOD
                    .replace("acme", "local")
                    .replace("local.licence", "local.killed"),
                "same id",
            ),
        ];
        for (text, expected) in cases {
            let error = check_rules(text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }
}
