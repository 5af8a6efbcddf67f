//! Begins and ends maintenance of a workload, and says how far it is.

use std::process::ExitCode;

use clap::Subcommand;
use lockkeeper::{
    api::{Mode, marks},
    core::{
        clock,
        governs::{Standing, governance},
        maintenance::{
            self, Impossible,
            wanted::{self, Wanted},
            words,
        },
        observed::{Workload, WorkloadId},
    },
    marks::{
        Asked, Containers, MarkSet, Marks, Wish,
        maintenance::{REASON_LIMIT, is_reason},
    },
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Failure, Seen, lower, pointer},
    named::WorkloadArgument,
};

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Stop the app of a workload until the maintenance ends, no matter who scales or changes it
    ///
    /// The pods are stopped. Then they sleep: they run with their volumes, and not the app, so that
    /// you can run commands in them. With --stop, no pod runs.
    #[command(after_help = "Examples:
  kubectl lockkeeper maintenance start statefulset/db -n shop
  kubectl lockkeeper shell statefulset/db -n shop                     # when its pods sleep
  kubectl lockkeeper maintenance start statefulset/db -n shop --as-root db --keep proxy
  kubectl lockkeeper maintenance start statefulset/db -n shop --stop --reason \"restore the backup\"

Needs: the verb maintain on upgradepolicies.lockkeeper.dev (with --as-root also maintain-as-root), and permission to patch the workload")]
    Start {
        #[command(flatten)]
        workload: WorkloadArgument,
        /// Keep the workload at 0 replicas
        #[arg(long, conflicts_with_all = ["keep", "as_root"])]
        stop: bool,
        /// A container whose app runs all the same; may be given several times
        #[arg(long, value_name = "CONTAINER")]
        keep: Vec<String>,
        /// A container that runs as root, so that you can change files of others; may be given several
        /// times
        #[arg(long, value_name = "CONTAINER")]
        as_root: Vec<String>,
        /// Why, in one line: shown in the status, by events and by `maintenance status`
        #[arg(long)]
        reason: Option<String>,
    },
    /// End the maintenance: the workload starts again exactly as it is declared
    #[command(after_help = "Examples:
  kubectl lockkeeper maintenance end statefulset/db -n shop
  kubectl lockkeeper wait statefulset/db -n shop        # until it is in service again

Needs: the verb maintain on upgradepolicies.lockkeeper.dev, and permission to patch the workload")]
    End {
        #[command(flatten)]
        workload: WorkloadArgument,
    },
    /// Say how far the maintenance is
    #[command(after_help = "Examples:
  kubectl lockkeeper maintenance status statefulset/db -n shop

Needs: view")]
    Status {
        #[command(flatten)]
        workload: WorkloadArgument,
    },
}

/// Does it.
pub async fn run(cluster: &Cluster, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Start { workload, stop, keep, as_root, reason } => {
            let wish = match stop {
                true => Wish::Stop,
                false => Wish::Sleep(Containers { keep, root: as_root }),
            };
            let reason = reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            if reason.as_deref().is_some_and(|text| !is_reason(text)) {
                return Err(Failure::No(format!(
                    "--reason: write one line of at most {REASON_LIMIT} characters. Nothing was changed"
                )));
            }
            let asked = Asked { wish, reason: reason.map(Into::into) };
            start(cluster, &workload.find(cluster).await?, &asked).await?;
        }
        Command::End { workload } => end(cluster, &workload.find(cluster).await?).await?,
        Command::Status { workload } => status(cluster, &workload.find(cluster).await?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(cluster: &Cluster, id: &WorkloadId, asked: &Asked) -> Result<(), Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let place = lower(id);
    if wanted::by_user(workload).is_some()
        && workload.marks.maintenance.get().is_some_and(|stands| **stands == *asked)
    {
        println!("Maintenance of {place} is already requested.");
        return status_of(cluster, &seen, workload);
    }
    if let Some(why) = not_possible(&seen, workload) {
        return Err(Failure::No(format!(
            "cannot begin maintenance of {place}: {why}. Nothing was changed"
        )));
    }
    if let Some(unknown) = unknown_container(workload, &asked.wish) {
        let names = workload.template.containers.iter().map(|one| &*one.name);
        let all = names.collect::<Vec<_>>().join(", ");
        return Err(Failure::No(format!(
            "{place} has no container {unknown}, but {all}. Nothing was changed"
        )));
    }
    write(cluster, id, asked).await?;
    println!("Maintenance of {place} is requested. Its pods are stopped when its gates are open.");
    if let Wish::Sleep(_) = asked.wish {
        println!("To run commands in its pods when they sleep: {}", cluster.command("shell", id));
    }
    println!("To see how far it is: {}", cluster.command("maintenance status", id));
    println!("To end it: {}", cluster.command("maintenance end", id));
    Ok(())
}

/// A container that is named and that there is not.
fn unknown_container<'a>(workload: &Workload, wish: &'a Wish) -> Option<&'a str> {
    let Wish::Sleep(Containers { keep, root }) = wish else { return None };
    let is_there = |name: &str| workload.template.containers.iter().any(|one| *one.name == *name);
    keep.iter().chain(root).map(String::as_str).find(|name| !is_there(name))
}

