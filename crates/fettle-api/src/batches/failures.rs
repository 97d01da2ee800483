//! The objects of a batch that failed, and those of which only some collections have documents.

use std::collections::BTreeMap;

use fettle_core::Batch;
use fettle_ports::{BatchRecord, RowErrorQuery, StoredRowError};
use fettle_wire::batch::{
    BatchModel, FAILED_OBJECTS_SHOWN_MAX, FailedObjectRecord, PartialObjectRecord,
};

use crate::error::ApiError;
use crate::state::ApiState;

/// Adds what failed in the first tier, whose rows are objects. An object has one row for each collection there.
pub(super) async fn add(
    state: &ApiState,
    record: &BatchRecord,
    run: &Batch,
    model: &mut BatchModel,
) -> Result<(), ApiError> {
    let store = state.control().store();
    let first = run.tiers.first().into_iter().flat_map(|tier| &tier.jobs);
    let collections: usize = first.map(|job| job.collection_ids.len()).sum();
    let query = RowErrorQuery {
        tier_num: Some(0),
        limit: FAILED_OBJECTS_SHOWN_MAX.saturating_mul(collections as u64),
        ..RowErrorQuery::default()
    };
    let (errors, total) = store.row_errors(&record.batch_id, &query).await?;
    let mut by_object: BTreeMap<String, Vec<StoredRowError>> = BTreeMap::new();
    for stored in errors {
        let object = stored.error.source_id.clone();
        by_object.entry(object).or_default().push(stored);
    }
    for (object_id, errors) in by_object {
        if errors.len() >= collections {
            model
                .failed_objects
                .extend(errors.into_iter().next().map(failed));
        } else {
            let partial = errors.into_iter().map(|stored| PartialObjectRecord {
                object_id: object_id.clone(),
                missing_feature: stored.error.component,
                collection_id: stored.collection_id.to_string(),
                error: stored.error.message,
            });
            model.partial_objects.extend(partial);
        }
    }
    let shown = usize::try_from(FAILED_OBJECTS_SHOWN_MAX).unwrap_or(usize::MAX);
    model.failed_objects.truncate(shown);
    model.partial_objects.truncate(shown);
    let (whole, partial) = match collections {
        // Each error is an object's.
        1 => (total, 0),
        several => {
            let rows = several as u64;
            store.failed_sources(&record.batch_id, 0, rows).await?
        }
    };
    model.failed_object_count = whole;
    model.partial_object_count = (collections > 1).then_some(partial);
    Ok(())
}

fn failed(stored: StoredRowError) -> FailedObjectRecord {
    FailedObjectRecord {
        object_id: stored.error.source_id,
        error: stored.error.message,
        error_type: stored.error.class.as_str().to_owned(),
        timestamp: stored.error.at.into(),
    }
}
