//! Healing: policies as they are sent and shown. Beyond the contract.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// What may be done by itself when work fails. The nearest of batch, bucket and namespace that has one counts, as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealingPolicy {
    /// `off`: nothing. `suggest`: troubles of the infrastructure are outlived, for the rest remedies are recommended. `auto`: remedies are applied.
    pub mode: String,
    /// For these causes alone; none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causes: Option<Vec<String>>,
    /// Attempts that a cause may be followed by, where it is not the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<String, u32>,
    /// The most that a worker's memory is raised to, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// How much memory may grow from one attempt to the next, as a factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_growth_max: Option<f64>,
    /// The batch is stopped when more rows of a job than this fail, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_percent_max: Option<f64>,
}

/// Tells a field that is `null`, which takes a policy back, from one that is left out.
pub(crate) fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<HealingPolicy>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
