//! From what is stored to the events that receivers know.
//!
//! Owns the types of event and what each tells. Events tell ids and outcomes, not contents: whoever wants more asks the API
//! with a key of its own.

use fettle_core::Batch;
use fettle_core::timeline::{TimelineEntry, TimelineKind};
use fettle_model::{BatchId, NamespaceId, UnixMillis};
use fettle_ports::{BatchRecord, StoredEvent};
use serde_json::{Map, Value, json};

/// Types of event beyond the contract's.
pub const EXTENSION_TYPES: [&str; 3] = ["batch.submitted", "batch.ended", "tier.ended"];
/// The type that a batch's own address is told.
pub const ONE_OFF_TYPE: &str = "batch.ended";

/// The source of events that are entries of a timeline.
const TIMELINE: &str = "timeline";
const OBJECT_CREATED: &str = "object.created";
const OBJECTS_CREATED: &str = "objects.created.batch";

/// Something to tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) seq: i64,
    pub(crate) namespace_id: NamespaceId,
    pub(crate) event_type: String,
    pub(crate) at: UnixMillis,
    pub(crate) batch_id: Option<BatchId>,
    pub(crate) data: Map<String, Value>,
}

impl Event {
    /// `object` for `object.created` and `objects.created.batch`.
    pub(crate) fn resource_type(&self) -> &str {
        let first = self.event_type.split('.').next().unwrap_or_default();
        match first {
            "objects" => "object",
            "documents" => "document",
            "tier" | "alert" => "batch",
            other => other,
        }
    }

    fn of(stored: &StoredEvent, event_type: &str, data: Map<String, Value>) -> Self {
        Self {
            seq: stored.seq,
            namespace_id: stored.namespace_id.clone(),
            event_type: event_type.to_owned(),
            at: stored.at,
            batch_id: batch_id(stored),
            data,
        }
    }
}

/// The batch that a stored event is about.
pub(crate) fn batch_id(stored: &StoredEvent) -> Option<BatchId> {
    stored.data.get("batch_id")?.as_str()?.parse().ok()
}

/// A submitted batch, as far as it is still there.
pub(crate) type Found = Option<(BatchRecord, Option<Batch>)>;

/// The events that a stored one makes.
pub(crate) fn events_of(stored: &StoredEvent, batch: &Found) -> Vec<Event> {
    if stored.source != TIMELINE {
        return vec![Event::of(stored, &stored.source, stored.data.clone())];
    }
    let entry = stored.data.get("entry").cloned().unwrap_or_default();
    match serde_json::from_value::<TimelineEntry>(entry) {
        Ok(entry) => of_entry(stored, &entry, batch),
        Err(error) => {
            tracing::error!(%error, seq = stored.seq, "an event cannot be read and is told to nobody");
            Vec::new()
        }
    }
}

fn of_entry(stored: &StoredEvent, entry: &TimelineEntry, batch: &Found) -> Vec<Event> {
    // `COMPLETED_WITH_ERRORS: 3 row(s) failed`
    let (status, reason) = match entry.message.split_once(": ") {
        Some((status, reason)) => (status, Some(reason)),
        None => (entry.message.as_str(), None),
    };
    let mut data = about(stored, batch);
    let is_completed = matches!(status, "COMPLETED" | "COMPLETED_WITH_ERRORS");
    match entry.kind {
        TimelineKind::BatchSubmitted => {
            data.insert("status".to_owned(), "QUEUED".into());
            vec![Event::of(stored, "batch.submitted", data)]
        }
        TimelineKind::TierEnded => {
            data.insert("tier_num".to_owned(), json!(entry.tier_num));
            data.insert("status".to_owned(), status.into());
            vec![Event::of(stored, "tier.ended", data)]
        }
        TimelineKind::JobEnded if is_completed => {
            data.insert("tier_num".to_owned(), json!(entry.tier_num));
            data.insert("job_id".to_owned(), json!(entry.job_id));
            data.insert("status".to_owned(), status.into());
            data.insert("reason".to_owned(), json!(reason));
            data.insert("collection_ids".to_owned(), written(entry, batch));
            vec![Event::of(stored, "collection.documents.written", data)]
        }
        TimelineKind::BatchEnded => {
            data.insert("status".to_owned(), status.into());
            data.insert("reason".to_owned(), first_reason(batch));
            let mut types = vec!["batch.ended"];
            if is_completed {
                types.push("collection.documents.batch_completed");
            }
            if matches!(status, "FAILED" | "COMPLETED_WITH_ERRORS") {
                types.push("alert.triggered");
            }
            let of_type = |event_type| Event::of(stored, event_type, data.clone());
            types.into_iter().map(of_type).collect()
        }
        _ => Vec::new(),
    }
}

