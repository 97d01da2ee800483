//! Which records of a list are wanted and in which order, told by what their answers show.
//!
//! Owns filtering and ordering of lists whose records are few enough to be held; the store pages through the others.

use std::cmp::Ordering;

use fettle_model::NamespaceId;
use fettle_model::filter::{Condition, FILTER_DEPTH_MAX, Filter, Logic, Operator, lookup};
use fettle_ports::{Resource, StoreExt};
use fettle_wire::filter::SentFilter;
use fettle_wire::page::{ListRequest, ListResponse, Sort};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::page::Wanted;
use crate::state::ApiState;

/// Objects or documents that are held to be ordered: all that match must be read before the first can be shown.
pub(crate) const SORTED_MAX: u64 = 10_000;

/// What is wanted of a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    filters: Vec<Filter>,
    orders: Vec<Order>,
}

#[derive(Debug, Clone)]
struct Order {
    field: String,
    is_descending: bool,
}

impl Choice {
    /// What a list of named resources is asked for; `name` is the field that `search` looks at.
    pub(crate) fn of(body: &ListRequest, name: &str) -> Result<Self, ApiError> {
        let case_sensitive = body.case_sensitive.unwrap_or(false);
        let mut choice = Self::default();
        if let Some(sent) = &body.filters {
            choice
                .filters
                .push(with_case(sent_map(sent)?, case_sensitive));
        }
        if let Some(text) = body.search.as_ref().filter(|_| case_sensitive) {
            let named = Condition {
                field: name.to_owned(),
                operator: Operator::Contains,
                value: Value::from(text.as_str()),
            };
            choice
                .filters
                .push(with_case(Filter::Condition(named), true));
        }
        let sorts = body
            .sorts
            .as_deref()
            .or(body.sort.as_ref().map(std::slice::from_ref));
        choice.sorted_by(sorts.unwrap_or_default())
    }

    /// With a filter of the usual form.
    pub(crate) fn filtered_by(mut self, sent: Option<SentFilter>) -> Result<Self, ApiError> {
        if let Some(SentFilter(filter)) = sent {
            check_depth(Some(&filter))?;
            self.filters.push(filter);
        }
        Ok(self)
    }

    /// In an order; the first counts most.
    pub(crate) fn sorted_by(mut self, sorts: &[Sort]) -> Result<Self, ApiError> {
        for sort in sorts {
            let is_descending = match sort.direction.as_deref() {
                None | Some("asc") => false,
                Some("desc") => true,
                Some(other) => {
                    let message = format!("is `{other}`; send `asc` or `desc`");
                    return Err(ApiError::invalid(&["sort", "direction"], message));
                }
            };
            self.orders.push(Order {
                field: sort.field.clone(),
                is_descending,
            });
        }
        Ok(self)
    }

    /// Whether nothing is chosen, so that the store's pages will do.
    pub(crate) fn is_plain(&self) -> bool {
        self.filters.is_empty() && self.orders.is_empty()
    }

    /// Whether an order is wanted.
    pub(crate) fn is_sorted(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Whether a record that shows these fields is wanted.
    pub(crate) fn holds(&self, fields: &Map<String, Value>) -> bool {
        self.filters.iter().all(|filter| filter.matches(fields))
    }

    /// Those that are wanted, in the order that is wanted.
    pub(crate) fn pick<T: Serialize>(&self, records: Vec<T>) -> Result<Vec<T>, ApiError> {
        let mut picked = Vec::with_capacity(records.len());
        for record in records {
            let Value::Object(fields) =
                serde_json::to_value(&record).map_err(ApiError::internal)?
            else {
                return Err(ApiError::internal("a listed record is no object"));
            };
            if self.holds(&fields) {
                picked.push((fields, record));
            }
        }
        Ok(self.sort(picked))
    }

    /// Records with the fields that they show, in the order that is wanted.
    pub(crate) fn sort<T>(&self, mut records: Vec<(Map<String, Value>, T)>) -> Vec<T> {
        records.sort_by(|(a, _), (b, _)| self.compare(a, b));
        records.into_iter().map(|(_, record)| record).collect()
    }

    fn compare(&self, a: &Map<String, Value>, b: &Map<String, Value>) -> Ordering {
        let by = |order: &Order| {
            let (a, b) = (lookup(a, &order.field), lookup(b, &order.field));
            match compare(a, b) {
                // What has no value stands last in both directions.
                Compared::Values(found) if order.is_descending => found.reverse(),
                Compared::Values(found) | Compared::Presence(found) => found,
            }
        };
        let found = self.orders.iter().map(by);
        found.fold(Ordering::Equal, Ordering::then)
    }
}

enum Compared {
    Values(Ordering),
    Presence(Ordering),
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Compared {
    let present = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            let order = a.as_f64().partial_cmp(&b.as_f64());
            Compared::Values(order.unwrap_or(Ordering::Equal))
        }
        (Some(Value::String(a)), Some(Value::String(b))) => {
            let folded = a.to_lowercase().cmp(&b.to_lowercase());
            Compared::Values(folded.then_with(|| a.cmp(b)))
        }
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => Compared::Values(a.cmp(b)),
        (a, b) => Compared::Presence(present(b).cmp(&present(a))),
    }
}

