//! A server of one's own: started for `run` and `demo` when none is there, on a free loopback port.
//!
//! Owns the process's start, readiness and end. Jobs that still run when it ends go on without it and are adopted by the next
//! server on the same data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::args::GlobalArgs;
use crate::connection;
use crate::error::CliError;

/// A server opens its stores within a second or two; a slow disk may need longer.
const START_MAX: Duration = Duration::from_secs(60);
/// A server that is told to stop closes its stores; past this something is wrong with it.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Time between two looks at a server that starts or stops.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The end of the log that is shown when a server does not start.
const LOG_TAIL_BYTES: u64 = 2_000;
/// Bytes of chance in the key of a private server: 192 bits cannot be guessed.
const KEY_BYTES: usize = 24;

/// What a private server needs.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// Its data folder.
    pub(crate) data_dir: &'a Path,
    /// Folders below which files may be read.
    pub(crate) file_roots: Vec<PathBuf>,
    /// Folder of the sentence model.
    pub(crate) model_dir: Option<&'a Path>,
}

/// A server that this process started.
#[derive(Debug)]
pub(crate) struct PrivateServer {
    child: Child,
    url: String,
    api_key: String,
    log: PathBuf,
}

impl PrivateServer {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start(options: &Options<'_>) -> Result<Self, CliError> {
        let at = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| CliError::File {
                doing,
                path,
                source,
            }
        };
        fs::create_dir_all(options.data_dir).map_err(at("make", options.data_dir))?;
        let log = options.data_dir.join("serve.log");
        let log_file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(at("write", &log))?;
        let program = std::env::current_exe().map_err(at("find", Path::new("this program")))?;
        let address = free_address()?;
        let api_key = random_key()?;
        let mut command = Command::new(&program);
        command
            .arg("serve")
            .args(["--passing-key", "--listen", &address.to_string()])
            .arg("--data-dir")
            .arg(options.data_dir)
            .env("FETTLE_API_KEY", &api_key)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().map_err(at("write", &log))?)
            .stderr(log_file)
            // Ctrl-C in the terminal is for this process, which then stops the server in order.
            .process_group(0);
        for root in &options.file_roots {
            command.arg("--allow-file-root").arg(root);
        }
        if let Some(folder) = options.model_dir {
            command.arg("--model-dir").arg(folder);
        }
        let child = command.spawn().map_err(at("start", &program))?;
        let mut server = Self {
            child,
            url: format!("http://{address}"),
            api_key,
            log,
        };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Options that lead to this server.
    pub(crate) fn global(&self, global: &GlobalArgs) -> GlobalArgs {
        GlobalArgs {
            url: Some(self.url.clone()),
            api_key: Some(self.api_key.clone()),
            ..global.clone()
        }
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its key.
    pub(crate) fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn wait_until_ready(&mut self) -> Result<(), CliError> {
        let since = Instant::now();
        let global = self.global(&GlobalArgs::default());
        while since.elapsed() < START_MAX {
            if let Some(status) = self.exited()? {
                return Err(self.did_not_start(&format!("it ended with {status}")));
            }
            if connection::answers(&global).await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let error = self.did_not_start(&format!(
            "it did not answer within {} s",
            START_MAX.as_secs()
        ));
        self.terminate();
        Err(error)
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>, CliError> {
        self.child
            .try_wait()
            .map_err(|source| CliError::local(format!("failed to look at the server: {source}")))
    }

    fn did_not_start(&self, how: &str) -> CliError {
        CliError::Local {
            message: format!("the server did not start: {how}\n{}", tail(&self.log)),
            hint: Some(format!(
                "its log is {}; `fettle doctor` looks for what is missing",
                self.log.display()
            )),
        }
    }

    fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // A process that has ended already needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<(), CliError> {
        self.terminate();
        let since = Instant::now();
        while since.elapsed() < STOP_MAX {
            if self.exited()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Err(CliError::Local {
            message: format!(
                "the server (process {}) did not stop within {} s",
                self.pid(),
                STOP_MAX.as_secs()
            ),
            hint: Some(format!("its log is {}", self.log.display())),
        })
    }
}

/// A port that is free now. Another process could take it before the server does; then the server says so and ends.
fn free_address() -> Result<SocketAddr, CliError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| CliError::local(format!("failed to find a free port: {source}")))
}

fn random_key() -> Result<String, CliError> {
    let source = Path::new("/dev/urandom");
    let at = |error| CliError::File {
        doing: "read",
        path: source.to_owned(),
        source: error,
    };
    let mut bytes = [0_u8; KEY_BYTES];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(at)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("fk_{digits}"))
}

fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, two) = (random_key().unwrap(), random_key().unwrap());
        assert_eq!(one.len(), "fk_".len() + 2 * KEY_BYTES);
        assert_ne!(one, two);
    }

    #[test]
    fn the_address_is_a_loopback_with_a_real_port() {
        let address = free_address().unwrap();
        assert!(address.ip().is_loopback() && address.port() > 0);
    }

    #[test]
    fn the_end_of_a_log_is_shown_and_a_missing_log_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, format!("{}the end\n", "x".repeat(5_000))).unwrap();
        let shown = tail(&path);
        assert!(shown.ends_with("the end") && shown.len() as u64 <= LOG_TAIL_BYTES);
        assert_eq!(tail(&folder.path().join("none")), "");
    }
}
