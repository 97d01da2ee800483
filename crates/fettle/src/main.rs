//! The binary: wiring only. It parses the command line and hands each command to its room.

mod classify;
mod embed;
mod logging;
mod serve;
mod system;
mod work;

use std::process::ExitCode;

use clap::Parser;
use fettle_cli::{Cli, Code, Command, RulesCommand};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(args) => outcome(serve::run(*args, cli.global.api_key)),
        Command::Doctor(args) => work::doctor(&args, cli.global.json),
        Command::Classify(args) => outcome(classify::run(&args, cli.global.json)),
        Command::Rules(RulesCommand::Check { file }) => outcome(classify::check(&file)),
        Command::Job(args) => work::driver(&args.arguments),
        Command::Host(args) => work::host(&args.arguments),
        Command::Worker(args) => work::worker(&args.arguments),
        Command::Run(_) | Command::Demo(_) | Command::Batch(_) | Command::Plugin(_) => {
            fettle_cli::run(cli)
        }
    }
}

fn outcome(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            work::complain(&format!("error: {error:#}"));
            ExitCode::from(Code::Local.number())
        }
    }
}
