//! Reverts a pod template, also where kubectl's own undo refuses because a hold pauses the
//! Deployment.

use std::process::ExitCode;

use lockkeeper::{
    core::{hold::state::Hold, observed::WorkloadId},
    marks::{MarkSet, Marks, is_governed},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Failure, lower},
    revisions::{Revision, before, differences, history, is_settled, settled},
};

/// Puts it back.
pub async fn run(
    cluster: &Cluster,
    id: &WorkloadId,
    to: Option<u64>,
    dry_run: bool,
) -> Result<ExitCode, Failure> {
    let object = cluster.get(id).await?;
    let revisions = history(cluster, id, &object).await?;
    let held = hold(&object);
    if held.is_none() && object["spec"]["paused"] == true {
        return Err(Failure::No(format!(
            "cannot undo {0}: its manifest declares paused: true. First run: kubectl rollout resume -n {1} {0}",
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
    let patch = |object: &Value| {
        vec![
            json!({"op": "replace", "path": "/spec/template", "value": revision.template_for(object)}),
        ]
    };
    let what = format!("undo {place}");
    let written = cluster.rewrite(id, &what, object.clone(), patch).await?;
    let now_held = hold(&written);
    // A rollout under way may be withdrawn too: its way back is as open.
    let withdrawn = now_held.is_some()
        && settled(id, &object, &revisions)
            .is_some_and(|settled| settled.number == revision.number);
    let ends_nothing = withdrawn && held.is_some() && is_settled(id, &object, &revisions);
    // What ends nothing leaves no trace. What rolls is the user's, as after kubectl's own undo, and
    // its time is that of the rollout.
    if ends_nothing {
        cluster.disown(id, &what, written).await?;
    }
    println!("{place} has the template of revision {} again.", revision.number);
    let follow = cluster.command("wait", id);
    println!(
        "{}",
        match now_held {
            Some(_) if ends_nothing => format!(
                "The held change is reverted. The template is the one that the pods run, so no pod terminates, and the operator releases it immediately. To follow it: \
                 {follow}"
            ),
            Some(_) if withdrawn => format!(
                "The previous change is reverted. Pods of this revision stay, and the others terminate, without a window or an approval. To follow it: {follow}"
            ),
            Some(new) => format!(
                "This is a change too, and is held like any other, with the id {}. To approve it: {}",
                new.id,
                cluster.command("approve", id)
            ),
            None => format!("It rolls now. To follow it: {follow}"),
        }
    );
    println!(
        "Revert also what declares it (a chart, a repository); otherwise the next upgrade applies the change again."
    );
    Ok(ExitCode::SUCCESS)
}

/// The hold that admission put on a workload.
fn hold(object: &Value) -> Option<Hold> {
    Marks::of(object).hold.get().filter(|_| is_governed(object)).map(Hold::from)
}

/// The revisions that there are, in words. A lone number would read as how many there are.
fn kept(numbers: &[String]) -> String {
    match numbers {
        [] => "no revision is kept".to_owned(),
        [one] => format!("only revision {one} is kept"),
        several => format!("the revisions {} are kept", several.join(", ")),
    }
}

/// Why there are so few.
fn limit(object: &Value) -> String {
    match object["spec"]["revisionHistoryLimit"].as_u64() {
        Some(limit @ (0 | 1)) => {
            format!(". spec.revisionHistoryLimit is {limit}, so earlier revisions are deleted")
        }
        _ => String::new(),
    }
}

/// Which revision to revert to.
fn choose<'a>(
    cluster: &Cluster,
    id: &WorkloadId,
    object: &Value,
    revisions: &'a [Revision],
    to: Option<u64>,
) -> Result<&'a Revision, Failure> {
    let place = lower(id);
    let numbers: Vec<_> = revisions.iter().map(|revision| revision.number.to_string()).collect();
    let there =
        format!("{} (kubectl rollout history -n {} {place})", kept(&numbers), cluster.namespace);
    let revision = match (to, hold(object)) {
        (Some(number), _) => {
            let found = revisions.iter().find(|revision| revision.number == number);
            found.ok_or_else(|| format!("{place} has no revision {number}; {there}"))
        }
        (None, Some(_)) => settled(id, object, revisions)
            .ok_or_else(|| format!("the pods of {place} run several revisions. Choose one with --to-revision; {there}")),
        (None, None) => before(object, revisions).ok_or_else(|| {
            format!(
                "{place} has no earlier revision with another template; {there}{}. To revert the template, apply the earlier manifest. Config is reverted \
                 in its ConfigMaps and Secrets; to see which: {}",
                limit(object),
                cluster.command("why", id)
            )
        }),
    };
    let refused = |why: String| Failure::No(format!("cannot undo: {why}"));
    let revision = revision.map_err(refused)?;
    if revision.is_live(object) {
        let of_pods =
            settled(id, object, revisions).is_some_and(|settled| settled.number == revision.number);
        let hint = match hold(object) {
            Some(_) if of_pods => "the operator is about to release it",
            Some(_) => "that is the held change",
            None => "if config differs, revert its ConfigMap or Secret",
        };
        return Err(refused(format!(
            "{place} already has the template of revision {}; {hint}",
            revision.number
        )));
    }
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_there_is_nothing_to_revert_to_is_said() {
        for (numbers, expected) in [
            (&[][..], "no revision is kept"),
            (&["2"], "only revision 2 is kept"),
            (&["1", "2"], "the revisions 1, 2 are kept"),
        ] {
            let numbers: Vec<_> = numbers.iter().map(|number| (*number).to_owned()).collect();
            assert_eq!(kept(&numbers), expected);
        }
        for (history, part) in
            [(json!(0), "spec.revisionHistoryLimit is 0"), (json!(10), ""), (Value::Null, "")]
        {
            let said = limit(&json!({"spec": {"revisionHistoryLimit": history}}));
            assert!(said.contains(part) && (said.is_empty() == part.is_empty()), "{said}");
        }
    }
}
