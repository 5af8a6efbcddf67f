//! Lets go a held change that no policy holds any more.

use std::process::ExitCode;

use lockkeeper::{
    api::{WorkloadKind, marks},
    core::{hold::state::Hold, world::WorkloadId},
};
use serde_json::{Value, json};

use crate::{
    bypass::{follows, in_force, let_through},
    change::Change,
    cluster::{Cluster, Failure, annotation, lower, pointer},
    confirm::confirm,
};

/// What the operator and admission write on a workload. What users write, such as `ignore`, stays.
const OURS: [&str; 15] = [
    marks::GOVERNANCE,
    marks::CONFIG,
    marks::ROLLOUT,
    marks::ROLLOUTS,
    marks::HOLD_CHANGES,
    marks::HOLD,
    marks::HOLD_SINCE,
    marks::DECLARED_PAUSED,
    marks::DECLARED_PARTITION,
    marks::PARTITION,
    marks::PENDING_CONFIG,
    marks::APPROVE,
    marks::APPROVED_BY,
    marks::BYPASS,
    marks::BYPASSED_BY,
];
/// The partition by which admission holds a StatefulSet.
const HELD: u64 = i32::MAX as u64;

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
    let tried = cluster.patch(id, &what, unmark(id.kind, &object), true).await?;
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
    let written = cluster.rewrite(id, &what, object, |object| unmark(id.kind, object)).await?;
    println!("The marks of Lockkeeper are off {place}, and nothing holds its template any more.");
    println!("{}", follows(cluster, id, &written));
    Ok(ExitCode::SUCCESS)
}

/// Takes our marks off a workload and restores what its manifest declares, as admission would. The template stays as it is, our config-hash
/// included: without it the pods would roll once more.
fn unmark(kind: WorkloadKind, object: &Value) -> Vec<Value> {
    let mut patch: Vec<_> =
        OURS.iter().filter(|mark| annotation(object, mark).is_some()).map(|mark| json!({"op": "remove", "path": pointer(mark)})).collect();
    if !object["metadata"]["labels"][marks::GOVERNED].is_null() {
        patch.push(json!({"op": "remove", "path": pointer(marks::GOVERNED).replace("annotations", "labels")}));
    }
    let spec = &object["spec"];
    let partition = spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or_default();
    let step = annotation(object, marks::PARTITION).and_then(|step| step.parse().ok());
    // What somebody has set otherwise since admission went is their word.
    match kind {
        WorkloadKind::Deployment if spec["paused"] == true && annotation(object, marks::DECLARED_PAUSED) != Some("true") => {
            patch.push(json!({"op": "remove", "path": "/spec/paused"}));
        }
        WorkloadKind::StatefulSet if [HELD, step.unwrap_or(HELD)].contains(&partition) => {
            let declared: u64 = annotation(object, marks::DECLARED_PARTITION).and_then(|text| text.parse().ok()).unwrap_or_default();
            patch.push(json!({"op": "replace", "path": "/spec/updateStrategy/rollingUpdate/partition", "value": declared.min(HELD)}));
        }
        _ => {}
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The object after its marks were taken off.
    fn unmarked(kind: WorkloadKind, mut object: Value) -> Value {
        let patch: json_patch::Patch = serde_json::from_value(unmark(kind, &object).into()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
        object
    }

    fn held(declared: (&str, &str), spec: Value) -> Value {
        let mut annotations: serde_json::Map<_, _> = OURS.map(|mark| (mark.to_owned(), json!("x"))).into_iter().collect();
        annotations.insert(declared.0.to_owned(), json!(declared.1));
        annotations.insert(marks::IGNORE.to_owned(), json!("true"));
        annotations.insert("mine".to_owned(), json!("1"));
        json!({"metadata": {"labels": {marks::GOVERNED: "true", "app": "web"}, "annotations": annotations}, "spec": spec})
    }

    fn free(spec: Value) -> Value {
        json!({"metadata": {"labels": {"app": "web"}, "annotations": {marks::IGNORE: "true", "mine": "1"}}, "spec": spec})
    }

    #[test]
    fn every_mark_goes_and_what_the_manifest_declares_comes_back() {
        let template = json!({"metadata": {"annotations": {marks::CONFIG_HASH: "1"}}});
        let deployment = |paused: Option<bool>| match paused {
            Some(paused) => json!({"paused": paused, "template": template}),
            None => json!({"template": template}),
        };
        for (declared, now, then) in [
            ("false", Some(true), None),
            ("", Some(true), None),
            ("true", Some(true), Some(true)),
            // Resumed by hand since.
            ("true", None, None),
        ] {
            let object = unmarked(WorkloadKind::Deployment, held((marks::DECLARED_PAUSED, declared), deployment(now)));
            assert_eq!(object, free(deployment(then)), "{declared} {now:?}");
        }
        let set = |partition: u64| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        for (declared, now, then) in [("0", HELD, 0), ("2", HELD, 2), ("garbage", HELD, 0), ("2", 1, 1)] {
            let object = unmarked(WorkloadKind::StatefulSet, held((marks::DECLARED_PARTITION, declared), set(now)));
            assert_eq!(object, free(set(then)), "{declared} {now}");
        }
        // Pod by pod.
        let mut walked = held((marks::DECLARED_PARTITION, "1"), set(3));
        walked["metadata"]["annotations"][marks::PARTITION] = json!("3");
        assert_eq!(unmarked(WorkloadKind::StatefulSet, walked), free(set(1)));
    }

    #[test]
    fn what_carries_no_marks_is_left_alone() {
        assert_eq!(unmark(WorkloadKind::Deployment, &json!({"metadata": {}, "spec": {}})), Vec::<Value>::new());
    }
}
