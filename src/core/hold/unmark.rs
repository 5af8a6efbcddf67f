//! A workload as it would be had we never been there: our marks go, and what its manifest declares
//! comes back.
//!
//! The patch itself does what admission does when the operator removes a mark, so that it is
//! right whether or not the policies stand.

use serde_json::{Value, json};

use crate::{
    api::{WorkloadKind, marks},
    core::{observed::kind::HeldBy, request::pointer},
    marks::{
        MarkSet, Marks, is_governed, registry,
        values::{HELD, Share, Strategy},
    },
};

/// The JSON patch that takes our marks off a workload, but for those that are spared, and restores
/// what its manifest declares. The template stays as it is, our config-hash included: without it
/// the pods would roll once more.
pub fn unmark(kind: WorkloadKind, object: &Value, spared: &[&str]) -> Vec<Value> {
    let ours = Marks::of(object);
    let mut patch: Vec<_> = registry::of_workloads()
        .filter(|row| !spared.contains(&row.key) && ours.stands(row.key))
        .map(|row| json!({"op": "remove", "path": pointer("/metadata/annotations", row.key)}))
        .collect();
    if is_governed(object) {
        patch.push(json!({"op": "remove", "path": pointer("/metadata/labels", marks::GOVERNED)}));
    }
    let spec = &object["spec"];
    let partition =
        spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or_default();
    let step = ours.partition.get().map(|step| u64::from(step.0));
    let is_held = ours.hold.stands();
    // What a user has set otherwise since admission went stays.
    match kind.capabilities().held_by {
        Some(HeldBy::Paused)
            if spec["paused"] == true && is_held && ours.declared_paused.get() != Some(&true) =>
        {
            patch.push(json!({"op": "remove", "path": "/spec/paused"}));
        }
        Some(HeldBy::Partition)
            if (is_held && partition == u64::from(HELD)) || step == Some(partition) =>
        {
            patch.push(match ours.declared_update_strategy.get() {
                Some(declared) => json!({"op": "replace", "path": "/spec/updateStrategy", "value": {"type": &*declared.0}}),
                None => {
                    let declared = ours.declared_partition.get().map_or(0, |declared| declared.0);
                    json!({"op": "replace", "path": "/spec/updateStrategy/rollingUpdate/partition", "value": declared})
                }
            });
        }
        Some(HeldBy::Paused | HeldBy::Partition) | None => {}
    }
    patch.extend(
        declared_replicas(object, &ours)
            .map(|replicas| json!({"op": "replace", "path": "/spec/replicas", "value": replicas})),
    );
    patch.extend(
        declared_strategy(object, &ours)
            .map(|strategy| json!({"op": "replace", "path": "/spec/strategy", "value": strategy})),
    );
    patch
}

/// The fewer replicas that came with the held change, unless a user has scaled since.
fn declared_replicas(object: &Value, ours: &Marks) -> Option<u32> {
    let waits = ours.declared_replicas.get().filter(|_| ours.hold.stands())?;
    let runs = object["spec"]["replicas"].as_u64();
    (runs == Some(waits.running.into())).then_some(waits.declared)
}

/// The strategy of a Deployment that admission made `Recreate`, as its manifest declares it.
fn declared_strategy(object: &Value, ours: &Marks) -> Option<Value> {
    let exclusive =
        ours.volume_access.get().is_some() && object["spec"]["strategy"]["type"] == "Recreate";
    let Strategy { surge, unavailable } = *ours.declared_strategy.get().filter(|_| exclusive)?;
    let (surge, unavailable) = (of_share(surge), of_share(unavailable));
    Some(
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}),
    )
}

fn of_share(share: Share) -> Value {
    match share {
        Share::Pods(pods) => json!(pods),
        Share::Percent(_) => json!(share.to_string()),
    }
}

