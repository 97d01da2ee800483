//! Reading answers of which only a part matters.

use fettle_client::ClientError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::CliError;

/// An answer as its type of the contract.
pub(crate) fn typed<T: DeserializeOwned>(url: &str, answer: &Value) -> Result<T, CliError> {
    T::deserialize(answer).map_err(|source| {
        CliError::Server(ClientError::Decode {
            url: url.to_owned(),
            source,
        })
    })
}

/// A text that must be there.
pub(crate) fn text<'a>(answer: &'a Value, field: &'static str) -> Result<&'a str, CliError> {
    answer
        .get(field)
        .and_then(Value::as_str)
        .ok_or(CliError::Answer { field })
}

/// A text, or nothing.
pub(crate) fn maybe<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A list, or none.
pub(crate) fn list<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer
        .get(field)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A number at a dotted path.
pub(crate) fn number(answer: &Value, path: &str) -> Option<f64> {
    path.split('.')
        .try_fold(answer, |value, key| value.get(key))?
        .as_f64()
}

/// A whole number at a dotted path.
pub(crate) fn whole(answer: &Value, path: &str) -> Option<u64> {
    path.split('.')
        .try_fold(answer, |value, key| value.get(key))?
        .as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_null_reads_as_nothing() {
        let answer = json!({"a": null, "b": {"c": 3}, "d": [1]});
        assert_eq!(maybe(&answer, "a"), "");
        assert_eq!(whole(&answer, "b.c"), Some(3));
        assert_eq!(number(&answer, "b.x"), None);
        assert_eq!(list(&answer, "d").len(), 1);
        assert!(list(&answer, "a").is_empty());
        assert!(text(&answer, "a").is_err());
    }
}
