//! Runs stages: searches each collection, fuses and filters.
//!
//! Owns what comes first in an answer. It must not embed a query; `vector` does.

use std::collections::BTreeMap;

use fettle_model::NamespaceId;
use fettle_model::filter::{Filter, Logic};
use fettle_ports::{CollectionRecord, Document, DocumentQuery, IndexError};
use fettle_wire::document::{DocumentResponse, ExecuteRequest, ExecuteResponse};
use fettle_wire::filter::SentFilter;
use fettle_wire::page::PageQuery;
use serde_json::{Value, json};

use super::LIMIT_MAX;
use super::stage::{Search, SearchStage, Stage};
use super::vector;
use crate::choice::check_depth;
use crate::documents::{Vectors, view};
use crate::error::ApiError;
use crate::lookup::{all, collection};
use crate::page::Wanted;
use crate::state::ApiState;

/// Collections of one request; each is searched by each search.
const COLLECTIONS_MAX: usize = 50;
/// Reciprocal rank fusion's constant: Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet", 2009.
const RANK_CONSTANT: f64 = 60.0;
/// Documents of a request without a search.
const LIMIT_DEFAULT: usize = 25;

/// A document that was found.
struct Hit {
    collection: usize,
    document: Document,
    score: f64,
}

struct Run<'a> {
    state: &'a ApiState,
    collections: Vec<CollectionRecord>,
    /// What documents must match before they are searched.
    before: Vec<Filter>,
    hits: Option<Vec<Hit>>,
    warnings: Vec<String>,
    statistics: Vec<Value>,
}

/// Runs the stages of a request.
pub(super) async fn run(
    state: &ApiState,
    namespace: &NamespaceId,
    body: ExecuteRequest,
    stages: Vec<Stage>,
) -> Result<ExecuteResponse, ApiError> {
    let sent = body.filters.as_ref().map(|SentFilter(filter)| filter);
    check_depth(sent)?;
    let names = named(&body, &stages);
    let mut run = Run {
        state,
        collections: collections(state, namespace, &names).await?,
        before: sent.cloned().into_iter().collect(),
        hits: None,
        warnings: Vec::new(),
        statistics: Vec::new(),
    };
    for stage in stages {
        match stage {
            Stage::Search(stage) => run.search(stage).await?,
            Stage::Filter(filter) => run.filter(filter),
        }
    }
    let limit = body.limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    run.answer(limit.min(LIMIT_MAX as usize)).await
}

/// Every collection that the request names; what a stage names is searched by that stage alone.
fn named(body: &ExecuteRequest, stages: &[Stage]) -> Vec<String> {
    let mut names = body.collection_identifiers.clone().unwrap_or_default();
    for stage in stages {
        if let Stage::Search(stage) = stage {
            names.extend(stage.collections.iter().cloned());
            names.extend(
                stage
                    .searches
                    .iter()
                    .flat_map(|search| search.collections.iter().cloned()),
            );
        }
    }
    names
}

async fn collections(
    state: &ApiState,
    namespace: &NamespaceId,
    names: &[String],
) -> Result<Vec<CollectionRecord>, ApiError> {
    let mut found: Vec<CollectionRecord> = Vec::new();
    if names.is_empty() {
        found = all(state, namespace).await?;
    }
    for name in names {
        let record = collection(state, namespace, name).await?;
        if found
            .iter()
            .all(|other| other.collection_id != record.collection_id)
        {
            found.push(record);
        }
    }
    if found.len() > COLLECTIONS_MAX {
        let message = format!(
            "would search {} collections; at most {COLLECTIONS_MAX} can be: name fewer",
            found.len()
        );
        return Err(ApiError::invalid(&["collection_identifiers"], message));
    }
    if found.is_empty() {
        return Err(ApiError::invalid(
            &["collection_identifiers"],
            "there is no collection to search in this namespace",
        ));
    }
    Ok(found)
}

