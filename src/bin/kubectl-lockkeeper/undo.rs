//! Puts a pod template back, also where kubectl's own undo refuses because a hold pauses the Deployment.

use std::process::ExitCode;

use lockkeeper::{
    api::marks,
    core::{
        hold::state::{Hold, parse},
        world::WorkloadId,
    },
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Failure, annotation, lower},
    revisions::{Revision, before, differences, history, is_settled, settled},
};

/// Puts it back.
pub async fn run(cluster: &Cluster, id: &WorkloadId, to: Option<u64>, dry_run: bool) -> Result<ExitCode, Failure> {
    let object = cluster.get(id).await?;
    let revisions = history(cluster, id, &object).await?;
    let held = hold(&object);
    if held.is_none() && object["spec"]["paused"] == true {
        return Err(Failure::No(format!(
            "cannot undo {0}: it is paused, by whoever declares spec.paused. First: kubectl rollout resume -n {1} {0}",
            lower(id),
            cluster.namespace
        )));
    }
    let revision = choose(cluster, id, &object, &revisions, to)?;
    let place = lower(id);
    if dry_run {
        println!("--- {place} as it is\n+++ {place} of revision {}", revision.number);
        for one in differences(&object["spec"]["template"], &revision.template_for(&object)) {
            one.old.iter().for_each(|old| println!("-{}: {old}", one.path));
            one.new.iter().for_each(|new| println!("+{}: {new}", one.path));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let patch = |object: &Value| vec![json!({"op": "replace", "path": "/spec/template", "value": revision.template_for(object)})];
    let what = format!("undo {place}");
    let written = cluster.rewrite(id, &what, object.clone(), patch).await?;
    let now_held = hold(&written);
    // A rollout under way may be withdrawn too: its way back is as open.
    let withdrawn = now_held.is_some() && settled(id, &object, &revisions).is_some_and(|settled| settled.number == revision.number);
    let ends_nothing = withdrawn && held.is_some() && is_settled(id, &object, &revisions);
    // What ends nothing leaves no trace. What rolls is the user's, as after kubectl's own undo, and its time is that of the rollout.
    if ends_nothing {
        cluster.disown(id, &what, written).await?;
    }
    println!("{place} has the template of revision {} again.", revision.number);
    let follow = cluster.command("wait", id);
    println!(
        "{}",
        match now_held {
            Some(_) if ends_nothing => format!(
                "The held change is withdrawn: this is what the pods run, so none of them ends, and the operator lets it through at once. To see it done: \
                 {follow}"
            ),
            Some(_) if withdrawn => format!(
                "The change before is withdrawn: pods of this revision stay, those of others end, and no window or approval is asked. To follow it: \
                 {follow}"
            ),
            Some(new) => format!(
                "This is a change too, and held like any other, with id {}. To let it through: {}",
                new.id,
                cluster.command("approve", id)
            ),
            None => format!("It rolls now. To follow it: {follow}"),
        }
    );
    println!("Put back what declares it too (chart, repository), or it comes again with the next upgrade.");
    Ok(ExitCode::SUCCESS)
}

/// The hold that admission put on a workload.
fn hold(object: &Value) -> Option<Hold> {
    object["metadata"]["labels"][marks::GOVERNED].as_str()?;
    parse(annotation(object, marks::HOLD)?)
}

/// Which revision to go back to.
fn choose<'a>(
    cluster: &Cluster,
    id: &WorkloadId,
    object: &Value,
    revisions: &'a [Revision],
    to: Option<u64>,
) -> Result<&'a Revision, Failure> {
    let place = lower(id);
    let numbers: Vec<_> = revisions.iter().map(|revision| revision.number.to_string()).collect();
    let there = format!("there are {} (kubectl rollout history -n {} {place})", numbers.join(", "), cluster.namespace);
    let revision = match (to, hold(object)) {
        (Some(number), _) => {
            let found = revisions.iter().find(|revision| revision.number == number);
            found.ok_or_else(|| format!("{place} has no revision {number}; {there}"))
        }
        (None, Some(_)) => settled(id, object, revisions)
            .ok_or_else(|| format!("the pods of {place} are of several revisions; name one with --to-revision: {there}")),
        (None, None) => before(object, revisions).ok_or_else(|| {
            format!(
                "{place} has no revision before that differs in more than the config; {there}. Config is taken back in the ConfigMaps and Secrets that \
                 {} names",
                cluster.command("why", id)
            )
        }),
    };
    let refused = |why: String| Failure::No(format!("cannot undo: {why}"));
    let revision = revision.map_err(refused)?;
    if revision.is_live(object) {
        let of_pods = settled(id, object, revisions).is_some_and(|settled| settled.number == revision.number);
        let hint = match hold(object) {
            Some(_) if of_pods => "the operator is about to let it through",
            Some(_) => "that is the change that is held",
            None => "config, if that is what differs, is taken back in its ConfigMap or Secret",
        };
        return Err(refused(format!("{place} has the template of revision {} already; {hint}", revision.number)));
    }
    Ok(revision)
}
