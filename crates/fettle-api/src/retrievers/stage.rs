//! Stages as they are sent: `feature_search` and `attribute_filter`, in the contract's form and in the short client's flat one.
//!
//! Owns reading them. A key that would change the result and is not supported is refused, never passed over.

use fettle_model::filter::{Condition, Filter, Logic, Operator};
use fettle_wire::filter::SentFilter;
use serde_json::{Map, Value};

use super::inputs::filled;
use super::sent::{FilterParameters, FlatSearch, SearchParameters, Sent, SentSearch};

use crate::body::parse_value;
use crate::choice::check_depth;
use crate::error::ApiError;

/// Stages of one request; each is a pass over the index.
const STAGES_MAX: usize = 10;
/// Searches of one stage, as in the contract.
const SEARCHES_MAX: usize = 10;
/// Most documents of one search: they are held in memory.
const TOP_K_MAX: usize = 5000;
/// Documents of a stage when nobody says otherwise, as in the contract.
const FINAL_TOP_K_DEFAULT: usize = 25;
/// Documents of a search when nobody says otherwise, as in the contract.
const TOP_K_DEFAULT: usize = 100;

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// Finds documents by vectors.
    Search(SearchStage),
    /// Keeps documents that match.
    Filter(Filter),
}

/// Finds documents by vectors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SearchStage {
    pub(super) searches: Vec<Search>,
    pub(super) collections: Vec<String>,
    pub(super) limit: usize,
}

/// One search by one vector.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Search {
    pub(super) feature_uri: Option<String>,
    pub(super) query: Query,
    pub(super) top_k: usize,
    pub(super) min_score: Option<f64>,
    pub(super) collections: Vec<String>,
}

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Query {
    /// A text, to be embedded.
    Text(String),
    /// A vector.
    Vector(Vec<f32>),
}

/// Reads all stages, with `{{INPUT.name}}` filled in.
pub(super) fn parse_all(
    sent: &[Value],
    inputs: Option<&Map<String, Value>>,
) -> Result<Vec<Stage>, ApiError> {
    if !(1..=STAGES_MAX).contains(&sent.len()) {
        let message = format!(
            "has {} stages; from 1 to {STAGES_MAX} are allowed",
            sent.len()
        );
        return Err(ApiError::invalid(&["stages"], message));
    }
    let none = Map::new();
    let inputs = inputs.unwrap_or(&none);
    let mut stages = Vec::with_capacity(sent.len());
    for (index, stage) in sent.iter().enumerate() {
        let at = ["stages".into(), Value::from(index)];
        let stage = filled(stage, inputs)
            .map_err(|message| ApiError::invalid(&["stages", &index.to_string()], message))?;
        stages.extend(parse(stage, &at)?);
    }
    Ok(stages)
}

fn parse(stage: Value, at: &[Value]) -> Result<Vec<Stage>, ApiError> {
    if stage.get("config").is_none() {
        let kind = stage
            .get("type")
            .or(stage.get("stage_id"))
            .and_then(Value::as_str);
        return match kind.unwrap_or_default() {
            "feature_search" => flat_search(parse_value(stage, at)?).map(|stage| vec![stage]),
            "attribute_filter" => filter(parse_value(stage, at)?).map(|stage| vec![stage]),
            other => Err(unknown(other)),
        };
    }
    let sent: Sent = parse_value(stage, at)?;
    let at: Vec<Value> = at
        .iter()
        .cloned()
        .chain(["config".into(), "parameters".into()])
        .collect();
    let kind = sent.config.stage_id.or(sent.stage_name).unwrap_or_default();
    let stage = match kind.as_str() {
        "feature_search" | "feature_filter" => search(parse_value(sent.config.parameters, &at)?)?,
        "attribute_filter" => filter(parse_value(sent.config.parameters, &at)?)?,
        other => return Err(unknown(other)),
    };
    let before = sent
        .config
        .pre_filters
        .map(|SentFilter(filter)| Stage::Filter(filter));
    Ok(before.into_iter().chain([stage]).collect())
}

fn unknown(kind: &str) -> ApiError {
    ApiError::invalid(
        &["stages"],
        format!(
            "there is no stage `{kind}`; stages are `feature_search` and `attribute_filter`, named in `config.stage_id`"
        ),
    )
}

