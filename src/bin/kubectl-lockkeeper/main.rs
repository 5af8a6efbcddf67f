//! `kubectl lockkeeper`: what Lockkeeper holds, why, and until when; and how people let it through, or take it back.

mod approve;
mod ask;
mod bypass;
mod change;
mod cluster;
mod completion;
mod confirm;
mod connection;
mod live;
mod named;
mod output;
mod plan;
mod release;
mod revisions;
mod status;
mod style;
mod undo;
mod version;
mod volumes;
mod wait;
mod watching;
mod why;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::{CompleteEnv, engine::ArgValueCompleter};

use crate::{
    cluster::{Cluster, Failure},
    connection::Connection,
    named::{ChangeArguments, WorkloadArgument},
};

/// See what Lockkeeper holds and why, let it through or take it back, and wait for upgrades to be really done.
#[derive(Parser)]
#[command(name = "kubectl-lockkeeper", bin_name = "kubectl lockkeeper", version, max_term_width = 110)]
#[command(after_help = "Examples:
  kubectl lockkeeper status -n shop                       # what is held, and by what
  kubectl lockkeeper why deployment/web -n shop           # the whole story of one
  helm template web ./web | kubectl lockkeeper plan -f -  # before an upgrade
  kubectl lockkeeper wait deployment/web -n shop          # after it")]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One line for each governed workload of a namespace
    #[command(after_help = "Examples:
  kubectl lockkeeper status -n shop
  kubectl lockkeeper status -A -o wide          # of all namespaces, with the messages
  kubectl lockkeeper status -n shop -l app=web -w
  kubectl lockkeeper status -n shop -o json | jq -r '.[] | select(.phase == \"Held\").workload'

Needs: view, and lockkeeper-view, which goes with it")]
    Status {
        #[command(flatten)]
        status: status::StatusArguments,
    },
    /// The whole story of one workload: what it waits for, and what would let it through
    #[command(after_help = "Examples:
  kubectl lockkeeper why deployment/web -n shop
  kubectl lockkeeper why statefulset/db -n shop -o json | jq .gates

