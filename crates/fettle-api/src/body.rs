//! Bodies, queries and paths as typed values, with every misfit told in the one envelope.
//!
//! Owns reading; the limits on size are the router's. It must not know any operation.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use fettle_wire::error::{ErrorType, ValidationIssue};
use fettle_wire::object::OpenBody;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// A required JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// A required JSON object whose unknown keys are data.
pub(crate) struct Open<T>(pub(crate) T);

/// The query.
pub(crate) struct Params<T>(pub(crate) T);

/// The path's parameters.
pub(crate) struct InPath<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Err(empty());
        }
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        // Clients without a body of their own send `null`.
        parse::<Option<T>>(&bytes).map(|body| Self(body.unwrap_or_default()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + OpenBody> FromRequest<S> for Open<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Err(empty());
        }
        open(parse(&bytes)?, &[]).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let read = Query::<T>::try_from_uri(&parts.uri);
        read.map(|Query(query)| Self(query)).map_err(|rejection| {
            let text = rejection.body_text();
            let told = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            let (name, message) = told.split_once(": ").unwrap_or(("", told));
            ApiError::invalid_query(name, plain(message))
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(path)| Self(path))
            .map_err(|rejection| misfit_in_path(&rejection.body_text()))
    }
}

/// A parser's words as people say it.
fn plain(message: &str) -> &str {
    match message {
        "invalid digit found in string" => "must be a whole number, not below zero",
        "provided string was not `true` or `false`" => "must be `true` or `false`",
        other => other,
    }
}

/// The router says: Cannot parse `tier_num` with value `x` to a `u32`.
fn misfit_in_path(text: &str) -> ApiError {
    let mut quoted = text.split('`').skip(1).step_by(2);
    let (name, value) = (quoted.next(), quoted.next());
    let (location, message) = match name.zip(value) {
        Some((name, value)) => (
            vec!["path".into(), name.into()],
            format!("`{value}` does not fit here"),
        ),
        None => (vec!["path".into()], text.to_owned()),
    };
    ApiError::issues(vec![ValidationIssue {
        kind: "type_error".to_owned(),
        location,
        message,
    }])
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            let response = rejection.into_response();
            if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
                too_large()
            } else {
                ApiError::new(
                    ErrorType::BadRequestError,
                    "the body broke off before its end",
                )
            }
        })
}

/// The body is larger than the operation takes.
pub(crate) fn too_large() -> ApiError {
    ApiError::new(
        ErrorType::PayloadTooLargeError,
        "the body is larger than this operation takes: send fewer or smaller items in one request",
    )
}

fn empty() -> ApiError {
    ApiError::issues(vec![ValidationIssue {
        kind: "missing".to_owned(),
        location: vec![Value::from("body")],
        message: "this operation needs a JSON body".to_owned(),
    }])
}

/// Reads a body.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| misfit(&error, &["body".into()]))?;
    reader.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Reads a value that stands at `location` of the body.
pub(crate) fn parse_value<T: DeserializeOwned>(
    value: Value,
    location: &[Value],
) -> Result<T, ApiError> {
    let at: Vec<Value> = std::iter::once("body".into())
        .chain(location.iter().cloned())
        .collect();
    serde_path_to_error::deserialize(value).map_err(|error| misfit(&error, &at))
}

/// Reads an object whose unknown keys are data.
pub(crate) fn open<T: DeserializeOwned + OpenBody>(
    mut object: Map<String, Value>,
    location: &[Value],
) -> Result<T, ApiError> {
    let known: Map<String, Value> = T::KEYS
        .iter()
        .filter_map(|key| object.remove_entry(*key))
        .collect();
    let mut body: T = parse_value(Value::Object(known), location)?;
    body.take_fields(object);
    Ok(body)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::issues(vec![ValidationIssue {
        kind: "json_invalid".to_owned(),
        location: vec!["body".into(), error.line().into(), error.column().into()],
        message: format!("the body is not JSON: {error}"),
    }])
}

