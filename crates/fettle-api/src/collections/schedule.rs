//! Schedules as they are given and shown.
//!
//! Owns the contract's form of them. When they are due and what they do then is the control loop's.

use fettle_control::schedule::first;
use fettle_ports::{CollectionRecord, CollectionSource, ScheduleRecord, ScheduleTrigger, StoreExt};
use fettle_wire::collection::{ScheduleModel, ScheduleRequest};
use fettle_wire::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::parse_value;
use crate::error::ApiError;
use crate::state::ApiState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CronConfig {
    cron_expression: String,
    timezone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntervalConfig {
    interval_seconds: u64,
    start_immediately: Option<bool>,
}

/// Checks a schedule before its collection is made.
pub(super) fn build(
    state: &ApiState,
    collection: &CollectionRecord,
    request: ScheduleRequest,
) -> Result<ScheduleRecord, ApiError> {
    let at = ["schedule".into(), "schedule_config".into()];
    let refuse = |message: &str| ApiError::invalid(&["schedule"], message);
    if matches!(collection.source, CollectionSource::Collection { .. }) {
        return Err(refuse(
            "is for collections that read buckets; this one is filled by the batches of the first",
        ));
    }
    let config = Value::Object(request.schedule_config);
    let (trigger, at_once) = match request.trigger_type.as_str() {
        "cron" => {
            let config: CronConfig = parse_value(config, &at)?;
            let timezone = config.timezone.unwrap_or_else(|| "UTC".to_owned());
            let expression = config.cron_expression;
            let trigger = ScheduleTrigger::Cron {
                expression,
                timezone,
            };
            (trigger, false)
        }
        "interval" => {
            let config: IntervalConfig = parse_value(config, &at)?;
            let seconds = config.interval_seconds;
            let at_once = config.start_immediately.unwrap_or(false);
            (ScheduleTrigger::Interval { seconds }, at_once)
        }
        other => {
            let message = format!("`{other}` is none of `cron` and `interval`");
            return Err(ApiError::invalid(&["schedule", "trigger_type"], message));
        }
    };
    let next_at = first(&trigger, at_once, state.now()).map_err(|message| refuse(&message))?;
    Ok(ScheduleRecord {
        namespace_id: collection.namespace_id.clone(),
        collection_id: collection.collection_id.clone(),
        trigger,
        description: request.description,
        next_at,
        last_at: None,
        last_batch_ids: Vec::new(),
        last_error: None,
    })
}

/// A collection's schedule as it is shown.
pub(super) async fn view(
    state: &ApiState,
    collection: &CollectionRecord,
) -> Result<Option<ScheduleModel>, ApiError> {
    let store = state.control().store();
    let (namespace, id) = (&collection.namespace_id, collection.collection_id.as_str());
    let found: Option<ScheduleRecord> = store.find(Some(namespace), id).await?;
    Ok(found.map(shown))
}

fn shown(record: ScheduleRecord) -> ScheduleModel {
    let (trigger_type, config) = match record.trigger {
        ScheduleTrigger::Cron {
            expression,
            timezone,
        } => (
            "cron",
            json!({"cron_expression": expression, "timezone": timezone}),
        ),
        ScheduleTrigger::Interval { seconds } => ("interval", json!({"interval_seconds": seconds})),
    };
    let config: Map<String, Value> = config.as_object().cloned().unwrap_or_default();
    let batches = record.last_batch_ids.iter();
    ScheduleModel {
        trigger_type: trigger_type.to_owned(),
        schedule_config: config,
        description: record.description,
        next_run_at: record.next_at.into(),
        last_run_at: record.last_at.map(Timestamp),
        last_batch_ids: batches.map(ToString::to_string).collect(),
        last_error: record.last_error,
    }
}
