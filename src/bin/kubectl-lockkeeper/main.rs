//! `kubectl lockkeeper`: what Lockkeeper holds, why, and until when; and how people let it through, or take it back.

mod approve;
mod ask;
mod bypass;
mod change;
mod cluster;
mod confirm;
mod release;
mod revisions;
mod status;
mod undo;
mod volumes;
mod wait;
mod why;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cluster::{Cluster, Failure};

/// See what Lockkeeper holds and why, let it through or take it back, and wait for upgrades to be really done.
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
    /// Approve the change that waits, and no other: it goes through when the other gates are open
    ///
    /// Shows the change, and approves exactly that one. Needs the verb `approve` on upgradepolicies.lockkeeper.dev in the namespace, and the
    /// right to patch the workload.
    Approve {
        #[command(flatten)]
        change: ChangeArguments,
    },
    /// Let the change that waits through now, past every gate and freeze
    ///
    /// Needs the verb `bypass` on upgradepolicies.lockkeeper.dev in the namespace, and the right to patch the workload. Asks first.
    Bypass {
        #[command(flatten)]
        change: ChangeArguments,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Put the pod template back: to what the pods run while a change is held, else to the revision before
    ///
    /// While a change is held, this withdraws it: the template is again the one that the pods run, which the operator lets through at once and
    /// which ends no pod. (kubectl rollout undo refuses a Deployment that is held, because it is paused.) Otherwise it goes back to the revision
    /// before, as kubectl does, and where a policy holds changes that one is held too.
    ///
    /// The config that pods start with does not go back, since it is in ConfigMaps and Secrets: revisions that differ in nothing but
    /// Lockkeeper's annotation lockkeeper.dev/config-hash are skipped, and the annotation stays as it is. To take a change of config back, change
    /// the ConfigMap back. What declares the template (a chart, a repository) is to be put back too, or it comes again with the next upgrade.
    ///
    /// Fields that roll back are then owned by lockkeeper-plugin, where kubectl's own undo would own them: a server-side apply names them as
    /// conflicts until it is forced. A change that is withdrawn leaves no owner behind.
    Undo {
        /// Such as deployment/web
        #[arg(value_name = "KIND/NAME", value_parser = cluster::workload_id)]
        workload: lockkeeper::core::world::WorkloadId,
        /// The revision to go back to, as kubectl rollout history numbers them
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        to_revision: Option<u64>,
        /// Only print what would change in the template
        #[arg(long)]
        dry_run: bool,
    },
    /// Let go a held change that no policy holds any more
    ///
    /// For what stays held when its policy is gone: `whenUngoverned: Keep`, or the policy went with the CRD. While Lockkeeper's admission policies
    /// stand, this needs the verb `bypass`, as only a bypass ends a hold then. Where they are gone too, it takes Lockkeeper's marks off and restores
    /// `paused` or the partition as the manifest declares it. Asks first.
    Release {
        /// Such as deployment/web
        #[arg(value_name = "KIND/NAME", value_parser = cluster::workload_id)]
        workload: lockkeeper::core::world::WorkloadId,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// All data that is kept: where it stands, whose it is, and what to do about it
    ///
    /// Reads nothing but the cluster's own objects, so it works when the operator, the policy, the release or the namespace is gone. Volumes of
    /// earlier namespaces of the same name are listed too. What may not be read is said.
    ///
    /// InUse: a pod uses it, or is to; Idle: a workload without pods refers to it; Orphaned: nobody refers to the claim; Released: the claim is gone;
    /// Shadowed: the claim of that name has a younger volume; Lost: the volume of the claim is gone; Terminating: the claim is being deleted while
    /// pods use it.
    #[command(after_help = "Examples:
  kubectl lockkeeper volumes -n shop
  kubectl lockkeeper volumes -A -o wide
  kubectl lockkeeper volumes -A -o json | jq '[.[] | select(.state == \"Orphaned\").bytes] | add'")]
    Volumes {
        #[command(flatten)]
        list: volumes::ListArguments,
        #[command(subcommand)]
        verb: Option<volumes::Verb>,
    },
    /// Print the script that completes commands in a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// Which change of which workload.
#[derive(Args)]
struct ChangeArguments {
    /// Such as deployment/web
    #[arg(value_name = "KIND/NAME", value_parser = cluster::workload_id)]
    workload: lockkeeper::core::world::WorkloadId,
    /// The change's id; refused if another one waits by now. Without it, the one that waits
    #[arg(value_name = "ID")]
    id: Option<String>,
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
    let named = namespace.clone();
    let cluster = Cluster::connect(namespace, context, kubeconfig).await?;
    match arguments.command {
        Command::Status { output } => status::run(&cluster, output).await,
        Command::Why { workload } => why::run(&cluster, &workload).await,
        Command::Ask { workload, timeout } => ask::run(&cluster, &workload, timeout).await,
        Command::Wait { workload, timeout, .. } => wait::run(&cluster, workload.as_ref(), timeout).await,
        Command::Approve { change } => approve::run(&cluster, &change.workload, change.id.as_deref()).await,
        Command::Bypass { change, yes } => bypass::run(&cluster, &change.workload, change.id.as_deref(), yes).await,
        Command::Undo { workload, to_revision, dry_run } => undo::run(&cluster, &workload, to_revision, dry_run).await,
        Command::Release { workload, yes } => release::run(&cluster, &workload, yes).await,
        Command::Volumes { list, verb } => volumes::run(&cluster, named.as_deref(), list, verb).await,
        Command::Completion { .. } => Ok(ExitCode::SUCCESS),
    }
}
