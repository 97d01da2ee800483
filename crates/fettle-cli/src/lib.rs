//! The command line: its definition, the commands that speak to a server, and what they print.
//!
//! Owns every option, exit code and line of output of those commands. It must not know more of a server than the HTTP API
//! tells; `serve`, `worker`, `job` and `doctor` are carried out by the binary.

pub mod args;

mod answer;
mod batch;
mod connection;
mod demo;
mod error;
mod exit;
mod extractor;
mod folder;
mod output;
mod plugin;
mod private_server;
mod progress;
mod run;
mod search;
mod start;
mod stop;
mod text;

pub use args::{
    ClassifyArgs, Cli, Command, DoctorArgs, ExecutorKind, GlobalArgs, InternalArgs, LogFormat,
    MemorySize, NodeType, RulesCommand, ServeArgs, StuckAction, VARIABLES, command,
};
pub use error::CliError;
pub use exit::Code;
pub use start::run;
