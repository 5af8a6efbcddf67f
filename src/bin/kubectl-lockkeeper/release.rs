//! Releases a held change whose policy is gone.

use std::process::ExitCode;

use lockkeeper::{
    core::{
        hold::{state::Hold, unmark::unmark},
        observed::WorkloadId,
    },
    marks::is_governed,
};

use crate::{
    bypass::{follows, in_force, let_through},
    change::Change,
    cluster::{Cluster, Failure, lower},
    confirm::confirm,
};

/// Lets it go, in the way that is open.
pub async fn run(cluster: &Cluster, id: &WorkloadId, yes: bool) -> Result<ExitCode, Failure> {
    let seen = cluster.read_even_uninstalled().await?;
    let workload = seen.workload(id)?;
    let place = lower(id);
    if !workload.marks.hold.stands() && !workload.marks.partition.stands() {
        return Err(Failure::No(format!(
            "no template change of {place} in namespace {} is held, so there is nothing to release. To see its state: {}",
            cluster.namespace,
            cluster.command("why", id)
        )));
    }
    // Without our label, or with garbage for a hold, admission has no part in it.
    if Hold::on(workload).is_some() {
        let change = Change::find(cluster, workload, None, "release")?;
        let judge = change.judge(&seen, id);
        let stands = in_force(cluster, workload, &change).await;
        if let (Some(policy), Ok(true) | Err(Failure::Api { .. })) = (judge, &stands) {
            return Err(Failure::No(format!(
                "change {} of {place} is held by policy {}, which still applies. To approve it: {}. To release it past the policy (verb bypass): {}",
                change.id,
                policy.name,
                cluster.command("approve", id),
                cluster.command("bypass", id)
            )));
        }
        if stands? {
            print!("{}", change.describe(cluster, &seen, workload).await?);
            let why = match seen.observer(workload) {
                Some(policy) => {
                    format!(
                        "Change {} of {place} stays held, because policy {} only observes (mode: Observe)",
                        change.id, policy.name
                    )
                }
                None => format!("No policy holds change {} of {place} any longer", change.id),
            };
            confirm(&id.name, &lower(id), &format!("{why}. It would be released now"), yes)?;
            let_through(cluster, workload, &change).await?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (what, object) = (format!("release {place}"), cluster.get(id).await?);
    let tried = cluster.patch(id, &what, unmark(id.kind, &object, &[]), true).await?;
    if tried.is_none_or(|tried| is_governed(&tried)) {
        return Err(Failure::No(format!(
            "cannot release {place}: its change is already released, pod by pod, and the operator finishes that. To see its state: {}",
            cluster.command("why", id)
        )));
    }
    let consequence = format!(
        "Lockkeeper's admission policies are not in force. Its marks would be removed from {place}, what the manifest declares would be restored, and the \
         held template would roll now"
    );
    confirm(&id.name, &lower(id), &consequence, yes)?;
    let written = cluster.rewrite(id, &what, object, |object| unmark(id.kind, object, &[])).await?;
    println!(
        "The marks of Lockkeeper are removed from {place}, and nothing holds its template any longer."
    );
    println!("{}", follows(cluster, id, &written));
    Ok(ExitCode::SUCCESS)
}
