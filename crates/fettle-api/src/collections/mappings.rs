//! What a collection's extractor reads of a source row, and what is copied.
//!
//! Owns both forms of mappings. It must not look at any row.

use fettle_model::attempt::FieldCopy;
use fettle_wire::collection::FieldPassthrough;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Mapped inputs and copied fields of one collection; each is looked up in every row.
const MAPPINGS_MAX: usize = 500;

/// Both forms of mappings as one: input key → source field.
pub(super) fn mappings(given: Option<&Value>) -> Result<Map<String, Value>, ApiError> {
    let at = ["feature_extractor", "input_mappings"];
    let pairs: Vec<(String, Value)> = match given {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        Some(Value::Array(list)) => list.iter().map(listed).collect::<Result<_, _>>()?,
        Some(_) => {
            return Err(ApiError::invalid(
                &at,
                "is an object {input: field} or a list of {input_key, path}",
            ));
        }
    };
    if pairs.len() > MAPPINGS_MAX {
        return Err(ApiError::invalid(
            &at,
            format!("at most {MAPPINGS_MAX} inputs can be mapped"),
        ));
    }
    for (key, field) in &pairs {
        if field.as_str().is_none_or(|field| field.trim().is_empty()) {
            let message =
                "names a source field as a text, such as \"body\"; constants are not supported";
            return Err(ApiError::invalid(&[at[0], at[1], key], message));
        }
    }
    Ok(pairs.into_iter().collect())
}

fn listed(entry: &Value) -> Result<(String, Value), ApiError> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let refuse =
        |message: &str| ApiError::invalid(&["feature_extractor", "input_mappings"], message);
    if !matches!(text("source_type"), None | Some("payload" | "blob")) {
        return Err(refuse(
            "only the source types `payload` and `blob` are supported",
        ));
    }
    if entry.get("override").is_some_and(|value| !value.is_null()) {
        return Err(refuse("`override` is not supported; map a field"));
    }
    match (text("input_key"), text("path")) {
        (Some(key), Some(path)) => Ok((key.to_owned(), Value::from(path))),
        _ => Err(refuse("each entry needs `input_key` and `path`")),
    }
}

/// Copied fields, with the names that they get.
pub(super) fn copies(wished: Vec<FieldPassthrough>) -> Result<Vec<FieldCopy>, ApiError> {
    let at = ["feature_extractor", "field_passthrough"];
    if wished.len() > MAPPINGS_MAX {
        return Err(ApiError::invalid(
            &at,
            format!("at most {MAPPINGS_MAX} fields can be copied"),
        ));
    }
    let copy = |field: FieldPassthrough| {
        let last = field
            .source_path
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .to_owned();
        let target_path = field.target_path.unwrap_or(last);
        if field.source_path.is_empty() || target_path.is_empty() || target_path.starts_with('_') {
            return Err(ApiError::invalid(
                &at,
                "source and target must not be empty, and targets do not begin with `_`",
            ));
        }
        Ok(FieldCopy {
            source_path: field.source_path,
            target_path,
            default: field.default,
            required: field.required.unwrap_or(false),
        })
    };
    wished.into_iter().map(copy).collect()
}

/// Fields that no source bucket's schema has: objects can have them all the same, so this is no error.
pub(super) fn warnings(
    known: Option<&[String]>,
    mappings: &Map<String, Value>,
    copies: &[FieldCopy],
) -> Vec<String> {
    let Some(known) = known else {
        return Vec::new();
    };
    let mapped = mappings.values().filter_map(Value::as_str);
    let used = mapped.chain(copies.iter().map(|copy| copy.source_path.as_str()));
    let mut unknown: Vec<&str> = used
        .filter(|path| {
            let head = path.split('.').next().unwrap_or(path);
            !known.iter().any(|name| name == head || name == path)
        })
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    let warn = |path: &&str| {
        format!(
            "no source bucket has `{path}` in its schema: objects without that field will fail or lack it"
        )
    };
    unknown.iter().map(warn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_mappings_give_the_same() {
        let map = mappings(Some(&json!({"text": "body"}))).unwrap();
        let list = mappings(Some(
            &json!([{"input_key": "text", "path": "body", "source_type": "payload"}]),
        ))
        .unwrap();
        assert_eq!(map, list);
        for bad in [
            json!({"text": 3}),
            json!("x"),
            json!([{"input_key": "text"}]),
            json!([{"input_key": "t", "path": "p", "source_type": "literal"}]),
        ] {
            assert!(mappings(Some(&bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_copied_field_keeps_its_last_name() {
        let wished = FieldPassthrough {
            source_path: "a.b".into(),
            target_path: None,
            default: None,
            required: None,
        };
        assert_eq!(copies(vec![wished]).unwrap()[0].target_path, "b");
    }

    #[test]
    fn fields_outside_the_schema_are_warned_of() {
        let map = mappings(Some(&json!({"text": "body.x", "y": "other"}))).unwrap();
        let told = warnings(Some(&["body".to_owned()]), &map, &[]);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("`other`"));
        assert!(warnings(None, &map, &[]).is_empty());
    }
}
