//! Reading documents: by id, by list, by count and by nearness.
//!
//! Filters are evaluated by `fettle_model::filter` alone, so they mean the same for documents as for everything else; the
//! library only looks up `_internal` fields. What is read at once is bounded by pages.

use std::collections::{BTreeMap, HashSet};

use fettle_model::filter::Filter;
use fettle_model::{CollectionId, DocumentId};
use fettle_ports::{Document, DocumentPage, DocumentQuery, NamedVector, ScoredDocument};
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{Filter as EdgeFilter, PointId};
use serde_json::{Map, Value};

use crate::convert::{INTERNAL, check_length, check_values, point_uuid, to_document, vector_key};
use crate::cursor;
use crate::fault::Fault;
use crate::shard::{INDEXED_FIELDS, Shard, internal_is};

/// Documents that are held at once while looking for some that match. Payloads may be large, so a page is short.
const PAGE_MAX: usize = 256;

/// A search with a filter first asks for this many times its limit.
const OVERFETCH: usize = 4;

/// A search with a filter looks at no more than so many of the nearest documents. Each costs reading its payload; past
/// this a search would read the collection, which is what lists are for.
const SEARCH_CANDIDATES_MAX: usize = 50_000;

/// The documents with these ids that exist, in the order of `ids`.
pub(crate) fn get(
    shard: &Shard,
    ids: &[DocumentId],
    with_vectors: bool,
) -> Result<Vec<Document>, Fault> {
    let uuids: Vec<_> = ids.iter().map(point_uuid).collect();
    let mut documents = Vec::with_capacity(uuids.len());
    for page in uuids.chunks(PAGE_MAX) {
        for record in shard.retrieve(page, with_vectors)? {
            documents.push(to_document(record)?);
        }
    }
    let mut seen = HashSet::new();
    documents.retain(|document| seen.insert(document.id.clone()));
    Ok(documents)
}

/// A page of documents.
pub(crate) fn list(
    shard: &Shard,
    collection: &CollectionId,
    query: &DocumentQuery,
) -> Result<DocumentPage, Fault> {
    let from = match &query.cursor {
        Some(text) => match after(cursor::decode(collection, text)?) {
            Some(from) => Some(from),
            None => return Ok(DocumentPage::default()),
        },
        None => None,
    };
    let mut page = DocumentPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    // One more than wanted tells whether there is a next page.
    let wanted = query.limit.saturating_add(1);
    scan(shard, query, from, wanted, |document| {
        page.documents.push(document);
        page.documents.len() < wanted
    })?;
    if page.documents.len() > query.limit {
        page.documents.truncate(query.limit);
        page.next_cursor = page
            .documents
            .last()
            .map(|last| cursor::encode(collection, point_uuid(&last.id)));
    }
    Ok(page)
}

/// How many documents match.
pub(crate) fn count(shard: &Shard, query: &DocumentQuery) -> Result<u64, Fault> {
    let looked_up = query
        .internal_eq
        .keys()
        .all(|field| INDEXED_FIELDS.contains(&field.as_str()));
    if query.filter.is_none() && looked_up {
        return shard.count(lookup(&query.internal_eq)?);
    }
    let query = DocumentQuery {
        with_vectors: false,
        ..query.clone()
    };
    let mut count = 0_u64;
    scan(shard, &query, None, usize::MAX, |_| {
        count += 1;
        true
    })?;
    Ok(count)
}

