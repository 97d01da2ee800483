//! The OpenAPI document. It is read off the routes and the types of their handlers, so it cannot say what the code does not do.
//!
//! Owns how our extractors and errors show in the document, and the route that serves it. Whatever a type cannot say
//! (names, summaries, who may call) stands in `finish`.

mod finish;

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::generate::GenContext;
use aide::openapi::{
    MediaType, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent, QueryStyle,
    RequestBody, Response, SchemaObject,
};
use aide::operation::{OperationInput, OperationOutput, add_parameters, set_body};
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;
use fettle_wire::error::ErrorEnvelope;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::auth::Caller;
use crate::body::{Body, InPath, Open, OptionalBody, Params};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// The page that shows the document; it loads nothing from elsewhere.
const PAGE: &str = include_str!("openapi/page.html");

/// The documented routes as a router, with two more: the document, and a page to browse it.
pub(crate) fn documented(routes: ApiRouter<ApiState>) -> Router<ApiState> {
    let (router, document) = split(routes);
    let text: Arc<str> = document.to_string().into();
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    router
        .route(
            "/openapi.json",
            get(move || std::future::ready((json, text.to_string()).into_response())),
        )
        .route("/docs", get(|| std::future::ready(Html(PAGE))))
}

fn split(routes: ApiRouter<ApiState>) -> (Router<ApiState>, Value) {
    let mut document = OpenApi::default();
    let router = routes.finish_api(&mut document);
    (router, finish::finish(&document))
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<T>();
        set_body(context, operation, body(schema, true));
    }
}

impl<T: JsonSchema> OperationInput for OptionalBody<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<Option<T>>();
        set_body(context, operation, body(schema, false));
    }
}

impl<T: JsonSchema> OperationInput for Open<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let closed = context.schema.subschema_for::<T>();
        let mut open = context.resolve_schema(&closed).clone();
        open.insert("additionalProperties".to_owned(), true.into());
        set_body(context, operation, body(open, true));
    }
}

impl<T: JsonSchema> OperationInput for Params<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<T>();
        let schema = context.resolve_schema(&schema).clone();
        let required = schema.get("required").cloned().unwrap_or_default();
        let properties = schema.get("properties").and_then(Value::as_object);
        let parameters: Vec<Parameter> = properties
            .into_iter()
            .flatten()
            .filter_map(|(name, schema)| {
                let is_required = required
                    .as_array()
                    .is_some_and(|names| names.iter().any(|it| it == name));
                Some(query_parameter(
                    name,
                    schema.clone().try_into().ok()?,
                    is_required,
                ))
            })
            .collect();
        add_parameters(context, operation, parameters);
    }
}

/// What stands in a path is read off the path itself.
impl<T> OperationInput for InPath<T> {}

/// The namespace's header is told for every operation that needs a key.
impl OperationInput for Tenant {}
impl OperationInput for Caller {}

impl OperationOutput for ApiError {
    type Inner = ErrorEnvelope;

    fn operation_response(
        context: &mut GenContext,
        _operation: &mut Operation,
    ) -> Option<Response> {
        let schema = context.schema.subschema_for::<ErrorEnvelope>();
        Some(Response {
            description: "What is wrong, in the one envelope of all errors.".to_owned(),
            content: [("application/json".to_owned(), media(schema))].into(),
            ..Response::default()
        })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, Response)> {
        let response = Self::operation_response(context, operation);
        response.into_iter().map(|it| (None, it)).collect()
    }
}

fn media(schema: Schema) -> MediaType {
    MediaType {
        schema: Some(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        ..MediaType::default()
    }
}

fn body(schema: Schema, required: bool) -> RequestBody {
    RequestBody {
        content: [("application/json".to_owned(), media(schema))].into(),
        required,
        ..RequestBody::default()
    }
}

fn query_parameter(name: &str, schema: Schema, required: bool) -> Parameter {
    let description = schema.get("description").and_then(Value::as_str);
    Parameter::Query {
        parameter_data: ParameterData {
            name: name.to_owned(),
            description: description.map(ToOwned::to_owned),
            required,
            deprecated: None,
            format: ParameterSchemaOrContent::Schema(SchemaObject {
                json_schema: schema,
                external_docs: None,
                example: None,
            }),
            example: None,
            examples: Default::default(),
            explode: None,
            extensions: Default::default(),
        },
        allow_reserved: false,
        style: QueryStyle::Form,
        allow_empty_value: None,
    }
}
