//! The server's log on standard error.

use fettle_cli::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts the log; `FETTLE_LOG` chooses what is written, such as `debug` or `fettle_control=debug,info`.
pub(crate) fn start(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("FETTLE_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
    }
}
