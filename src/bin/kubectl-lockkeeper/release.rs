//! Lets go a held change that no policy holds any more.

use std::process::ExitCode;

use lockkeeper::{
    api::marks,
    core::{
        hold::{state::Hold, unmark::unmark},
        world::WorkloadId,
    },
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
    if ![marks::HOLD, marks::PARTITION].iter().any(|mark| workload.marks.contains_key(*mark)) {
        return Err(Failure::No(format!(
            "no template change of {place} in namespace {} is held, so there is nothing to release; {} says where it stands",
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
                "change {} of {place} is held by policy {}, which judges it still. To let it through by its rules: {}. Past them, with the verb bypass: {}",
                change.id,
                policy.name,
                cluster.command("approve", id),
                cluster.command("bypass", id)
            )));
        }
        if stands? {
            print!("{}", change.describe(cluster, &seen, workload).await?);
            confirm(
                &id.name,
                &lower(id),
                &format!("No policy holds change {} of {place} any more; it would be let through now", change.id),
                yes,
            )?;
            let_through(cluster, workload, &change).await?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (what, object) = (format!("release {place}"), cluster.get(id).await?);
    let tried = cluster.patch(id, &what, unmark(id.kind, &object, &[]), true).await?;
    if tried.is_none_or(|tried| !tried["metadata"]["labels"][marks::GOVERNED].is_null()) {
        return Err(Failure::No(format!(
            "cannot release {place}: its change is let through already, pod by pod, and the operator ends that by itself. {} says where it stands",
            cluster.command("why", id)
        )));
    }
    let consequence = format!(
        "Lockkeeper's admission policies are not in force: its marks would be taken off {place}, what the manifest declares restored, and the held \
         template would roll now"
    );
    confirm(&id.name, &lower(id), &consequence, yes)?;
    let written = cluster.rewrite(id, &what, object, |object| unmark(id.kind, object, &[])).await?;
    println!("The marks of Lockkeeper are off {place}, and nothing holds its template any more.");
    println!("{}", follows(cluster, id, &written));
    Ok(ExitCode::SUCCESS)
}
