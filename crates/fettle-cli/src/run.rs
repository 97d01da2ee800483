//! `fettle run DIR`: a folder through a batch, and a search over what came out.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::args::{GlobalArgs, RunArgs};
use crate::batch;
use crate::connection::{self, Connection};
use crate::error::CliError;
use crate::exit::Code;
use crate::extractor::ExtractorName;
use crate::folder::{self, File, Plan, Prepared, TierAsk};
use crate::output::Printer;
use crate::private_server::{Options, PrivateServer};
use crate::progress;
use crate::search;
use crate::stop;
use crate::text;

/// Time between two looks at the batch: smooth for an eye, cheap for a server.
const INTERVAL: Duration = Duration::from_millis(300);

/// Carries out `run`, with a server of its own when none answers.
pub(crate) async fn run(
    global: &GlobalArgs,
    mut args: RunArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let files = folder::scan(&args.folder)?;
    if files.is_empty() {
        return Err(CliError::local(format!(
            "{} has no files that are not hidden",
            args.folder.display()
        )));
    }
    if connection::answers(global).await? {
        return interruptible(global, &args, &files, printer, None).await;
    }
    if let Some(url) = &global.url {
        return Err(CliError::Request {
            message: format!("no server answers at {url}"),
            hint: Some(
                "leave `--url` and FETTLE_URL out, and a server of your own is started".to_owned(),
            ),
            code: Code::Unreachable,
        });
    }
    let server = start(&args, printer).await?;
    // Nobody else uses this server, so the batch may have the whole machine.
    args.cpus = args.cpus.or(u16::try_from(cores()).ok());
    let again = serve_again(&args)?;
    let again = (!args.keep_server).then_some(again.as_str());
    let outcome = interruptible(&server.global(global), &args, &files, printer, again).await;
    if matches!(outcome, Err(CliError::Interrupted)) {
        printer.note("what was submitted goes on; a server on the same data folder takes it up");
    }
    if args.keep_server {
        printer.note(format_args!(
            "the server goes on: process {}, `export FETTLE_URL={} FETTLE_API_KEY={}`",
            server.pid(),
            server.url(),
            server.api_key()
        ));
    } else {
        server.stop().await?;
    }
    outcome
}

async fn start(args: &RunArgs, printer: &Printer) -> Result<PrivateServer, CliError> {
    let data_dir = data_dir(args)?;
    let options = Options {
        data_dir: &data_dir,
        file_roots: vec![root(args)?],
        model_dir: args.model_dir.as_deref(),
    };
    let server = PrivateServer::start(&options).await?;
    printer.note(format_args!(
        "no server answered, so one was started; its data is in {}",
        data_dir.display()
    ));
    Ok(server)
}

/// The command that starts a server with what the own one had.
fn serve_again(args: &RunArgs) -> Result<String, CliError> {
    Ok(format!(
        "fettle serve --data-dir {} --allow-file-root {}",
        data_dir(args)?.display(),
        root(args)?.display()
    ))
}

fn data_dir(args: &RunArgs) -> Result<PathBuf, CliError> {
    args.data_dir.clone().map_or_else(default_data_dir, Ok)
}

/// The folder, as its files are named.
fn root(args: &RunArgs) -> Result<PathBuf, CliError> {
    args.folder.canonicalize().map_err(|source| CliError::File {
        doing: "open",
        path: args.folder.clone(),
        source,
    })
}

/// Cores of this machine, as far as this process may use them.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn default_data_dir() -> Result<PathBuf, CliError> {
    let home = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .ok_or_else(|| CliError::Local {
            message: "HOME is not set, so there is no default data folder".to_owned(),
            hint: Some("name one with --data-dir".to_owned()),
        })?;
    Ok(Path::new(&home).join(".local/share/fettle"))
}

async fn interruptible(
    global: &GlobalArgs,
    args: &RunArgs,
    files: &[File],
    printer: &Printer,
    serve: Option<&str>,
) -> Result<Code, CliError> {
    tokio::select! {
        outcome = carry_out(global, args, files, printer, serve) => outcome,
        () = stop::asked_to_stop() => Err(CliError::Interrupted),
    }
}

