//! The OpenAPI document: whole in itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::Api;

async fn document() -> Value {
    Api::new()
        .await
        .ok("GET", "/openapi.json", Value::Null)
        .await
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    let document = document().await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn every_operation_has_a_name_of_its_own_and_says_what_it_answers() {
    let document = document().await;
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} stands twice");
        let answers = operation["responses"].as_object().unwrap();
        let good = answers.keys().any(|status| status.starts_with('2'));
        assert!(good, "{method} {path}: {answers:#?}");
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let part = part.trim_end_matches('}');
            let parameters = operation["parameters"].as_array().unwrap();
            let named = |it: &&Value| it["name"] == part && it["in"] == "path";
            assert_eq!(
                parameters.iter().filter(named).count(),
                1,
                "{method} {path}"
            );
        }
    }
    assert!(names.len() > 60, "{}", names.len());
}

#[tokio::test]
async fn a_key_is_asked_for_where_the_document_says_so() {
    let api = Api::new().await;
    let document = api.ok("GET", "/openapi.json", Value::Null).await;
    for (path, method, operation) in operations(&document) {
        let path = path.replace("{tier_num}", "0").replace(['{', '}'], "");
        let (status, answer) = api
            .call_as("wrong", None, &method.to_uppercase(), &path, json!({}))
            .await;
        let needs_key = operation["security"] != json!([]);
        assert_eq!(status == 401, needs_key, "{method} {path}: {answer}");
    }
}

/// Whether any other key is refused by a body's schema.
fn is_closed(document: &Value, schema: &Value) -> bool {
    let target = schema["$ref"].as_str();
    let target = target.and_then(|reference| document.pointer(&reference[1..]));
    let parts = schema["anyOf"].as_array().into_iter().flatten();
    let within = parts.clone().any(|part| is_closed(document, part));
    schema["additionalProperties"] == false
        || within
        || target.is_some_and(|target| is_closed(document, target))
}

#[tokio::test]
async fn an_unknown_key_of_a_body_is_refused_by_name() {
    let api = Api::new().await;
    let document = api.ok("GET", "/openapi.json", Value::Null).await;
    let mut tried = 0;
    for (path, method, operation) in operations(&document) {
        let body = operation.pointer("/requestBody/content/application~1json/schema");
        if !body.is_some_and(|schema| is_closed(&document, schema)) {
            continue;
        }
        tried += 1;
        let path = path.replace("{tier_num}", "0").replace(['{', '}'], "");
        let body = json!({"no_such_key": 1});
        let error = api.refused(422, &method.to_uppercase(), &path, body).await;
        let issue = &error["details"]["validation_errors"][0];
        assert_eq!(
            issue["type"], "extra_forbidden",
            "{method} {path}: {error:#}"
        );
        assert_eq!(
            issue["location"],
            json!(["body", "no_such_key"]),
            "{method} {path}"
        );
    }
    assert!(tried > 30, "{tried}");
}

#[tokio::test]
async fn buckets_collections_and_namespaces_go_by_name_as_by_id() {
    let api = Api::new().await;
    let (bucket, collection) = api.bucket_and_collection().await;
    let namespace = api.ok("GET", "/v1/namespaces/default", Value::Null).await;
    let namespace = namespace["namespace_id"].as_str().unwrap();
    let document = api.ok("GET", "/openapi.json", Value::Null).await;
    let kinds = [
        ("bucket", bucket.as_str(), "docs"),
        ("collection", &collection, "chunks"),
        ("namespace", namespace, "default"),
    ];
    let mut tried = 0;
    for (path, method, _) in operations(&document).filter(|(_, method, _)| *method == "get") {
        let Some((kind, id, name)) = kinds
            .iter()
            .find(|(kind, ..)| path.contains(&format!("/{{{kind}")))
        else {
            continue;
        };
        tried += 1;
        let answered = async |named: &str| {
            let fill = |part: &str| match part {
                part if part.starts_with(&format!("{{{kind}")) => named.to_owned(),
                "{tier_num}" => "0".to_owned(),
                part => part.replace(['{', '}'], ""),
            };
            let path: Vec<String> = path.split('/').map(fill).collect();
            api.call(&method.to_uppercase(), &path.join("/"), Value::Null)
                .await
        };
        let (by_id, by_name) = (answered(id).await, answered(name).await);
        assert_eq!(by_id.0, by_name.0, "{path}: {:#}", by_name.1);
        let missing = &by_name.1["error"]["details"]["resource"];
        assert_ne!(missing, kind, "{path}: {:#}", by_name.1);
    }
    assert!(tried > 15, "{tried}");
}