impl Run<'_> {
    fn filter(&mut self, filter: Filter) {
        let kept = match &mut self.hits {
            None => {
                self.before.push(filter);
                None
            }
            Some(hits) => {
                hits.retain(|hit| filter.matches(&hit.document.payload));
                Some(hits.len())
            }
        };
        self.statistics
            .push(json!({"stage": "attribute_filter", "documents": kept}));
    }

    async fn search(&mut self, stage: SearchStage) -> Result<(), ApiError> {
        let mut lists = Vec::with_capacity(stage.searches.len());
        for search in &stage.searches {
            let wanted = if search.collections.is_empty() {
                &stage.collections
            } else {
                &search.collections
            };
            lists.push(self.one_search(search, wanted).await?);
        }
        let mut hits = if lists.len() == 1 {
            lists.pop().unwrap_or_default()
        } else {
            fused(lists)
        };
        hits.truncate(stage.limit);
        self.statistics
            .push(json!({"stage": "feature_search", "documents": hits.len()}));
        self.hits = Some(hits);
        Ok(())
    }

    /// The nearest documents of all collections, best first.
    async fn one_search(
        &mut self,
        search: &Search,
        wanted: &[String],
    ) -> Result<Vec<Hit>, ApiError> {
        let filter = all_of(&self.before);
        let mut hits = Vec::new();
        let mut searched = 0;
        let mut refusals = Vec::new();
        for (at, record) in self.collections.iter().enumerate() {
            let is_wanted = |name: &String| {
                *name == record.collection_name || name == record.collection_id.as_str()
            };
            if !wanted.is_empty() && !wanted.iter().any(is_wanted) {
                continue;
            }
            let vector = match vector::of(self.state, record, search).await? {
                Ok(vector) => vector,
                Err(refusal) => {
                    refusals.push(refusal);
                    continue;
                }
            };
            let index = self.state.control().index();
            let (namespace, id) = (&record.namespace_id, &record.collection_id);
            let found = match index
                .search(namespace, id, &vector, filter.as_ref(), search.top_k)
                .await
            {
                Err(IndexError::NoCollection { .. }) => Vec::new(),
                other => other?,
            };
            searched += 1;
            hits.extend(found.into_iter().map(|scored| Hit {
                collection: at,
                document: scored.document,
                score: f64::from(scored.score),
            }));
        }
        if searched == 0 {
            let message = if refusals.is_empty() {
                "names no collection of this request".to_owned()
            } else {
                refusals.join("; ")
            };
            return Err(ApiError::invalid(&["stages", "feature_uri"], message));
        }
        self.warnings.extend(refusals);
        hits.retain(|hit| search.min_score.is_none_or(|least| hit.score >= least));
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(search.top_k);
        Ok(hits)
    }

    async fn answer(mut self, limit: usize) -> Result<ExecuteResponse, ApiError> {
        let mut hits = match self.hits.take() {
            Some(hits) => hits,
            None => self.listed(limit.min(LIMIT_DEFAULT)).await?,
        };
        hits.truncate(limit);
        let collections = &self.collections;
        let shown = hits.into_iter().filter_map(|hit| {
            let record = collections.get(hit.collection)?;
            let mut shown = view(record, hit.document, &Vectors::None);
            shown.payload.remove("score");
            Some(DocumentResponse {
                score: Some(hit.score),
                ..shown
            })
        });
        let documents: Vec<DocumentResponse> = shown.collect();
        let total = documents.len() as u64;
        let whole = PageQuery {
            limit: Some(total.max(1)),
            ..PageQuery::default()
        };
        let pagination = Wanted::of(whole, PageQuery::default(), 1)?.pagination(Some(total), None);
        Ok(ExecuteResponse {
            status: "completed".to_owned(),
            total_count: total,
            documents,
            pagination,
            stage_statistics: json!({ "stages": self.statistics }),
            warnings: self.warnings,
        })
    }

    /// Documents that match, without a search.
    async fn listed(&self, limit: usize) -> Result<Vec<Hit>, ApiError> {
        let query = DocumentQuery {
            filter: all_of(&self.before),
            limit,
            ..DocumentQuery::default()
        };
        let mut hits = Vec::new();
        for (at, record) in self.collections.iter().enumerate() {
            let index = self.state.control().index();
            let page = match index
                .list(&record.namespace_id, &record.collection_id, &query)
                .await
            {
                Err(IndexError::NoCollection { .. }) => continue,
                other => other?,
            };
            let found = page.documents.into_iter();
            hits.extend(found.map(|document| Hit {
                collection: at,
                document,
                score: 1.0,
            }));
        }
        Ok(hits)
    }
}

fn all_of(filters: &[Filter]) -> Option<Filter> {
    match filters {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(Filter::Logic(Logic {
            and: Some(several.to_vec()),
            ..Logic::default()
        })),
    }
}

/// Reciprocal rank fusion: what ranks high in several lists comes first.
fn fused(lists: Vec<Vec<Hit>>) -> Vec<Hit> {
    let mut by_id: BTreeMap<(usize, String), Hit> = BTreeMap::new();
    for list in lists {
        for (rank, hit) in list.into_iter().enumerate() {
            let share = 1.0 / (RANK_CONSTANT + rank as f64 + 1.0);
            let key = (hit.collection, hit.document.id.to_string());
            by_id
                .entry(key)
                .and_modify(|found| found.score += share)
                .or_insert(Hit {
                    score: share,
                    ..hit
                });
        }
    }
    let mut hits: Vec<Hit> = by_id.into_values().collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(id: &str, score: f64) -> Hit {
        let document = Document {
            id: id.parse().unwrap(),
            payload: serde_json::Map::new(),
            vectors: vec![],
        };
        Hit {
            collection: 0,
            document,
            score,
        }
    }

    #[test]
    fn what_several_searches_find_comes_first() {
        let lists = vec![
            vec![hit("doc_a", 0.9), hit("doc_b", 0.8)],
            vec![hit("doc_b", 0.2), hit("doc_c", 0.1)],
        ];
        let ids: Vec<String> = fused(lists)
            .iter()
            .map(|hit| hit.document.id.to_string())
            .collect();
        assert_eq!(ids[0], "doc_b");
        assert_eq!(ids.len(), 3);
    }
}
