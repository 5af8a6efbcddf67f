//! Logs, as text for people or as JSON for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line a person can read.
    Text,
    /// A JSON object a line.
    Json,
}

/// The filter is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log-level {filter:?} is no filter ({reason}): write a level such as info or debug, or target=level pairs such as lockkeeper=debug,kube=warn"
)]
pub struct InvalidFilter {
    filter: String,
    reason: String,
}

/// Begins to log, to standard error.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(format: LogFormat, filter: &str) -> Result<(), InvalidFilter> {
    // The client logs the body of an answer that it cannot read, and that may be Secrets: never,
    // whatever the filter says.
    let filters = [filter, "kube_client=off"].join(",");
    let parsed = EnvFilter::try_new(filters)
        .map_err(|error| InvalidFilter { filter: filter.to_owned(), reason: error.to_string() })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}
