//! The start of an attempt: its folder, its group, its driver.
//!
//! Owns the guarantee that an attempt is driven at most once. A repeated start finds the traces of the first: the lock, the
//! driver's identity, or the end. Where `serve` died between starting the driver and writing that down, a second driver is
//! started, finds the lock taken, and ends with a code of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use fettle_confine::{
    ATTEMPT_MARKER_ENV, AttemptDir, AttemptGroup, Confinement, GroupError, identify,
    write_atomically,
};
use fettle_model::AttemptSpec;
use tokio::process::{Child, Command};

use super::config::LocalConfig;
use super::folder::{self, Look};

/// Why an attempt could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the attempt's folder cannot be written: {0}")]
    Folder(#[source] io::Error),
    #[error("the attempt's group cannot be made: {}", .0.explain())]
    Group(#[source] GroupError),
    #[error("the program {program} cannot be started: {source}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
}

/// Writes all that a driver needs; `false` when the attempt has been started before or is not to be started any more.
pub(crate) fn prepare(
    dir: &AttemptDir,
    confinement: &Confinement,
    spec: &AttemptSpec,
    token: &str,
) -> Result<bool, StartError> {
    if !matches!(
        folder::look(dir).map_err(StartError::Folder)?,
        Look::Unknown
    ) {
        return Ok(false);
    }
    folder::make(dir).map_err(StartError::Folder)?;
    let text = serde_json::to_vec_pretty(spec).map_err(|error| StartError::Folder(error.into()))?;
    write_atomically(&dir.spec(), &text).map_err(StartError::Folder)?;
    write_atomically(&dir.token(), token.as_bytes()).map_err(StartError::Folder)?;
    let group = AttemptGroup::create(confinement, &spec.attempt_id).map_err(StartError::Group)?;
    group.save(&dir.group()).map_err(StartError::Group)?;
    Ok(true)
}

/// Starts the driver; it leaves this process's session by itself. The token is in its file, never among arguments or in the
/// environment, where others could read it.
pub(crate) fn spawn(
    config: &LocalConfig,
    dir: &AttemptDir,
    spec: &AttemptSpec,
) -> Result<Child, StartError> {
    let mut command = Command::new(&config.program);
    command
        .args(&config.leading_args)
        .args(["job", "--spec"])
        .arg(dir.spec())
        .current_dir(dir.path())
        .env(ATTEMPT_MARKER_ENV, spec.attempt_id.as_str())
        .stdin(Stdio::null())
        .stdout(log(&dir.driver_out()).map_err(StartError::Folder)?)
        .stderr(log(&dir.driver_err()).map_err(StartError::Folder)?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_secret) {
            command.env_remove(name);
        }
    }
    let child = command.spawn().map_err(|source| StartError::Spawn {
        program: config.program.display().to_string(),
        source,
    })?;
    // Not being able to write this down is survivable: the driver writes its own name as its first act.
    if let Some(identity) = child.id().and_then(|pid| identify(pid).ok())
        && let Err(error) = identity.save(&dir.spawned())
    {
        tracing::warn!(attempt = %spec.attempt_id, %error, "the driver's identity could not be written");
    }
    Ok(child)
}

/// The names of the environment that a driver inherits, sorted.
pub(crate) fn env_vars_keys() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !is_secret(name)).collect();
    names.push(ATTEMPT_MARKER_ENV.to_owned());
    names.sort_unstable();
    names.dedup();
    names
}

fn log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Drivers start plugins, which are other people's code: what opens `serve` or its database is not theirs to inherit.
fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 5] = ["KEY", "SECRET", "TOKEN", "PASSWORD", "DATABASE"];
    name.strip_prefix("FETTLE_")
        .is_some_and(|rest| PARTS.iter().any(|part| rest.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_told_by_names_without_secrets() {
        let names = env_vars_keys();
        assert!(names.contains(&"PATH".to_owned()), "{names:?}");
        assert!(names.iter().all(|name| !is_secret(name)), "{names:?}");
        assert!(names.is_sorted());
    }

    #[test]
    fn secrets_of_serve_are_known_by_their_names() {
        for secret in [
            "FETTLE_API_KEY",
            "FETTLE_DATABASE_URL",
            "FETTLE_TOKEN_SECRET",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for other in [
            "FETTLE_CONFINEMENT",
            "PATH",
            "AWS_SECRET_ACCESS_KEY",
            "FETTLE_ATTEMPT_ID",
        ] {
            assert!(!is_secret(other), "{other}");
        }
    }
}
