//! `fettle demo`: a batch of real files runs, a tier dies of too little memory, and Fettle says why and mends it.
//!
//! Owns the story and its claims. Each claim is checked; one that does not hold ends the demo with a failure, so the demo is an
//! end-to-end test too. It must not use anything that a user could not: every step is a call of the public API.

mod claims;
mod pick;
mod steps;
mod story;

use std::fs;
use std::path::{Path, PathBuf};

use crate::args::{DemoArgs, GlobalArgs};
use crate::connection::{self, Connection};
use crate::error::CliError;
use crate::exit::Code;
use crate::output::Printer;
use crate::private_server::{Options, PrivateServer};
use crate::stop;

use pick::Picked;
use story::Story;

/// Carries out the demo on a server of its own.
pub(crate) async fn run(
    global: &GlobalArgs,
    args: DemoArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let model_dir = model_dir(&args)?;
    let mut story = Story::new(*printer);
    story.open()?;
    story.step("files")?;
    let picked = match &args.dir {
        Some(folder) => pick::from_folder(folder, args.files)?,
        None => pick::from_machine(args.files)?,
    };
    steps::tell_files(&story, &picked)?;
    let data = DataFolder::new(&args)?;
    story.step("a server")?;
    let options = Options {
        data_dir: &data.path,
        file_roots: picked.roots.clone(),
        model_dir: Some(&model_dir),
    };
    let server = PrivateServer::start(&options).await?;
    story.line(format_args!(
        "fettle serve answers at {}; its data is in {}",
        server.url(),
        data.path.display()
    ))?;
    let global = server.global(global);
    let outcome = tokio::select! {
        outcome = tell(&global, &args, &picked, &mut story) => outcome,
        () = stop::asked_to_stop() => Err(CliError::Interrupted),
    };
    if outcome.is_err() {
        steps::cancel_what_runs(&global, printer).await;
    }
    let stopped = server.stop().await;
    if outcome.is_ok() {
        data.remove()?;
    } else {
        printer.note(format_args!(
            "the server's data and log stay in {}",
            data.path.display()
        ));
    }
    outcome.and(stopped)?;
    story.close()?;
    Ok(Code::Ok)
}

async fn tell(
    global: &GlobalArgs,
    args: &DemoArgs,
    picked: &Picked,
    story: &mut Story,
) -> Result<(), CliError> {
    let connection = Connection::new(global)?;
    let namespace = connection::namespace(global);
    story.step("a batch of two tiers, the second with too little memory")?;
    let prepared = steps::prepare(&connection, namespace, args, picked, story).await?;
    story.step("it runs, and tier 1 dies")?;
    steps::run_and_fail(&connection, &prepared, story).await?;
    steps::mend_until_it_completes(&connection, args, &prepared, story).await?;
    story.step("is anything lost?  fettle batch audit")?;
    steps::audit(&connection, &prepared, story).await?;
    story.step("a search over what came out")?;
    steps::search(&connection, &prepared, story).await
}

/// Without a model there is nothing that needs the memory.
fn model_dir(args: &DemoArgs) -> Result<PathBuf, CliError> {
    let hint = Some(
        "`make demo` fetches it; or set FETTLE_MODEL_DIR to a folder with all-MiniLM-L6-v2"
            .to_owned(),
    );
    let Some(folder) = &args.model_dir else {
        return Err(CliError::Local {
            message: "the demo needs the sentence model".to_owned(),
            hint,
        });
    };
    if !folder.join("model.safetensors").is_file() {
        let message = format!("there is no model.safetensors in {}", folder.display());
        return Err(CliError::Local { message, hint });
    }
    folder.canonicalize().map_err(|source| CliError::File {
        doing: "open",
        path: folder.clone(),
        source,
    })
}

/// The server's data: removed at the end unless it was asked for by name.
#[derive(Debug)]
struct DataFolder {
    path: PathBuf,
    is_ours: bool,
}

impl DataFolder {
    fn new(args: &DemoArgs) -> Result<Self, CliError> {
        let (path, is_ours) = match &args.data_dir {
            Some(folder) => (folder.clone(), false),
            None => (
                std::env::temp_dir().join(format!("fettle-demo-{}", std::process::id())),
                true,
            ),
        };
        make(&path)?;
        Ok(Self { path, is_ours })
    }

    fn remove(self) -> Result<(), CliError> {
        if !self.is_ours {
            return Ok(());
        }
        fs::remove_dir_all(&self.path).map_err(|source| CliError::File {
            doing: "remove",
            path: self.path,
            source,
        })
    }
}

fn make(path: &Path) -> Result<(), CliError> {
    fs::create_dir_all(path).map_err(|source| CliError::File {
        doing: "make",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use fettle_wire::diagnose::DiagnoseResponse;
    use serde_json::json;

    /// A diagnosis of a tier that died of too little memory.
    pub(crate) fn diagnosis() -> DiagnoseResponse {
        serde_json::from_value(json!({
            "batch_id": "btch_1", "status": "FAILED", "failure_category": "infrastructure",
            "failure_reason": "too little memory", "summary": "", "confidence": 0.99,
            "would_decide": [], "per_tier": [], "failed_document_count": 0,
            "failed_documents_sample": [], "recommendations": [], "recommended_actions": [],
            "infrastructure_events": [{"event_type": "oom"}], "error_groups": [], "timeline": [],
            "evidence": [{"what": "killed", "source": "memory.oom_control oom_kill", "supports": "out_of_memory"}],
            "audit": {"batch_id": "btch_1", "status": "FAILED", "all_balanced": true,
                      "has_lost_objects": false, "tiers": []},
        }))
        .unwrap()
    }
}
