//! The definition of the whole command line, in one place.
//!
//! Owns names, defaults and help texts; `docs/settings.md` is made from it. It must not carry anything out.

mod batch;
mod classify;
mod node_type;
mod serve;
mod size;
mod work;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use batch::{
    AuditArgs, BatchCommand, CancelArgs, DiagnoseArgs, FailedArgs, GetArgs, HealArgs, ListArgs,
    LogsArgs, RetryArgs, WatchArgs,
};
pub use classify::{ClassifyArgs, RulesCommand};
pub use node_type::NodeType;
pub use serve::{DoctorArgs, ExecutorKind, InternalArgs, LogFormat, ServeArgs, StuckAction};
pub use size::MemorySize;
pub use work::{DemoArgs, PluginAddArgs, PluginCommand, RunArgs};

/// Where a server listens and is looked for when nothing else is said.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8420";
/// The namespace that is used when nothing else is said.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// Environment variables that are read besides those of options, with their effect.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "NO_COLOR",
        "any value but the empty one: no colour in output, as `--no-color`",
    ),
    (
        "FETTLE_LOG",
        "what the server logs, such as `debug` or `fettle_control=debug,info`; `info` when left out",
    ),
    (
        "FETTLE_CONFINEMENT",
        "`cgroup_v2`, `cgroup_v1`, `rlimit` or `none`: the best way of limiting memory that may be used; for tests and for machines whose cgroups belong to others",
    ),
    (
        "HOME",
        "where `~/.local/share/fettle`, the data folder of `fettle run`, lies",
    ),
];

/// Runs batches of objects through tiers of extractors, and says of every batch what it does, why it failed and what mends it.
#[derive(Debug, Parser)]
#[command(
    name = "fettle",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Data goes to standard output, all else to standard error. Exit codes: docs/exit-codes.md"
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The server's address; `http://127.0.0.1:8420` when left out
    #[arg(long, global = true, env = "FETTLE_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The API key; better given by the environment, where other users of the machine do not see it
    #[arg(
        long,
        global = true,
        env = "FETTLE_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub api_key: Option<String>,
    /// The namespace, by name or id; `default` when left out
    #[arg(long, global = true, env = "FETTLE_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but data and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print without colour
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: API, state, documents and local jobs in one process
    Serve(Box<ServeArgs>),
    /// Say what this machine offers: memory limits, cgroups, models, disk
    Doctor(DoctorArgs),
    /// Send a folder through a batch and search it
    Run(RunArgs),
    /// A story: a batch runs, a tier dies of too little memory, and Fettle says why and mends it
    Demo(DemoArgs),
    /// Look at batches and act on them
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Say what a failure text means; needs no server
    Classify(ClassifyArgs),
    /// Look at classification rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Register and list plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Drive an attempt; started by the server
    #[command(hide = true)]
    Job(InternalArgs),
    /// Hold a place of an attempt on another node than its driver's; started by the backend
    #[command(hide = true)]
    Host(InternalArgs),
    /// Work for an attempt; started by its driver
    #[command(hide = true)]
    Worker(InternalArgs),
}

/// The definition as clap sees it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn the_value_of_the_key_never_shows_in_help() {
        let mut command = command();
        let help = command.render_long_help().to_string();
        let key = command
            .get_arguments()
            .find(|arg| arg.get_id() == "api_key");
        assert!(key.is_some_and(clap::Arg::is_hide_env_values_set), "{help}");
    }

    #[test]
    fn global_options_may_stand_after_the_command() {
        let cli = parse("fettle batch ls --json --namespace photos").unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.namespace.as_deref(), Some("photos"));
    }

    #[test]
    fn internal_commands_take_any_arguments() {
        let cli = parse("fettle worker --spec a -x").unwrap();
        let Command::Worker(worker) = cli.command else {
            panic!("not a worker")
        };
        assert_eq!(worker.arguments, ["--spec", "a", "-x"]);
    }
}
