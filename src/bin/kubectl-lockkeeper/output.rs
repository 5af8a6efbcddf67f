//! How commands write what they found.

use std::io::Write;

use lockkeeper::core::is_format;
use serde::Serialize;

use crate::{Output, cluster::Failure};

/// Writes a text to standard output; colours only on a terminal. Nobody listening any
/// more is no failure.
pub fn print(text: &str) {
    // Names and words of others are in it.
    let seen: String = text.chars().filter(|c| !is_format(*c)).collect();
    let _ = write!(anstream::stdout(), "{seen}");
}

/// Writes data as JSON or YAML.
pub fn data<T: Serialize>(output: Output, data: &T) -> Result<(), Failure> {
    let not_written = |error: &dyn std::error::Error| Failure::Output(error.to_string());
    let text = match output {
        Output::Yaml => serde_saphyr::to_string(data).map_err(|error| not_written(&error))?,
        _ => serde_json::to_string_pretty(data).map_err(|error| not_written(&error))? + "\n",
    };
    print(&text);
    Ok(())
}
