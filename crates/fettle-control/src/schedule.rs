//! Collections that are filled anew by the clock.
//!
//! Owns when a schedule is due and what it does then: one batch of each source bucket's objects, in chunks. A time that
//! was missed while `serve` was away is made up for once. It must not run a collection that still runs.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use fettle_model::{BatchId, ObjectId, UnixMillis};
use fettle_ports::{
    BatchRecord, BucketRecord, CollectionRecord, CollectionSource, Page, ResourceKind,
    ScheduleRecord, ScheduleTrigger, StoreError, StoreExt as _,
};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::control::{Control, Shared};
use crate::error::RequestError;
use crate::requests::SubmitOptions;

/// How often due schedules are looked for; the shortest interval is a minute.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest interval, in seconds: a batch takes seconds to start.
pub const INTERVAL_SECONDS_MIN: u64 = 60;
/// Objects of one batch.
const OBJECTS_MAX: usize = 10_000;
/// Objects that are read at a time.
const PAGE: u64 = 500;

/// When a schedule is due first.
///
/// # Errors
/// In words, what is wrong with it.
pub fn first(
    trigger: &ScheduleTrigger,
    start_immediately: bool,
    now: UnixMillis,
) -> Result<UnixMillis, String> {
    if start_immediately {
        next(trigger, now)?;
        return Ok(now);
    }
    next(trigger, now)
}

/// When a schedule is due after `now`.
fn next(trigger: &ScheduleTrigger, now: UnixMillis) -> Result<UnixMillis, String> {
    match trigger {
        ScheduleTrigger::Interval { seconds } if *seconds < INTERVAL_SECONDS_MIN => Err(format!(
            "an interval of {seconds} s is too short; at least {INTERVAL_SECONDS_MIN} are needed"
        )),
        ScheduleTrigger::Interval { seconds } => Ok(now.plus_ms(seconds.saturating_mul(1_000))),
        ScheduleTrigger::Cron {
            expression,
            timezone,
        } => {
            let cron = Cron::from_str(expression)
                .map_err(|error| format!("`{expression}` is no cron expression: {error}"))?;
            let zone = TimeZone::get(timezone)
                .map_err(|_unknown| format!("there is no time zone `{timezone}`"))?;
            let now = Timestamp::from_millisecond(now.0).map_err(|error| error.to_string())?;
            let found: Zoned = cron
                .find_next_occurrence(&now.to_zoned(zone), false)
                .map_err(|_never| format!("`{expression}` is never due"))?;
            Ok(UnixMillis(found.timestamp().as_millisecond()))
        }
    }
}

/// Runs what is due until `serve` stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let control = Control { shared };
    while control.shared.pause(LOOK_EVERY).await {
        if let Err(error) = control.run_due_schedules().await {
            tracing::warn!(%error, "schedules could not be looked at");
        }
    }
}

impl Control {
    async fn run_due_schedules(&self) -> Result<(), StoreError> {
        let now = self.clock().now();
        for schedule in self
            .store()
            .search_all::<ScheduleRecord>(None, None)
            .await?
        {
            if schedule.next_at <= now {
                self.run_schedule(schedule, now).await?;
            }
        }
        Ok(())
    }

