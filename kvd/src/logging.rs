//! What the process says about itself: lines on stderr, for people or for machines, never a key or a value.
//!
//! `KVD_LOG` narrows or widens what is said, in the notation of `tracing` (`kvd=debug,transport=trace`).

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For reading.
    #[default]
    Human,
    /// One JSON object a line: `timestamp`, `level`, `target`, `message` and the fields beside them.
    Json,
}

/// Said when `KVD_LOG` says nothing: our own lines, and of the libraries only what worries them.
const DEFAULT_FILTER: &str = "warn,kvd=info,transport=info";

/// Begins logging. A second call changes nothing.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("KVD_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
}
