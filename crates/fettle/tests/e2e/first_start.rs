//! The first start: a key that is shown once, and an address that it must not guard.

use std::process::{Command, Output};

fn serve(data_dir: &std::path::Path, listen: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fettle"))
        .args(["serve", "--listen", listen, "--data-dir"])
        .arg(data_dir)
        .env_remove("FETTLE_API_KEY")
        .output()
        .unwrap()
}

/// Neither start gets as far as listening, so both end by themselves.
#[test]
fn a_new_key_is_shown_even_when_the_server_then_refuses_to_listen() {
    let dir = tempfile::tempdir().unwrap();
    let first = serve(dir.path(), "0.0.0.0:1");
    assert_eq!(first.status.code(), Some(9));
    let refusal = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(refusal.contains("FETTLE_API_KEY"), "{refusal}");
    let shown = String::from_utf8_lossy(&first.stdout).into_owned();
    let key = shown
        .split_whitespace()
        .find(|word| word.starts_with("fk_"))
        .unwrap();
    assert!(key.len() > 40, "{shown}");
    assert!(!refusal.contains(key), "the key is in the log");
    let again = serve(dir.path(), "0.0.0.0:1");
    assert!(again.stdout.is_empty(), "a key is shown once");
    let kept = std::fs::read(dir.path().join("state.sqlite")).unwrap();
    let is_kept = kept
        .windows(key.len())
        .any(|window| window == key.as_bytes());
    assert!(!is_kept, "the key itself is stored");
}
