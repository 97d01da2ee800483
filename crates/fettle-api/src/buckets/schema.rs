//! A bucket's schema: what it may be, and whether an object fits it.
//!
//! Owns the checks. It must not read or write anything.

use std::collections::BTreeSet;

use fettle_ports::BucketRecord;
use fettle_wire::bucket::{BucketSchema, FieldType, SchemaField, UniqueKey};
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Properties of one schema: every object is checked against all of them.
const PROPERTIES_MAX: usize = 500;
/// A schema may nest this deep; deeper ones are a mistake.
const DEPTH_MAX: usize = 16;
/// Longest name of a property, as in the contract.
pub(crate) const PROPERTY_LENGTH_MAX: usize = 100;

/// Checks a schema.
pub(crate) fn check(schema: &BucketSchema) -> Result<(), ApiError> {
    if schema.properties.is_empty() {
        return Err(refuse(
            "properties",
            "a schema needs at least one property, such as {\"text\": {\"type\": \"text\"}}",
        ));
    }
    if schema.properties.len() > PROPERTIES_MAX {
        return Err(refuse(
            "properties",
            format!("at most {PROPERTIES_MAX} properties are allowed"),
        ));
    }
    for (name, field) in &schema.properties {
        let length = name.chars().count();
        if length == 0 || length > PROPERTY_LENGTH_MAX {
            let message = format!("property names have from 1 to {PROPERTY_LENGTH_MAX} characters");
            return Err(refuse(name, message));
        }
        if depth(field) > DEPTH_MAX {
            return Err(refuse(name, format!("nests deeper than {DEPTH_MAX}")));
        }
    }
    Ok(())
}

fn refuse(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid(&["bucket_schema", name], message)
}

fn depth(field: &SchemaField) -> usize {
    let below = field
        .properties
        .iter()
        .flat_map(|fields| fields.values())
        .chain(field.items.as_deref());
    1 + below.map(depth).max().unwrap_or(0)
}

/// Checks a unique key.
pub(crate) fn check_unique_key(key: &UniqueKey, schema: &BucketSchema) -> Result<(), ApiError> {
    if key.fields.is_empty() {
        return Err(ApiError::invalid(
            &["unique_key", "fields"],
            "names no field",
        ));
    }
    if let Some(unknown) = key
        .fields
        .iter()
        .find(|field| !schema.properties.contains_key(*field))
    {
        let message = format!("`{unknown}` is not a property of the schema");
        return Err(ApiError::invalid(&["unique_key", "fields"], message));
    }
    Ok(())
}

/// The schema of a stored bucket.
pub(crate) fn of(bucket: &BucketRecord) -> Result<BucketSchema, ApiError> {
    serde_json::from_value(bucket.bucket_schema.clone()).map_err(ApiError::internal)
}

/// What objects that fit the old schema need not fit in the new one.
pub(crate) fn breaks(old: &BucketSchema, new: &BucketSchema) -> Vec<String> {
    let mut breaks = Vec::new();
    for (name, field) in &old.properties {
        match new.properties.get(name) {
            None => breaks.push(format!("`{name}` is gone")),
            Some(now) if now.field_type != field.field_type => breaks.push(format!(
                "`{name}` is `{}` and was `{}`",
                now.field_type.as_str(),
                field.field_type.as_str()
            )),
            Some(_) => {}
        }
    }
    for (name, field) in &new.properties {
        let was_required = old.properties.get(name).and_then(|field| field.required);
        if field.required == Some(true) && was_required != Some(true) && field.default.is_none() {
            breaks.push(format!("`{name}` is required now"));
        }
    }
    breaks
}

/// Checks that a blob may fill a property.
pub(crate) fn check_blob(
    schema: &BucketSchema,
    property: &str,
    given: FieldType,
    index: usize,
) -> Result<(), ApiError> {
    let at = index.to_string();
    let Some(field) = schema.properties.get(property) else {
        let known: Vec<&str> = schema.properties.keys().map(String::as_str).collect();
        let message = format!(
            "`{property}` is not a property of the bucket's schema; it has {}",
            known.join(", ")
        );
        return Err(ApiError::invalid(&["blobs", &at, "property"], message));
    };
    let is_text = |kind| matches!(kind, FieldType::String | FieldType::Text);
    if field.field_type == given || (is_text(field.field_type) && is_text(given)) {
        return Ok(());
    }
    let message = format!(
        "is `{}`, but `{property}` is `{}` in the bucket's schema",
        given.as_str(),
        field.field_type.as_str()
    );
    Err(ApiError::invalid(&["blobs", &at, "type"], message))
}

/// Checks an object's own fields, fills in defaults, and asks for what is required.
pub(crate) fn check_fields(
    schema: &BucketSchema,
    fields: &mut Map<String, Value>,
    filled_by_blobs: &BTreeSet<&str>,
) -> Result<(), ApiError> {
    for (name, field) in &schema.properties {
        if filled_by_blobs.contains(name.as_str()) {
            continue;
        }
        match fields.get(name).filter(|value| !value.is_null()) {
            Some(value) => check_value(name, field, value)?,
            None => match &field.default {
                Some(default) => drop(fields.insert(name.clone(), default.clone())),
                None if field.required == Some(true) => {
                    let message =
                        "is required by the bucket's schema: give it as a blob or as a field";
                    return Err(ApiError::invalid(&[name], message));
                }
                None => {}
            },
        }
    }
    Ok(())
}

fn check_value(name: &str, field: &SchemaField, value: &Value) -> Result<(), ApiError> {
    if !field.field_type.fits(value) {
        let message = format!("must be of type `{}`", field.field_type.as_str());
        return Err(ApiError::invalid(&[name], message));
    }
    match &field.allowed {
        Some(allowed) if !allowed.contains(value) => Err(ApiError::invalid(
            &[name],
            format!("must be one of {}", Value::from(allowed.clone())),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(properties: Value) -> BucketSchema {
        serde_json::from_value(json!({ "properties": properties })).unwrap()
    }

    #[test]
    fn an_object_must_fit_and_gets_its_defaults() {
        let schema = schema(json!({
            "title": {"type": "string", "required": true},
            "lang": {"type": "string", "default": "en", "enum": ["en", "de"]},
            "pages": {"type": "integer"},
        }));
        let check = |fields: Value| {
            let mut fields = fields.as_object().unwrap().clone();
            check_fields(&schema, &mut fields, &BTreeSet::new()).map(|()| Value::Object(fields))
        };
        assert_eq!(
            check(json!({"title": "x"})).unwrap(),
            json!({"title": "x", "lang": "en"})
        );
        assert!(check(json!({})).unwrap_err().message().contains("required"));
        assert!(check(json!({"title": "x", "lang": "fr"})).is_err());
        assert!(check(json!({"title": "x", "pages": 1.5})).is_err());
        let filled = BTreeSet::from(["title"]);
        assert!(check_fields(&schema, &mut Map::new(), &filled).is_ok());
    }

    #[test]
    fn a_blob_must_be_of_its_property_s_type() {
        let schema = schema(json!({"body": {"type": "text"}, "photo": {"type": "image"}}));
        assert!(check_blob(&schema, "body", FieldType::String, 0).is_ok());
        assert!(check_blob(&schema, "photo", FieldType::Text, 0).is_err());
        let error = check_blob(&schema, "nope", FieldType::Text, 0).unwrap_err();
        assert!(error.message().contains("body, photo"));
    }
}
