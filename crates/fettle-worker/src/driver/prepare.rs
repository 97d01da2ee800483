//! What a driver or a host needs before its loop: the attempt's spec, the way to `serve`, the recipe of its workers, and a group for them.

use std::path::{Path, PathBuf};

use fettle_client::AttemptClient;
use fettle_confine::{AttemptDir, AttemptGroup, Confinement, detect};
use fettle_model::evidence::MemoryEnforcement;
use fettle_model::{AttemptId, AttemptSpec, ExtractorSource};
use fettle_plugin::environment::prepare_environment;

use super::worker_process::Recipe;
use crate::attempt_files;
use crate::extract::chain;

/// The attempt's spec, the way to `serve`, and how workers are started.
pub(super) fn prepare(
    worker_program: Option<&Path>,
    dir: &AttemptDir,
) -> Result<(AttemptSpec, AttemptClient, Recipe), String> {
    let spec = attempt_files::read_spec(dir).map_err(|error| chain(&error))?;
    let client = attempt_files::client(dir, &spec).map_err(|error| chain(&error))?;
    let program: std::io::Result<PathBuf> =
        worker_program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned()));
    let program =
        program.map_err(|error| format!("this program's own path is not known: {error}"))?;
    if let ExtractorSource::Plugin(plugin) = &spec.extractor_source {
        // Made at registration, where the plugin's folder is that one; on another machine now.
        let made = prepare_environment(Path::new(&plugin.directory), &plugin.requirements);
        made.map_err(|error| chain(&error))?;
    }
    let recipe = Recipe::new(program, dir.clone(), &spec);
    Ok((spec, client, recipe))
}

/// A group where no executor has made one, described in the attempt's folder, where workers find it. Without it there is still a
/// driver, only no limit.
pub(super) fn own_group(dir: &AttemptDir, attempt_id: &AttemptId) -> AttemptGroup {
    let group = AttemptGroup::create(&detect(), attempt_id).unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), "the workers' memory cannot be limited");
        let none = Confinement {
            kind: MemoryEnforcement::None,
            base: None,
            rejected: Vec::new(),
        };
        // Without a base nothing is created, so nothing can fail.
        AttemptGroup::create(&none, attempt_id).expect("a group without cgroups needs no kernel")
    });
    if let Err(error) = group.save(&dir.group()) {
        tracing::warn!(error = %chain(&error), "workers cannot tell whether a plugin was killed for lack of memory");
    }
    group
}
