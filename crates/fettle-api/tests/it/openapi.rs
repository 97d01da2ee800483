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
