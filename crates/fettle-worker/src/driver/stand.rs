//! Where processes stand, for a person who asks why: threads with the kernel functions they wait in, kernel stacks, and the stacks that
//! `py-spy`, `gdb` or `eu-stack` show where they are installed.
//!
//! Owns the bounds: no tool runs long, no text grows large, and nothing fails for want of a tool.

use std::process::Stdio;
use std::time::Duration;

use fettle_confine::{kernel_stack, sample, threads};
use tokio::process::Command;

/// Threads of a process that are described.
const THREADS_SHOWN_MAX: usize = 16;
/// Processes of a worker that are described: itself and its plugin, with something to spare.
const PROCESSES_SHOWN_MAX: usize = 4;
/// A tool that has not answered by then is ended. `gdb` needs about a second for a binary of this size.
const TOOL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a tool's answer that are kept: some dozens of frames.
const TOOL_BYTES_MAX: usize = 6 << 10;
/// Frames of each thread that a native stack shows.
const FRAMES_SHOWN: &str = "24";

/// Where the threads of a process stand.
pub(super) fn describe_threads(pid: u32) -> String {
    let mut lines = vec!["threads when it was ended:".to_owned()];
    for thread in threads(pid).into_iter().take(THREADS_SHOWN_MAX) {
        let waits = thread
            .wchan
            .map_or_else(String::new, |place| format!(", in {place}"));
        lines.push(format!(
            "  {} ({}): {:?}, {} ms of CPU{waits}",
            thread.name, thread.tid, thread.state, thread.cpu_ms
        ));
    }
    lines.join("\n")
}

/// Where all of these processes stand.
pub(super) async fn describe(pids: Vec<u32>) -> String {
    let mut parts = Vec::new();
    for pid in pids.into_iter().take(PROCESSES_SHOWN_MAX) {
        parts.extend(process(pid).await);
    }
    parts.join("\n")
}

async fn process(pid: u32) -> Option<String> {
    let seen = sample(pid)?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!(
        "process {pid} ({name}), {:?}, {} ms of CPU\n{}",
        seen.state,
        seen.cpu_ms,
        describe_threads(pid)
    );
    if let Some(stack) = kernel_stack(pid) {
        text = format!("{text}\nkernel stack of the main thread:\n{}", cut(&stack));
    }
    for (tool, stack) in stacks(pid, name.starts_with("python")).await {
        text = format!("{text}\nstacks by {tool}:\n{stack}");
    }
    Some(text)
}

/// The Python stack where it is Python, and a native one by the first tool that answers.
async fn stacks(pid: u32, is_python: bool) -> Vec<(&'static str, String)> {
    let pid = pid.to_string();
    let mut found = Vec::new();
    if is_python && let Some(stack) = ask("py-spy", &["dump", "--pid", &pid]).await {
        found.push(("py-spy", stack));
        return found;
    }
    let backtrace = format!("thread apply all backtrace {FRAMES_SHOWN}");
    let gdb = ["-nx", "-batch", "-ex", &backtrace, "-p", &pid];
    if let Some(stack) = ask("eu-stack", &["-n", FRAMES_SHOWN, "-p", &pid]).await {
        found.push(("eu-stack", stack));
    } else if let Some(stack) = ask("gdb", &gdb).await {
        found.push(("gdb", stack));
    }
    found
}

/// What a tool says; `None` when it is not here, fails, or takes too long.
async fn ask(tool: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(tool);
    command
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        // Symbols must not be fetched from anywhere.
        .env_remove("DEBUGINFOD_URLS")
        .kill_on_drop(true);
    let output = tokio::time::timeout(TOOL_TIMEOUT, command.output()).await;
    let output = output.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    (output.status.success() && !text.trim().is_empty()).then(|| cut(text.trim()))
}

fn cut(text: &str) -> String {
    if text.len() <= TOOL_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TOOL_BYTES_MAX);
    format!("{}\n…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeping_process_is_described_and_a_gone_one_left_out() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let pid = child.id().unwrap();
        let text = describe(vec![pid, u32::MAX]).await;
        child.kill().await.unwrap();
        assert!(text.contains(&format!("process {pid}")), "{text}");
        assert!(text.contains("threads when it was ended:"), "{text}");
        assert!(!text.contains(&u32::MAX.to_string()), "{text}");
        assert!(text.len() < 4 * TOOL_BYTES_MAX, "{}", text.len());
    }

    #[tokio::test]
    async fn a_program_that_is_no_python_shows_its_native_stack() {
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let pid = child.id().unwrap();
        // `sleep` stands there once it has been loaded.
        let mut text = String::new();
        for _ in 0..50 {
            text = describe(vec![pid]).await;
            if text.contains("nanosleep") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        child.kill().await.unwrap();
        assert!(
            text.contains("stacks by eu-stack:") && text.contains("clock_nanosleep"),
            "is `eu-stack` of elfutils installed, and may it trace?\n{text}"
        );
    }

    #[tokio::test]
    async fn a_tool_that_is_not_here_or_fails_says_nothing() {
        assert_eq!(ask("no-such-tool-anywhere", &[]).await, None);
        assert_eq!(ask("false", &[]).await, None);
        assert_eq!(ask("echo", &["here"]).await.as_deref(), Some("here"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ä".repeat(TOOL_BYTES_MAX);
        assert!(cut(&long).len() < TOOL_BYTES_MAX + 8);
        assert_eq!(cut("short"), "short");
    }
}
