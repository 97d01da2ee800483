//! What the cluster's autoscaler says of the nodes that it brings.
//!
//! Owns its report's form. Ray shows one only of the first version of its autoscaler; without one nothing is said.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The answer of `/api/cluster_status`, as far as it is used.
#[derive(Debug, Deserialize)]
pub(super) struct ClusterStatus {
    data: StatusData,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusData {
    cluster_status: Option<Reported>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported {
    autoscaler_report: Report,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Report {
    /// By type.
    pending_launches: BTreeMap<String, u64>,
    /// Address, type, state.
    pending_nodes: Vec<(String, String, String)>,
    /// Address, type.
    failed_nodes: Vec<(String, String)>,
}

impl ClusterStatus {
    /// The nodes that are on their way and those that failed lately, for people; nothing where there is neither.
    pub(super) fn line(self) -> Option<String> {
        let report = self.data.cluster_status?.autoscaler_report;
        let mut coming = report.pending_launches;
        for (_, of_type, _) in report.pending_nodes {
            *coming.entry(of_type).or_default() += 1;
        }
        let mut failed = BTreeMap::new();
        for (_, of_type) in report.failed_nodes {
            *failed.entry(of_type).or_default() += 1;
        }
        let coming = listed(&coming).map(|nodes| format!("is starting {nodes}"));
        let failed = listed(&failed).map(|nodes| format!("has lately failed to start {nodes}"));
        let said: Vec<String> = coming.into_iter().chain(failed).collect();
        (!said.is_empty()).then(|| format!("the autoscaler {}", said.join(" and ")))
    }
}

fn listed(nodes: &BTreeMap<String, u64>) -> Option<String> {
    let nodes: Vec<String> = nodes
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(of_type, count)| format!("{count} {of_type}"))
        .collect();
    (!nodes.is_empty()).then(|| nodes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: &str) -> Option<String> {
        let answer = format!(r#"{{"result": true, "data": {{"clusterStatus": {status}}}}}"#);
        let status: ClusterStatus = serde_json::from_str(&answer).unwrap();
        status.line()
    }

    #[test]
    fn nodes_that_are_coming_and_that_failed_are_counted_by_type() {
        let said = line(
            r#"{"autoscalerReport": {
                "activeNodes": {"ray.head.default": 1},
                "pendingLaunches": {"gpu": 2, "cpu": 0},
                "pendingNodes": [["10.0.0.7", "gpu", "setting-up"], ["10.0.0.9", "big", "waiting-for-ssh"]],
                "failedNodes": [["10.0.0.8", "gpu"]]
            }}"#,
        );
        let expected =
            "the autoscaler is starting 1 big, 3 gpu and has lately failed to start 1 gpu";
        assert_eq!(said.as_deref(), Some(expected));
    }

    #[test]
    fn without_an_autoscaler_or_news_of_it_nothing_is_said() {
        assert_eq!(line("null"), None);
        assert_eq!(line(r#"{"autoscalerReport": {}}"#), None);
    }
}
