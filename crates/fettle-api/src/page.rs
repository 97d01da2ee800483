//! From a request's paging to the store's, and back to the answer's.

use fettle_ports::Page;
use fettle_wire::page::{
    ListResponse, PAGE_LIMIT_MAX, PAGE_OFFSET_MAX, PageQuery, PaginationResponse,
};

use crate::error::ApiError;

/// A page has this many records when nobody says otherwise.
pub(crate) const PAGE_LIMIT_DEFAULT: u64 = 100;

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) limit: u64,
    pub(crate) offset: u64,
    pub(crate) cursor: Option<String>,
    pub(crate) include_total: bool,
    pub(crate) search: Option<String>,
}

impl Wanted {
    /// Checks what was asked for; what the body says goes before what the query says.
    pub(crate) fn of(body: PageQuery, query: PageQuery, default: u64) -> Result<Self, ApiError> {
        let pick = |a: Option<u64>, b: Option<u64>| a.or(b);
        let size = pick(
            body.limit.or(body.page_size),
            query.limit.or(query.page_size),
        );
        let limit = size.unwrap_or(default);
        if !(1..=PAGE_LIMIT_MAX).contains(&limit) {
            return Err(ApiError::invalid_query(
                "limit",
                format!("must be from 1 to {PAGE_LIMIT_MAX}"),
            ));
        }
        let page = pick(body.page, query.page);
        if page == Some(0) {
            return Err(ApiError::invalid_query("page", "pages count from 1"));
        }
        let by_page = page.map(|page| (page - 1).saturating_mul(limit));
        let offset = pick(body.offset, query.offset).or(by_page).unwrap_or(0);
        if offset > PAGE_OFFSET_MAX {
            let message = format!(
                "passes over {offset} records; at most {PAGE_OFFSET_MAX} can be: use `cursor` with the `next_cursor` of the page before"
            );
            return Err(ApiError::invalid_query("offset", message));
        }
        let cursor = body
            .cursor
            .or(query.cursor)
            .or(query.after)
            .or(query.next_cursor);
        Ok(Self {
            limit,
            offset,
            cursor: cursor.filter(|cursor| !cursor.is_empty()),
            include_total: body.include_total.or(query.include_total).unwrap_or(false),
            search: body
                .search
                .or(query.search)
                .filter(|search| !search.is_empty()),
        })
    }

    /// The sequence number that the cursor holds.
    pub(crate) fn after(&self) -> Result<Option<i64>, ApiError> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let seq = cursor.parse().map_err(|_not_a_number| {
            ApiError::invalid_query("cursor", "is not a `next_cursor` of this list")
        })?;
        Ok(Some(seq))
    }

    /// The page for a store.
    pub(crate) fn store_page(&self) -> Result<Page, ApiError> {
        Ok(Page {
            limit: self.limit,
            offset: self.offset,
            after: self.after()?,
        })
    }

    /// What stands beside the results.
    pub(crate) fn pagination(
        &self,
        total: Option<u64>,
        next: Option<String>,
    ) -> PaginationResponse {
        let by_cursor = self.cursor.is_some();
        let page = (!by_cursor).then_some(self.offset / self.limit + 1);
        let more = next.is_some();
        PaginationResponse {
            total,
            page,
            page_size: Some(self.limit),
            total_pages: total.map(|total| total.div_ceil(self.limit)),
            next_page: page.filter(|_| more).map(|page| (page + 1).to_string()),
            previous_page: page
                .filter(|page| *page > 1)
                .map(|page| (page - 1).to_string()),
            next_cursor: next,
        }
    }

    /// The cursor after the last of `seqs`, if the page is full and so more may follow.
    pub(crate) fn next(
        &self,
        seqs: impl DoubleEndedIterator<Item = i64> + ExactSizeIterator,
    ) -> Option<String> {
        let full = seqs.len() as u64 == self.limit;
        let mut seqs = seqs;
        seqs.next_back().filter(|_| full).map(|seq| seq.to_string())
    }

    /// The page of a list that is held whole; a place in it is cursor enough.
    pub(crate) fn of_whole<T>(&self, records: Vec<T>) -> Result<ListResponse<T>, ApiError> {
        let total = records.len() as u64;
        let passed = self.after()?.map_or(self.offset, i64::unsigned_abs);
        let skipped = usize::try_from(passed).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let places = passed.saturating_add(1)..;
        let places = places.map(|place| i64::try_from(place).unwrap_or(i64::MAX));
        let rows = places.zip(records.into_iter().skip(skipped).take(limit));
        Ok(self.answer(rows.collect(), total, |record| record))
    }

    /// A whole answer from a store's page.
    pub(crate) fn answer<R, T>(
        &self,
        rows: Vec<(i64, R)>,
        total: u64,
        mut view: impl FnMut(R) -> T,
    ) -> ListResponse<T> {
        let is_last = self.cursor.is_none() && self.offset + rows.len() as u64 >= total;
        let next = self
            .next(rows.iter().map(|(seq, _)| *seq))
            .filter(|_| !is_last);
        ListResponse {
            pagination: self.pagination(Some(total), next),
            results: rows.into_iter().map(|(_, row)| view(row)).collect(),
            total_count: total,
        }
    }
}

/// `total` shared among `count`; nothing where there is none.
pub(crate) fn average(total: u64, count: usize) -> f64 {
    total as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(limit: u64, page: u64) -> PageQuery {
        PageQuery {
            limit: Some(limit),
            page: Some(page),
            ..PageQuery::default()
        }
    }

    #[test]
    fn pages_become_offsets_and_tell_their_neighbours() {
        let wanted = Wanted::of(PageQuery::default(), query(10, 3), 100).unwrap();
        assert_eq!((wanted.limit, wanted.offset), (10, 20));
        let rows: Vec<(i64, ())> = (0..10).map(|seq| (seq, ())).collect();
        let answer = wanted.answer(rows, 41, |()| ());
        assert_eq!(answer.pagination.next_page.as_deref(), Some("4"));
        assert_eq!(answer.pagination.previous_page.as_deref(), Some("2"));
        assert_eq!(answer.pagination.total_pages, Some(5));
        assert_eq!(answer.pagination.next_cursor.as_deref(), Some("9"));
    }

    #[test]
    fn the_last_page_has_no_next() {
        let wanted = Wanted::of(query(10, 1), PageQuery::default(), 100).unwrap();
        let rows: Vec<(i64, ())> = (0..10).map(|seq| (seq, ())).collect();
        assert_eq!(
            wanted.answer(rows, 10, |()| ()).pagination.next_cursor,
            None
        );
    }

    #[test]
    fn bounds_are_kept() {
        for (limit, page) in [(0, 1), (1001, 1), (10, 0), (1000, 12)] {
            assert!(
                Wanted::of(query(limit, page), PageQuery::default(), 100).is_err(),
                "{limit} {page}"
            );
        }
        let bad = PageQuery {
            cursor: Some("x".into()),
            ..PageQuery::default()
        };
        assert!(
            Wanted::of(bad, PageQuery::default(), 100)
                .unwrap()
                .after()
                .is_err()
        );
    }
}
