//! Filters over fields: AND, OR, NOT of conditions. One evaluator serves objects, documents and lists alike.

use std::collections::BTreeSet;

use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation;

/// Filters may nest this deep; deeper ones are a mistake or an attack.
pub const FILTER_DEPTH_MAX: usize = 16;

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal, or absent.
    Ne,
    /// Greater.
    Gt,
    /// Less.
    Lt,
    /// Greater or equal.
    Gte,
    /// Less or equal.
    Lte,
    /// One of a list.
    In,
    /// None of a list, or absent.
    Nin,
    /// A text contains a text, or an array a value.
    Contains,
    /// A text begins with a text.
    StartsWith,
    /// A text ends with a text.
    EndsWith,
    /// A text contains a text, whatever the case.
    Text,
    /// A text has these words, one after the other, whatever the case.
    Phrase,
    /// A text has each of these words, by their English stems, whatever the case.
    Words,
    /// Present (`true`) or absent (`false`).
    Exists,
    /// Null or absent (`true`), or neither (`false`).
    IsNull,
}

/// A comparison of one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Dotted path of the field.
    pub field: String,
    /// How it compares.
    #[serde(default = "Operator::default_eq")]
    pub operator: Operator,
    /// What with.
    #[serde(default)]
    pub value: Value,
}

impl Operator {
    fn default_eq() -> Self {
        Self::Eq
    }
}

/// A filter as it stands in bodies: `{"AND": […]}`, `{"OR": […]}`, `{"NOT": […]}`, a condition, or several of the first three together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Filter {
    /// One comparison.
    Condition(Condition),
    /// A combination; all given parts must hold.
    Logic(Logic),
}

/// A combination of filters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logic {
    /// All must hold.
    #[serde(rename = "AND", default, skip_serializing_if = "Option::is_none")]
    pub and: Option<Vec<Filter>>,
    /// At least one must hold.
    #[serde(rename = "OR", default, skip_serializing_if = "Option::is_none")]
    pub or: Option<Vec<Filter>>,
    /// None may hold.
    #[serde(rename = "NOT", default, skip_serializing_if = "Option::is_none")]
    pub not: Option<Vec<Filter>>,
    /// Whether texts are compared with their case; without it they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case_sensitive: Option<bool>,
}

impl Filter {
    /// Whether `fields` matches.
    #[must_use]
    pub fn matches(&self, fields: &Map<String, Value>) -> bool {
        self.holds(fields, false)
    }

    /// How deep the filter nests.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::Condition(_) => 1,
            Self::Logic(logic) => {
                1 + [&logic.and, &logic.or, &logic.not]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(Self::depth)
                    .max()
                    .unwrap_or(0)
            }
        }
    }

    fn holds(&self, fields: &Map<String, Value>, case_sensitive: bool) -> bool {
        match self {
            Self::Condition(condition) => condition.holds(fields, case_sensitive),
            Self::Logic(logic) => {
                let case = logic.case_sensitive.unwrap_or(case_sensitive);
                let all = |list: &Vec<Self>| list.iter().all(|f| f.holds(fields, case));
                let any = |list: &Vec<Self>| list.iter().any(|f| f.holds(fields, case));
                logic.and.as_ref().is_none_or(all)
                    && logic.or.as_ref().is_none_or(any)
                    && !logic.not.as_ref().is_some_and(any)
            }
        }
    }
}

impl Condition {
    fn holds(&self, fields: &Map<String, Value>, case: bool) -> bool {
        let found = lookup(fields, &self.field);
        let present = found.filter(|value| !value.is_null());
        let list = || self.value.as_array().map_or(&[][..], Vec::as_slice);
        match self.operator {
            Operator::Eq => found.is_some_and(|v| same_or_contains(v, &self.value, case)),
            Operator::Ne => !found.is_some_and(|v| same_or_contains(v, &self.value, case)),
            Operator::In => {
                found.is_some_and(|v| list().iter().any(|w| same_or_contains(v, w, case)))
            }
            Operator::Nin => {
                !found.is_some_and(|v| list().iter().any(|w| same_or_contains(v, w, case)))
            }
            Operator::Gt => self.compare(present, |o| o.is_gt()),
            Operator::Lt => self.compare(present, |o| o.is_lt()),
            Operator::Gte => self.compare(present, |o| o.is_ge()),
            Operator::Lte => self.compare(present, |o| o.is_le()),
            Operator::Contains => present.is_some_and(|v| match v {
                Value::Array(items) => items.iter().any(|item| same(item, &self.value, case)),
                _ => self.text(v, case, |text, part| text.contains(part)),
            }),
            Operator::StartsWith => {
                present.is_some_and(|v| self.text(v, case, |text, part| text.starts_with(part)))
            }
            Operator::EndsWith => {
                present.is_some_and(|v| self.text(v, case, |text, part| text.ends_with(part)))
            }
            Operator::Text => {
                present.is_some_and(|v| self.text(v, false, |text, part| text.contains(part)))
            }
            Operator::Phrase => present.is_some_and(|v| self.text(v, false, has_phrase)),
            Operator::Words => present.is_some_and(|v| self.text(v, false, has_words)),
            Operator::Exists => found.is_some() == self.value.as_bool().unwrap_or(true),
            Operator::IsNull => present.is_none() == self.value.as_bool().unwrap_or(true),
        }
    }