fn with_case(filter: Filter, case_sensitive: bool) -> Filter {
    Filter::Logic(Logic {
        and: Some(vec![filter]),
        case_sensitive: case_sensitive.then_some(true),
        ..Logic::default()
    })
}

/// A filter of the usual form, or `{"bucket_name": "a"}` for fields that must have these values.
fn sent_map(sent: &Map<String, Value>) -> Result<Filter, ApiError> {
    const KEYS: [&str; 5] = ["AND", "OR", "NOT", "case_sensitive", "field"];
    if sent.keys().any(|key| KEYS.contains(&key.as_str())) {
        let parsed: Result<SentFilter, _> = serde_json::from_value(Value::Object(sent.clone()));
        let SentFilter(filter) =
            parsed.map_err(|error| ApiError::invalid(&["filters"], error.to_string()))?;
        check_depth(Some(&filter))?;
        return Ok(filter);
    }
    let equal = sent.iter().map(|(field, value)| {
        Filter::Condition(Condition {
            field: field.clone(),
            operator: Operator::Eq,
            value: value.clone(),
        })
    });
    Ok(Filter::Logic(Logic {
        and: Some(equal.collect()),
        ..Logic::default()
    }))
}

/// Told to whoever wants more in an order than is held.
pub(crate) fn too_many_to_sort() -> ApiError {
    let message = format!("more than {SORTED_MAX} match; narrow them with `filters`");
    ApiError::invalid(&["sort"], message)
}

/// Refuses filters that nest too deep.
pub(crate) fn check_depth(filter: Option<&Filter>) -> Result<(), ApiError> {
    match filter.map(Filter::depth) {
        Some(depth) if depth > FILTER_DEPTH_MAX => {
            let message = format!("nests {depth} deep; at most {FILTER_DEPTH_MAX} are allowed");
            Err(ApiError::invalid(&["filters"], message))
        }
        _ => Ok(()),
    }
}

/// A page of a tenant's named resources, as `view` shows them.
pub(crate) async fn listed<R, T, F>(
    state: &ApiState,
    namespace: &NamespaceId,
    wanted: &Wanted,
    choice: &Choice,
    view: impl Fn(R) -> F,
) -> Result<ListResponse<T>, ApiError>
where
    R: Resource,
    T: Serialize,
    F: Future<Output = Result<T, ApiError>>,
{
    let search = wanted.search.as_deref();
    if !choice.is_plain() {
        let mut shown = Vec::new();
        let store = state.control().store();
        for record in store.search_all::<R>(Some(namespace), search).await? {
            shown.push(view(record).await?);
        }
        return wanted.of_whole(choice.pick(shown)?);
    }
    let page = wanted.store_page()?;
    let store = state.control().store();
    let (rows, total) = store.list::<R>(Some(namespace), search, page).await?;
    let mut shown = Vec::with_capacity(rows.len());
    for (seq, record) in rows {
        shown.push((seq, view(record).await?));
    }
    Ok(wanted.answer(shown, total, |model| model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(body: Value, expected: &[&str]) {
        let body: ListRequest = serde_json::from_value(body).unwrap();
        let records = vec![
            json!({"name": "Beta", "count": 2, "made": {"by": "x"}}),
            json!({"name": "alpha", "count": 10, "made": {"by": "y"}}),
            json!({"name": "gamma", "count": null}),
        ];
        let picked = Choice::of(&body, "name").unwrap().pick(records).unwrap();
        let names: Vec<_> = picked
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn records_are_ordered_by_fields_and_those_without_stand_last() {
        check(
            json!({"sort": {"field": "name"}}),
            &["alpha", "Beta", "gamma"],
        );
        check(
            json!({"sort": {"field": "count", "direction": "desc"}}),
            &["alpha", "Beta", "gamma"],
        );
        check(
            json!({"sort": {"field": "count"}}),
            &["Beta", "alpha", "gamma"],
        );
        // `sorts` goes before `sort`.
        let both = json!({"sort": {"field": "name"}, "sorts": [{"field": "count"}]});
        check(both, &["Beta", "alpha", "gamma"]);
    }

    #[test]
    fn records_are_chosen_by_a_filter_or_by_plain_values() {
        check(json!({"filters": {"made.by": "Y"}}), &["alpha"]);
        let both = json!({"filters": {"AND": [{"field": "count", "operator": "gt", "value": 1}]}});
        check(both, &["Beta", "alpha"]);
        check(
            json!({"filters": {"name": "beta"}, "case_sensitive": true}),
            &[],
        );
        check(json!({"search": "Be", "case_sensitive": true}), &["Beta"]);
    }

    #[test]
    fn what_is_no_filter_or_order_is_refused() {
        for bad in [
            json!({"filters": {"AND": 3}}),
            json!({"sort": {"field": "a", "direction": "up"}}),
        ] {
            let body: ListRequest = serde_json::from_value(bad).unwrap();
            assert!(Choice::of(&body, "name").is_err());
        }
    }
}
