//! `kubectl lockkeeper`: shows what Lockkeeper holds, why, and until when; releases changes, or
//! reverts them.

mod approve;
mod ask;
mod bypass;
mod change;
mod cluster;
mod completion;
mod confirm;
mod connection;
mod history;
mod live;
mod maintenance;
mod migrated;
mod named;
mod output;
mod plan;
mod release;
mod revisions;
mod shell;
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

/// Show what Lockkeeper holds and why, release or revert it, and wait until upgrades are really
/// done.
#[derive(Parser)]
#[command(
    name = "kubectl-lockkeeper",
    bin_name = "kubectl lockkeeper",
    version,
    max_term_width = 110
)]
#[command(after_help = "Examples:
  kubectl lockkeeper status -n shop                       # what is held, and why
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

Needs: the ClusterRole view. The chart adds lockkeeper-view to it")]
    Status {
        #[command(flatten)]
        status: status::StatusArguments,
    },
    /// Explain one workload: what it is waiting for, and what would release it
    #[command(after_help = "Examples:
  kubectl lockkeeper why deployment/web -n shop
  kubectl lockkeeper why statefulset/db -n shop -o json | jq .gates

Needs: the ClusterRole view. Without permission to read events, that section is omitted")]
    Why {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// How to write it
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// The last changes: who wrote each, who approved or bypassed it, what it waited for, and how it
    /// ended
    ///
    /// It reads the record that each workload carries, so it needs neither the operator nor events.
    ///
    /// Exit codes: 0; 1, with --verify an entry was altered or cut out.
    #[command(after_help = "Examples:
  kubectl lockkeeper history deployment/web -n shop
  kubectl lockkeeper history -A --since 90d -o json | jq -r '.[] | select(.bypassedBy).workload'
  kubectl lockkeeper history -A --verify                # nobody altered it

Needs: view. With --verify also get on the Secret lockkeeper-digest-key of the operator's namespace")]
    History {
        #[command(flatten)]
        history: history::Arguments,
    },
    /// Wait until an upgrade is really done. helm --wait does not wait for a held change
    ///
    /// On a terminal, one line shows what holds the change, who made it, and since when it has been
    /// waiting. Elsewhere, a line is written when that changes, and once a minute.
    ///
    /// Exit codes: 0, rolled out and healthy; 1, failed; 2, timed out; 3, waiting for a person (an
    /// approval, say).
    #[command(after_help = "Examples:
  helm upgrade web ./web -n shop && kubectl lockkeeper wait deployment/web -n shop
  kubectl lockkeeper wait --all -n shop --timeout 1h
  kubectl lockkeeper wait --all -n shop || [ $? = 3 ]   # in CI: a missing approval is no failure

Needs: view")]
    Wait {
        /// Such as deployment/web, deployment web, or web
        #[arg(value_name = "KIND/NAME", num_args = 1..=2, required_unless_present = "all", conflicts_with = "all")]
        #[arg(add = ArgValueCompleter::new(completion::workloads))]
        workload: Vec<String>,
        /// All governed workloads of the namespace
        #[arg(long)]
        all: bool,
        /// The longest wait, such as 90s or 30m
        #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
        timeout: Duration,
    },
    /// Show what an apply would roll, hold, or put at risk
    ///
    /// Reads files, folders, or the output of helm template or kustomize. Files are read as kubectl
    /// reads them. The API server judges them by dry runs, so that defaults and admission do not
    /// count as changes. Without permission for dry runs, the files themselves are compared, and a
    /// note says so.
    ///
    /// Objects that the files leave out stay as they are: nothing counts as deleted. Of ConfigMaps
    /// and Secrets, only the keys that change are named, and the workloads that read them, never a
    /// value.
    ///
    /// Exit codes: 0; with --exit-code 10 if anything would roll, wait, start or be at risk; 1 if
    /// the plan could not be made.
    #[command(after_help = "Examples:
  helm template web ./web -n shop | kubectl lockkeeper plan -n shop -f -
  kubectl kustomize overlays/production | kubectl lockkeeper plan -f -
  kubectl lockkeeper plan -n shop -f deploy/ -R
  kubectl lockkeeper plan -n shop -f web.yaml --exit-code          # in CI: 10 if anything would change
  kubectl lockkeeper plan -n shop -f web.yaml -o json | jq .risks

Needs: view to compare; for the dry runs, permission to apply the files, and to read the Secrets among them")]
    Plan {
        #[command(flatten)]
        plan: plan::PlanArguments,
    },
    /// Ask the pods whether they may be terminated, before anything is applied
    ///
    /// For charts with hooks, which run before anything is held. It asks the pods directly, so it
    /// must run in the cluster's network.
    ///
    /// Exit codes: 0, every pod that counts agrees, or there is no pod to ask; 2, not in time.
    #[command(after_help = "Examples:
  kubectl lockkeeper ask deployment/web -n shop --timeout 1h && helm upgrade web ./web -n shop

Needs: view, and get on the Secrets and ConfigMaps that the gate's headers and tls name")]
    Ask {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// The longest wait, such as 90s or 30m
        #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
        timeout: Duration,
        /// How to write what the pods answered
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Approve the change that is waiting, and no other. It is released when the other gates are
    /// open
    ///
    /// Shows the change, and approves exactly that one. Needs the verb `approve` on
    /// upgradepolicies.lockkeeper.dev in the namespace, and permission to patch the workload.
    #[command(after_help = "Examples:
  kubectl lockkeeper approve deployment/web -n shop     # shows the change, and approves it
  kubectl lockkeeper approve deployment/web 7 -n shop   # this change or none
  kubectl lockkeeper approve --all -n shop              # all that are waiting; asks first")]
    Approve {
        #[command(flatten)]
        change: Option<ChangeArguments>,
        /// All changes of the namespace that are waiting for an approval. Shows them, and asks
        /// first
        #[arg(long, conflicts_with = "words", required_unless_present = "words")]
        all: bool,
        /// With --all: do not ask
        #[arg(short, long, requires = "all")]
        yes: bool,
    },
    /// Release the change that is waiting now, past every gate and freeze
    ///
    /// Asks first. Needs the verb `bypass` on upgradepolicies.lockkeeper.dev in the namespace, and
    /// permission to patch the workload.
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
    /// Stop the app of a workload for maintenance, and start it again exactly as it is declared
    #[command(after_help = "Examples:
  kubectl lockkeeper maintenance start statefulset/db -n shop
  kubectl lockkeeper shell statefulset/db -n shop             # when its pods sleep
  kubectl lockkeeper maintenance end statefulset/db -n shop && kubectl lockkeeper wait statefulset/db -n shop")]
    Maintenance {
        #[command(subcommand)]
        command: maintenance::Command,
    },
    /// Say that the data of a workload is migrated: its offline upgrade goes on
    ///
    /// During an offline upgrade, the pods of a workload sleep in the new template until its data is
    /// migrated. The status of the policy and `why` name the change.
    #[command(after_help = "Examples:
  kubectl lockkeeper shell statefulset/db -n shop -- /app/migrate       # what has to be done
  kubectl lockkeeper migrated statefulset/db --change 7 -n shop

Needs: the verb maintain on upgradepolicies.lockkeeper.dev, and permission to patch the workload")]
    Migrated {
        #[command(flatten)]
        migrated: migrated::Arguments,
    },
    /// Revert the pod template: to the one that the pods run while a change is held, otherwise to
    /// the previous revision
    ///
    /// While a change is held, this reverts it. The template is again the one that the pods run,
    /// the operator releases it immediately, and no pod terminates. (kubectl rollout undo refuses a
    /// Deployment that is held, because it is paused.) Otherwise the template is reverted to the
    /// previous revision, as kubectl does it. Where a policy holds changes, that change is held
    /// too.
    ///
    /// Config is not reverted, because it is in ConfigMaps and Secrets. Revisions that differ only
    /// in the annotation lockkeeper.dev/config-hash are skipped, and the annotation stays as it is.
    /// To revert config, revert the ConfigMap. Revert also what declares the template (a chart, a
    /// repository); otherwise the next upgrade applies the change again.
    ///
    /// The fields that are rolled back are then owned by lockkeeper-plugin: a server-side apply
    /// reports them as conflicts until it is forced. Reverting a held change leaves no owner
    /// behind.
    #[command(after_help = "Examples:
  kubectl lockkeeper undo deployment/web -n shop --dry-run        # what would change in the template
  kubectl lockkeeper undo deployment/web -n shop
  kubectl lockkeeper undo deployment/web -n shop --to-revision 3  # as kubectl rollout history numbers them

Needs: the ClusterRole view, and permission to patch the workload")]
    Undo {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// The revision to revert to, as kubectl rollout history numbers them
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        to_revision: Option<u64>,
        /// Only print what would change in the template
        #[arg(long)]
        dry_run: bool,
    },
    /// Release a held change whose policy is gone
    ///
    /// For a change that stays held without a policy: `whenUngoverned: Keep`, or the policy was
    /// deleted with the CRD. While Lockkeeper's admission policies are installed, this needs the
    /// verb `bypass`, because only a bypass ends a hold. Where they are gone too, it removes
    /// Lockkeeper's marks, and restores `paused` or the partition as the manifest declares it. Asks
    /// first.
    #[command(after_help = "Examples:
  kubectl lockkeeper release deployment/web -n shop")]
    Release {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Run a shell, or a command, in a container that sleeps
    ///
    /// While a workload is in maintenance with mode Sleep, its app does not run, and its containers
    /// are as they always are: image, mounts, environment, user. This runs `kubectl exec` in one of
    /// them.
    #[command(after_help = "Examples:
  kubectl lockkeeper shell statefulset/db -n shop                      # a shell in the first pod that sleeps
  kubectl lockkeeper shell statefulset/db -n shop --pod db-1 -c db
  kubectl lockkeeper shell deployment/web -n shop -- /app/migrate --all  # for images without a shell

Needs: view, and create on pods/exec")]
    Shell {
        #[command(flatten)]
        shell: shell::ShellArguments,
    },
    /// List the data that is retained: its state, whose it is, and what to do about it
    ///
    /// Reads only the cluster's own objects, so it works when the operator, the policy, the release
    /// or the namespace is gone. Volumes of earlier namespaces of the same name are listed too. A
    /// note names what you may not read.
    ///
    /// InUse: a pod uses it, or will. Idle: a workload without pods refers to it. Orphaned: nothing
    /// refers to the claim. Released: the claim is gone. Shadowed: the claim of that name has a
    /// newer volume. Lost: the volume of the claim is gone. Terminating: the claim is being deleted
    /// while pods use it.
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
    /// Hand the volume of a claim over to a claim of another name, as when a Deployment becomes a
    /// StatefulSet
    ///
    /// Nothing is deleted and nothing is copied. It works both ways: if the change is rolled back, the
    /// volume goes back.
    #[command(after_help = "Examples:
  helm template web charts/web-2 | kubectl lockkeeper convert start deployment/web -n shop -f -
  helm upgrade web charts/web-2 -n shop --wait            # the StatefulSet gets the volume
  kubectl lockkeeper convert status -n shop
  kubectl lockkeeper convert finish -n shop data-web-0    # when it need not go back")]
    Convert {
        #[command(subcommand)]
        command: volumes::convert::Command,
    },
    /// Print the script that completes commands in a shell, or for kubectl
    ///
    /// bash, zsh, fish, elvish and powershell complete kubectl-lockkeeper itself. With `kubectl`,
    /// it prints the program kubectl_complete-lockkeeper, which kubectl's own completion runs.
    /// Names of workloads, namespaces and contexts are looked up.
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

Needs: list on Deployments in all namespaces to find the operator; without it, the operator is shown as unknown")]
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
    lockkeeper::api::Period::try_from(text.to_owned())
        .map(|period| period.length())
        .map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    // What a shell asks for to complete a line is answered, and nothing else done.
    CompleteEnv::with_factory(Arguments::command)
        .var(completion::VARIABLE)
        .bin(completion::PROGRAM)
        .complete();
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
        Command::Version { output } => {
            return version::run(Cluster::connect(arguments.connection).await, output).await;
        }
        _ => {}
    }
    let (named, flags) = (arguments.connection.namespace.clone(), arguments.connection.flags());
    let cluster = Cluster::connect(arguments.connection).await?;
    match arguments.command {
        Command::Status { status } => status::run(&cluster, &status).await,
        Command::Why { workload, output } => {
            why::run(&cluster, &workload.find(&cluster).await?, output).await
        }
        Command::History { history } => history::run(&cluster, &history).await,
        Command::Ask { workload, timeout, output } => {
            ask::run(&cluster, &workload.find(&cluster).await?, timeout, output).await
        }
        Command::Wait { workload, timeout, .. } if workload.is_empty() => {
            wait::run(&cluster, None, timeout).await
        }
        Command::Wait { workload, timeout, .. } => {
            wait::run(&cluster, Some(&named::find(&workload, &cluster).await?), timeout).await
        }
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
        Command::Maintenance { command } => maintenance::run(&cluster, command).await,
        Command::Migrated { migrated } => migrated::run(&cluster, &migrated).await,
        Command::Undo { workload, to_revision, dry_run } => {
            undo::run(&cluster, &workload.find(&cluster).await?, to_revision, dry_run).await
        }
        Command::Release { workload, yes } => {
            release::run(&cluster, &workload.find(&cluster).await?, yes).await
        }
        Command::Shell { shell } => shell::run(&cluster, flags, shell).await,
        Command::Volumes { list, verb } => {
            volumes::run(&cluster, named.as_deref(), list, verb).await
        }
        Command::Convert { command } => volumes::convert::run(&cluster, command).await,
        Command::Completion { .. } | Command::Complete { .. } | Command::Version { .. } => {
            Ok(ExitCode::SUCCESS)
        }
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
        for command in command
            .get_subcommands()
            .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:\n  "), "{}: {help}", command.get_name());
        }
    }
}