/// An annotation of an object as it is.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The object after its marks were taken off.
    fn unmarked(kind: WorkloadKind, mut object: Value, spared: &[&str]) -> Value {
        let patch: json_patch::Patch =
            serde_json::from_value(unmark(kind, &object, spared).into()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
        object
    }

    fn held(declared: (&str, &str), spec: Value) -> Value {
        let mut annotations: serde_json::Map<_, _> =
            registry::of_workloads().map(|row| (row.key.to_owned(), json!("x"))).collect();
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
            let object = unmarked(
                WorkloadKind::Deployment,
                held((marks::DECLARED_PAUSED, declared), deployment(now)),
                &[],
            );
            assert_eq!(object, free(deployment(then)), "{declared} {now:?}");
        }
        let set = |partition: u32| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
        for (declared, now, then) in
            [("0", HELD, 0), ("2", HELD, 2), ("garbage", HELD, 0), ("2", 1, 1)]
        {
            let object = unmarked(
                WorkloadKind::StatefulSet,
                held((marks::DECLARED_PARTITION, declared), set(now)),
                &[],
            );
            assert_eq!(object, free(set(then)), "{declared} {now}");
        }
        // Pod by pod.
        let mut walked = held((marks::DECLARED_PARTITION, "1"), set(3));
        walked["metadata"]["annotations"][marks::PARTITION] = json!("3");
        assert_eq!(unmarked(WorkloadKind::StatefulSet, walked, &[]), free(set(1)));
    }

    #[test]
    fn the_replicas_that_waited_come_unless_somebody_has_scaled_since() {
        let after = |declared: &str, replicas: u64| {
            let object = held((marks::DECLARED_REPLICAS, declared), json!({"replicas": replicas}));
            unmarked(WorkloadKind::Deployment, object, &[])["spec"]["replicas"].clone()
        };
        assert_eq!(
            [after("1 of 4", 4), after("0 of 4", 4), after("1 of 4", 5)],
            [json!(1), json!(0), json!(5)]
        );
        assert_eq!(
            [after("4 of 1", 1), after("1", 4), after("-1 of 4", 4)],
            [json!(1), json!(4), json!(4)]
        );
        let mut free = held((marks::DECLARED_REPLICAS, "1 of 4"), json!({"replicas": 4}));
        free["metadata"]["annotations"].as_object_mut().unwrap().remove(marks::HOLD);
        assert_eq!(unmarked(WorkloadKind::StatefulSet, free, &[])["spec"]["replicas"], 4);
    }

    #[test]
    fn the_declared_strategy_comes_back_unless_it_is_garbage_or_somebody_elses() {
        let recreate = json!({"strategy": {"type": "Recreate"}});
        let rolling = |surge: Value, unavailable: Value| json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}});
        let after = |access: &str, declared: &str, spec: &Value| {
            let mut object = held((marks::DECLARED_STRATEGY, declared), spec.clone());
            object["metadata"]["annotations"][marks::VOLUME_ACCESS] = json!(access);
            unmarked(WorkloadKind::Deployment, object, &[])
        };
        assert_eq!(after("exclusive", "25%|1", &recreate), free(rolling(json!("25%"), json!(1))));
        for (access, declared) in
            [("exclusive", "0|0%"), ("exclusive", "much"), ("exclusive", "1|-1"), ("", "25%|1")]
        {
            assert_eq!(
                after(access, declared, &recreate),
                free(recreate.clone()),
                "{access} {declared}"
            );
        }
        let set_since = rolling(json!(3), json!(0));
        assert_eq!(after("exclusive", "25%|1", &set_since), free(set_since));
    }

    #[test]
    fn records_are_spared_and_a_users_own_pause_stays() {
        let left = unmarked(
            WorkloadKind::Deployment,
            held((marks::DECLARED_PAUSED, "false"), json!({"paused": true})),
            &registry::records().collect::<Vec<_>>(),
        );
        let marks_left: Vec<_> = left["metadata"]["annotations"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            marks_left,
            [
                "lockkeeper.dev/config",
                "lockkeeper.dev/history",
                "lockkeeper.dev/ignore",
                "lockkeeper.dev/rollout",
                "lockkeeper.dev/rollouts",
                "mine"
            ]
        );
        let own = json!({"metadata": {"labels": {marks::GOVERNED: "true"}, "annotations": {}}, "spec": {"paused": true}});
        assert_eq!(unmarked(WorkloadKind::Deployment, own, &[])["spec"]["paused"], true);
    }

    #[test]
    fn a_stateful_set_gets_the_type_back_that_it_declares() {
        let held_set = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": HELD}}});
        let after = |declared: &str| {
            let object = held((marks::DECLARED_UPDATE_STRATEGY, declared), held_set.clone());
            unmarked(WorkloadKind::StatefulSet, object, &[])["spec"]["updateStrategy"].clone()
        };
        assert_eq!(
            [after("Recreate"), after("OnDelete")],
            [json!({"type": "Recreate"}), json!({"type": "OnDelete"})]
        );
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        assert_eq!(
            [after("x"), after("RollingUpdate"), after("No-type")],
            [rolling.clone(), rolling.clone(), rolling]
        );
    }

    #[test]
    fn what_carries_no_marks_is_left_alone() {
        assert_eq!(
            unmark(WorkloadKind::Deployment, &json!({"metadata": {}, "spec": {}}), &[]),
            Vec::<Value>::new()
        );
    }
}
