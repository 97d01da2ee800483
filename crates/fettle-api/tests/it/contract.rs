//! The OpenAPI document against the published contract: every operation, parameter, field and enum value is there,
//! or stands in `left-out.txt` with the reason.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::harness::Api;

const CONTRACT: [&str; 2] = [
    include_str!("../contract/batch-api.json"),
    include_str!("../contract/platform-api.json"),
];
/// Lines of `what: why`; a `*` at the end of `what` stands for anything.
const LEFT_OUT: &str = include_str!("../contract/left-out.txt");
/// What a schema that is not there looks like.
static NOTHING: Value = Value::Null;
/// Models may nest; deeper ones than this do not exist in the contract.
const DEPTH_MAX: usize = 12;

#[tokio::test]
async fn nothing_of_the_contract_is_missing_but_what_is_left_out_on_purpose() {
    let api = Api::new().await;
    let document = api.ok("GET", "/openapi.json", Value::Null).await;
    let missing = Comparison::new(&document).run();
    let (left_out, unexplained): (BTreeSet<_>, BTreeSet<_>) =
        missing.iter().partition(|what| reason(what).is_some());
    let listed = unexplained.iter().map(|what| format!("{what}\n"));
    let listed: String = listed.collect();
    assert!(listed.is_empty(), "missing and not left out:\n{listed}");
    let needless = lines().filter(|(what, _)| !left_out.iter().any(|it| matches(what, it)));
    let needless: Vec<_> = needless.map(|(what, _)| what).collect();
    assert!(
        needless.is_empty(),
        "left out, and there after all: {needless:#?}"
    );
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = LEFT_OUT
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        line.split_once(": ")
            .unwrap_or_else(|| panic!("no reason: {line}"))
    })
}

fn reason(what: &str) -> Option<&'static str> {
    lines()
        .find(|(pattern, _)| matches(pattern, what))
        .map(|(_, why)| why)
}

fn matches(pattern: &str, what: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => what.starts_with(start),
        None => pattern == what,
    }
}

struct Comparison<'a> {
    document: &'a Value,
    models: Map<String, Value>,
    operations: Vec<Value>,
    missing: BTreeSet<String>,
    compared: BTreeSet<(String, String)>,
}

impl<'a> Comparison<'a> {
    fn new(document: &'a Value) -> Self {
        let mut models = Map::new();
        let mut operations = Vec::new();
        for text in CONTRACT {
            let part: Value = serde_json::from_str(text).unwrap();
            models.extend(part["models"].as_object().unwrap().clone());
            operations.extend(part["operations"].as_array().unwrap().clone());
        }
        Self {
            document,
            models,
            operations,
            missing: BTreeSet::new(),
            compared: BTreeSet::new(),
        }
    }

    fn run(mut self) -> BTreeSet<String> {
        for operation in std::mem::take(&mut self.operations) {
            self.operation(&operation);
        }
        self.missing
    }

    fn operation(&mut self, wanted: &Value) {
        let (method, path) = (text(&wanted["method"]), text(&wanted["path"]));
        let name = format!("{method} {path}");
        let Some(ours) = self.find(method, path) else {
            self.missing.insert(name);
            return;
        };
        let parameters = wanted["params"].as_object().unwrap().iter();
        for (parameter, _) in parameters.filter(|(_, it)| it["in"] == "query") {
            let there = ours["parameters"].as_array().into_iter().flatten();
            if !there
                .clone()
                .any(|it| it["in"] == "query" && it["name"] == *parameter)
            {
                self.missing.insert(format!("{name} ?{parameter}"));
            }
        }
        if !wanted["body"].is_null() {
            let schema = &ours["requestBody"]["content"]["application/json"]["schema"];
            self.of_type(&format!("{name} body"), &wanted["body"]["type"], schema, 0);
        }
        let good = ours["responses"].as_object().unwrap().iter();
        let good = good
            .filter(|(status, _)| status.starts_with('2'))
            .map(|(_, it)| it)
            .next();
        let schema = good.map_or(&NOTHING, |it| &it["content"]["application/json"]["schema"]);
        self.of_type(&format!("{name} answer"), &wanted["response"], schema, 0);
    }

    fn find(&self, method: &str, path: &str) -> Option<&'a Value> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        let mut same = paths.filter(|(ours, _)| shape(ours) == shape(path));
        same.find_map(|(_, item)| item.get(method.to_lowercase()))
    }

    fn of_type(&mut self, at: &str, wanted: &Value, ours: &'a Value, depth: usize) {
        assert!(depth < DEPTH_MAX, "{at}");
        if let Some(inner) = wanted.get("list_of") {
            let items = self
                .alternatives(ours)
                .into_iter()
                .find_map(|it| it.get("items"));
            return self.of_type(at, inner, items.unwrap_or(&NOTHING), depth + 1);
        }
        if let Some(options) = wanted.get("any_of").and_then(Value::as_array) {
            for option in options {
                self.of_type(at, option, ours, depth + 1);
            }
            return;
        }
        let Some(name) = wanted.as_str() else { return };
        let Some(model) = self.models.get(name).cloned() else {
            return;
        };
        if !self.compared.insert((name.to_owned(), ours.to_string())) {
            return;
        }
        if let Some(options) = model.get("any_of") {
            return self.of_type(
                at,
                &serde_json::json!({ "any_of": options }),
                ours,
                depth + 1,
            );
        }
        if let Some(values) = model.get("enum") {
            return self.values(name, values, ours);
        }
        for (field, wanted) in model["fields"].as_object().into_iter().flatten() {
            let place = format!("{name}.{field}");
            let alternatives = self.alternatives(ours);
            let found = alternatives
                .iter()
                .find_map(|it| it["properties"].get(field));
            let Some(found) = found else {
                self.missing
                    .insert(format!("{place} ({})", at.rsplit(' ').next().unwrap_or(at)));
                continue;
            };
            if let Some(values) = wanted.get("enum") {
                self.values(&place, values, found);
            }
            self.of_type(&place, &wanted["type"], found, depth + 1);
        }
    }

    /// Where our schema restricts values, all of the contract's must be among them; where it does not, they are.
    fn values(&mut self, place: &str, wanted: &Value, ours: &'a Value) {
        let alternatives = self.alternatives(ours);
        let allowed: Vec<&Value> = alternatives
            .iter()
            .flat_map(|it| {
                it["enum"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .chain(it.get("const"))
            })
            .collect();
        if allowed.is_empty() {
            self.missing.insert(format!("{place} (no values)"));
            return;
        }
        for value in wanted.as_array().into_iter().flatten() {
            if !allowed.contains(&value) {
                self.missing.insert(format!("{place} = {}", text(value)));
            }
        }
    }

    /// A schema with its references followed and its combinations taken apart.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        let followed = schema["$ref"]
            .as_str()
            .and_then(|reference| self.document.pointer(reference.trim_start_matches('#')));
        let parts = ["anyOf", "oneOf", "allOf"].into_iter();
        let parts = parts.flat_map(|key| schema[key].as_array().into_iter().flatten());
        let mut found = vec![schema];
        for part in followed.into_iter().chain(parts) {
            found.extend(self.alternatives(part));
        }
        found
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A path without the names of its parameters.
fn shape(path: &str) -> String {
    let parts = path.trim_end_matches('/').split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
