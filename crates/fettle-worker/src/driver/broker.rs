//! The broker: a child of the driver that speaks to the backend, has it place hosts on other nodes, and carries lines to and from them.
//!
//! Owns the broker's process and the form of its lines: `VERB WORKER REST`. It must not decide how many hosts there are, nor what
//! the loss of one means.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::host_frame::{FromHost, ToHost};
use super::worker_process::WorkerEvent;

/// How a broker is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerCommand {
    /// Python, of the version that the backend's library is installed for.
    pub python: PathBuf,
    /// The folder that holds the package `engine`.
    pub package: PathBuf,
    /// The most workers that the attempt may have, with those beside the driver.
    pub workers_max: u32,
}

/// The module that is the broker.
const MODULE: &str = "engine.pipelines.broker";

/// What is written to the broker, in order.
#[derive(Debug, Clone)]
pub(super) struct Link {
    lines: mpsc::UnboundedSender<String>,
}

impl Link {
    /// Tells a host something.
    pub(super) fn tell(&self, worker: u32, order: &ToHost) {
        match serde_json::to_string(order) {
            Ok(text) => self.write(format!("tell {worker} {text}\n")),
            Err(error) => tracing::error!(%error, "an order cannot be written as JSON"),
        }
    }

    /// What is written to a broker that has ended is lost; the hosts are lost then, too.
    fn write(&self, line: String) {
        let _ = self.lines.send(line);
    }
}

/// A broker that runs; with it end its hosts.
pub(super) struct Broker {
    child: Child,
    link: Link,
}

impl Broker {
    /// Starts the broker of the attempt. Its standard error is the driver's.
    pub(super) fn start(
        command: &BrokerCommand,
        attempt: &str,
        control_url: &str,
        events: mpsc::Sender<WorkerEvent>,
    ) -> std::io::Result<Self> {
        let mut child = Command::new(&command.python)
            .args(["-m", MODULE, "--attempt", attempt])
            .args(["--control-url", control_url])
            .current_dir(&command.package)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("the broker has no pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let (lines, to_write) = mpsc::unbounded_channel();
        tokio::spawn(write(input, to_write));
        tokio::spawn(read(output, events));
        Ok(Self {
            child,
            link: Link { lines },
        })
    }

    /// The way to the hosts.
    pub(super) fn link(&self) -> Link {
        self.link.clone()
    }

    /// Asks for a host for a worker with these resources.
    pub(super) fn ask(&self, worker: u32, resources: &HostResources) {
        match serde_json::to_string(resources) {
            Ok(text) => self.link.write(format!("ask {worker} {text}\n")),
            Err(error) => tracing::error!(%error, "resources cannot be written as JSON"),
        }
    }

    /// Gives a worker's host back, or takes back that one was asked for.
    pub(super) fn release(&self, worker: u32) {
        self.link.write(format!("release {worker} \n"));
    }

    /// Ends it, and with it all hosts.
    pub(super) fn kill(&mut self) {
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "the broker has ended already");
        }
    }
}

/// What a host takes of its node.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct HostResources {
    /// CPU cores.
    pub(super) num_cpus: f64,
    /// GPUs.
    pub(super) num_gpus: f64,
    /// Memory, in bytes.
    pub(super) memory_bytes: u64,
}

async fn write(mut input: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        let written = input.write_all(line.as_bytes()).await;
        if let Err(error) = written.and(input.flush().await) {
            return tracing::debug!(%error, "the broker takes no lines");
        }
    }
}

async fn read(output: ChildStdout, events: mpsc::Sender<WorkerEvent>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match event(&line) {
            // Without a driver's loop nobody is left to be told.
            Some(event) => drop(events.send(event).await),
            None => tracing::warn!(line, "the broker said something that is none of its words"),
        }
    }
    let message = "the broker has ended; the driver's log has what it said".to_owned();
    let _ = events.send(WorkerEvent::BrokerEnded { message }).await;
}

#[derive(Deserialize)]
struct PlacedHost {
    node: String,
}

#[derive(Deserialize)]
struct LostHost {
    message: String,
}

/// What a line of the broker means.
fn event(line: &str) -> Option<WorkerEvent> {
    let mut parts = line.splitn(3, ' ');
    let (verb, worker, rest) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    match verb {
        "placed" => {
            let PlacedHost { node } = serde_json::from_str(rest).ok()?;
            Some(WorkerEvent::Placed { worker, node })
        }
        "lost" => {
            let LostHost { message } = serde_json::from_str(rest).ok()?;
            Some(WorkerEvent::Lost { worker, message })
        }
        "said" => Some(of_host(worker, serde_json::from_str(rest).ok()?)),
        _ => None,
    }
}

fn of_host(worker: u32, said: FromHost) -> WorkerEvent {
    match said {
        FromHost::Started { pid } => WorkerEvent::Started { worker, pid },
        FromHost::Failed { message } => WorkerEvent::Lost { worker, message },
        FromHost::Said { frame } => WorkerEvent::Said { worker, frame },
        FromHost::Seen { glimpse } => WorkerEvent::Seen { worker, glimpse },
        FromHost::Wrote { text } => WorkerEvent::Wrote { worker, text },
        FromHost::Killed { threads } => WorkerEvent::Killed { worker, threads },
        FromHost::Stood {
            pid,
            last_step_at,
            stand,
        } => WorkerEvent::Stood {
            worker,
            pid,
            last_step_at,
            stand,
        },
        FromHost::Ended { exit, remains } => WorkerEvent::Ended {
            worker,
            exit,
            remains,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_broker_become_events_and_anything_else_nothing() {
        let placed = event(r#"placed 3 {"node":"10.0.0.7"}"#);
        assert!(
            matches!(placed, Some(WorkerEvent::Placed { worker: 3, node }) if node == "10.0.0.7")
        );
        let lost = event(r#"lost 3 {"message":"ActorDiedError: a b"}"#);
        assert!(
            matches!(lost, Some(WorkerEvent::Lost { worker: 3, message }) if message.ends_with("a b"))
        );
        let said = event(r#"said 4 {"type":"started","pid":7}"#);
        assert!(matches!(
            said,
            Some(WorkerEvent::Started { worker: 4, pid: 7 })
        ));
        for line in ["", "placed", "placed x {}", "said 1 {}", "shouted 1 {}"] {
            assert!(event(line).is_none(), "{line}");
        }
    }
}