/// Tells where a value does not fit, and which keys would.
fn misfit(error: &serde_path_to_error::Error<serde_json::Error>, base: &[Value]) -> ApiError {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return not_json(inner);
    }
    let mut location = base.to_vec();
    for segment in error.path() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => location.push((*index).into()),
            serde_path_to_error::Segment::Map { key } => location.push(key.as_str().into()),
            serde_path_to_error::Segment::Enum { variant } => {
                location.push(variant.as_str().into())
            }
            serde_path_to_error::Segment::Unknown => {}
        }
    }
    let text = inner.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    let (kind, message, key) = classify(message);
    if let Some(key) = key
        && location.last() != Some(&Value::from(key.as_str()))
    {
        location.push(key.into());
    }
    ApiError::issues(vec![ValidationIssue {
        kind: kind.to_owned(),
        location,
        message,
    }])
}

/// Kind, words, and the key that serde names in its message.
fn classify(message: &str) -> (&'static str, String, Option<String>) {
    let named = |rest: &str| rest.split('`').nth(1).map(str::to_owned);
    if message.starts_with("unknown field") {
        let accepted = message
            .split_once("expected ")
            .map_or("none", |(_, keys)| keys.trim_start_matches("one of "));
        let told = format!("this key is not known here; the accepted keys are {accepted}");
        return ("extra_forbidden", told, named(message));
    }
    if message.starts_with("missing field") {
        return ("missing", "this key is required".to_owned(), named(message));
    }
    let kind = if message.starts_with("invalid type") {
        "type_error"
    } else {
        "value_error"
    };
    (kind, message.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fettle_wire::batch::CreateBatchRequest;
    use fettle_wire::bucket::CreateBucketRequest;
    use fettle_wire::object::CreateObjectRequest;
    use serde_json::json;

    #[track_caller]
    fn check<T: DeserializeOwned>(body: &str, kind: &str, location: &Value, words: &str) {
        let Err(error) = parse::<T>(body.as_bytes()) else {
            panic!("{body} was taken")
        };
        let response = format!("{error:?}");
        assert!(error.message().contains(words), "{response}");
        assert!(
            response.contains(&format!("String(\"{kind}\")")),
            "{response}"
        );
        let shown = place(location);
        assert!(
            error.message().starts_with(&shown),
            "{} is not at {shown}",
            error.message()
        );
    }

    fn place(location: &Value) -> String {
        let parts = location.as_array().unwrap().iter();
        let parts = parts.map(|part| {
            part.as_str()
                .map_or_else(|| part.to_string(), str::to_owned)
        });
        parts.collect::<Vec<_>>().join(".")
    }

    #[test]
    fn misfits_are_located() {
        check::<CreateBatchRequest>(
            r#"{"x": 1}"#,
            "extra_forbidden",
            &json!(["body", "x"]),
            "`batch_name`",
        );
        check::<CreateBucketRequest>("{}", "missing", &json!(["body", "bucket_name"]), "required");
        check::<CreateBatchRequest>(
            r#"{"object_ids": ["a", 3]}"#,
            "type_error",
            &json!(["body", "object_ids", 1]),
            "string",
        );
        check::<CreateBatchRequest>(
            r#"{"filters": {"XOR": []}}"#,
            "value_error",
            &json!(["body", "filters"]),
            "operators",
        );
        check::<CreateBatchRequest>("{", "json_invalid", &json!(["body", 1]), "not JSON");
        check::<CreateBucketRequest>(
            r#"{"bucket_name": "b", "bucket_schema": {"properties": {"p": {"type": "txt"}}}}"#,
            "value_error",
            &json!(["body", "bucket_schema", "properties", "p", "type"]),
            "`text`",
        );
    }

    #[test]
    fn unknown_keys_of_an_open_body_are_its_fields() {
        let body = json!({"blobs": [], "title": "x", "key_prefix": null});
        let read: CreateObjectRequest = open(body.as_object().unwrap().clone(), &[]).unwrap();
        assert_eq!(Value::Object(read.fields), json!({"title": "x"}));
        let body = json!({"blobs": [{"property": "a", "type": "text", "dta": 1}]});
        let error = open::<CreateObjectRequest>(body.as_object().unwrap().clone(), &[0.into()])
            .unwrap_err();
        assert!(
            error.message().starts_with("body.0.blobs.0.dta: "),
            "{}",
            error.message()
        );
    }
}