/// The nearest documents to a vector, nearest first.
pub(crate) fn search(
    shard: &Shard,
    vector: &NamedVector,
    filter: Option<&Filter>,
    limit: usize,
) -> Result<Vec<ScoredDocument>, Fault> {
    let key = vector_key(&vector.name)?;
    check_length(&key, vector.values.len(), shard.vectors())?;
    check_values(&vector.name, &vector.values)?;
    let limit = limit.min(SEARCH_CANDIDATES_MAX);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let mut seen = HashSet::new();
    let mut asked = if filter.is_some() {
        limit
            .saturating_mul(OVERFETCH)
            .clamp(PAGE_MAX, SEARCH_CANDIDATES_MAX)
    } else {
        limit
    };
    loop {
        let nearest = shard.nearest(&key, &vector.values, asked)?;
        let exhausted = nearest.len() < asked || asked >= SEARCH_CANDIDATES_MAX;
        let fresh: Vec<_> = nearest
            .into_iter()
            .filter_map(|point| match point.id {
                PointId::Uuid(uuid) => Some((uuid, point.score)),
                PointId::NumId(_) => None,
            })
            .filter(|(uuid, _)| seen.insert(*uuid))
            .collect();
        take_matching(shard, &fresh, filter, limit, &mut found)?;
        if found.len() >= limit || filter.is_none() || exhausted {
            return Ok(found);
        }
        asked = asked.saturating_mul(OVERFETCH).min(SEARCH_CANDIDATES_MAX);
    }
}

/// Reads candidates in their order and keeps those that match, until there are `limit`.
fn take_matching(
    shard: &Shard,
    candidates: &[(Uuid, f32)],
    filter: Option<&Filter>,
    limit: usize,
    found: &mut Vec<ScoredDocument>,
) -> Result<(), Fault> {
    for page in candidates.chunks(PAGE_MAX) {
        let scores: BTreeMap<Uuid, f32> = page.iter().copied().collect();
        let uuids: Vec<_> = page.iter().map(|(uuid, _)| *uuid).collect();
        for record in shard.retrieve(&uuids, false)? {
            if found.len() >= limit {
                return Ok(());
            }
            let document = to_document(record)?;
            let score = scores.get(&point_uuid(&document.id)).copied();
            let matches = filter.is_none_or(|filter| filter.matches(&document.payload));
            if let (Some(score), true) = (score, matches) {
                found.push(ScoredDocument { document, score });
            }
        }
    }
    Ok(())
}

/// Hands the documents that match to `take`, by id, from `from` on, until it returns false or none is left.
fn scan(
    shard: &Shard,
    query: &DocumentQuery,
    mut from: Option<Uuid>,
    wanted: usize,
    mut take: impl FnMut(Document) -> bool,
) -> Result<(), Fault> {
    let lookup = lookup(&query.internal_eq)?;
    let page_size = match query.filter {
        Some(_) => PAGE_MAX,
        None => wanted.clamp(1, PAGE_MAX),
    };
    loop {
        let records = shard.scroll(from, page_size, lookup.clone(), query.with_vectors)?;
        let Some(last) = records.last() else {
            return Ok(());
        };
        let last = match last.id {
            PointId::Uuid(uuid) => uuid,
            PointId::NumId(id) => {
                return Err(Fault::Broken(format!("point {id} was not written here")));
            }
        };
        for record in records {
            let document = to_document(record)?;
            if matches(query, &document.payload) && !take(document) {
                return Ok(());
            }
        }
        from = match after(last) {
            Some(next) => Some(next),
            None => return Ok(()),
        };
    }
}

fn matches(query: &DocumentQuery, payload: &Map<String, Value>) -> bool {
    let internal = payload.get(INTERNAL);
    let field = |name: &String| internal.and_then(|fields| fields.get(name)?.as_str());
    query
        .internal_eq
        .iter()
        .all(|(name, value)| field(name) == Some(value))
        && query
            .filter
            .as_ref()
            .is_none_or(|filter| filter.matches(payload))
}

/// The library's filter for those fields that it can look up. It finds all that match, and `matches` decides.
fn lookup(internal_eq: &BTreeMap<String, String>) -> Result<Option<EdgeFilter>, Fault> {
    let conditions = internal_eq
        .iter()
        .filter(|(field, _)| INDEXED_FIELDS.contains(&field.as_str()))
        .map(|(field, value)| internal_is(field, value))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!conditions.is_empty()).then(|| EdgeFilter {
        should: None,
        min_should: None,
        must: Some(conditions),
        must_not: None,
    }))
}

/// The smallest id after `uuid`.
fn after(uuid: Uuid) -> Option<Uuid> {
    uuid.as_u128().checked_add(1).map(Uuid::from_u128)
}
