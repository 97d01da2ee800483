//! What is known of the cluster: its incarnation, its nodes, what they can give.
//!
//! Owns the polling. A head that does not answer changes nothing but that it is said: an outage is not a death. What was last
//! seen is kept in a file, so that a restarted `serve` neither forgets the capacity nor takes a new cluster for the old one.

use std::ops::Add as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fettle_confine::{read_json, write_atomically};
use fettle_model::UnixMillis;
use fettle_ports::{Capacity, Presence, Room};
use serde::{Deserialize, Serialize};

use super::RayNodeType;
use super::api::{Node, RayApi, RayError};
use super::events::{self, Drain};
use crate::record::now;

/// How often the cluster is looked at: two cheap calls, whatever runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Nodes that are kept: the living ones and the dead ones that attempts may have run on.
const DEAD_NODES_KEPT_MAX: usize = 1_000;

/// The cluster as last seen.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The cluster's incarnation.
    pub(super) session: String,
    pub(super) nodes: Vec<Node>,
    /// Why it could not be looked at the last time.
    #[serde(skip)]
    pub(super) outage: Option<String>,
}

impl Seen {
    pub(super) fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.node_id == id)
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_alive())
    }

    /// Whether a node is there, was lost within `wait`, or longer ago. `None` where another one has its place.
    fn presence(&self, node: &Node, now: UnixMillis, wait: Duration) -> Option<Presence> {
        if node.is_alive() {
            return Some(Presence::Alive);
        }
        let lost_at = UnixMillis(node.end_time_ms);
        let is_replaced = self.alive().any(|other| other.node_ip == node.node_ip);
        let is_recent = u128::from(now.since(lost_at)) < wait.as_millis();
        match (is_replaced, is_recent) {
            (true, _) => None,
            (false, true) => Some(Presence::Expected(lost_at)),
            (false, false) => Some(Presence::GivenUp(lost_at)),
        }
    }

    /// The nodes that live, and those that were lost within `wait` and whose place nobody has taken.
    pub(super) fn expected(&self, now: UnixMillis, wait: Duration) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| {
            let presence = self.presence(node, now, wait);
            matches!(presence, Some(Presence::Alive | Presence::Expected(_)))
        })
    }

    /// The types of which the autoscaler may bring more, and how many.
    fn on_demand<'a>(
        &'a self,
        types: &'a [RayNodeType],
    ) -> impl Iterator<Item = (&'a RayNodeType, u32)> {
        types.iter().filter_map(|it| {
            let there = self.alive().filter(|node| node.group() == Some(&it.name));
            let there = u32::try_from(there.count()).unwrap_or(u32::MAX);
            let more = it.max_workers.saturating_sub(there);
            (more > 0).then_some((it, more))
        })
    }

    /// What all nodes can give, and the most memory that one can. An attempt runs on one node.
    pub(super) fn capacity(
        &self,
        now: UnixMillis,
        wait: Duration,
        jobs_max: u32,
        types: &[RayNodeType],
    ) -> Capacity {
        let expected = self.expected(now, wait).map(|node| node.total("memory"));
        // Whole bytes far below 2^53.
        let largest = expected.fold(0.0, f64::max) as u64;
        let of_types = types.iter().map(|it| it.memory_bytes).max().unwrap_or(0);
        let on_demand = self.on_demand(types).map(|(it, _)| fettle_ports::Node {
            name: it.name.clone(),
            num_cpus: it.num_cpus,
            num_gpus: it.num_gpus,
            memory_bytes: it.memory_bytes,
            presence: Presence::OnDemand,
        });
        let nodes = self.nodes.iter().filter_map(|node| {
            Some(fettle_ports::Node {
                name: node.node_ip.clone(),
                num_cpus: node.total("CPU"),
                num_gpus: node.total("GPU"),
                // Whole bytes far below 2^53.
                memory_bytes: node.total("memory") as u64,
                presence: self.presence(node, now, wait)?,
            })
        });
        let nodes = nodes.chain(on_demand).collect();
        let on_demand = self
            .on_demand(types)
            .fold(Room::default(), |sum, (it, more)| sum + of_type(it, more));
        let jobs = Room {
            jobs: u64::from(jobs_max),
            ..Room::default()
        };
        Capacity {
            now: self.alive().map(of_node).fold(jobs, Room::add),
            on_demand,
            most: self.expected(now, wait).map(of_node).fold(jobs, Room::add) + on_demand,
            memory_per_worker_max_bytes: largest.max(of_types),
            nodes,
        }
    }
}

fn of_node(node: &Node) -> Room {
    Room {
        num_cpus: node.total("CPU"),
        num_gpus: node.total("GPU"),
        // Whole bytes far below 2^53.
        memory_bytes: node.total("memory") as u64,
        jobs: 0,
    }
}