fn search(sent: SearchParameters) -> Result<Stage, ApiError> {
    let count = sent.searches.len();
    if !(1..=SEARCHES_MAX).contains(&count) {
        let message = format!("has {count} searches; from 1 to {SEARCHES_MAX} are allowed");
        return Err(ApiError::invalid(&["stages", "searches"], message));
    }
    let one = |sent: SentSearch| {
        Ok(Search {
            feature_uri: sent.feature_uri,
            query: query(&sent.query)?,
            top_k: bounded("top_k", sent.top_k.unwrap_or(TOP_K_DEFAULT))?,
            min_score: sent.min_score,
            collections: sent.collection_identifiers,
        })
    };
    Ok(Stage::Search(SearchStage {
        searches: sent
            .searches
            .into_iter()
            .map(one)
            .collect::<Result<_, ApiError>>()?,
        collections: sent.collection_identifiers,
        limit: bounded(
            "final_top_k",
            sent.final_top_k.unwrap_or(FINAL_TOP_K_DEFAULT),
        )?,
    }))
}

fn flat_search(sent: FlatSearch) -> Result<Stage, ApiError> {
    let limit = bounded("limit", sent.limit.unwrap_or(FINAL_TOP_K_DEFAULT))?;
    let search = Search {
        feature_uri: sent.feature_uri,
        query: query(&sent.query)?,
        top_k: limit,
        min_score: sent.min_score,
        collections: Vec::new(),
    };
    let searches = vec![search];
    Ok(Stage::Search(SearchStage {
        searches,
        collections: sent.collection_ids,
        limit,
    }))
}

fn bounded(name: &str, value: usize) -> Result<usize, ApiError> {
    if (1..=TOP_K_MAX).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::invalid(
        &["stages", name],
        format!("is {value}; it must be from 1 to {TOP_K_MAX}"),
    ))
}

/// A text, `{"text": …}`, `{"input_mode": "vector", "value": […]}`, or a vector.
fn query(sent: &Value) -> Result<Query, ApiError> {
    let refuse = |message: &str| ApiError::invalid(&["stages", "query"], message);
    let inner = match sent {
        Value::Object(map) => {
            let mode = map
                .get("input_mode")
                .and_then(Value::as_str)
                .unwrap_or("text");
            if !matches!(mode, "text" | "vector") {
                return Err(refuse(
                    "only the input modes `text` and `vector` are supported",
                ));
            }
            let keys = ["value", "text", "vector"];
            keys.iter()
                .find_map(|key| map.get(*key))
                .ok_or_else(|| refuse("has none of `value`, `text` and `vector`"))?
        }
        other => other,
    };
    match inner {
        Value::String(text) if text.trim().is_empty() => Err(refuse("is empty")),
        Value::String(text) => Ok(Query::Text(text.clone())),
        Value::Array(values) => {
            let values: Option<Vec<f32>> = values
                .iter()
                .map(|value| value.as_f64().map(|value| value as f32))
                .collect();
            let finite = values.filter(|values| {
                !values.is_empty() && values.iter().all(|value| value.is_finite())
            });
            finite
                .map(Query::Vector)
                .ok_or_else(|| refuse("a vector is a list of finite numbers"))
        }
        _ => Err(refuse("is a text or a vector")),
    }
}

fn filter(sent: FilterParameters) -> Result<Stage, ApiError> {
    let at = ["stages".into(), "conditions".into()];
    let filter = match (sent.conditions, sent.field) {
        (Some(conditions), None) => parse_value::<SentFilter>(spelled_out(conditions), &at)?.0,
        (None, Some(field)) => Filter::Condition(Condition {
            field,
            operator: sent.operator.unwrap_or(Operator::Eq),
            value: sent.value,
        }),
        _ => {
            return Err(ApiError::invalid(
                &["stages"],
                "an attribute_filter has either `conditions` or `field`, `operator` and `value`",
            ));
        }
    };
    check_depth(Some(&filter))?;
    Ok(Stage::Filter(match sent.case_insensitive {
        Some(insensitive) => Filter::Logic(Logic {
            and: Some(vec![filter]),
            case_sensitive: Some(!insensitive),
            ..Logic::default()
        }),
        None => filter,
    }))
}

