//! Says that the data of a workload is migrated, so that an offline upgrade goes on.

use std::process::ExitCode;

use clap::Args;
use lockkeeper::{
    api::marks,
    core::{observed::WorkloadId, offline},
    marks::{ChangeId, maintenance::Stage},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Failure, lower, pointer},
    named::WorkloadArgument,
};

/// Of which workload, and for which change.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    workload: WorkloadArgument,
    /// The change for which the data is migrated. Another one is refused
    #[arg(long, value_name = "ID")]
    change: String,
}

/// Says it.
pub async fn run(cluster: &Cluster, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let id = arguments.workload.find(cluster).await?;
    let change: ChangeId = arguments.change.parse().map_err(|_| {
        Failure::No(format!("--change: {:?} is no id of a change", arguments.change))
    })?;
    let seen = cluster.read().await?;
    let workload = seen.workload(&id)?;
    let place = lower(&id);
    let asleep = offline::of(workload).filter(|(mark, _)| mark.stage == Stage::Sleep);
    let Some((_, upgrade)) = asleep else {
        return Err(Failure::No(format!(
            "the pods of {place} do not sleep for a migration. Nothing was changed. To see what it waits for: {}",
            cluster.command("why", &id)
        )));
    };
    if upgrade.change.as_ref() != Some(&change) {
        let migrating = upgrade.change.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Failure::No(format!(
            "the data of {place} is to be migrated for change {migrating}, not for {change}. Nothing was changed"
        )));
    }
    write(cluster, &id, &change).await?;
    println!("The data of {place} is migrated for change {change}. The upgrade goes on.");
    println!("To follow it: {}", cluster.command("wait", &id));
    Ok(ExitCode::SUCCESS)
}

async fn write(cluster: &Cluster, id: &WorkloadId, change: &ChangeId) -> Result<(), Failure> {
    let what = format!("write {} on {}", marks::MIGRATED, lower(id));
    let object = cluster.get(id).await?;
    let operations = |_: &Value| {
        let path = pointer(marks::MIGRATED);
        vec![json!({"op": "add", "path": path, "value": change.to_string()})]
    };
    cluster.rewrite(id, &what, object, operations).await.map(drop)
}
