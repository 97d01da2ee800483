//! Filters as clients send them.
//!
//! Owns the small differences between what the published client sends and the vocabulary's filter. It must not evaluate.

use std::borrow::Cow;

use fettle_model::filter::{Filter, Logic};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// What a filter looks like, for people whose filter does not.
const FORM: &str = "a filter is {\"AND\" | \"OR\" | \"NOT\": [filters]} or {field, operator, value}; operators are eq, ne, gt, lt, gte, lte, in, nin, contains, starts_with, ends_with, text, phrase, words, exists, is_null";

/// The operators of a condition.
const OPERATORS: [&str; 16] = [
    "eq",
    "ne",
    "gt",
    "lt",
    "gte",
    "lte",
    "in",
    "nin",
    "contains",
    "starts_with",
    "ends_with",
    "text",
    "phrase",
    "words",
    "exists",
    "is_null",
];

/// A filter that was sent.
///
/// The published client writes `case_sensitive` into conditions too, where the vocabulary has it on combinations only.
#[derive(Debug, Clone, PartialEq)]
pub struct SentFilter(pub Filter);

impl Serialize for SentFilter {
    /// As a combination, which is the only form that the published client reads.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Filter::Logic(logic) => logic.serialize(serializer),
            condition @ Filter::Condition(_) => Logic {
                and: Some(vec![condition.clone()]),
                ..Logic::default()
            }
            .serialize(serializer),
        }
    }
}

impl JsonSchema for SentFilter {
    fn schema_name() -> Cow<'static, str> {
        "LogicalOperator".into()
    }

    /// A combination of filters, or one condition; both may stand wherever a filter may.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inner = generator.subschema_for::<Self>();
        let many = json!({"anyOf": [{"type": "array", "items": inner}, {"type": "null"}]});
        json_schema!({
            "anyOf": [
                {
                    "title": "Combination",
                    "type": "object",
                    "properties": {
                        "AND": many, "OR": many, "NOT": many,
                        "case_sensitive": {"type": ["boolean", "null"]}
                    },
                    "additionalProperties": false
                },
                {
                    "title": "Condition",
                    "type": "object",
                    "properties": {
                        "field": {"type": "string"},
                        "operator": {"type": "string", "enum": OPERATORS},
                        "value": true,
                        "case_sensitive": {"type": ["boolean", "null"]}
                    },
                    "required": ["field"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

impl<'de> Deserialize<'de> for SentFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sent = Value::deserialize(deserializer)?;
        let plain = plain(sent).map_err(D::Error::custom)?;
        serde_json::from_value(plain)
            .map(Self)
            .map_err(|_misfit| D::Error::custom(FORM))
    }
}

fn plain(sent: Value) -> Result<Value, &'static str> {
    match sent {
        Value::Array(items) => items
            .into_iter()
            .map(plain)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::Object(mut map) if map.contains_key("field") => {
            if map
                .get("value")
                .and_then(|value| value.get("type"))
                .is_some_and(|kind| kind == "dynamic")
            {
                return Err("comparing a field with another field (`dynamic`) is not supported");
            }
            match map.remove("case_sensitive") {
                Some(Value::Bool(true)) => Ok(json!({"AND": [map], "case_sensitive": true})),
                _ => Ok(Value::Object(map)),
            }
        }
        Value::Object(map) => {
            let inner = map.into_iter().map(|(key, value)| match key.as_str() {
                "AND" | "OR" | "NOT" => plain(value).map(|value| (key, value)),
                _ => Ok((key, value)),
            });
            inner.collect::<Result<_, _>>().map(Value::Object)
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(sent: Value) -> bool {
        let SentFilter(filter) = serde_json::from_value(sent).unwrap();
        filter.matches(json!({"lang": "EN", "n": 1}).as_object().unwrap())
    }

    #[test]
    fn the_published_client_s_form_is_read() {
        assert!(matches(
            json!({"AND": [{"case_sensitive": false, "field": "lang", "operator": "eq", "value": "en"}], "case_sensitive": false})
        ));
        assert!(!matches(
            json!({"AND": [{"case_sensitive": true, "field": "lang", "operator": "eq", "value": "en"}]})
        ));
        assert!(matches(json!({"case_sensitive": false})));
        assert!(matches(
            json!({"NOT": [{"OR": [{"field": "n", "value": 2}]}]})
        ));
    }

    #[test]
    fn what_is_no_filter_is_told_the_form() {
        for (sent, words) in [
            (json!({"XOR": []}), "operators are"),
            (
                json!({"field": "n", "operator": "geo_radius"}),
                "operators are",
            ),
            (
                json!({"field": "n", "value": {"type": "dynamic", "field": "m"}}),
                "not supported",
            ),
            (json!(3), "operators are"),
        ] {
            let error = serde_json::from_value::<SentFilter>(sent)
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
