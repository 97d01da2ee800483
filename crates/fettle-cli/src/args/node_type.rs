//! Kinds of nodes that an autoscaler starts, as `name=gpu,max_workers=4,num_cpus=8,num_gpus=1,memory=28GiB`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use super::size::{MemorySize, parse_size};

/// Nodes of one kind that an autoscaler may start.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeType {
    /// The autoscaler's name for it.
    pub name: String,
    /// The most of them at a time.
    pub max_workers: u32,
    /// CPU cores of each.
    pub num_cpus: f64,
    /// GPUs of each; none when left out.
    pub num_gpus: f64,
    /// Memory that jobs may have on each.
    pub memory: MemorySize,
}

/// Reads a type of nodes.
pub(super) fn parse_node_type(text: &str) -> Result<NodeType, String> {
    let mut given = BTreeMap::new();
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is not of the form key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        if given.insert(key, value).is_some() {
            return Err(format!("{key} is given twice"));
        }
    }
    let mut take = |key: &str| given.remove(key);
    let missing =
        |key: &str| format!("{key} is missing; give name, max_workers, num_cpus and memory");
    let mut need = |key: &str| take(key).ok_or_else(|| missing(key));
    let node_type = NodeType {
        name: need("name")?.to_owned(),
        max_workers: number("max_workers", need("max_workers")?, 1)?,
        num_cpus: amount("num_cpus", need("num_cpus")?)?,
        memory: parse_size(need("memory")?).map_err(|error| format!("memory: {error}"))?,
        num_gpus: take("num_gpus").map_or(Ok(0.0), |value| amount("num_gpus", value))?,
    };
    match given.keys().next() {
        Some(key) => Err(format!(
            "{key} is unknown; there are name, max_workers, num_cpus, num_gpus and memory"
        )),
        None if node_type.name.is_empty() => Err("name is empty".to_owned()),
        None => Ok(node_type),
    }
}

fn amount(key: &str, text: &str) -> Result<f64, String> {
    number(key, text, 0.0).and_then(|value: f64| match value.is_finite() {
        true => Ok(value),
        false => Err(format!("{key} must be a number")),
    })
}

fn number<T: FromStr + PartialOrd + Display>(key: &str, text: &str, least: T) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if value >= least => Ok(value),
        _ => Err(format!("{key} must be a number of at least {least}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_with_its_amounts_in_any_order() {
        let read = parse_node_type("memory=28GiB, name=gpu,num_cpus=7.5,max_workers=4,num_gpus=2");
        let gpu = NodeType {
            name: "gpu".to_owned(),
            max_workers: 4,
            num_cpus: 7.5,
            num_gpus: 2.0,
            memory: parse_size("28GiB").unwrap(),
        };
        assert_eq!(read, Ok(gpu.clone()));
        let read = parse_node_type("name=gpu,max_workers=4,num_cpus=7.5,memory=28GiB");
        assert_eq!(
            read,
            Ok(NodeType {
                num_gpus: 0.0,
                ..gpu
            })
        );
    }

    #[test]
    fn what_is_no_type_is_refused_with_what_is_wrong() {
        for (text, expected) in [
            ("gpu", "not of the form key=value"),
            ("name=gpu", "max_workers is missing"),
            (
                "name=,max_workers=1,num_cpus=1,memory=1GiB",
                "name is empty",
            ),
            (
                "name=a,max_workers=0,num_cpus=1,memory=1GiB",
                "max_workers must be a number of at least 1",
            ),
            (
                "name=a,max_workers=1,num_cpus=nan,memory=1GiB",
                "num_cpus must be a number",
            ),
            (
                "name=a,max_workers=1,num_cpus=inf,memory=1GiB",
                "num_cpus must be a number",
            ),
            (
                "name=a,max_workers=1,num_cpus=1,memory=much",
                "memory: give a size",
            ),
            (
                "name=a,max_workers=1,num_cpus=1,memory=1GiB,gpus=1",
                "gpus is unknown",
            ),
            (
                "name=a,name=b,max_workers=1,num_cpus=1,memory=1GiB",
                "name is given twice",
            ),
        ] {
            let error = parse_node_type(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
