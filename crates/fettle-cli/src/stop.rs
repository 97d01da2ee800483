//! Being asked to stop: Ctrl-C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when the process is asked to stop.
pub(crate) async fn asked_to_stop() {
    // Without a handler the signals keep their default effect, which ends the process: then this need never end.
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
