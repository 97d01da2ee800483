//! From the parsed command line to an exit code.

use std::process::ExitCode;

use crate::args::{BatchCommand, Cli, Command, GlobalArgs, PluginCommand};
use crate::connection::Connection;
use crate::error::CliError;
use crate::exit::Code;
use crate::output::Printer;
use crate::{batch, demo, plugin, run as run_folder};

/// Carries out a command that speaks to a server. `serve`, `doctor`, `job` and `worker` are the binary's; they end with the
/// code for a wrong command line here.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let printer = Printer::new(&cli.global);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(interruptible(&cli.global, cli.command, &printer));
            // A thread that reads the terminal must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(source) => Err(CliError::local(format!(
            "failed to start the runtime: {source}"
        ))),
    };
    let code = outcome.unwrap_or_else(|error| {
        if !matches!(error, CliError::OutputClosed) {
            printer.error(&error);
        }
        error.code()
    });
    code.into()
}

/// `run` and `demo` have a server to stop and so see to Ctrl-C themselves.
async fn interruptible(
    global: &GlobalArgs,
    command: Command,
    printer: &Printer,
) -> Result<Code, CliError> {
    match command {
        Command::Run(args) => run_folder::run(global, args, printer).await,
        Command::Demo(args) => demo::run(global, args, printer).await,
        command => {
            tokio::select! {
                outcome = carry_out(global, command, printer) => outcome,
                () = crate::stop::asked_to_stop() => Err(CliError::Interrupted),
            }
        }
    }
}

async fn carry_out(
    global: &GlobalArgs,
    command: Command,
    printer: &Printer,
) -> Result<Code, CliError> {
    match command {
        Command::Batch(command) => on_batches(&Connection::new(global)?, command, printer).await,
        Command::Plugin(PluginCommand::Add(args)) => {
            plugin::add(&Connection::new(global)?, &args, printer).await
        }
        Command::Plugin(PluginCommand::Ls) => {
            plugin::list(&Connection::new(global)?, printer).await
        }
        _ => Err(CliError::Request {
            message: "this command is carried out by the `fettle` binary itself".to_owned(),
            hint: None,
            code: Code::Usage,
        }),
    }
}

async fn on_batches(
    connection: &Connection,
    command: BatchCommand,
    printer: &Printer,
) -> Result<Code, CliError> {
    match command {
        BatchCommand::Ls(args) => batch::list(connection, &args, printer).await,
        BatchCommand::Get(args) => batch::get(connection, &args, printer).await,
        BatchCommand::Watch(args) => batch::watch(connection, &args, printer).await,
        BatchCommand::Diagnose(args) => batch::diagnose(connection, &args, printer).await,
        BatchCommand::Cancel(args) => batch::cancel(connection, &args, printer).await,
        BatchCommand::Retry(args) => batch::retry(connection, &args, printer).await,
        BatchCommand::Heal(args) => batch::heal(connection, &args, printer).await,
        BatchCommand::Logs(args) => batch::logs(connection, &args, printer).await,
        BatchCommand::Audit(args) => batch::audit(connection, &args, printer).await,
        BatchCommand::Failed(args) => batch::failed(connection, &args, printer).await,
    }
}
