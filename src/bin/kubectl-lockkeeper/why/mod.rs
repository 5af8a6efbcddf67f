//! The whole story of one workload.

mod gather;
mod pending;
mod story;
mod words;

use std::process::ExitCode;

use lockkeeper::{
    core::{
        hold::state::Hold,
        observed::{Workload, WorkloadId},
    },
    shell::clock,
};

use self::story::Story;
pub use self::{
    gather::{enforce, since},
    pending::Pending,
};
use crate::{
    Output,
    cluster::{Cluster, Failure},
    output,
    revisions::{differences, history, named_changes, settled},
};

/// Tells it.
pub async fn run(cluster: &Cluster, id: &WorkloadId, format: Output) -> Result<ExitCode, Failure> {
    let seen = cluster.read_even_uninstalled().await?;
    let workload = seen.workload(id)?;
    // Without permission to read events, that section is omitted.
    let (events, unseen) = match cluster.events(id).await {
        Ok(events) => (events, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let template = changed_template(cluster, workload).await?;
    let story = Story::new(cluster, &seen, workload, &events, template, clock::now());
    match format {
        Output::Table | Output::Wide => {
            output::print(&words::tell(&story, format == Output::Wide, clock::now()))
        }
        other => output::data(other, &story)?,
    }
    unseen.iter().for_each(|why| eprintln!("Events are omitted: {why}."));
    Ok(ExitCode::SUCCESS)
}

/// Where a held template differs from what the pods run: no values but images.
async fn changed_template(cluster: &Cluster, workload: &Workload) -> Result<Vec<String>, Failure> {
    if Hold::on(workload).is_none() {
        return Ok(Vec::new());
    }
    let object = cluster.get(&workload.id).await?;
    let revisions = history(cluster, &workload.id, &object).await?;
    let old = settled(&workload.id, &object, &revisions);
    let all = old
        .map(|old| differences(&old.template_for(&object), &object["spec"]["template"]))
        .unwrap_or_default();
    Ok(named_changes(&all))
}