/// A list means all of its conditions; `{"lang": "en"}` means that fields equal values.
fn spelled_out(conditions: Value) -> Value {
    match conditions {
        Value::Array(list) => serde_json::json!({ "AND": list }),
        Value::Object(map)
            if !["AND", "OR", "NOT", "field"]
                .iter()
                .any(|key| map.contains_key(*key)) =>
        {
            let equal = map.into_iter().map(|(field, value)| serde_json::json!({"field": field, "operator": "eq", "value": value}));
            serde_json::json!({ "AND": equal.collect::<Vec<_>>() })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(stages: Value, inputs: Value) -> Result<Vec<Stage>, ApiError> {
        parse_all(stages.as_array().unwrap(), inputs.as_object())
    }

    #[test]
    fn both_forms_of_a_search_are_read_with_inputs_filled_in() {
        let contract = json!([{"stage_name": "s", "stage_type": "filter", "config": {"stage_id": "feature_search", "parameters": {
            "searches": [{"feature_uri": "mixpeek://text_extractor@v1/embedding", "query": {"input_mode": "text", "value": "{{INPUT.query}}"}, "top_k": 7}], "final_top_k": 5}}}]);
        let stages = parse(contract, json!({"query": "red car"})).unwrap();
        let [Stage::Search(stage)] = stages.as_slice() else {
            panic!("{stages:?}")
        };
        assert_eq!(stage.searches[0].query, Query::Text("red car".into()));
        assert_eq!((stage.searches[0].top_k, stage.limit), (7, 5));
        let flat = json!([{"type": "feature_search", "feature_extractor": {"type": "text"}, "query": "a {{inputs.x}} b", "collection_ids": ["c"], "limit": 3}]);
        let stages = parse(flat, json!({"x": 1})).unwrap();
        let [Stage::Search(stage)] = stages.as_slice() else {
            panic!("{stages:?}")
        };
        assert_eq!(stage.searches[0].query, Query::Text("a 1 b".into()));
        assert_eq!(stage.collections, ["c"]);
    }

    #[test]
    fn filters_come_in_four_forms() {
        for parameters in [
            json!({"field": "lang", "value": "en"}),
            json!({"conditions": {"lang": "en"}}),
            json!({"conditions": [{"field": "lang", "value": "en"}]}),
            json!({"conditions": {"AND": [{"field": "lang", "operator": "eq", "value": "en"}]}}),
        ] {
            let sent = json!([{"stage_name": "f", "config": {"stage_id": "attribute_filter", "parameters": parameters}}]);
            let stages = parse(sent, json!({})).unwrap();
            let [Stage::Filter(filter)] = stages.as_slice() else {
                panic!("{stages:?}")
            };
            assert!(
                filter.matches(json!({"lang": "en"}).as_object().unwrap()),
                "{parameters}"
            );
            assert!(
                !filter.matches(json!({"lang": "de"}).as_object().unwrap()),
                "{parameters}"
            );
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let stage = |parameters: Value| json!([{"stage_name": "s", "config": {"stage_id": "feature_search", "parameters": parameters}}]);
        for (sent, words) in [
            (json!([]), "from 1"),
            (json!([{"type": "rerank"}]), "no stage `rerank`"),
            (stage(json!({"searches": [], "final_top_k": 5})), "from 1"),
            (
                stage(json!({"searches": [{"query": "x", "lexical": true}]})),
                "not known",
            ),
            (
                stage(json!({"searches": [{"query": {"input_mode": "url", "url": "x"}}]})),
                "input modes",
            ),
            (
                stage(json!({"searches": [{"query": "{{DOC.x}}"}]})),
                "cannot be filled",
            ),
            (
                stage(json!({"searches": [{"query": "{{INPUT.y}}"}]})),
                "no `y`",
            ),
            (
                stage(json!({"searches": [{"query": [1, "x"]}]})),
                "finite numbers",
            ),
        ] {
            let error = parse(sent.clone(), json!({})).unwrap_err();
            assert!(
                error.message().contains(words),
                "{sent}: {}",
                error.message()
            );
        }
    }
}
