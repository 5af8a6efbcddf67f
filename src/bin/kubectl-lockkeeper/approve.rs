//! Approves the change that waits.

use std::process::ExitCode;

use lockkeeper::{
    api::marks,
    core::{gates::approval, hold::state::approved_by, world::WorkloadId},
};

use crate::{
    change::{Change, Verdict},
    cluster::{Cluster, Failure, lower},
    why,
};

/// Shows the change and approves it.
pub async fn run(cluster: &Cluster, id: &WorkloadId, named: Option<&str>) -> Result<ExitCode, Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let change = Change::find(cluster, workload, named, "approve")?;
    let Some(policy) = change.judge(&seen, id) else {
        return Err(Failure::No(format!(
            "cannot approve change {} of {}: no policy holds it any more, so no approval counts. With the verb bypass: {}",
            change.id,
            lower(id),
            cluster.command("release", id)
        )));
    };
    print!("{}", change.describe(cluster, &seen, workload).await?);
    let counts = !change.closed_gates(&seen, workload, policy).iter().any(|(gate, _)| *gate == approval::GATE.name);
    match approved_by(workload, &change.id) {
        Some(by) if counts => println!("It is approved already, by {by}."),
        _ => {
            // An author's own, where somebody else's is asked for, or one that nobody recorded.
            change.take_off(cluster, workload, marks::APPROVE).await?;
            match change.put(cluster, workload, marks::APPROVE, false).await?.1 {
                Verdict::Counts(by) => println!("Approved; it counts as the approval of {by}."),
                Verdict::Stale => return Err(change.passed(cluster, id)),
                Verdict::Unseen => {
                    return Err(Failure::No(format!(
                        "the approval of change {} of {} was written, but does not count: Lockkeeper's admission policies are not in force, so nobody \
                         recorded whose it is. The condition HoldsEnforced of policy {} says what is missing",
                        change.id,
                        lower(id),
                        policy.name
                    )));
                }
            }
        }
    }
    still_waits(cluster, id, &change).await?;
    Ok(ExitCode::SUCCESS)
}

/// Says what the change waits for now.
async fn still_waits(cluster: &Cluster, id: &WorkloadId, change: &Change) -> Result<(), Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let closed = match (why::waiting(workload), change.judge(&seen, id)) {
        (Some((waiting, ..)), Some(policy)) if waiting == change.id => change.closed_gates(&seen, workload, policy),
        _ => Vec::new(),
    };
    for (gate, message) in &closed {
        println!("It still waits for {gate}: {message}");
    }
    if closed.is_empty() {
        println!("No gate that can be asked from here keeps it. To follow it: {}", cluster.command("wait", id));
    }
    Ok(())
}