/// Why the operator would not begin it.
fn not_possible(seen: &Seen, workload: &Workload) -> Option<&'static str> {
    let standings = governance(&seen.world).standings;
    match standings.get(&workload.id) {
        _ if !workload.id.kind.can_be_held() => Some(words::impossible(Impossible::NoReplicas)),
        Some(Standing::Governed(_, spec)) if spec.mode == Mode::Observe => {
            Some(words::impossible(Impossible::Observed))
        }
        Some(Standing::Governed(..) | Standing::Frozen(_)) if workload.claims.go_with_pod => {
            Some(words::impossible(Impossible::ClaimsGo))
        }
        Some(Standing::Governed(..) | Standing::Frozen(_)) if workload.governed.stands() => None,
        Some(Standing::Governed(..) | Standing::Frozen(_)) => {
            Some("the operator has not put its label on it yet")
        }
        _ => Some("no policy governs it"),
    }
}

async fn end(cluster: &Cluster, id: &WorkloadId) -> Result<(), Failure> {
    let seen = cluster.read_even_uninstalled().await?;
    let workload = seen.workload(id)?;
    let place = lower(id);
    let wanted = wanted(&seen, workload);
    if !wanted.is_some() && maintenance::of(workload).is_none() {
        return Err(Failure::No(format!("{place} is not in maintenance. Nothing was changed")));
    }
    if wanted::by_user(workload).is_none_or(|wanted| wanted.is_some()) {
        write(cluster, id, &Asked { wish: Wish::Off, reason: None }).await?;
    }
    println!("The maintenance of {place} ends: it starts again as it is declared.");
    println!("To follow it: {}", cluster.command("wait", id));
    Ok(())
}

/// What is asked of a workload, by a user or by its policy.
fn wanted<'a>(seen: &'a Seen, workload: &'a Workload) -> Wanted<'a> {
    let ruling = governance(&seen.world).standings.get(&workload.id).and_then(|one| one.ruling());
    ruling.map_or_else(
        || wanted::by_user(workload).unwrap_or_default(),
        |ruling| wanted::wanted(workload, ruling),
    )
}

/// Puts the word on the workload, and looks whether admission took it.
async fn write(cluster: &Cluster, id: &WorkloadId, asked: &Asked) -> Result<(), Failure> {
    let what = format!("write {} on {}", marks::MAINTENANCE, lower(id));
    let object = cluster.get(id).await?;
    let operations = |object: &Value| {
        let mut operations = Vec::new();
        if object["metadata"]["annotations"].is_null() {
            let empty = json!({"op": "add", "path": "/metadata/annotations", "value": {}});
            operations.push(empty);
        }
        let path = pointer(marks::MAINTENANCE);
        operations.push(json!({"op": "add", "path": path, "value": asked.to_string()}));
        operations
    };
    let written = cluster.rewrite(id, &what, object, operations).await?;
    let all = Marks::of(&written);
    if all.maintenance_by.get().is_none()
        || all.maintenance.get().is_none_or(|taken| **taken != *asked)
    {
        return Err(Failure::No(format!(
            "{} was written on {}, but does not count: Lockkeeper's admission policies are not in force. The condition HoldsEnforced of its policy says \
             what is missing",
            marks::MAINTENANCE,
            lower(id)
        )));
    }
    Ok(())
}

async fn status(cluster: &Cluster, id: &WorkloadId) -> Result<(), Failure> {
    let seen = cluster.read_even_uninstalled().await?;
    let workload = seen.workload(id)?;
    status_of(cluster, &seen, workload)
}

fn status_of(cluster: &Cluster, seen: &Seen, workload: &Workload) -> Result<(), Failure> {
    let place = lower(&workload.id);
    let wanted = wanted(seen, workload);
    let by = words::by(&wanted);
    let Some(mark) = maintenance::of(workload) else {
        match wanted.is_some() {
            true => println!("{place}: maintenance{by} has not begun."),
            false => println!("{place} is not in maintenance."),
        }
        tell(seen, workload);
        return Ok(());
    };
    let since = mark.since.map_or_else(String::new, |since| format!(" since {}", clock(since)));
    println!("{place} is in maintenance{since}{by} (stage: {}).", mark.stage);
    tell(seen, workload);
    if wanted.is_some() {
        println!("To end it: {}", cluster.command("maintenance end", &workload.id));
    }
    Ok(())
}

/// What its policy says of it.
fn tell(seen: &Seen, workload: &Workload) {
    if let Some(attention) = seen.attention(&workload.id) {
        println!("  {}", attention.message);
    }
}
