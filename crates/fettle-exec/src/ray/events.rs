//! Ray's own events, as its agents push them.
//!
//! Owns their form, of which as little is expected as can be: what is unknown or of another form is passed over. They are the only
//! place where Ray shows that a node is being drained.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fettle_model::UnixMillis;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A node takes no new work any more, for it is to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drain {
    pub(super) node_id: String,
    pub(super) at: UnixMillis,
}

/// Fields have their names of the protocol, or in camel case: that is a setting of Ray's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Node(NodeTold),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct NodeTold {
    #[serde(alias = "nodeLifecycleEvent")]
    node_lifecycle_event: Lifecycle,
}

#[derive(Deserialize)]
struct Lifecycle {
    /// The bytes of the id, in base 64.
    #[serde(alias = "nodeId")]
    node_id: String,
    #[serde(alias = "stateTransitions")]
    state_transitions: Vec<Transition>,
}

#[derive(Deserialize)]
struct Transition {
    timestamp: jiff::Timestamp,
    #[serde(default, alias = "aliveSubState")]
    alive_sub_state: String,
}

/// The drains among the events of one call.
pub(super) fn drains(events: &[u8]) -> Vec<Drain> {
    let told: Vec<Told> = match serde_json::from_slice(events) {
        Ok(told) => told,
        Err(error) => {
            tracing::debug!(%error, "what the cluster tells of itself cannot be read");
            return Vec::new();
        }
    };
    told.into_iter().filter_map(drain).collect()
}

fn drain(told: Told) -> Option<Drain> {
    let Told::Node(NodeTold {
        node_lifecycle_event: node,
    }) = told
    else {
        return None;
    };
    let mut transitions = node.state_transitions.iter();
    let drained = transitions.find(|it| it.alive_sub_state == "DRAINING")?;
    Some(Drain {
        node_id: hex(&STANDARD.decode(node.node_id).ok()?),
        at: UnixMillis(drained.timestamp.as_millisecond()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Ray 2.60 sends it.
    const DRAINING: &str = r#"{"event_id": "EtfoemlVMBhfurFAleGsFVnccdMbx3GyrlQLbQ==", "source_type": "GCS", "event_type": "NODE_LIFECYCLE_EVENT",
        "timestamp": "2026-11-26T01:20:02.295378924Z", "severity": "INFO", "session_name": "session_1", "node_lifecycle_event": {
        "node_id": "hSsMs2ksYHtXvwq7OCHwobNd3/BBjMre3gjp6w==", "state_transitions": [{"timestamp": "2026-11-26T01:20:02.295380106Z",
        "resources": {"CPU": 2.0}, "alive_sub_state": "DRAINING", "state": "ALIVE"}]}, "node_id": "hivMUZZ6zkbp2VBCZ0mTOO3nQPI9K+ufeTYqpA=="}"#;

    #[test]
    fn a_drain_is_found_among_other_events_in_either_spelling() {
        let camel = DRAINING
            .replace("node_lifecycle_event", "nodeLifecycleEvent")
            .replace("node_id", "nodeId")
            .replace("state_transitions", "stateTransitions")
            .replace("alive_sub_state", "aliveSubState");
        let dead = DRAINING.replace("DRAINING", "UNSPECIFIED");
        let others =
            r#"{"event_type": "NEW_EVENT", "node_lifecycle_event": {"node_id": 7}}, 3, null"#;
        let events = format!("[{others}, {dead}, {DRAINING}, {camel}]");
        let drain = Drain {
            node_id: "852b0cb3692c607b57bf0abb3821f0a1b35ddff0418ccadede08e9eb".into(),
            at: UnixMillis(1_795_656_002_295),
        };
        assert_eq!(drains(events.as_bytes()), [drain.clone(), drain]);
    }

    #[test]
    fn what_is_no_list_of_events_says_nothing() {
        for text in ["", "{}", "[1", "\"x\"", "[[]]"] {
            assert_eq!(drains(text.as_bytes()), []);
        }
    }
}
