//! What differs between a job and the last good run of the same collection.
//!
//! Owns what is compared and when a number is called different. It must not say that a difference is the cause: it lists, with both values.

use std::collections::BTreeSet;

use fettle_model::{Resources, RowSizes};
use serde_json::{Map, Value, json};

use crate::facts::{BatchFacts, GoodRun, JobProfile};
use crate::finding::{Difference, JobComparison};
use crate::redact::{HIDDEN, is_secret_name, redact};

/// Amounts that are less than this apart, by the larger one, are alike: batches are never quite equal.
const ALIKE_SHARE: f64 = 0.2;
/// Differing parameters that are listed for each job at most; a document as a parameter would bury the rest.
const PARAMETERS_MAX: usize = 50;

/// One comparison for each job that has an earlier good run.
pub(crate) fn compare(facts: &BatchFacts) -> Vec<JobComparison> {
    let jobs = facts
        .tiers
        .iter()
        .flat_map(|tier| tier.jobs.iter().map(|job| (tier.tier_num, job)));
    jobs.filter_map(|(tier_num, job)| {
        let good = facts.last_good.iter().find(|g| g.job_id == job.job_id)?;
        Some(JobComparison {
            tier_num,
            job_id: job.job_id.clone(),
            good_batch_id: good.batch_id.clone(),
            good_job_id: good.good_job_id.clone(),
            good_ended_at: good.ended_at,
            differences: differences(&job.profile, good),
        })
    })
    .collect()
}

fn differences(now: &JobProfile, good: &GoodRun) -> Vec<Difference> {
    let before = &good.profile;
    let mut list = List::default();
    list.differ("extractor", &before.extractor.name, &now.extractor.name);
    list.differ(
        "extractor_version",
        &before.extractor.version,
        &now.extractor.version,
    );
    parameters(
        &mut list,
        &before.extractor.parameters,
        &now.extractor.parameters,
    );
    list.differ(
        "plugin_archives",
        &before.plugin_archives,
        &now.plugin_archives,
    );
    list.differ(
        "plugin_dependencies",
        &before.plugin_dependencies,
        &now.plugin_dependencies,
    );
    list.differ("collections", &before.collection_ids, &now.collection_ids);
    list.apart("rows", before.rows, now.rows);
    sizes(&mut list, before.sizes, now.sizes);
    resources(&mut list, &before.resources, &now.resources);
    list.known(
        "deployment_mode",
        &before.deployment_mode,
        &now.deployment_mode,
    );
    node(&mut list, before, now);
    list.known("fettle_version", &before.version, &now.version);
    list.known(
        "worker_version",
        &before.worker_version,
        &now.worker_version,
    );
    list.0
}

fn parameters(list: &mut List, before: &Map<String, Value>, now: &Map<String, Value>) {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .take(PARAMETERS_MAX);
    for name in differing {
        let value = |of: &Map<String, Value>| of.get(name).map_or(Value::Null, |v| shown(name, v));
        list.push(&format!("parameters.{name}"), value(before), value(now));
    }
}

/// The value of a parameter as it may be shown; secrets may lie deeper in it.
fn shown(name: &str, value: &Value) -> Value {
    if is_secret_name(name) {
        return json!(HIDDEN);
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shown(name, value)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| shown(name, item)).collect(),
        Value::String(text) => json!(redact(text)),
        other => other.clone(),
    }
}

fn sizes(list: &mut List, before: Option<RowSizes>, now: Option<RowSizes>) {
    let (Some(before), Some(now)) = (before, now) else {
        return;
    };
    let each = [
        ("row_bytes_total", before.total_bytes, now.total_bytes),
        ("row_bytes_p50", before.p50_bytes, now.p50_bytes),
        ("row_bytes_p95", before.p95_bytes, now.p95_bytes),
        ("row_bytes_max", before.max_bytes, now.max_bytes),
    ];
    for (what, before, now) in each {
        list.apart(what, Some(before), Some(now));
    }
}

fn resources(list: &mut List, before: &Resources, now: &Resources) {
    list.differ("workers", &before.workers(), &now.workers());
    list.differ("num_cpus", &before.num_cpus, &now.num_cpus);
    list.differ("num_gpus", &before.num_gpus, &now.num_gpus);
    list.differ("memory_bytes", &before.memory_bytes, &now.memory_bytes);
    list.differ("requires_gpu", &before.requires_gpu, &now.requires_gpu);
    list.differ("priority", &before.priority, &now.priority);
}

/// Nodes of one kind have the same kernel, instruction set, cores and memory; their names say nothing.
fn node(list: &mut List, before: &JobProfile, now: &JobProfile) {
    let (Some(before), Some(now)) = (&before.node, &now.node) else {
        return;
    };
    list.differ("node.kernel", &before.kernel, &now.kernel);
    list.differ("node.architecture", &before.architecture, &now.architecture);
    list.differ("node.cores", &before.cores, &now.cores);
    list.apart(
        "node.memory_bytes",
        Some(before.memory_bytes),
        Some(now.memory_bytes),
    );
}

