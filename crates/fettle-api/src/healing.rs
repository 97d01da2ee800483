//! Healing policies: what is sent, checked, and as it is shown.

use std::collections::{BTreeMap, BTreeSet};

use fettle_model::healing::{BUDGET_MAX, HealingMode};
use fettle_model::{Cause, HealingPolicy};
use fettle_wire::healing::HealingPolicy as Sent;

use crate::error::ApiError;

/// Less than this for a worker is no cap but a mistake in the unit.
const MEMORY_BYTES_LEAST: u64 = 1 << 20;
/// More than this in one step is no growth but a leap in the dark.
const GROWTH_MOST: f64 = 64.0;

/// The policy that was sent.
pub(crate) fn policy(sent: Sent) -> Result<HealingPolicy, ApiError> {
    let causes = sent.causes.map(|names| causes(&names)).transpose()?;
    let memory_bytes_max = sent.memory_bytes_max;
    if memory_bytes_max.is_some_and(|bytes| bytes < MEMORY_BYTES_LEAST) {
        let message = format!("is in bytes, and at least {MEMORY_BYTES_LEAST}");
        return Err(invalid("memory_bytes_max", message));
    }
    let between = |field, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(invalid(field, format!("must be from {low} to {high}")))
        }
        other => Ok(other),
    };
    Ok(HealingPolicy {
        mode: mode(&sent.mode)?,
        causes,
        budgets: budgets(sent.budgets)?,
        memory_bytes_max,
        memory_growth_max: between(
            "memory_growth_max",
            sent.memory_growth_max,
            1.0,
            GROWTH_MOST,
        )?,
        failed_percent_max: between("failed_percent_max", sent.failed_percent_max, 0.0, 100.0)?,
        memory_shrinks: sent.memory_shrinks,
    })
}

/// What a change says of the policy: nothing, none, or another.
pub(crate) fn change(
    present: Option<HealingPolicy>,
    sent: Option<Option<Sent>>,
) -> Result<Option<HealingPolicy>, ApiError> {
    match sent {
        None => Ok(present),
        Some(None) => Ok(None),
        Some(Some(sent)) => policy(sent).map(Some),
    }
}

fn mode(name: &str) -> Result<HealingMode, ApiError> {
    [HealingMode::Off, HealingMode::Suggest, HealingMode::Auto]
        .into_iter()
        .find(|mode| mode.as_str() == name)
        .ok_or_else(|| invalid("mode", "must be `off`, `suggest` or `auto`".to_owned()))
}

fn cause(field: &str, name: &str) -> Result<Cause, ApiError> {
    let known = Cause::ALL.iter().find(|cause| cause.as_str() == name);
    known.copied().ok_or_else(|| {
        let all: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        let message = format!("`{name}` is not a cause; causes are {}", all.join(", "));
        invalid(field, message)
    })
}

fn causes(names: &[String]) -> Result<BTreeSet<Cause>, ApiError> {
    names.iter().map(|name| cause("causes", name)).collect()
}

fn budgets(sent: BTreeMap<String, u32>) -> Result<BTreeMap<Cause, u32>, ApiError> {
    let mut budgets = BTreeMap::new();
    for (name, budget) in sent {
        if budget > BUDGET_MAX {
            let message =
                format!("`{name}` may be at most {BUDGET_MAX}: nothing retries without a limit");
            return Err(invalid("budgets", message));
        }
        budgets.insert(cause("budgets", &name)?, budget);
    }
    Ok(budgets)
}

fn invalid(field: &str, message: String) -> ApiError {
    ApiError::invalid(&["healing", field], message)
}

/// A policy as it is shown.
pub(crate) fn view(policy: &HealingPolicy) -> Sent {
    let names = |causes: &BTreeSet<Cause>| causes.iter().map(|c| c.as_str().to_owned()).collect();
    Sent {
        mode: policy.mode.as_str().to_owned(),
        causes: policy.causes.as_ref().map(names),
        budgets: policy
            .budgets
            .iter()
            .map(|(cause, budget)| (cause.as_str().to_owned(), *budget))
            .collect(),
        memory_bytes_max: policy.memory_bytes_max,
        memory_growth_max: policy.memory_growth_max,
        failed_percent_max: policy.failed_percent_max,
        memory_shrinks: policy.memory_shrinks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(value: Value) -> Sent {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_policy_is_shown_as_it_was_sent() {
        let whole = json!({
            "mode": "auto", "causes": ["out_of_memory", "stuck"], "budgets": {"stuck": 5},
            "memory_bytes_max": 1 << 30, "memory_growth_max": 2.5, "failed_percent_max": 10.0,
            "memory_shrinks": true
        });
        let read = policy(sent(whole.clone())).unwrap();
        assert_eq!(json!(view(&read)), whole);
    }

    #[test]
    fn what_is_no_policy_is_refused_by_its_field() {
        for (body, field) in [
            (json!({"mode": "on"}), "mode"),
            (json!({"mode": "auto", "causes": ["bad_luck"]}), "causes"),
            (json!({"mode": "auto", "budgets": {"stuck": 21}}), "budgets"),
            (
                json!({"mode": "auto", "memory_bytes_max": 512}),
                "memory_bytes_max",
            ),
            (
                json!({"mode": "auto", "memory_growth_max": 0.5}),
                "memory_growth_max",
            ),
            (
                json!({"mode": "auto", "failed_percent_max": 101.0}),
                "failed_percent_max",
            ),
        ] {
            let error = policy(sent(body)).unwrap_err();
            assert!(format!("{error:?}").contains(field), "{field}: {error:?}");
        }
    }

    #[test]
    fn null_takes_a_policy_back_and_silence_keeps_it() {
        let present = policy(sent(json!({"mode": "off"}))).unwrap();
        assert_eq!(
            change(Some(present.clone()), None).unwrap(),
            Some(present.clone())
        );
        assert_eq!(change(Some(present), Some(None)).unwrap(), None);
    }
}
