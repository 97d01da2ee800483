//! Options of the commands that read failure texts without a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Options of `classify`.
#[derive(Debug, Clone, Args)]
pub struct ClassifyArgs {
    /// Files with one failure text each; standard input when none is given
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Read {"id", "text", "exit_code", "backend"} a line and print a verdict a line, in the same order
    #[arg(long)]
    pub jsonl: bool,
    /// Exit status of the process that the text is of
    #[arg(long, value_name = "STATUS", allow_negative_numbers = true)]
    pub exit_code: Option<i32>,
    /// Where it ran, such as local, ray, kubernetes or slurm
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// A file with rules of your own, which come before the built-in ones
    #[arg(long, env = "FETTLE_RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Say whether a rule file can be used, and what is wrong if not
    Check {
        /// The rule file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}