    /// Runs a schedule that is due. Its next time is stored first: a run that breaks off is not done twice.
    async fn run_schedule(
        &self,
        mut schedule: ScheduleRecord,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let namespace = schedule.namespace_id.clone();
        let id = schedule.collection_id.as_str().to_owned();
        let found: Option<CollectionRecord> = self.store().find(Some(&namespace), &id).await?;
        let Some(collection) = found else {
            let store = self.store();
            return store
                .delete_resource(ResourceKind::Schedule, &namespace, &id)
                .await;
        };
        // What cannot be due any more was refused when it was made; a year is far enough away to be seen.
        let later = || now.plus_ms(365 * 86_400_000);
        schedule.next_at = next(&schedule.trigger, now).unwrap_or_else(|_never| later());
        schedule.last_at = Some(now);
        schedule.last_batch_ids = Vec::new();
        schedule.last_error = None;
        self.store().update(&schedule).await?;
        if collection.enabled {
            if let Err(error) = self.fill(&collection, &mut schedule.last_batch_ids).await {
                tracing::warn!(collection = %id, %error, "a scheduled run was not started whole");
                schedule.last_error = Some(error.to_string());
            }
        } else {
            schedule.last_error = Some("the collection is not enabled".to_owned());
        }
        match self.store().update(&schedule).await {
            // The collection was deleted meanwhile.
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Submits batches of all objects that the collection reads.
    async fn fill(
        &self,
        collection: &CollectionRecord,
        made: &mut Vec<BatchId>,
    ) -> Result<(), RequestError> {
        let CollectionSource::Bucket { bucket_ids } = &collection.source else {
            return Err(RequestError::NotPossible {
                what: "running the schedule",
                present: "the collection reads collections".to_owned(),
            });
        };
        for id in bucket_ids {
            let namespace = Some(&collection.namespace_id);
            let bucket: Option<BucketRecord> = self.store().find(namespace, id.as_str()).await?;
            if let Some(bucket) = bucket {
                self.fill_from(collection, &bucket, made).await?;
            }
        }
        Ok(())
    }

    /// Submits batches of a bucket's objects, each as soon as it is full.
    async fn fill_from(
        &self,
        collection: &CollectionRecord,
        bucket: &BucketRecord,
        made: &mut Vec<BatchId>,
    ) -> Result<(), RequestError> {
        let (store, filter) = (self.store(), collection.source_filter.as_ref());
        let mut page = Page {
            limit: PAGE,
            ..Page::default()
        };
        let mut chunk: Vec<ObjectId> = Vec::new();
        loop {
            let (namespace, id) = (&bucket.namespace_id, &bucket.bucket_id);
            let (rows, _) = store.list_objects(namespace, id, page).await?;
            let Some((last, _)) = rows.last() else { break };
            page.after = Some(*last);
            let objects = rows.into_iter().map(|(_, object)| object);
            let wanted = objects.filter(|it| filter.is_none_or(|f| f.matches(&it.searchable())));
            for object in wanted {
                chunk.push(object.object_id);
                if chunk.len() == OBJECTS_MAX {
                    let full = std::mem::take(&mut chunk);
                    made.push(self.submit_scheduled(collection, bucket, full).await?);
                }
            }
        }
        if !chunk.is_empty() {
            made.push(self.submit_scheduled(collection, bucket, chunk).await?);
        }
        Ok(())
    }

    async fn submit_scheduled(
        &self,
        collection: &CollectionRecord,
        bucket: &BucketRecord,
        objects: Vec<ObjectId>,
    ) -> Result<BatchId, RequestError> {
        let id = BatchId::from_entropy(self.entropy().bytes15());
        let record = BatchRecord {
            batch_name: Some(format!("schedule of {}", collection.collection_name)),
            collection_ids: vec![collection.collection_id.clone()],
            object_count: objects.len() as u64,
            ..BatchRecord::draft(bucket, id, self.clock().now())
        };
        self.store().insert_batch(&record, &objects).await?;
        let (namespace, id) = (&record.namespace_id, &record.batch_id);
        match self.submit(namespace, id, &SubmitOptions::default()).await {
            Ok(_) => Ok(record.batch_id),
            Err(error) => {
                // A draft that nobody made would stand there for ever.
                self.store().delete_batch(namespace, id).await?;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(expression: &str, timezone: &str) -> ScheduleTrigger {
        ScheduleTrigger::Cron {
            expression: expression.to_owned(),
            timezone: timezone.to_owned(),
        }
    }

    fn at(text: &str) -> UnixMillis {
        UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn cron_times_follow_the_clocks_of_their_zone() {
        let now = at("2026-03-28T12:00:00Z");
        assert_eq!(
            next(&cron("0 2 * * *", "UTC"), now),
            Ok(at("2026-03-29T02:00:00Z"))
        );
        // In the night to summer time, half past one is before the hour that is left out.
        let berlin = cron("30 1 * * *", "Europe/Berlin");
        assert_eq!(next(&berlin, now), Ok(at("2026-03-29T00:30:00Z")));
        assert_eq!(
            next(&berlin, at("2026-03-29T12:00:00Z")),
            Ok(at("2026-03-29T23:30:00Z"))
        );
    }

    #[test]
    fn intervals_count_from_the_last_run() {
        let hourly = ScheduleTrigger::Interval { seconds: 3_600 };
        let now = at("2026-03-28T12:00:00Z");
        assert_eq!(first(&hourly, false, now), Ok(at("2026-03-28T13:00:00Z")));
        assert_eq!(first(&hourly, true, now), Ok(now));
    }

    #[test]
    fn what_cannot_be_due_is_refused_in_words() {
        let now = at("2026-03-28T12:00:00Z");
        for (trigger, words) in [
            (cron("every day", "UTC"), "no cron expression"),
            (cron("0 2 * * *", "Mars/Base"), "no time zone"),
            (cron("0 0 30 2 *", "UTC"), "never due"),
            (ScheduleTrigger::Interval { seconds: 5 }, "too short"),
        ] {
            let refused = first(&trigger, true, now).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
