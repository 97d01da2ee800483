//! Options of `run`, `demo` and `plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::size::{MemorySize, parse_size};

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The folder; hidden files and folders are left out
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Search for this when the batch has ended, instead of asking on a terminal
    #[arg(long, value_name = "TEXT")]
    pub query: Option<String>,
    /// What reads the files, as NAME or NAME_VERSION; text that it finds is cut into chunks and embedded
    #[arg(long, value_name = "NAME", default_value = "universal_extractor_v1")]
    pub extractor: String,
    /// A registered plugin that reads what the extractor found, as NAME_VERSION; may be repeated
    #[arg(long, value_name = "NAME_VERSION")]
    pub plugin: Vec<String>,
    /// Memory limit of each worker that cuts and embeds text, such as 1GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<MemorySize>,
    /// CPU cores for each tier, each a worker; all of the machine's for a server of one's own, else as the server chooses
    #[arg(long, value_name = "CORES", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub cpus: Option<u16>,
    /// Data folder of the server that is started when none answers; `~/.local/share/fettle` when left out
    #[arg(long, env = "FETTLE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of the sentence-embedding model for that server
    #[arg(long, env = "FETTLE_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// Leave that server running
    #[arg(long)]
    pub keep_server: bool,
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Take files from this folder only, instead of documentation found on the machine
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Folder of the sentence-embedding model
    #[arg(long, env = "FETTLE_MODEL_DIR", value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// How many files to take
    #[arg(long, value_name = "COUNT", default_value_t = 1_100)]
    pub files: usize,
    /// Memory limit of each worker in the first try, too little for the model
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = parse_size)]
    pub memory: MemorySize,
    /// Keep the server's data in this folder instead of removing it
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Register a plugin: a folder or a zip with a manifest
    Add(PluginAddArgs),
    /// List the registered plugins
    Ls,
}

/// Options of `plugin add`.
#[derive(Debug, Clone, Args)]
pub struct PluginAddArgs {
    /// The folder or zip file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}
