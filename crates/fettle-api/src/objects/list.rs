//! Lists of objects, with filters that look at every object of the bucket.

use axum::Json;
use axum::extract::State;
use fettle_model::filter::{FILTER_DEPTH_MAX, Filter};
use fettle_ports::{BucketRecord, ObjectRecord, Page};
use fettle_wire::filter::SentFilter;
use fettle_wire::object::{ListObjectsRequest, ListObjectsResponse};
use fettle_wire::page::PageQuery;
use serde_json::{Map, Value};

use super::view;
use crate::body::{InPath, OptionalBody, Params};
use crate::error::ApiError;
use crate::lookup::{bucket, only};
use crate::page::{PAGE_LIMIT_DEFAULT, Wanted};
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Objects are looked at this many at a time.
const SCAN_PAGE: u64 = 1000;

pub(super) async fn list_get(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<ListObjectsResponse>, ApiError> {
    list(&state, &tenant, &name, query, ListObjectsRequest::default()).await
}

pub(super) async fn list_post(
    State(state): State<ApiState>,
    tenant: Tenant,
    InPath(name): InPath<String>,
    Params(query): Params<PageQuery>,
    OptionalBody(body): OptionalBody<ListObjectsRequest>,
) -> Result<Json<ListObjectsResponse>, ApiError> {
    list(&state, &tenant, &name, query, body).await
}

async fn list(
    state: &ApiState,
    tenant: &Tenant,
    name: &str,
    query: PageQuery,
    body: ListObjectsRequest,
) -> Result<Json<ListObjectsResponse>, ApiError> {
    only("return_presigned_urls", body.return_presigned_urls, &false)?;
    if let Some(sort) = &body.sort {
        only(
            "sort.field",
            Some(sort.field.clone()),
            &"created_at".to_owned(),
        )?;
        only("sort.direction", sort.direction.clone(), &"asc".to_owned())?;
    }
    let wanted = Wanted::of(body.page(), query, PAGE_LIMIT_DEFAULT)?;
    let bucket = bucket(state, &tenant.namespace_id, name).await?;
    let filter = body.filters.map(|SentFilter(filter)| filter);
    check_depth(filter.as_ref())?;
    let search = body
        .search
        .clone()
        .or(wanted.search.clone())
        .map(|text| text.to_lowercase());
    let selected = Selection { filter, search };
    let (records, pagination) = if selected.is_all() {
        let store = state.control().store();
        let (namespace, id) = (&bucket.namespace_id, &bucket.bucket_id);
        let (rows, total) = store
            .list_objects(namespace, id, wanted.store_page()?)
            .await?;
        let answer = wanted.answer(rows, total, |record| record);
        (answer.results, answer.pagination)
    } else {
        let found = scan(state, &bucket, &wanted, |record| selected.holds(record)).await?;
        (found.records, wanted.pagination(found.total, found.next))
    };
    let results = records.into_iter().map(view::view).map(|mut object| {
        if let Some(select) = &body.select {
            object.fields.retain(|key, _| select.contains(key));
        }
        object
    });
    Ok(Json(ListObjectsResponse {
        results: results.collect(),
        pagination,
    }))
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

struct Selection {
    filter: Option<Filter>,
    search: Option<String>,
}

impl Selection {
    fn is_all(&self) -> bool {
        self.filter.is_none() && self.search.is_none()
    }

    fn holds(&self, record: &ObjectRecord) -> bool {
        let fields = view::searchable(record);
        let matches = self
            .filter
            .as_ref()
            .is_none_or(|filter| filter.matches(&fields));
        matches
            && self
                .search
                .as_ref()
                .is_none_or(|text| mentions(record, &fields, text))
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