fn of_type(node: &RayNodeType, count: u32) -> Room {
    Room {
        num_cpus: node.num_cpus * f64::from(count),
        num_gpus: node.num_gpus * f64::from(count),
        memory_bytes: node.memory_bytes.saturating_mul(u64::from(count)),
        jobs: 0,
    }
}

/// Looks at the cluster, and keeps what it saw.
#[derive(Debug)]
pub(super) struct Cluster {
    api: RayApi,
    file: PathBuf,
    seen: RwLock<Seen>,
}

impl Cluster {
    /// The cluster as it was when it was last seen by this data folder.
    pub(super) fn open(api: RayApi, file: PathBuf) -> Self {
        let kept = read_json::<Seen>(&file).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was known of the cluster cannot be read");
            None
        });
        Self {
            api,
            file,
            seen: RwLock::new(kept.unwrap_or_default()),
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Looks once; tells whether the cluster answered.
    pub(super) async fn look(&self) -> Result<(), RayError> {
        let looked = self.ask().await;
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let (session, nodes) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                if seen.outage.is_none() {
                    tracing::warn!(%error, "the cluster cannot be looked at; what runs there goes on");
                }
                seen.outage = Some(error.to_string());
                return Err(error);
            }
        };
        if seen.outage.take().is_some() {
            tracing::info!(session, "the cluster answers again");
        }
        let nodes = merged(&seen, &session, nodes);
        let next = Seen {
            session,
            nodes,
            outage: None,
        };
        if *seen != next {
            if !seen.session.is_empty() && seen.session != next.session {
                tracing::warn!(
                    before = seen.session,
                    now = next.session,
                    "the cluster was replaced"
                );
            }
            *seen = next;
            self.keep(&seen);
        }
        Ok(())
    }

    /// Takes in what Ray's events tell of nodes.
    pub(super) async fn hear(&self, events: &[u8]) {
        let drains = events::drains(events);
        let is_known = |drain: &Drain| self.seen().node(&drain.node_id).is_some();
        if !drains.iter().all(is_known) {
            // A node that came a moment ago. During an outage nothing is drained, and what Ray cannot show is not kept.
            let _ = self.look().await;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_news = false;
        for drain in drains {
            let node = seen.nodes.iter_mut().find(|it| it.node_id == drain.node_id);
            if let Some(node) = node.filter(|node| node.draining_since_ms.is_none()) {
                tracing::info!(node = node.node_ip, "a node is being drained");
                node.draining_since_ms = Some(drain.at.0);
                is_news = true;
            }
        }
        if is_news {
            self.keep(&seen);
        }
    }

    fn keep(&self, seen: &Seen) {
        let text = serde_json::to_vec(seen).map_err(std::io::Error::from);
        if let Err(error) = text.and_then(|text| write_atomically(&self.file, &text)) {
            tracing::warn!(%error, "what is known of the cluster cannot be kept");
        }
    }

    async fn ask(&self) -> Result<(String, Vec<Node>), RayError> {
        let version = self.api.version().await?;
        Ok((version.session_name, self.api.nodes().await?))
    }

    /// Looks for as long as anybody holds the cluster.
    pub(super) async fn watch(cluster: Arc<Self>) {
        let weak = Arc::downgrade(&cluster);
        drop(cluster);
        while let Some(cluster) = weak.upgrade() {
            // What it says of an outage is kept.
            let _ = cluster.look().await;
            drop(cluster);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The nodes of now, and the dead ones of before that a new head no longer knows: how they ended is evidence.
fn merged(before: &Seen, session: &str, mut nodes: Vec<Node>) -> Vec<Node> {
    let gone = before.nodes.iter().filter(|old| {
        let is_listed = nodes.iter().any(|node| node.node_id == old.node_id);
        !is_listed && (!old.is_alive() || before.session != session)
    });
    let mut gone: Vec<Node> = gone.cloned().collect();
    for node in gone.iter_mut().filter(|node| node.is_alive()) {
        node.state = "DEAD".to_owned();
        node.state_message = Some(format!("the cluster {} is gone", before.session));
        node.end_time_ms = now().0;
    }
    for node in &mut nodes {
        let old = before.node(&node.node_id);
        node.draining_since_ms = old.and_then(|old| old.draining_since_ms);
    }
    nodes.append(&mut gone);
    nodes.sort_by(|a, b| {
        b.is_alive()
            .cmp(&a.is_alive())
            .then(a.node_id.cmp(&b.node_id))
    });
    let alive = nodes.iter().filter(|node| node.is_alive()).count();
    nodes.truncate(alive + DEAD_NODES_KEPT_MAX);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(600);

    fn node(id: &str, state: &str, cpus: f64) -> Node {
        serde_json::from_value(serde_json::json!({
            "node_id": id, "node_ip": "127.0.0.2", "state": state,
            "resources_total": {"CPU": cpus, "memory": cpus * 1000.0}
        }))
        .unwrap()
    }

    #[test]
    fn a_lost_node_counts_for_later_until_it_is_replaced_or_given_up() {
        let lost = |id: &str, ip: &str, at: i64| Node {
            node_ip: ip.to_owned(),
            end_time_ms: at,
            ..node(id, "DEAD", 9.0)
        };
        let seen = Seen {
            nodes: vec![
                node("a", "ALIVE", 2.0),
                node("b", "ALIVE", 3.0),
                lost("c", "127.0.0.2", 99_000),
                lost("d", "127.0.0.9", 99_000),
            ],
            ..Seen::default()
        };
        let capacity = seen.capacity(UnixMillis(100_000), WAIT, 7, &[]);
        assert_eq!(
            (capacity.now.num_cpus, capacity.now.memory_bytes),
            (5.0, 5000)
        );
        assert_eq!(capacity.most.num_cpus, 14.0);
        assert_eq!((capacity.now.jobs, capacity.most.jobs), (7, 7));
        assert_eq!(capacity.memory_per_worker_max_bytes, 9000);
        let later = seen.capacity(UnixMillis(2_000_000), WAIT, 7, &[]);
        assert_eq!(later.most.num_cpus, 5.0);
        let presence = |capacity: &Capacity| -> Vec<Presence> {
            capacity.nodes.iter().map(|node| node.presence).collect()
        };
        let lost_at = UnixMillis(99_000);
        let alive = Presence::Alive;
        let expected = Presence::Expected(lost_at);
        assert_eq!(presence(&capacity), [alive, alive, expected]);
        let given_up = Presence::GivenUp(lost_at);
        assert_eq!(presence(&later), [alive, alive, given_up]);
    }

    #[test]
    fn what_an_autoscaler_may_bring_is_less_by_what_it_has_brought() {
        let of_group = |id: &str, state: &str| {
            let group = ("ray.io/node-group".to_owned(), "gpu".to_owned());
            Node {
                labels: [group].into(),
                ..node(id, state, 8.0)
            }
        };
        let seen = Seen {
            nodes: vec![
                node("head", "ALIVE", 1.0),
                of_group("a", "ALIVE"),
                of_group("b", "DEAD"),
            ],
            ..Seen::default()
        };
        let types = |max_workers| {
            let name = "gpu".to_owned();
            [RayNodeType {
                name,
                max_workers,
                num_cpus: 8.0,
                num_gpus: 1.0,
                memory_bytes: 9_000,
            }]
        };
        let capacity = |max| seen.capacity(UnixMillis(100_000), WAIT, 7, &types(max));
        let three = capacity(3);
        assert_eq!(three.now.num_cpus, 9.0);
        let more = three.on_demand;
        let more = (more.num_cpus, more.num_gpus, more.memory_bytes);
        assert_eq!(more, (16.0, 2.0, 18_000));
        assert_eq!((three.total().num_cpus, three.total().jobs), (25.0, 7));
        assert_eq!(three.memory_per_worker_max_bytes, 9_000);
        let last = three.nodes.last().map(|node| node.presence);
        assert_eq!(last, Some(Presence::OnDemand));
        let one = capacity(1);
        assert_eq!(one.on_demand, Room::default());
        assert!(!one.nodes.iter().any(|node| node.name == "gpu"));
    }

    #[test]
    fn nodes_of_a_cluster_that_was_replaced_are_remembered_as_dead() {
        let before = Seen {
            session: "one".into(),
            nodes: vec![node("a", "ALIVE", 2.0), node("b", "DEAD", 2.0)],
            outage: None,
        };
        let nodes = merged(&before, "two", vec![node("c", "ALIVE", 1.0)]);
        let states: Vec<_> = nodes
            .iter()
            .map(|node| (node.node_id.as_str(), node.is_alive()))
            .collect();
        assert_eq!(states, [("c", true), ("a", false), ("b", false)]);
        let same = merged(&before, "one", vec![node("a", "ALIVE", 2.0)]);
        assert_eq!(same.len(), 2);
    }

    #[test]
    fn a_drain_that_was_told_is_remembered_past_the_nodes_death() {
        let mut before = Seen {
            session: "one".into(),
            nodes: vec![node("a", "ALIVE", 2.0), node("b", "ALIVE", 2.0)],
            outage: None,
        };
        before.nodes[0].draining_since_ms = Some(7);
        let nodes = merged(
            &before,
            "one",
            vec![node("a", "DEAD", 2.0), node("c", "ALIVE", 2.0)],
        );
        let drained: Vec<_> = nodes
            .iter()
            .map(|node| (node.node_id.as_str(), node.draining_since_ms))
            .collect();
        assert_eq!(drained, [("c", None), ("a", Some(7))]);
    }
}
