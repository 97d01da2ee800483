//! What the control room is told at start.

use std::path::PathBuf;
use std::time::Duration;

use fettle_diagnose::stuck::StuckLimits;
use fettle_model::Resources;
use fettle_model::attempt::AccessPolicy;

use crate::token;

/// Settings of the control room.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Where drivers reach `serve`, such as `http://127.0.0.1:8420`.
    pub control_url: String,
    /// Where clients reach `serve`, when that is not the host that they name, such as `https://fettle.example.org`.
    pub public_url: Option<String>,
    /// A file that always holds the present `control_url`.
    pub control_url_file: Option<PathBuf>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The folder of the sentence-embedding model.
    pub model_dir: Option<PathBuf>,
    /// What blobs workers may read.
    pub access: AccessPolicy,
    /// `host` or `host:port` that webhooks may be sent to although their address is private.
    pub webhook_hosts: Vec<String>,
    /// Requests that an API key may make each second; no limit when none.
    pub requests_per_second: Option<f64>,
    /// What a job may use when nobody says otherwise.
    pub default_resources: Resources,
    /// A row that takes longer is failed, in milliseconds.
    pub row_timeout_ms: Option<u64>,
    /// What is done about stuck workers.
    pub stuck: StuckPolicy,
    /// How long a cluster may take to find a place for what it has taken; longer is no cold start any more.
    pub cold_start: Duration,
    /// What an hour of a worker costs, in US dollars; none means that no money is ever named.
    pub price_per_compute_hour: Option<f64>,
    /// The secret from which attempt tokens are derived.
    pub token_secret: [u8; 32],
}

/// What is done about stuck workers, and what is let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StuckPolicy {
    /// What is done.
    pub mode: StuckMode,
    /// The floors below which nothing is called stuck.
    pub limits: StuckLimits,
}

/// What is done about stuck workers without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StuckMode {
    /// Nothing; whoever asks is answered.
    Off,
    /// They are noted in the timeline.
    Detect,
    /// Those that are hung or spinning beyond doubt are ended, and their rows are tried again.
    #[default]
    Kill,
}

/// Memory of a worker when nobody says otherwise: the sentence model with a batch of rows needs about 400 MiB, a large PDF or image about as much again.
pub const DEFAULT_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;

impl ControlConfig {
    /// The secret with which the backend tells of itself.
    #[must_use]
    pub fn backend_token(&self) -> String {
        token::backend_token(&self.token_secret)
    }

    /// One core and `DEFAULT_MEMORY_BYTES`.
    #[must_use]
    pub fn standard_resources() -> Resources {
        Resources {
            num_cpus: 1.0,
            num_gpus: 0.0,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            requires_gpu: false,
            priority: 0,
        }
    }
}