/// Differences in the order in which they were found.
#[derive(Default)]
struct List(Vec<Difference>);

impl List {
    fn push(&mut self, what: &str, last_good: Value, now: Value) {
        self.0.push(Difference {
            what: what.to_owned(),
            last_good,
            now,
        });
    }

    fn differ<T: PartialEq + serde::Serialize>(&mut self, what: &str, before: &T, now: &T) {
        if before != now {
            self.push(what, json!(before), json!(now));
        }
    }

    /// Only where both are known.
    fn known(&mut self, what: &str, before: &Option<String>, now: &Option<String>) {
        if before.is_some() && now.is_some() {
            self.differ(what, before, now);
        }
    }

    /// Amounts that are not alike.
    fn apart(&mut self, what: &str, before: Option<u64>, now: Option<u64>) {
        let (Some(before), Some(now)) = (before, now) else {
            return;
        };
        let larger = before.max(now) as f64;
        if before.abs_diff(now) as f64 > larger * ALIKE_SHARE {
            self.differ(what, &before, &now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use fettle_model::evidence::NodeEvidence;
    use fettle_model::{AttemptExit, BatchId, JobId, UnixMillis};

    fn facts(change: impl FnOnce(&mut JobProfile)) -> BatchFacts {
        let mut facts = fixture::failed(AttemptExit::OutOfMemory, vec![]);
        let job = &mut facts.tiers[0].jobs[0];
        let node = NodeEvidence {
            kernel: "6.1".into(),
            architecture: "x86_64".into(),
            cores: 2,
            memory_bytes: 8 << 30,
        };
        job.profile.node = Some(node);
        job.profile.rows = Some(100);
        job.profile.sizes = RowSizes::of(vec![1_000; 100]);
        job.profile.version = Some("1".into());
        facts.last_good = vec![GoodRun {
            job_id: job.job_id.clone(),
            batch_id: BatchId::from_entropy([7; 15]),
            good_job_id: JobId::from_entropy([8; 15]),
            ended_at: Some(UnixMillis(5)),
            profile: job.profile.clone(),
        }];
        change(&mut job.profile);
        facts
    }

    fn found(change: impl FnOnce(&mut JobProfile)) -> Vec<(String, Value, Value)> {
        let mut compared = compare(&facts(change));
        assert_eq!(compared.len(), 1);
        let listed = compared.remove(0).differences.into_iter();
        listed.map(|d| (d.what, d.last_good, d.now)).collect()
    }

    fn one(what: &str, before: Value, now: Value) -> Vec<(String, Value, Value)> {
        vec![(what.to_owned(), before, now)]
    }

    #[test]
    fn equal_runs_and_small_changes_of_amounts_are_not_listed() {
        assert_eq!(found(|_| ()), []);
        assert_eq!(
            found(|now| {
                now.rows = Some(110);
                now.sizes = RowSizes::of(vec![1_100; 100]);
            }),
            []
        );
    }

    #[test]
    fn what_changed_is_listed_with_both_values() {
        assert_eq!(
            found(|now| now.extractor.version = "v2".into()),
            one("extractor_version", json!("v1"), json!("v2"))
        );
        assert_eq!(
            found(|now| now.resources.num_cpus = 1.5),
            [
                one("workers", json!(1), json!(2)),
                one("num_cpus", json!(1.0), json!(1.5))
            ]
            .concat()
        );
        assert_eq!(
            found(|now| now.rows = Some(1_000)),
            one("rows", json!(100), json!(1_000))
        );
        let mut sizes = vec![1_000; 99];
        sizes.push(1_150);
        sizes.push(9_000_000);
        let one_big = found(|now| now.sizes = RowSizes::of(sizes));
        let names: Vec<&str> = one_big.iter().map(|(what, ..)| what.as_str()).collect();
        assert_eq!(names, ["row_bytes_total", "row_bytes_max"]);
        assert_eq!(
            found(|now| now.node.as_mut().unwrap().cores = 64),
            one("node.cores", json!(2), json!(64))
        );
    }

    #[test]
    fn parameters_are_told_apart_by_name_and_secrets_are_not_shown() {
        let set = |now: &mut JobProfile| {
            let given = json!({"chunk_size": 9, "API_KEY": "hush", "model": {"name": "m", "token": "hush"}});
            now.extractor.parameters = given.as_object().unwrap().clone();
        };
        let listed = found(set);
        assert_eq!(
            listed[0],
            ("parameters.API_KEY".into(), Value::Null, json!(HIDDEN))
        );
        assert_eq!(
            listed[1],
            ("parameters.chunk_size".into(), Value::Null, json!(9))
        );
        assert!(!json!(listed).to_string().contains("hush"));
    }

    #[test]
    fn what_is_not_known_of_one_run_is_no_difference_and_without_a_good_run_there_is_nothing() {
        assert_eq!(
            found(|now| {
                now.version = None;
                now.sizes = None;
                now.node = None;
                now.rows = None;
            }),
            []
        );
        let mut facts = facts(|_| ());
        facts.last_good.clear();
        assert_eq!(compare(&facts), []);
    }
}
