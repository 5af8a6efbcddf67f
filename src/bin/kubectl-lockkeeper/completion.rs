//! Completion of command lines, in shells and by kubectl, with names looked up in the cluster.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::ValueEnum;
use clap_complete::{
    engine::{self, CompletionCandidate},
    env::Shells,
};
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    config::Kubeconfig,
};
use lockkeeper::{
    api::WorkloadKind,
    shell::views::{Watched, storage::Namespaces},
};

use crate::{
    cluster::{Cluster, Failure},
    connection::Connection,
    output,
};

/// The program as it is installed.
pub const PROGRAM: &str = "kubectl-lockkeeper";
/// The variable by which the shells' scripts ask for an answer.
pub const VARIABLE: &str = "LOCKKEEPER_COMPLETE";
/// Timeout for a list of names.
const PATIENCE: Duration = Duration::from_secs(2);
/// What kubectl's completion runs: the name of the program decides that it completes `kubectl
/// lockkeeper`.
const FOR_KUBECTL: &str = "#!/bin/sh\n# kubectl_complete-lockkeeper: put it into the PATH, executable.\nexec kubectl-lockkeeper __complete -- \"$@\"\n";
/// Tells kubectl's completion not to offer files.
const NO_FILES: &str = ":4";
/// Tells it to offer them.
const FILES: &str = ":0";

/// What is to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    /// The program kubectl_complete-lockkeeper
    Kubectl,
}

/// Prints a script.
pub fn print(target: Target) -> Result<ExitCode, Failure> {
    let shell = match target {
        Target::Kubectl => {
            output::print(FOR_KUBECTL);
            return Ok(ExitCode::SUCCESS);
        }
        Target::Bash => "bash",
        Target::Elvish => "elvish",
        Target::Fish => "fish",
        Target::Powershell => "powershell",
        Target::Zsh => "zsh",
    };
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer =
        shells.completer(shell).ok_or_else(|| Failure::No(format!("{shell} is not supported")))?;
    let written =
        completer.write_registration(VARIABLE, "kubectl_lockkeeper", PROGRAM, PROGRAM, &mut script);
    written.map_err(|error| Failure::Output(error.to_string()))?;
    output::print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// Answers kubectl: a candidate a line with what it is, and at the end whether files are to be
/// offered besides.
pub fn answer(mut command: clap::Command, words: Vec<OsString>) -> ExitCode {
    let files =
        words.iter().rev().nth(1).is_some_and(|word| {
            ["-f", "--filename", "--kubeconfig"].iter().any(|flag| word == flag)
        });
    let index = words.len();
    let line = std::iter::once(OsString::from(PROGRAM)).chain(words).collect();
    let mut text = String::new();
    for candidate in engine::complete(&mut command, line, index, None)
        .unwrap_or_default()
        .iter()
        .filter(|one| !one.is_hide_set() && !files)
    {
        text += &candidate.get_value().to_string_lossy();
        if let Some(help) = candidate.get_help() {
            text += &format!("\t{}", help.to_string().lines().next().unwrap_or_default());
        }
        text.push('\n');
    }
    output::print(&format!("{text}{}\n", if files { FILES } else { NO_FILES }));
    ExitCode::SUCCESS
}

/// The workloads of the namespace on the line, as `kind/name`.
pub fn workloads(current: &OsStr) -> Vec<CompletionCandidate> {
    let list = look_up(async |cluster| {
        let mut names = Vec::new();
        for &kind in WorkloadKind::ALL {
            let api: Api<DynamicObject> =
                Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind.resource());
            let all = api
                .list_metadata(&ListParams::default())
                .await
                .map(|all| all.items)
                .unwrap_or_default();
            names.extend(all.into_iter().filter_map(|one| {
                Some(format!("{}/{}", kind.as_str().to_lowercase(), one.metadata.name?))
            }));
        }
        names
    });
    candidates(current, list)
}

/// The namespaces.
pub fn namespaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let list = look_up(async |cluster| {
        let api: Api<DynamicObject> =
            Api::all_with(cluster.client.clone(), &Namespaces::resource());
        let all = api
            .list_metadata(&ListParams::default())
            .await
            .map(|all| all.items)
            .unwrap_or_default();
        all.into_iter().filter_map(|one| one.metadata.name).collect()
    });
    candidates(current, list)
}

/// The contexts of the kubeconfig on the line.
pub fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let file = on_line(&["--kubeconfig"]).map(PathBuf::from);
    let kubeconfig = file.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    candidates(
        current,
        kubeconfig
            .map(|config| config.contexts.into_iter().map(|one| one.name).collect())
            .unwrap_or_default(),
    )
}

fn candidates(current: &OsStr, mut names: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    names.retain(|name| name.starts_with(&*current));
    names.sort();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Asks the cluster that the line names. Who cannot be asked in time has no names: a completion
/// says nothing of failures.
fn look_up(ask: impl AsyncFnOnce(Cluster) -> Vec<String>) -> Vec<String> {
    let path = |flag: &str| on_line(&[flag]).map(PathBuf::from);
    let given = std::env::args().any(|word| word == "--insecure-skip-tls-verify");
    let connection = Connection {
        namespace: on_line(&["-n", "--namespace"]),
        context: on_line(&["--context"]),
        cluster: on_line(&["--cluster"]),
        user: on_line(&["--user"]),
        kubeconfig: path("--kubeconfig"),
        server: on_line(&["-s", "--server"]),
        tls_server_name: on_line(&["--tls-server-name"]),
        insecure_skip_tls_verify: given,
        certificate_authority: path("--certificate-authority"),
        client_certificate: path("--client-certificate"),
        client_key: path("--client-key"),
        token: on_line(&["--token"]),
        impersonate: on_line(&["--as"]),
        ..Connection::default()
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let names = async {
        match Cluster::connect(connection).await {
            Ok(cluster) => ask(cluster).await,
            Err(_) => Vec::new(),
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, names).await.unwrap_or_default() })
}

/// The value of a flag on the line that is completed, which is what this program was called with.
fn on_line(flags: &[&str]) -> Option<String> {
    value_of(flags, &std::env::args().collect::<Vec<_>>())
}

fn value_of(flags: &[&str], words: &[String]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if flags.contains(&word.as_str()) {
            return words.next().cloned();
        }
        let joined = |flag: &&str| {
            word.strip_prefix(*flag).and_then(|rest| rest.strip_prefix('=')).map(str::to_owned)
        };
        if let Some(value) = flags.iter().find_map(joined) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_on_a_line() {
        for (line, expected) in [
            ("why -n shop dep", Some("shop")),
            ("why --namespace=shop dep", Some("shop")),
            ("-n=shop why", Some("shop")),
            ("why dep", None),
            ("why -n", None),
        ] {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(value_of(&["-n", "--namespace"], &words).as_deref(), expected, "{line}");
        }
    }
}
