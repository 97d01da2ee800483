//! How a plugin's process is started: command, environment, handshake.
//!
//! Owns what a plugin may know: it gets no variable of the worker but those that programs need to run, so no secret of the server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fettle_confine::ATTEMPT_MARKER_ENV;
use fettle_plugin::{PluginKind, PluginManifest, python_of};
use serde_json::{Map, Value, json};

use super::process::{Broken, PluginProcess};
use super::{PluginError, PluginPlace};

/// The program that runs Python plugins.
const HOST: &str = include_str!("../../../../python/fettle_plugin_host.py");
/// Name of the host in the scratch folder.
const HOST_FILE: &str = "fettle_plugin_host.py";
/// Importing a large framework from a cold disk takes a minute; longer is a hang.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// Variables that a program needs to run at all, or to find its devices and libraries.
const PASSED_VARIABLES: &[&str] = &[
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "TZ",
];
/// Numeric libraries start a thread a core unless told; a worker is one of several on its machine.
const THREAD_VARIABLES: &[&str] = &[
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// Starts a plugin's process, as often as needed.
pub(super) struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    folder: PathBuf,
    variables: BTreeMap<OsString, OsString>,
    /// What a Python plugin is told first.
    greeting: Option<Vec<u8>>,
}

impl Launch {
    /// Prepares the start of `manifest`'s plugin.
    pub(super) fn new(
        manifest: &PluginManifest,
        parameters: &Map<String, Value>,
        place: &PluginPlace,
    ) -> Result<Self, PluginError> {
        let variables = variables(place);
        match manifest.kind {
            PluginKind::Exec => Ok(Self::exec(manifest, place, variables)),
            PluginKind::Python => Self::python(manifest, parameters, place, variables),
        }
    }

    fn exec(
        manifest: &PluginManifest,
        place: &PluginPlace,
        variables: BTreeMap<OsString, OsString>,
    ) -> Self {
        let mut command = manifest.command().into_iter();
        let program = command.next().unwrap_or_default();
        // What lies in the plugin's folder goes before what lies in PATH.
        let own = place.folder.join(&program);
        let program = if own.is_file() {
            own
        } else {
            PathBuf::from(program)
        };
        Self {
            program,
            args: command.map(OsString::from).collect(),
            folder: place.folder.clone(),
            variables,
            greeting: None,
        }
    }

    fn python(
        manifest: &PluginManifest,
        parameters: &Map<String, Value>,
        place: &PluginPlace,
        variables: BTreeMap<OsString, OsString>,
    ) -> Result<Self, PluginError> {
        let host = place.scratch_dir.join(HOST_FILE);
        let written = fs::write(&host, HOST);
        written.map_err(|source| PluginError::Start {
            program: host.display().to_string(),
            source,
        })?;
        let environment = python_of(&place.folder);
        if environment.is_none() && !manifest.requirements.is_empty() {
            return Err(PluginError::NoEnvironment {
                requirements: manifest.requirements.clone(),
            });
        }
        // Isolated, and without an environment of its own also without packages that happen to be on this machine.
        let mut args = vec![OsString::from("-I")];
        if environment.is_none() {
            args.push(OsString::from("-S"));
        }
        args.push(host.into_os_string());
        let (module, function) = manifest.function().unwrap_or_default();
        let greeting = json!({
            "type": "start",
            "folder": place.folder,
            "module": module,
            "function": function,
            "parameters": parameters,
        });
        Ok(Self {
            program: environment.unwrap_or_else(|| PathBuf::from("python3")),
            args,
            folder: place.folder.clone(),
            variables,
            greeting: Some(greeting.to_string().into_bytes()),
        })
    }

    /// Starts the process and waits until it is ready.
    pub(super) fn start(&self) -> Result<PluginProcess, PluginError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.variables);
        let failed = |source| PluginError::Start {
            program: self.program.display().to_string(),
            source,
        };
        let mut process = PluginProcess::start(command).map_err(failed)?;
        let Some(greeting) = &self.greeting else {
            return Ok(process);
        };
        let answer = process
            .exchange(greeting, Some(START_TIMEOUT))
            .map_err(|broken| PluginError::NotReady {
                message: not_ready(&broken),
            })?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer["type"].as_str() {
            Some("ready") => Ok(process),
            _ => Err(PluginError::Code {
                message: code_message(&answer),
            }),
        }
    }
}

fn variables(place: &PluginPlace) -> BTreeMap<OsString, OsString> {
    let passed = PASSED_VARIABLES
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut variables: BTreeMap<_, _> = passed.collect();
    let mut set =
        |name: &str, value: &Path| variables.insert(name.into(), value.as_os_str().to_owned());
    set("HOME", &place.scratch_dir);
    set("TMPDIR", &place.scratch_dir);
    set("LANG", Path::new("C.UTF-8"));
    set(ATTEMPT_MARKER_ENV, Path::new(place.attempt_id.as_str()));
    for name in THREAD_VARIABLES {
        set(name, Path::new("1"));
    }
    variables
}

fn not_ready(broken: &Broken) -> String {
    match broken {
        Broken::Ended { exit, tail } => format!("it ended with {}\n{tail}", exit.describe()),
        Broken::TimedOut => format!("it took longer than {} s to start", START_TIMEOUT.as_secs()),
        Broken::TooLong => "its first answer never ended".to_owned(),
    }
}

fn code_message(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    match (text("traceback"), text("message")) {
        ("", "") => {
            "it gave an answer that is none; does it write to the standard output of its parent?"
                .to_owned()
        }
        ("", message) => message.to_owned(),
        (traceback, _) => traceback.trim_end().to_owned(),
    }
}