/// What every event of a batch tells.
fn about(stored: &StoredEvent, batch: &Found) -> Map<String, Value> {
    let mut data = stored.data.clone();
    data.remove("entry");
    let Some((record, run)) = batch else {
        return data;
    };
    data.insert("batch_name".to_owned(), json!(record.batch_name));
    data.insert("object_count".to_owned(), json!(record.object_count));
    data.insert("task_id".to_owned(), json!(record.task_id));
    if let Some(run) = run {
        let ids = run.jobs().flat_map(|(_, job)| &job.collection_ids);
        data.insert(
            "collection_ids".to_owned(),
            ids.map(|id| json!(id)).collect(),
        );
        let tiers = run.tiers.iter().map(|tier| {
            let sum = |count: fn(&fettle_model::RowCounts) -> u64| {
                tier.jobs.iter().map(|job| count(&job.counts)).sum::<u64>()
            };
            json!({
                "tier_num": tier.num,
                "status": tier.status.as_str(),
                "processed": sum(|counts| counts.processed),
                "failed": sum(|counts| counts.failed),
                "skipped": sum(|counts| counts.skipped),
            })
        });
        data.insert("tiers".to_owned(), tiers.collect());
    }
    data
}

fn written(entry: &TimelineEntry, batch: &Found) -> Value {
    let run = batch.as_ref().and_then(|(_, run)| run.as_ref());
    let job = run.zip(entry.job_id.as_ref());
    let job = job.and_then(|(run, id)| run.job(id));
    job.map_or(Value::Null, |(_, job)| json!(job.collection_ids))
}

fn first_reason(batch: &Found) -> Value {
    let run = batch.as_ref().and_then(|(_, run)| run.as_ref());
    json!(run.and_then(|run| run.jobs().find_map(|(_, job)| job.reason())))
}

/// One `objects.created.batch` for each run of objects that were created in one bucket.
pub(crate) fn grouped(stored: &[StoredEvent]) -> Vec<Event> {
    let mut groups: Vec<Event> = Vec::new();
    let mut previous = None;
    for (at, event) in stored.iter().enumerate() {
        if event.source != OBJECT_CREATED {
            continue;
        }
        let object = event.data.get("object_id").cloned().unwrap_or_default();
        let bucket = event.data.get("bucket_id").cloned().unwrap_or_default();
        let follows = at.checked_sub(1) == previous && at > 0;
        previous = Some(at);
        if let Some(open) = groups.last_mut().filter(|open| {
            follows && open.namespace_id == event.namespace_id && open.data["bucket_id"] == bucket
        }) {
            if let Some(ids) = open.data["object_ids"].as_array_mut() {
                ids.push(object);
            }
            continue;
        }
        let mut data = Map::new();
        data.insert("bucket_id".to_owned(), bucket);
        data.insert("object_ids".to_owned(), json!([object]));
        groups.push(Event::of(event, OBJECTS_CREATED, data));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(seq: i64, source: &str, data: Value) -> StoredEvent {
        StoredEvent {
            seq,
            namespace_id: NamespaceId::from_entropy([1; 15]),
            source: source.to_owned(),
            at: UnixMillis(5),
            data: data.as_object().cloned().unwrap_or_default(),
        }
    }

    fn entry(kind: TimelineKind, message: &str) -> StoredEvent {
        let entry = TimelineEntry {
            at: UnixMillis(5),
            kind,
            message: message.to_owned(),
            tier_num: None,
            job_id: None,
            attempt_id: None,
        };
        let batch = BatchId::from_entropy([2; 15]);
        stored(1, TIMELINE, json!({"batch_id": batch, "entry": entry}))
    }

    #[track_caller]
    fn check(kind: TimelineKind, message: &str, expected: &[&str]) {
        let events = events_of(&entry(kind, message), &None);
        let types: Vec<&str> = events.iter().map(|it| it.event_type.as_str()).collect();
        assert_eq!(types, expected);
        assert!(events.iter().all(|event| event.batch_id.is_some()));
        assert!(events.iter().all(|event| !event.data.contains_key("entry")));
    }

    #[test]
    fn the_end_of_a_batch_is_told_by_its_status() {
        let completed = "collection.documents.batch_completed";
        check(
            TimelineKind::BatchEnded,
            "COMPLETED",
            &["batch.ended", completed],
        );
        check(
            TimelineKind::BatchEnded,
            "COMPLETED_WITH_ERRORS",
            &["batch.ended", completed, "alert.triggered"],
        );
        check(
            TimelineKind::BatchEnded,
            "FAILED",
            &["batch.ended", "alert.triggered"],
        );
        check(TimelineKind::BatchEnded, "CANCELED", &["batch.ended"]);
    }

    #[test]
    fn a_job_that_failed_has_written_nothing_to_tell_of() {
        let written = "collection.documents.written";
        check(
            TimelineKind::JobEnded,
            "COMPLETED_WITH_ERRORS: 1 row(s) failed",
            &[written],
        );
        check(TimelineKind::JobEnded, "FAILED: out of memory", &[]);
        check(TimelineKind::Note, "COMPLETED", &[]);
    }

    #[test]
    fn objects_that_come_together_are_told_together() {
        let object = |seq, bucket: &str| {
            stored(
                seq,
                OBJECT_CREATED,
                json!({"bucket_id": bucket, "object_id": format!("o{seq}")}),
            )
        };
        let other = stored(3, "collection.created", json!({}));
        let groups = grouped(&[
            object(1, "a"),
            object(2, "a"),
            other,
            object(4, "a"),
            object(5, "b"),
        ]);
        let told: Vec<(i64, &Value)> = groups
            .iter()
            .map(|it| (it.seq, &it.data["object_ids"]))
            .collect();
        assert_eq!(
            told,
            [
                (1, &json!(["o1", "o2"])),
                (4, &json!(["o4"])),
                (5, &json!(["o5"]))
            ]
        );
    }
}
