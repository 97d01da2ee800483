//! Options of the commands that the binary carries out itself.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::node_type::{NodeType, parse_node_type};
use super::size::{MemorySize, parse_size};

/// Form of the server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

/// What is done about stuck workers without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StuckAction {
    /// Nothing; whoever asks is answered
    Off,
    /// They are noted in the batch's timeline
    Detect,
    /// Those that are hung or spinning beyond doubt are ended, and their rows are tried again
    Kill,
}

/// Where attempts run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecutorKind {
    /// As processes on this machine
    Local,
    /// As jobs on a Ray cluster
    Ray,
}

/// Options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Folder for state, blobs, documents and logs; made when it is missing
    #[arg(long, env = "FETTLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address to listen on; beyond loopback an own API key must be set
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8420")]
    pub listen: SocketAddr,
    /// Where clients reach the server, such as https://fettle.example.org; needed for upload addresses behind a proxy, else the host that a client names
    #[arg(long, env = "FETTLE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Where attempts run
    #[arg(long, env = "FETTLE_EXECUTOR", value_enum, default_value_t = ExecutorKind::Local, value_name = "EXECUTOR")]
    pub executor: ExecutorKind,
    /// Dashboard of the Ray cluster, such as http://head:8265
    #[arg(
        long,
        env = "FETTLE_RAY_ADDRESS",
        value_name = "URL",
        required_if_eq("executor", "ray")
    )]
    pub ray_address: Option<String>,
    /// Jobs of this server on the Ray cluster at the same time; each has a supervisor of about 90 MB there, and is asked for
    #[arg(long, env = "FETTLE_RAY_MAX_CONCURRENT_JOBS", default_value_t = 64, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    pub ray_max_concurrent_jobs: u32,
    /// Workers that one job may have on all nodes of the Ray cluster, while there is work for them; those that it asks for it has in any case
    #[arg(
        long,
        env = "FETTLE_RAY_MAX_WORKERS",
        default_value_t = 10,
        value_name = "WORKERS"
    )]
    pub ray_max_workers: u32,
    /// Seconds that a node of the Ray cluster may take to come up or come back: what only it could hold waits so long, and is then refused
    #[arg(
        long,
        env = "FETTLE_RAY_COLD_START_SECONDS",
        default_value_t = 1200,
        value_name = "SECONDS"
    )]
    pub ray_cold_start_seconds: u64,
    /// Nodes that the cluster's autoscaler starts when they are needed, such as
    /// name=gpu,max_workers=4,num_cpus=8,num_gpus=1,memory=28GiB; may be repeated. Jobs for them are given to Ray, which asks for them
    #[arg(long, env = "FETTLE_RAY_NODE_TYPES", value_name = "TYPE", value_delimiter = ';', value_parser = parse_node_type)]
    pub ray_node_type: Vec<NodeType>,
    /// Where the nodes of a cluster reach this server, such as http://10.0.0.1:8420; the address it listens on when left out
    #[arg(long, env = "FETTLE_ADVERTISE_URL", value_name = "URL")]
    pub advertise_url: Option<String>,
    /// Folder of the sentence-embedding model (config.json, tokenizer.json, model.safetensors); without one, lexical vectors are made
    #[arg(long, env = "FETTLE_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// Folder below which `file://` blobs may lie; none unless given, may be repeated
    #[arg(long, value_name = "DIR")]
    pub allow_file_root: Vec<PathBuf>,
    /// Host, or host:port, that blobs may be fetched from although its address is private; may be repeated
    #[arg(long, value_name = "HOST")]
    pub allow_private_host: Vec<String>,
    /// Host, or host:port, that webhooks may be sent to although its address is private; may be repeated
    #[arg(long, value_name = "HOST")]
    pub allow_webhook_host: Vec<String>,
    /// Requests that each API key may make a second, ten seconds' worth of them at once; no limit when left out
    #[arg(long, env = "FETTLE_RATE_LIMIT", value_name = "REQUESTS", value_parser = parse_rate)]
    pub rate_limit: Option<f64>,
    /// CPU cores that jobs may use together; all of the machine's when left out
    #[arg(long, value_name = "CORES")]
    pub capacity_cpus: Option<f64>,
    /// Where blobs are kept: file:///DIR or s3://BUCKET/PREFIX (with the usual AWS_… variables); the data folder when left out
    #[arg(long, env = "FETTLE_BLOBS", value_name = "ADDRESS")]
    pub blobs: Option<String>,
    /// Seconds after which a row is given up and its worker replaced; no limit when left out
    #[arg(long, env = "FETTLE_ROW_TIMEOUT", value_name = "SECONDS")]
    pub row_timeout: Option<u64>,
    /// What is done about stuck workers without a person
    #[arg(long, env = "FETTLE_STUCK", value_enum, default_value_t = StuckAction::Kill, value_name = "ACTION")]
    pub stuck: StuckAction,
    /// Seconds without a step, CPU time and IO below which no worker is called hung; one that computes is given six times as long.
    /// Rows that took longer raise both
    #[arg(long, env = "FETTLE_STUCK_AFTER", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub stuck_after: u64,
    /// Memory that jobs may use together, such as 8GiB; most of the machine's when left out
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub capacity_memory: Option<MemorySize>,
    /// What an hour of a worker costs in US dollars, for estimates; no money is named when left out
    #[arg(long, env = "FETTLE_PRICE_PER_COMPUTE_HOUR", value_name = "USD", value_parser = parse_price)]
    pub price_per_compute_hour: Option<f64>,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log: LogFormat,
    /// The API key is for this server's life only; set by commands that start a server of their own
    #[arg(long, hide = true)]
    pub passing_key: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("must be a number above zero".to_owned()),
    }
}

/// A price, which is not below zero.
fn parse_price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("must be a number of dollars, such as 0.35".to_owned()),
    }
}

/// Options of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Data folder to look at too
    #[arg(long, env = "FETTLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of the sentence-embedding model to look at too
    #[arg(long, env = "FETTLE_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
}

/// Arguments of an internal command, read by the room that it belongs to.
#[derive(Debug, Clone, Args)]
pub struct InternalArgs {
    /// As given
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    pub arguments: Vec<OsString>,
}
