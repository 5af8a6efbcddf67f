//! `kubectl lockkeeper`: what Lockkeeper holds, why, and until when. It only reads.

mod ask;
mod cluster;
mod status;
mod wait;
mod why;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cluster::{Cluster, Failure};

/// See what Lockkeeper holds, why, and wait for upgrades to be really done.
#[derive(Parser)]
#[command(name = "kubectl-lockkeeper", bin_name = "kubectl lockkeeper", version, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster and namespace.
#[derive(Args)]
struct Connection {
    /// The namespace; without it, that of the context
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig file; without it, KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// One line for each governed workload of a namespace
    Status {
        /// How to write it
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// The whole story of one workload: what it waits for, and what would let it through
    Why {
        /// Such as deployment/web
        #[arg(value_name = "KIND/NAME", value_parser = cluster::workload_id)]
        workload: lockkeeper::core::world::WorkloadId,
    },
    /// Wait until an upgrade is really done. Exit code 0: rolled out and healthy; 1: failed; 2: timed out; 3: waits for a person
    Wait {
        /// Such as deployment/web
        #[arg(value_name = "KIND/NAME", value_parser = cluster::workload_id, required_unless_present = "all", conflicts_with = "all")]
        workload: Option<lockkeeper::core::world::WorkloadId>,
        /// All governed workloads of the namespace
        #[arg(long)]
        all: bool,
        /// How long at most, such as 90s or 30m
        #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
        timeout: std::time::Duration,
    },
    /// Ask the pods whether they may be ended, before anything is applied. Exit code 0: all that count say yes; 2: not in time. Pods are
    /// asked directly, so it must run in the cluster's network
    Ask {
        /// Such as deployment/web
        #[arg(value_name = "KIND/NAME", value_parser = cluster::workload_id)]
        workload: lockkeeper::core::world::WorkloadId,
        /// How long at most, such as 90s or 30m
        #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
        timeout: std::time::Duration,
    },
    /// Print the script that completes commands in a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Wide,
    Json,
    Yaml,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    lockkeeper::api::Period::try_from(text.to_owned()).map(|period| period.length()).map_err(|error| error.to_string())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    if let Command::Completion { shell } = arguments.command {
        clap_complete::generate(shell, &mut Arguments::command(), "kubectl-lockkeeper", &mut std::io::stdout());
        return Ok(ExitCode::SUCCESS);
    }
    let Connection { namespace, context, kubeconfig } = arguments.connection;
    let cluster = Cluster::connect(namespace, context, kubeconfig).await?;
    match arguments.command {
        Command::Status { output } => status::run(&cluster, output).await,
        Command::Why { workload } => why::run(&cluster, &workload).await,
        Command::Ask { workload, timeout } => ask::run(&cluster, &workload, timeout).await,
        Command::Wait { workload, timeout, .. } => wait::run(&cluster, workload.as_ref(), timeout).await,
        Command::Completion { .. } => Ok(ExitCode::SUCCESS),
    }
}
