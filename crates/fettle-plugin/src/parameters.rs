//! The parameters of a plugin: a subset of JSON Schema that is checked, not only shown.
//!
//! The subset: an object with `properties` and `required`; each property has `type` (string, integer, number, boolean, array, object),
//! `enum`, `minimum`, `maximum`, `default`, `description`. Anything else is refused, so that no rule is silently ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// Properties at most.
const PROPERTIES_MAX: usize = 64;

/// The schema of a plugin's parameters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterSchema {
    /// Always `object`.
    #[serde(rename = "type", default)]
    pub schema_type: ObjectType,
    /// The parameters by name.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
    /// Names that must be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
}

/// The one type that a schema of parameters has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectType {
    /// An object.
    #[default]
    Object,
}

/// A JSON type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// Yes or no.
    Boolean,
    /// A list of anything.
    Array,
    /// An object of anything.
    Object,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// Its type.
    #[serde(rename = "type")]
    pub json_type: JsonType,
    /// The values that are allowed, if not all.
    #[serde(rename = "enum", default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// Smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Largest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Value when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What it does.
    #[serde(default)]
    pub description: String,
}

/// Why a schema or parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// The schema contradicts itself.
    #[error("`{name}` {problem}")]
    Schema {
        /// The parameter.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such parameter.
    #[error("there is no parameter `{name}`; the parameters are {known}")]
    Unknown {
        /// What was given.
        name: String,
        /// What would do.
        known: String,
    },
    /// A parameter must be given.
    #[error("the parameter `{name}` must be given")]
    Missing {
        /// Which.
        name: String,
    },
    /// A value does not fit.
    #[error("`{name}` must be {expected}, but is {given}")]
    Value {
        /// The parameter.
        name: String,
        /// What fits.
        expected: String,
        /// What was given, shortened.
        given: String,
    },
}

impl ParameterSchema {
    /// Checks the schema itself.
    ///
    /// # Errors
    /// When a default does not fit, or a required parameter does not exist.
    pub fn check(&self) -> Result<(), ParameterError> {
        let schema = |name: &str, problem: &str| ParameterError::Schema {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        if self.properties.len() > PROPERTIES_MAX {
            return Err(schema("properties", "has too many entries"));
        }
        if let Some(name) = self
            .required
            .iter()
            .find(|name| !self.properties.contains_key(*name))
        {
            return Err(schema(name, "is required but not among the properties"));
        }
        for (name, property) in &self.properties {
            if let Some(default) = &property.default {
                property.check(name, default)?;
            }
            if property
                .minimum
                .zip(property.maximum)
                .is_some_and(|(min, max)| min > max)
            {
                return Err(schema(name, "has a minimum above its maximum"));
            }
        }
        Ok(())
    }

    /// Checks `given` and fills in the defaults. A null counts as left out.
    ///
    /// # Errors
    /// When a parameter is unknown, missing or does not fit.
    pub fn complete(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ParameterError> {
        if let Some(name) = given
            .keys()
            .find(|name| !self.properties.contains_key(*name))
        {
            let known: Vec<_> = self.properties.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(ParameterError::Unknown {
                name: name.clone(),
                known,
            });
        }
        let mut complete = Map::new();
        for (name, property) in &self.properties {
            let value = given
                .get(name)
                .filter(|value| !value.is_null())
                .or(property.default.as_ref());
            match value {
                Some(value) => {
                    property.check(name, value)?;
                    complete.insert(name.clone(), value.clone());
                }
                None if self.required.contains(name) => {
                    return Err(ParameterError::Missing { name: name.clone() });
                }
                None => {}
            }
        }
        Ok(complete)
    }
}

impl Property {
    fn check(&self, name: &str, value: &Value) -> Result<(), ParameterError> {
        let fits_type = match self.json_type {
            JsonType::String => value.is_string(),
            JsonType::Integer => value.is_i64() || value.is_u64(),
            JsonType::Number => value.is_number(),
            JsonType::Boolean => value.is_boolean(),
            JsonType::Array => value.is_array(),
            JsonType::Object => value.is_object(),
        };
        let number = value.as_f64();
        let is_small = number
            .zip(self.minimum)
            .is_some_and(|(number, min)| number < min);
        let is_large = number
            .zip(self.maximum)
            .is_some_and(|(number, max)| number > max);
        let is_listed = self.values.is_empty() || self.values.contains(value);
        if fits_type && is_listed && !is_small && !is_large {
            return Ok(());
        }
        Err(ParameterError::Value {
            name: name.to_owned(),
            expected: self.expected(),
            given: value.to_string().chars().take(80).collect(),
        })
    }

    fn expected(&self) -> String {
        if !self.values.is_empty() {
            let words: Vec<_> = self.values.iter().map(Value::to_string).collect();
            return format!("one of {}", words.join(", "));
        }
        let kind = match self.json_type {
            JsonType::String => "a text",
            JsonType::Integer => "a whole number",
            JsonType::Number => "a number",
            JsonType::Boolean => "true or false",
            JsonType::Array => "a list",
            JsonType::Object => "an object",
        };
        match (self.minimum, self.maximum) {
            (Some(min), Some(max)) => format!("{kind} from {min} to {max}"),
            (Some(min), None) => format!("{kind} of at least {min}"),
            (None, Some(max)) => format!("{kind} of at most {max}"),
            (None, None) => kind.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ParameterSchema {
        let schema = json!({"type": "object", "required": ["mode"], "properties": {
            "mode": {"type": "string", "enum": ["fast", "exact"]},
            "limit": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "tags": {"type": "array"},
        }});
        serde_json::from_value(schema).unwrap()
    }

    fn complete(given: Value) -> Result<Value, String> {
        let given = given.as_object().unwrap().clone();
        schema()
            .complete(&given)
            .map(Value::from)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in_and_nulls_count_as_left_out() {
        assert_eq!(
            complete(json!({"mode": "fast", "tags": null})),
            Ok(json!({"mode": "fast", "limit": 3}))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let cases = [
            (json!({}), "the parameter `mode` must be given"),
            (
                json!({"mode": "slow"}),
                "`mode` must be one of \"fast\", \"exact\", but is \"slow\"",
            ),
            (
                json!({"mode": "fast", "limit": 10}),
                "`limit` must be a whole number from 1 to 9, but is 10",
            ),
            (
                json!({"mode": "fast", "limit": 1.5}),
                "`limit` must be a whole number from 1 to 9, but is 1.5",
            ),
            (
                json!({"mode": "fast", "x": 1}),
                "there is no parameter `x`; the parameters are limit, mode, tags",
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(complete(given), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_schema_with_rules_that_are_not_checked_is_refused() {
        let schema = json!({"properties": {"a": {"type": "string", "pattern": "^x"}}});
        assert!(serde_json::from_value::<ParameterSchema>(schema).is_err());
        let schema: ParameterSchema = serde_json::from_value(
            json!({"properties": {"a": {"type": "integer", "default": "x"}}}),
        )
        .unwrap();
        assert!(schema.check().is_err());
    }
}
