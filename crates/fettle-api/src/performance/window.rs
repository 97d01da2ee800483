//! The span of time that a query asks for.

use fettle_model::UnixMillis;
use fettle_ports::history::HOURS_KEPT_DAYS;
use fettle_ports::{HistoryQuery, HistoryRow, HistorySpan};
use fettle_wire::performance::{HOURS_DEFAULT, TimeRange};
use fettle_wire::time::Timestamp;

use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

const HOUR_MS: i64 = 3_600_000;

/// `hours`, `start_date` and `end_date` of a query.
type Given = (Option<u32>, Option<Timestamp>, Option<Timestamp>);

/// A span of time, read by hours or by days.
pub(super) struct Window {
    from: UnixMillis,
    until: UnixMillis,
    span: HistorySpan,
}

impl Window {
    /// The span that is asked for.
    pub(super) fn of(
        now: UnixMillis,
        (hours, start, end): Given,
        hours_max: u32,
    ) -> Result<Self, ApiError> {
        let hours = hours.unwrap_or(HOURS_DEFAULT);
        if !(1..=hours_max).contains(&hours) {
            let message = format!("must be from 1 to {hours_max}");
            return Err(ApiError::invalid_query("hours", message));
        }
        let until = end.map_or(now, |Timestamp(end)| end);
        let back = UnixMillis(until.0.saturating_sub(i64::from(hours) * HOUR_MS));
        let from = start.map_or(back, |Timestamp(start)| start);
        if from >= until {
            let message = "must be before the end, which is now unless `end_date` says otherwise";
            return Err(ApiError::invalid_query("start_date", message));
        }
        let hours_kept = i64::try_from(HOURS_KEPT_DAYS * 24).unwrap_or(i64::MAX);
        let is_near = now.0.saturating_sub(from.0) / HOUR_MS < hours_kept;
        let span = if is_near {
            HistorySpan::Hour
        } else {
            HistorySpan::Day
        };
        Ok(Self { from, until, span })
    }

    /// In the pieces that are asked for.
    pub(super) fn grouped(mut self, by: Option<&str>) -> Result<Self, ApiError> {
        match by {
            None => {}
            Some("hour") if self.span == HistorySpan::Hour => {}
            Some("hour") => {
                let message = format!("hours are kept for {HOURS_KEPT_DAYS} days; ask for `day`");
                return Err(ApiError::invalid_query("group_by", message));
            }
            Some("day") => self.span = HistorySpan::Day,
            Some(_) => {
                return Err(ApiError::invalid_query(
                    "group_by",
                    "must be `hour` or `day`",
                ));
            }
        }
        Ok(self)
    }

    /// The tenant's cells.
    pub(super) async fn read(
        &self,
        state: &ApiState,
        tenant: &Tenant,
    ) -> Result<Vec<HistoryRow>, ApiError> {
        let query = HistoryQuery {
            span: self.span,
            from: self.from,
            until: self.until,
            key: None,
        };
        let store = state.control().store();
        Ok(store.history(&tenant.namespace_id, &query).await?)
    }

    /// What the cells cover.
    pub(super) fn range(&self) -> TimeRange {
        TimeRange {
            start: self.span.start_of(self.from).into(),
            end: self.until.into(),
        }
    }
}

/// A limit within its bounds.
pub(super) fn limit(given: Option<usize>, default: usize, most: usize) -> Result<usize, ApiError> {
    let limit = given.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("must be from 1 to {most}");
    Err(ApiError::invalid_query("limit", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;
    const NOW: UnixMillis = UnixMillis(400 * DAY_MS + 17);

    fn at(ms: i64) -> Option<Timestamp> {
        Some(Timestamp(UnixMillis(ms)))
    }

    #[test]
    fn near_spans_are_read_by_hours_and_far_ones_by_days() {
        let near = Window::of(NOW, (Some(48), None, None), 720).unwrap();
        assert_eq!(
            (near.span, near.from.0),
            (HistorySpan::Hour, NOW.0 - 2 * DAY_MS)
        );
        assert_eq!(near.range().start.0.0, 398 * DAY_MS);
        let far = Window::of(NOW, (None, at(300 * DAY_MS + 5), at(320 * DAY_MS)), 720).unwrap();
        assert_eq!(far.span, HistorySpan::Day);
        assert!(far.grouped(Some("hour")).is_err());
        let days = Window::of(NOW, (None, None, None), 720)
            .unwrap()
            .grouped(Some("day"));
        assert_eq!(days.unwrap().span, HistorySpan::Day);
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for given in [
            (Some(0), None, None),
            (Some(721), None, None),
            (None, at(NOW.0 + 1), None),
            (None, at(5), at(5)),
        ] {
            assert!(Window::of(NOW, given, 720).is_err(), "{given:?}");
        }
        assert!(limit(Some(51), 10, 50).is_err() && limit(Some(0), 10, 50).is_err());
        assert_eq!(limit(None, 10, 50).unwrap(), 10);
    }
}
