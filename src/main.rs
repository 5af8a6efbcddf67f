//! The operator.

use std::process::ExitCode;

use clap::Parser;
use lockkeeper::{
    api::crd,
    settings::{Command, RunSettings, Settings},
    shell::runtime,
    telemetry::logs,
};

fn main() -> ExitCode {
    let outcome = match Settings::parse().command {
        Command::Run(settings) => run(settings),
        Command::Crd => crd::yaml().map(|yaml| print!("{yaml}")).map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockkeeper: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread does: the loop decides in milliseconds, and each further thread costs memory for an allocator arena of its own.
#[tokio::main(flavor = "current_thread")]
async fn run(settings: RunSettings) -> Result<(), String> {
    logs::start(settings.log_format, &settings.log_level).map_err(|error| error.to_string())?;
    runtime::run(settings).await.map_err(|error| error.to_string())
}
