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

#[tokio::main(worker_threads = 2)]
async fn run(settings: RunSettings) -> Result<(), String> {
    logs::start(settings.log_format, &settings.log_level).map_err(|error| error.to_string())?;
    runtime::run(settings).await.map_err(|error| error.to_string())
}
