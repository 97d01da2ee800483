//! Lists of objects, with filters that look at every object of the bucket.

use axum::Json;
use axum::extract::State;
use fettle_ports::{BucketRecord, ObjectRecord, Page};
use fettle_wire::object::{ListObjectsRequest, ListObjectsResponse, ObjectResponse};
use fettle_wire::page::{PageQuery, PaginationResponse};
use serde_json::{Map, Value};

use super::view;
use crate::body::{InPath, OptionalBody, Params};
use crate::choice::{Choice, SORTED_MAX, too_many_to_sort};
use crate::error::ApiError;
use crate::lookup::bucket;
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::signed::Origin;
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Objects are looked at this many at a time.
const SCAN_PAGE: u64 = 1000;

pub(super) async fn list_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath(name): InPath<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<ListObjectsResponse>, ApiError> {
    let body = ListObjectsRequest::default();
    list(&state, &tenant, &origin, &name, query, body).await
}

pub(super) async fn list_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    origin: Origin,
    InPath(name): InPath<String>,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListObjectsRequest>,
) -> Result<Json<ListObjectsResponse>, ApiError> {
    list(&state, &tenant, &origin, &name, query, body).await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    origin: &Origin,
    name: &str,
    query: PageQuery,
    body: ListObjectsRequest,
) -> Result<Json<ListObjectsResponse>, ApiError> {
    let wanted = Wanted::of(body.page(), query, PAGE_LIMIT_DEFAULT)?;
    let bucket = bucket(state, &tenant.namespace_id, name).await?;
    let search = body.search.or(wanted.search.clone());
    let selected = Selection {
        choice: Choice::default()
            .filtered_by(body.filters)?
            .sorted_by(body.sort.as_slice())?,
        search: search.map(|text| text.to_lowercase()),
    };
    let (records, pagination) = selected.page(state, &bucket, &wanted).await?;
    let mut results: Vec<ObjectResponse> = records.into_iter().map(view::view).collect();
    for object in &mut results {
        if let Some(select) = &body.select {
            object.fields.retain(|key, _| select.contains(key));
        }
        if body.return_presigned_urls.unwrap_or(false) {
            view::add_addresses(state, origin, object).await?;
        }
    }
    Ok(Json(ListObjectsResponse {
        results,
        pagination,
    }))
}

struct Selection {
    choice: Choice,
    search: Option<String>,
}

impl Selection {
    async fn page(
        &self,
        state: &ApiState,
        bucket: &BucketRecord,
        wanted: &Wanted,
    ) -> Result<(Vec<ObjectRecord>, PaginationResponse), ApiError> {
        if self.choice.is_sorted() {
            return self.sorted_page(state, bucket, wanted).await;
        }
        if self.choice.is_plain() && self.search.is_none() {
            let store = state.control().store();
            let (namespace, id) = (&bucket.namespace_id, &bucket.bucket_id);
            let page = wanted.store_page()?;
            let (rows, total) = store.list_objects(namespace, id, page).await?;
            let answer = wanted.answer(rows, total, |record| record);
            return Ok((answer.results, answer.pagination));
        }
        let found = scan(state, bucket, wanted, |record| self.holds(record)).await?;
        Ok((found.records, wanted.pagination(found.total, found.next)))
    }

    /// An order needs all that match at once.
    async fn sorted_page(
        &self,
        state: &ApiState,
        bucket: &BucketRecord,
        wanted: &Wanted,
    ) -> Result<(Vec<ObjectRecord>, PaginationResponse), ApiError> {
        let everything = Wanted {
            limit: SORTED_MAX,
            offset: 0,
            cursor: None,
            ..wanted.clone()
        };
        let found = scan(state, bucket, &everything, |record| self.holds(record)).await?;
        if found.next.is_some() {
            return Err(too_many_to_sort());
        }
        let records = found.records.into_iter();
        let records = records.map(|record| (record.searchable(), record));
        let sorted = self.choice.sort(records.collect());
        let answer = wanted.of_whole(sorted)?;
        Ok((answer.results, answer.pagination))
    }

    fn holds(&self, record: &ObjectRecord) -> bool {
        let fields = record.searchable();
        let search = self.search.as_ref();
        self.choice.holds(&fields) && search.is_none_or(|text| mentions(record, &fields, text))
    }
}

fn mentions(record: &ObjectRecord, fields: &Map<String, Value>, text: &str) -> bool {
    let names = record
        .blobs
        .iter()
        .filter_map(|blob| blob.filename.as_deref());
    let values = fields.values().filter_map(Value::as_str);
    names
        .chain(values)
        .any(|value| value.to_lowercase().contains(text))
}

/// Objects that a scan found.
pub(crate) struct Scanned {
    pub(crate) records: Vec<ObjectRecord>,
    pub(crate) next: Option<String>,
    /// How many match in all; known when it was asked for, or when the scan reached the end.
    pub(crate) total: Option<u64>,
}

/// Looks at the bucket's objects in order until the page is full; to the end where the total is wanted.
pub(crate) async fn scan(
    state: &ApiState,
    bucket: &BucketRecord,
    wanted: &Wanted,
    holds: impl Fn(&ObjectRecord) -> bool,
) -> Result<Scanned, ApiError> {
    let store = state.control().store();
    let mut page = Page {
        limit: SCAN_PAGE,
        offset: 0,
        after: wanted.after()?,
    };
    let mut found = Scanned {
        records: Vec::new(),
        next: None,
        total: None,
    };
    let (mut matched, mut last_taken) = (0_u64, None);
    loop {
        let (rows, _) = store
            .list_objects(&bucket.namespace_id, &bucket.bucket_id, page)
            .await?;
        let Some((last, _)) = rows.last() else { break };
        page.after = Some(*last);
        for (seq, record) in rows.into_iter().filter(|(_, record)| holds(record)) {
            matched += 1;
            if matched <= wanted.offset {
                continue;
            }
            if (found.records.len() as u64) < wanted.limit {
                found.records.push(record);
                last_taken = Some(seq);
            } else if found.next.is_none() {
                found.next = last_taken.map(|seq: i64| seq.to_string());
            }
        }
        if found.next.is_some() && !wanted.include_total {
            return Ok(found);
        }
    }
    found.total = wanted.cursor.is_none().then_some(matched);
    Ok(found)
}