async fn carry_out(
    global: &GlobalArgs,
    args: &RunArgs,
    files: &[File],
    printer: &Printer,
    serve: Option<&str>,
) -> Result<Code, CliError> {
    let connection = Connection::new(global)?;
    let plan = Plan {
        name: name_for(&args.folder, Timestamp::now()),
        extractor: ExtractorName::parse(&args.extractor),
        plugins: args
            .plugin
            .iter()
            .map(|name| ExtractorName::parse(name))
            .collect(),
    };
    printer.note(format_args!(
        "{} in {}",
        text::plural(files.len() as u64, "file"),
        args.folder.display()
    ));
    let namespace = connection::namespace(global);
    let prepared = folder::prepare(&connection, namespace, &plan, files, &mut |_| {}).await?;
    for refused in &prepared.refused {
        printer.note(format_args!("left out: {refused}"));
    }
    folder::submit(&connection, &prepared, &asks(args, &prepared)).await?;
    printer.note(format_args!("batch {}", prepared.batch_id));
    let (last, answer) =
        progress::follow(&connection, printer, &prepared.batch_id, INTERVAL).await?;
    if !printer.is_json() {
        let (diagnosis, _) = batch::diagnosis(&connection, &prepared.batch_id).await?;
        batch::print_summary(printer, &last, &diagnosis, serve)?;
    } else if args.query.is_none() {
        printer.json(&answer)?;
    }
    if matches!(last.status.as_str(), "COMPLETED" | "COMPLETED_WITH_ERRORS") {
        find(&connection, args, &prepared, printer).await?;
    }
    Ok(Code::of_batch(&last.status))
}

/// What the tiers may use. Memory is for the tier that embeds: reading files needs little.
fn asks(args: &RunArgs, prepared: &Prepared) -> Vec<TierAsk> {
    let num_cpus = args.cpus.map(usize::from);
    let files = TierAsk {
        num_cpus,
        memory_bytes: None,
    };
    let chunks = TierAsk {
        num_cpus,
        memory_bytes: args.memory.map(|memory| memory.bytes),
    };
    match prepared.chunks_collection {
        Some(_) => vec![files, chunks],
        None => vec![files],
    }
}

async fn find(
    connection: &Connection,
    args: &RunArgs,
    prepared: &Prepared,
    printer: &Printer,
) -> Result<(), CliError> {
    let Some(collection) = &prepared.chunks_collection else {
        printer.note(format_args!(
            "the documents are in collection {}",
            prepared.files_collection
        ));
        return Ok(());
    };
    if let Some(query) = &args.query {
        let results = search::search(connection, collection, query, search::RESULTS_MAX).await?;
        return search::print(printer, &results);
    }
    if !printer.may_ask() {
        printer.note("`--query TEXT` searches what came out");
        return Ok(());
    }
    loop {
        printer.prompt("\nsearch (empty to end): ");
        let Some(query) = next_line().await? else {
            return Ok(());
        };
        match search::search(connection, collection, &query, search::RESULTS_MAX).await {
            Ok(results) => search::print(printer, &results)?,
            Err(error) => printer.error(&error),
        }
    }
}

/// A line from the terminal; `None` at its end or when it is empty. Read on a thread, so that Ctrl-C is still seen.
async fn next_line() -> Result<Option<String>, CliError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = read
        .await
        .map_err(|error| CliError::local(format!("failed to read the terminal: {error}")))?;
    let line =
        line.map_err(|error| CliError::local(format!("failed to read the terminal: {error}")))?;
    let query = line.trim();
    Ok((!query.is_empty()).then(|| query.to_owned()))
}

/// A name for what is made of a folder, such as `photos-20261124-024307`.
fn name_for(folder: &Path, now: Timestamp) -> String {
    let base = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let base = base.file_name().map_or_else(
        || "files".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let safe: String = base
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    let safe = safe.trim_matches('-');
    let safe = if safe.is_empty() { "files" } else { safe };
    format!("{safe}-{}", now.strftime("%Y%m%d-%H%M%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_the_folder_and_the_time() {
        let at: Timestamp = "2026-11-24T02:43:07Z".parse().unwrap();
        assert_eq!(
            name_for(Path::new("/nowhere/My Photos!"), at),
            "my-photos-20261124-024307"
        );
        assert_eq!(
            name_for(Path::new("/nowhere/ü"), at),
            "files-20261124-024307"
        );
    }
}
