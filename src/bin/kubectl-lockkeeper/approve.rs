//! Approves changes that are waiting.

use std::{io::Write, process::ExitCode};

use lockkeeper::{
    api::marks,
    core::{
        gates::blocker::GateName,
        hold::state::approved_by,
        observed::{Workload, WorkloadId},
    },
};

use crate::{
    change::{Change, Verdict},
    cluster::{Cluster, Failure, Seen, lower},
    confirm::confirm,
    why::{Pending, enforce},
};

/// Shows the change and approves it.
pub async fn run(
    cluster: &Cluster,
    id: &WorkloadId,
    named: Option<&str>,
) -> Result<ExitCode, Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let change = Change::find(cluster, workload, named, "approve")?;
    print!("{}", change.describe(cluster, &seen, workload).await?);
    approve(cluster, &seen, workload, &change).await?;
    still_waits(cluster, id, &change).await?;
    Ok(ExitCode::SUCCESS)
}

/// Shows all changes of the namespace that wait for an approval, asks, and approves them.
pub async fn all(cluster: &Cluster, yes: bool) -> Result<ExitCode, Failure> {
    let seen = cluster.read().await?;
    let mut changes = Vec::new();
    for (workload, _) in seen.governed() {
        let Some(change) = wanting(cluster, &seen, workload) else { continue };
        print!("{}", change.describe(cluster, &seen, workload).await?);
        changes.push((workload, change));
    }
    if changes.is_empty() {
        eprintln!("No change in namespace {} is waiting for an approval.", cluster.namespace);
        return Ok(ExitCode::SUCCESS);
    }
    let number = match changes.len() {
        1 => "This change".to_owned(),
        number => format!("These {number} changes"),
    };
    let what =
        format!("{number} in namespace {} would be approved, exactly as shown", cluster.namespace);
    confirm(&cluster.namespace, &format!("namespace {}", cluster.namespace), &what, yes)?;
    let mut failed = false;
    for (workload, change) in &changes {
        print!("{}: ", lower(&workload.id));
        let _ = std::io::stdout().flush();
        if let Err(error) = approve(cluster, &seen, workload, change).await {
            println!("not approved");
            eprintln!("error: {error}");
            failed = true;
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The change of a workload that waits for an approval.
fn wanting(cluster: &Cluster, seen: &Seen, workload: &Workload) -> Option<Change> {
    let change = Change::find(cluster, workload, None, "approve").ok()?;
    let policy = change.judge(seen, &workload.id)?;
    change
        .closed_gates(seen, workload, policy)
        .iter()
        .any(|(gate, _)| *gate == GateName::Approval)
        .then_some(change)
}

async fn approve(
    cluster: &Cluster,
    seen: &Seen,
    workload: &Workload,
    change: &Change,
) -> Result<(), Failure> {
    let id = &workload.id;
    if let Some(policy) = seen.observer(workload) {
        return Err(Failure::No(format!(
            "cannot approve change {} of {}: policy {} only observes (mode: Observe), so no gate is asked and no approval counts. To have its gates decide: {}. \
             To release the change now (verb bypass): {} {}",
            change.id,
            lower(id),
            policy.name,
            enforce(&cluster.namespace, &policy.name),
            cluster.command("bypass", id),
            change.id
        )));
    }
    let Some(policy) = change.judge(seen, id) else {
        return Err(Failure::No(format!(
            "cannot approve change {} of {}: no policy holds it any longer, so an approval does not count. To release it (verb bypass): {}",
            change.id,
            lower(id),
            cluster.command("release", id)
        )));
    };
    let counts = !change
        .closed_gates(seen, workload, policy)
        .iter()
        .any(|(gate, _)| *gate == GateName::Approval);
    match approved_by(workload, &change.id) {
        Some(by) if counts => println!("It is already approved, by {by}."),
        _ => {
            // An author's own, where another user's is required, or one whose user was not
            // recorded.
            change.take_off(cluster, workload, marks::APPROVE).await?;
            match change.put(cluster, workload, marks::APPROVE, false).await?.1 {
                Verdict::Counts(by) => println!("Approved. The approval is recorded for {by}."),
                Verdict::Stale => return Err(change.passed(cluster, id)),
                Verdict::Unseen => {
                    return Err(Failure::No(format!(
                        "the approval of change {} of {} was written, but does not count: Lockkeeper's admission policies are not in force, so no user was \
                         recorded for it. The condition HoldsEnforced of policy {} says what is missing",
                        change.id,
                        lower(id),
                        policy.name
                    )));
                }
            }
        }
    }
    Ok(())
}

/// Says what the change waits for now.
async fn still_waits(cluster: &Cluster, id: &WorkloadId, change: &Change) -> Result<(), Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let closed = match (Pending::on(workload), change.judge(&seen, id)) {
        (Some(pending), Some(policy)) if *pending.id() == change.id => {
            change.closed_gates(&seen, workload, policy)
        }
        _ => Vec::new(),
    };
    for (gate, message) in &closed {
        println!("It is still waiting for {}: {message}", gate.as_str());
    }
    if closed.is_empty() {
        println!(
            "No gate that this command can check is closed. To follow it: {}",
            cluster.command("wait", id)
        );
    }
    Ok(())
}