    fn compare(&self, found: Option<&Value>, wanted: fn(std::cmp::Ordering) -> bool) -> bool {
        let order = match (found, &self.value) {
            (Some(Value::Number(a)), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            // ISO 8601 dates of one form compare as texts.
            (Some(Value::String(a)), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        };
        order.is_some_and(wanted)
    }

    fn text(&self, found: &Value, case: bool, test: fn(&str, &str) -> bool) -> bool {
        match (found, &self.value) {
            (Value::String(text), Value::String(part)) if case => test(text, part),
            (Value::String(text), Value::String(part)) => {
                test(&text.to_lowercase(), &part.to_lowercase())
            }
            _ => false,
        }
    }
}

/// Whether the words of `phrase` follow one another in `text`; both are in lower case.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let wanted: Vec<&str> = phrase.unicode_words().collect();
    let found: Vec<&str> = text.unicode_words().collect();
    !wanted.is_empty() && found.windows(wanted.len()).any(|part| part == wanted)
}

/// Whether each of `words` is in `text`, by its stem; both are in lower case.
fn has_words(text: &str, words: &str) -> bool {
    let stemmer = Stemmer::create(Algorithm::English);
    let found: BTreeSet<_> = text
        .unicode_words()
        .map(|word| stemmer.stem(word))
        .collect();
    let mut wanted = words
        .unicode_words()
        .map(|word| stemmer.stem(word))
        .peekable();
    wanted.peek().is_some() && wanted.all(|word| found.contains(&word))
}

/// The value at a dotted path; a field whose own name has dots is found too.
#[must_use]
pub fn lookup<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = fields.get(path) {
        return Some(value);
    }
    let (head, rest) = path.split_once('.')?;
    lookup(fields.get(head)?.as_object()?, rest)
}

fn same(a: &Value, b: &Value, case: bool) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) if !case => a.to_lowercase() == b.to_lowercase(),
        _ => a == b,
    }
}

/// A field that holds an array equals a value when one of its items does.
fn same_or_contains(found: &Value, wanted: &Value, case: bool) -> bool {
    match found {
        Value::Array(items) if !wanted.is_array() => {
            items.iter().any(|item| same(item, wanted, case))
        }
        _ => same(found, wanted, case),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(filter: Value, expected: bool) {
        let fields = json!({"name": "Ada", "age": 36, "tags": ["x", "y"], "a": {"b": 1}, "none": null, "said": "Running late, again"});
        let filter: Filter = serde_json::from_value(filter).unwrap();
        assert_eq!(
            filter.matches(fields.as_object().unwrap()),
            expected,
            "{filter:?}"
        );
    }

    #[test]
    fn conditions_compare_as_their_operator_says() {
        check(
            json!({"field": "name", "operator": "eq", "value": "ada"}),
            true,
        );
        check(json!({"field": "name", "value": "bob"}), false);
        check(
            json!({"field": "age", "operator": "gte", "value": 36.0}),
            true,
        );
        check(
            json!({"field": "age", "operator": "lt", "value": 36}),
            false,
        );
        check(
            json!({"field": "tags", "operator": "eq", "value": "y"}),
            true,
        );
        check(
            json!({"field": "tags", "operator": "nin", "value": ["x"]}),
            false,
        );
        check(
            json!({"field": "a.b", "operator": "in", "value": [1, 2]}),
            true,
        );
        check(
            json!({"field": "none", "operator": "is_null", "value": true}),
            true,
        );
        check(
            json!({"field": "zzz", "operator": "exists", "value": false}),
            true,
        );
        check(
            json!({"field": "name", "operator": "starts_with", "value": "A"}),
            true,
        );
        for (operator, value, expected) in [
            ("text", "UNNIN", true),
            ("phrase", "running late", true),
            ("phrase", "late running", false),
            ("phrase", "runn", false),
            ("words", "late run", true),
            ("words", "late walk", false),
            ("words", " ", false),
        ] {
            check(
                json!({"field": "said", "operator": operator, "value": value}),
                expected,
            );
        }
    }

    #[test]
    fn combinations_hold_when_all_their_parts_do() {
        check(
            json!({"AND": [{"field": "age", "value": 36}, {"OR": [{"field": "name", "value": "x"}, {"field": "a.b", "value": 1}]}]}),
            true,
        );
        check(json!({"NOT": [{"field": "age", "value": 36}]}), false);
        check(
            json!({"case_sensitive": true, "AND": [{"field": "name", "value": "ada"}]}),
            false,
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_value::<Filter>(json!({"XOR": []})).is_err());
    }
}