Needs: view. Who may not read events is told all but those")]
    Why {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// How to write it; wide has what is digested, too
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Wait until an upgrade is really done: helm --wait and kubectl rollout status take a held one for done
    ///
    /// On a terminal one line says what is waited for, by whom it is held and since when; elsewhere a line is written when that changes, and once a
    /// minute. Exit code 0: rolled out and healthy; 1: failed; 2: timed out; 3: held by something that waits for a person.
    #[command(after_help = "Examples:
  helm upgrade web ./web -n shop && kubectl lockkeeper wait deployment/web -n shop
  kubectl lockkeeper wait --all -n shop --timeout 1h
  kubectl lockkeeper wait --all -n shop || [ $? = 3 ]   # in CI: an approval to come is no failure

Needs: view")]
    Wait {
        /// Such as deployment/web, deployment web, or web
        #[arg(value_name = "KIND/NAME", num_args = 1..=2, required_unless_present = "all", conflicts_with = "all")]
        #[arg(add = ArgValueCompleter::new(completion::workloads))]
        workload: Vec<String>,
        /// All governed workloads of the namespace
        #[arg(long)]
        all: bool,
        /// How long at most, such as 90s or 30m
        #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
        timeout: Duration,
    },
    /// Tell before an apply what would roll, be held, or be put at risk
    ///
    /// Takes what would be applied: files, folders, or what helm template or kustomize prints. The API server is asked by dry runs what it would make of it,
    /// so that defaults and admission do not show up as changes; where that is not allowed, that is said, and it is compared as well as it goes. What the
    /// files leave out is left as it is: nothing is ever taken for a deletion. Of ConfigMaps and Secrets it is told which keys change and who reads them,
    /// never a value.
    ///
    /// Exit code 0; with --exit-code 10 if anything would roll, wait, start or be at risk; 1 if it could not be told.
    #[command(after_help = "Examples:
  helm template web ./web -n shop | kubectl lockkeeper plan -n shop -f -
  kubectl kustomize overlays/production | kubectl lockkeeper plan -f -
  kubectl lockkeeper plan -n shop -f deploy/ -R
  kubectl lockkeeper plan -n shop -f web.yaml --exit-code          # in CI: 10 if anything would happen
  kubectl lockkeeper plan -n shop -f web.yaml -o json | jq .risks

Needs: view to compare; the rights to apply the files for the dry run, and to read the Secrets among them")]
    Plan {
        #[command(flatten)]
        plan: plan::PlanArguments,
    },
    /// Ask the pods whether they may be ended, before anything is applied
    ///
    /// For charts with hooks, which run before anything is held. Pods are asked directly, so it must run in the cluster's network. Exit code 0: all that
    /// count say yes, or there is nobody to ask; 2: not in time.
    #[command(after_help = "Examples:
  kubectl lockkeeper ask deployment/web -n shop --timeout 1h && helm upgrade web ./web -n shop

Needs: view, and get on the Secrets and ConfigMaps that the gate's headers and tls name")]
    Ask {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// How long at most, such as 90s or 30m
        #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
        timeout: Duration,
        /// How to write what the pods said
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Approve the change that waits, and no other: it goes through when the other gates are open
    ///
    /// Shows the change, and approves exactly that one. Needs the verb `approve` on upgradepolicies.lockkeeper.dev in the namespace, and the
    /// right to patch the workload.
    #[command(after_help = "Examples:
  kubectl lockkeeper approve deployment/web -n shop     # shows what waits, and approves that
  kubectl lockkeeper approve deployment/web 7 -n shop   # this change or none
  kubectl lockkeeper approve --all -n shop              # all that wait; asks first")]
    Approve {
        #[command(flatten)]
        change: Option<ChangeArguments>,
        /// All changes of the namespace that wait for an approval. Shows them, and asks first
        #[arg(long, conflicts_with = "words", required_unless_present = "words")]
        all: bool,
        /// With --all: do not ask
        #[arg(short, long, requires = "all")]
        yes: bool,
    },
    /// Let the change that waits through now, past every gate and freeze
    ///
    /// Needs the verb `bypass` on upgradepolicies.lockkeeper.dev in the namespace, and the right to patch the workload. Asks first.
    #[command(after_help = "Examples:
  kubectl lockkeeper bypass deployment/web -n shop          # asks first
  kubectl lockkeeper bypass deployment/web 7 -n shop --yes  # in scripts: this change or none")]
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
    #[command(after_help = "Examples:
  kubectl lockkeeper undo deployment/web -n shop --dry-run        # what would change in the template
  kubectl lockkeeper undo deployment/web -n shop
  kubectl lockkeeper undo deployment/web -n shop --to-revision 3  # as kubectl rollout history numbers them

Needs: view, and the right to patch the workload")]
    Undo {
        #[command(flatten)]
        workload: WorkloadArgument,
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
    #[command(after_help = "Examples:
  kubectl lockkeeper release deployment/web -n shop")]
    Release {
        #[command(flatten)]
        workload: WorkloadArgument,
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
    /// Print the script that completes commands in a shell, or for kubectl
    ///
    /// bash, zsh, fish, elvish and powershell complete kubectl-lockkeeper itself. With `kubectl` it is the program kubectl_complete-lockkeeper, by which
    /// kubectl's own completion completes `kubectl lockkeeper`. Names of workloads, namespaces and contexts are looked up.
    #[command(after_help = "Examples:
  source <(kubectl lockkeeper completion bash)
  kubectl lockkeeper completion fish > ~/.config/fish/completions/kubectl-lockkeeper.fish
  kubectl lockkeeper completion kubectl > ~/.local/bin/kubectl_complete-lockkeeper && chmod +x ~/.local/bin/kubectl_complete-lockkeeper")]
    Completion {
        /// Which shell, or kubectl
        shell: completion::Target,
    },
    /// Print the versions of this program, the operator and the API server
    #[command(after_help = "Examples:
  kubectl lockkeeper version
  kubectl lockkeeper version -o json | jq -r .client

Needs: list on Deployments in all namespaces, to tell of the operator; without it, that is left unknown")]
    Version {
        /// How to write it
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Answers kubectl_complete-lockkeeper
    #[command(name = "__complete", hide = true)]
    Complete {
        /// What stands on the line, the last as far as it is written
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
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

fn main() -> ExitCode {
    // What a shell asks for to complete a line is answered, and nothing else done.
    CompleteEnv::with_factory(Arguments::command).var(completion::VARIABLE).bin(completion::PROGRAM).complete();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::No(format!("cannot start: {error}"))),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Completion { shell } => return completion::print(shell),
        // It looks things up by itself, in a runtime of its own.
        Command::Complete { words } => {
            return tokio::task::spawn_blocking(|| completion::answer(Arguments::command(), words))
                .await
                .map_err(|error| Failure::No(format!("cannot complete: {error}")));
        }
        // It tells of itself without a cluster too.
        Command::Version { output } => return version::run(Cluster::connect(arguments.connection).await, output).await,
        _ => {}
    }
    let named = arguments.connection.namespace.clone();
    let cluster = Cluster::connect(arguments.connection).await?;
    match arguments.command {
        Command::Status { status } => status::run(&cluster, &status).await,
        Command::Why { workload, output } => why::run(&cluster, &workload.find(&cluster).await?, output).await,
        Command::Ask { workload, timeout, output } => ask::run(&cluster, &workload.find(&cluster).await?, timeout, output).await,
        Command::Wait { workload, timeout, .. } if workload.is_empty() => wait::run(&cluster, None, timeout).await,
        Command::Wait { workload, timeout, .. } => wait::run(&cluster, Some(&named::find(&workload, &cluster).await?), timeout).await,
        Command::Plan { plan } => plan::run(&cluster, &plan).await,
        Command::Approve { change: None, yes, .. } => approve::all(&cluster, yes).await,
        Command::Approve { change: Some(change), .. } => {
            let (workload, id) = change.find(&cluster).await?;
            approve::run(&cluster, &workload, id.as_deref()).await
        }
        Command::Bypass { change, yes } => {
            let (workload, id) = change.find(&cluster).await?;
            bypass::run(&cluster, &workload, id.as_deref(), yes).await
        }
        Command::Undo { workload, to_revision, dry_run } => {
            undo::run(&cluster, &workload.find(&cluster).await?, to_revision, dry_run).await
        }
        Command::Release { workload, yes } => release::run(&cluster, &workload.find(&cluster).await?, yes).await,
        Command::Volumes { list, verb } => volumes::run(&cluster, named.as_deref(), list, verb).await,
        Command::Completion { .. } | Command::Complete { .. } | Command::Version { .. } => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_shows_examples() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        for command in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:\n  "), "{}: {help}", command.get_name());
        }
    }
}
