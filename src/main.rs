//! The operator.

use std::process::ExitCode;

use clap::Parser;
use lockkeeper::{
    api::crd,
    settings::{Command, CrdSettings, RunSettings, Settings},
    shell::{check, definition, runtime, uninstall, webhook::setup},
    telemetry::logs,
};

fn main() -> ExitCode {
    let outcome = match Settings::parse().command {
        Command::Run(settings) => run(settings),
        Command::Crd(CrdSettings { apply: false }) => {
            crd::yaml().map(|yaml| print!("{yaml}")).map_err(|error| error.to_string())
        }
        Command::Crd(_) => errand(definition::apply()),
        Command::Check(settings) => errand(check::run(settings)),
        Command::Uninstall(settings) => errand(uninstall::run(settings)),
        Command::WebhookSetup(settings) => errand(setup::run(settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockkeeper: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread does: the loop decides in milliseconds, and each further thread costs memory for an
/// allocator arena of its own.
#[tokio::main(flavor = "current_thread")]
async fn run(settings: RunSettings) -> Result<(), String> {
    logs::start(settings.log_format, &settings.log_level).map_err(|error| error.to_string())?;
    runtime::run(settings).await.map_err(|error| error.to_string())
}

/// Does what a hook of the chart is there for, and says what it did.
#[tokio::main(flavor = "current_thread")]
async fn errand<E: std::fmt::Display>(
    errand: impl Future<Output = Result<String, E>>,
) -> Result<(), String> {
    errand.await.map(|said| println!("{said}")).map_err(|error| error.to_string())
}
