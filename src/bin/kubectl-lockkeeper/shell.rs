//! Runs a command in a container that sleeps, by kubectl.

use std::{
    io::IsTerminal,
    process::{Command, ExitCode},
};

use clap::Args;
use lockkeeper::{
    core::{observed::WorkloadId, plain},
    marks::labels,
    shell::views::Pods,
};
use serde_json::Value;

use crate::{
    cluster::{Cluster, Failure, lower},
    named::WorkloadArgument,
};

/// The best shell that an image has.
const SHELL: [&str; 3] = ["sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"];
/// What kubectl says where the image lacks the program.
const NOT_FOUND: [u8; 2] = [126, 127];

/// Where, and what.
#[derive(Args)]
pub struct ShellArguments {
    #[command(flatten)]
    workload: WorkloadArgument,
    /// The pod; without it, the first one that sleeps
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// The container; without it, the first one that sleeps
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// The command; without it, a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A container that sleeps.
#[derive(Debug, PartialEq)]
struct Place {
    pod: String,
    container: String,
}

/// Runs it, with the flags by which kubectl finds the same cluster.
pub async fn run(
    cluster: &Cluster,
    flags: Vec<String>,
    arguments: ShellArguments,
) -> Result<ExitCode, Failure> {
    let id = arguments.workload.find(cluster).await?;
    let seen = cluster.read_even_uninstalled().await?;
    let of_it = seen.pods(seen.workload(&id)?);
    let mut pods = cluster.objects::<Pods>().await?;
    pods.retain(|pod| of_it.iter().any(|one| *one.name == pod["metadata"]["name"]));
    let wanted = (arguments.pod.as_deref(), arguments.container.as_deref());
    let place = choose(&pods, wanted).map_err(|why| {
        let start = cluster.command("maintenance start", &id);
        Failure::No(format!("{why}. To put the pods of {} to sleep: {start}", lower(&id)))
    })?;
    execute(cluster, flags, &id, &place, &arguments.command)
}

fn execute(
    cluster: &Cluster,
    flags: Vec<String>,
    id: &WorkloadId,
    place: &Place,
    command: &[String],
) -> Result<ExitCode, Failure> {
    let terminal = std::io::stdin().is_terminal();
    let mut kubectl = Command::new("kubectl");
    kubectl.args(flags).args(["-n", &cluster.namespace, "exec"]);
    kubectl.arg(if terminal { "-it" } else { "-i" });
    kubectl.args([&place.pod, "-c", &place.container, "--"]);
    match command {
        [] => kubectl.args(SHELL),
        command => kubectl.args(command),
    };
    let status = kubectl.status().map_err(|error| {
        Failure::No(format!("cannot run kubectl: {error}. It must be in the PATH"))
    })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    if command.is_empty() && NOT_FOUND.contains(&code) {
        eprintln!(
            "The image of container {} may have no shell. To run one of its programs: {} -- PROGRAM",
            place.container,
            cluster.command("shell", id)
        );
    }
    Ok(ExitCode::from(code))
}

/// The first pod and container that sleep, or those that are named.
fn choose(pods: &[Value], (pod, container): (Option<&str>, Option<&str>)) -> Result<Place, String> {
    let name = |object: &Value| plain(object["name"].as_str().unwrap_or_default()).into_owned();
    let pod_name = |pod: &Value| name(&pod["metadata"]);
    let asleep =
        |pod: &&Value| labels::sleeps(pod) && pod["metadata"]["deletionTimestamp"].is_null();
    let mut sleeping: Vec<_> = pods.iter().filter(asleep).collect();
    sleeping.sort_by_key(|pod| pod_name(pod));
    if let Some(wanted) = pod {
        sleeping.retain(|one| pod_name(one) == wanted);
    }
    let found = match (sleeping.first(), pod) {
        (None, None) => return Err("none of its pods sleeps".to_owned()),
        (None, Some(wanted)) => return Err(format!("it has no pod {wanted} that sleeps")),
        (Some(first), _) => {
            let runs = |pod: &&&Value| pod["status"]["phase"] == "Running";
            *sleeping.iter().find(runs).unwrap_or(first)
        }
    };
    let pod = pod_name(found);
    if found["status"]["phase"] != "Running" {
        return Err(format!("pod {pod} does not run yet: kubectl describe pod {pod} says why"));
    }
    let containers = found["spec"]["containers"].as_array().into_iter().flatten();
    let sleeps = |one: &&Value| {
        let program = one["command"][0].as_str().unwrap_or_default();
        program.ends_with("/lockkeeper-pause")
    };
    let asleep: Vec<_> = containers.filter(sleeps).map(name).collect();
    let container = match container {
        Some(wanted) if asleep.iter().any(|one| one == wanted) => wanted.to_owned(),
        Some(wanted) => {
            return Err(format!(
                "no container {wanted} of pod {pod} sleeps, but {}",
                asleep.join(", ")
            ));
        }
        None => asleep.first().cloned().ok_or("none of its containers sleeps")?,
    };
    Ok(Place { pod, container })
}

#[cfg(test)]
mod tests {
    use lockkeeper::api::marks;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, mode: &str, phase: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {marks::IN_MAINTENANCE: mode}}, "status": {"phase": phase},
            "spec": {"containers": [{"name": "kept", "command": ["postgres"]},
                {"name": "app", "command": ["/.lockkeeper/lockkeeper-pause"]}, {"name": "other", "command": ["/.lockkeeper/lockkeeper-pause"]}]}})
    }

    #[test]
    fn the_first_pod_that_sleeps_and_runs_is_chosen_or_the_one_that_is_named() {
        let pods = [
            pod("db-2", "sleep", "Running"),
            pod("db-1", "sleep", "Running"),
            pod("db-0", "sleep", "Pending"),
            pod("db-3", "stop", "Running"),
        ];
        let chosen = |pod, container| {
            choose(&pods, (pod, container))
                .map(|place| format!("{}/{}", place.pod, place.container))
        };
        assert_eq!(chosen(None, None).unwrap(), "db-1/app");
        assert_eq!(chosen(Some("db-2"), Some("other")).unwrap(), "db-2/other");
        for (pod, container, why) in [
            (Some("db-0"), None, "pod db-0 does not run yet"),
            (Some("db-3"), None, "no pod db-3 that sleeps"),
            (Some("db-1"), Some("kept"), "no container kept of pod db-1 sleeps, but app, other"),
        ] {
            let refused = chosen(pod, container).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(choose(&pods[3..], (None, None)).is_err());
    }
}
