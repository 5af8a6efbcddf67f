//! Releases the change that is waiting, past every gate.

use std::process::ExitCode;

use lockkeeper::{
    api::marks,
    core::observed::{Workload, WorkloadId},
};
use serde_json::Value;

use crate::{
    change::{Change, Verdict},
    cluster::{Cluster, Failure, lower},
    confirm::confirm,
};

/// Shows the change, asks, and lets it through.
pub async fn run(
    cluster: &Cluster,
    id: &WorkloadId,
    named: Option<&str>,
    yes: bool,
) -> Result<ExitCode, Failure> {
    let seen = cluster.read().await?;
    let workload = seen.workload(id)?;
    let change = Change::find(cluster, workload, named, "bypass")?;
    print!("{}", change.describe(cluster, &seen, workload).await?);
    if !in_force(cluster, workload, &change).await? {
        return Err(Failure::No(format!(
            "cannot bypass change {} of {}: Lockkeeper's admission policies are not in force, so no bypass counts. Nothing was changed. If Lockkeeper was \
             uninstalled: {}",
            change.id,
            lower(id),
            cluster.command("release", id)
        )));
    }
    let what = format!(
        "A bypass releases change {} of {} now, past every gate, window, approval and freeze",
        change.id,
        lower(id)
    );
    confirm(&id.name, &lower(id), &what, yes)?;
    let_through(cluster, workload, &change).await?;
    Ok(ExitCode::SUCCESS)
}

/// Tries the bypass without doing it: whether admission would take it. Who lacks the verb gets the
/// refusal.
pub async fn in_force(
    cluster: &Cluster,
    workload: &Workload,
    change: &Change,
) -> Result<bool, Failure> {
    change.take_off(cluster, workload, marks::BYPASS).await?;
    match change.put(cluster, workload, marks::BYPASS, true).await?.1 {
        Verdict::Counts(_) => Ok(true),
        Verdict::Unseen => Ok(false),
        Verdict::Stale => Err(change.passed(cluster, &workload.id)),
    }
}

/// Lets the change through, and says what follows.
pub async fn let_through(
    cluster: &Cluster,
    workload: &Workload,
    change: &Change,
) -> Result<(), Failure> {
    let id = &workload.id;
    match change.put(cluster, workload, marks::BYPASS, false).await? {
        (object, Verdict::Counts(by)) => {
            println!(
                "Change {} of {} is released. The bypass is recorded for {by}.",
                change.id,
                lower(id)
            );
            println!("{}", follows(cluster, id, &object));
            Ok(())
        }
        _ => Err(change.passed(cluster, id)),
    }
}

/// What the workload does once nothing holds it: that depends on what its manifest declares.
pub fn follows(cluster: &Cluster, id: &WorkloadId, object: &Value) -> String {
    let partition =
        object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or_default();
    match (object["spec"]["paused"] == true, partition) {
        (true, _) => format!(
            "Its manifest declares paused: true, so nothing rolls until: kubectl rollout resume -n {} {}",
            cluster.namespace,
            lower(id)
        ),
        (_, 1..) => format!(
            "Its manifest declares partition {partition}: pods with lower ordinals keep their revision."
        ),
        _ => format!("To follow it: {}", cluster.command("wait", id)),
    }
}
