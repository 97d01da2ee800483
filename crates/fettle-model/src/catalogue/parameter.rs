//! One parameter of an extractor: its description, its JSON Schema and the check of a given value.
//!
//! Owns the rule that one table gives schema, defaults and validation. It must not know any extractor.

use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// A parameter of an extractor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterInfo {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ParameterKind,
    /// What it does.
    pub description: &'static str,
}

/// What values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterKind {
    /// A whole number within bounds, both included.
    Integer {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
        /// Value when none is given; none where the extractor decides.
        default: Option<u64>,
    },
    /// Yes or no.
    Boolean {
        /// Value when none is given.
        default: bool,
    },
    /// One of a few words.
    Choice {
        /// The words.
        values: &'static [&'static str],
        /// Value when none is given; none where the extractor decides.
        default: Option<&'static str>,
    },
    /// A parameter of the contract that has no effect here. Clients send it with its default whether asked or not, so
    /// that one value is accepted; any other would ask for something that does not happen.
    Inert {
        /// The value that is accepted.
        value: InertValue,
    },
}

/// The value of a parameter without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum InertValue {
    /// A text.
    Text(&'static str),
    /// A whole number.
    Integer(u64),
    /// Yes or no.
    Boolean(bool),
}

/// Why parameters are refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ParameterError {
    /// The extractor has no such parameter.
    #[error("there is no parameter `{name}`; the parameters are {accepted}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The names that would do.
        accepted: String,
    },
    /// The value does not fit.
    #[error("`{name}` must be {expected}, but is {given}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What fits.
        expected: String,
        /// The value that was given, as JSON, shortened.
        given: String,
    },
    /// Two values do not go together.
    #[error("{message}")]
    Together {
        /// Which, and what to change.
        message: String,
    },
}

impl ParameterInfo {
    /// Its JSON Schema.
    pub(super) fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        schema["description"] = json!(self.description);
        if let Some(default) = self.kind.default() {
            schema["default"] = default;
        }
        schema
    }

    fn check(&self, value: &Value) -> Result<(), ParameterError> {
        if self.kind.accepts(value) {
            return Ok(());
        }
        Err(ParameterError::Value {
            name: self.name,
            expected: self.kind.expected(),
            given: value.to_string().chars().take(80).collect(),
        })
    }
}

impl ParameterKind {
    /// The value that holds when none is given; parameters without effect have none.
    pub(super) fn default(&self) -> Option<Value> {
        match self {
            Self::Integer { default, .. } => default.map(Value::from),
            Self::Boolean { default } => Some(Value::from(*default)),
            Self::Choice { default, .. } => default.map(Value::from),
            Self::Inert { .. } => None,
        }
    }

    fn schema(&self) -> Value {
        match self {
            Self::Integer { min, max, .. } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Boolean { .. } => json!({ "type": "boolean" }),
            Self::Choice { values, .. } => json!({ "type": "string", "enum": values }),
            Self::Inert { value } => json!({ "const": value }),
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Integer { min, max, .. } => value
                .as_u64()
                .is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Boolean { .. } => value.is_boolean(),
            Self::Choice { values, .. } => {
                value.as_str().is_some_and(|word| values.contains(&word))
            }
            Self::Inert { value: only } => *value == json!(only),
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Integer { min, max, .. } => format!("a whole number from {min} to {max}"),
            Self::Boolean { .. } => "true or false".to_owned(),
            Self::Choice { values, .. } => {
                format!("one of {}", super::list(values.iter().copied()))
            }
            Self::Inert { value } => {
                format!("{} (it has no effect here) or left out", json!(value))
            }
        }
    }
}

/// Checks `given` against `table` and fills in the defaults. A null counts as left out; parameters without effect are dropped.
pub(super) fn complete(
    table: &[ParameterInfo],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, ParameterError> {
    for (name, value) in given {
        let Some(parameter) = table.iter().find(|parameter| parameter.name == name) else {
            let active = table
                .iter()
                .filter(|p| !matches!(p.kind, ParameterKind::Inert { .. }));
            let accepted = super::list(active.map(|parameter| parameter.name));
            return Err(ParameterError::Unknown {
                name: name.clone(),
                accepted,
            });
        };
        if !value.is_null() {
            parameter.check(value)?;
        }
    }
    let filled = table
        .iter()
        .filter(|p| !matches!(p.kind, ParameterKind::Inert { .. }));
    Ok(filled
        .filter_map(|parameter| {
            let value = given
                .get(parameter.name)
                .filter(|value| !value.is_null())
                .cloned();
            Some((
                parameter.name.to_owned(),
                value.or_else(|| parameter.kind.default())?,
            ))
        })
        .collect())
}
