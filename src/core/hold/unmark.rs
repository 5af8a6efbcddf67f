//! A workload as it would be had we never been there: our marks go, and what its manifest declares
//! comes back.
//!
//! The patch does by itself what admission does when the operator takes a mark off, so that it is
//! right whether or not the policies stand.

use serde_json::{Value, json};

use crate::{
    api::{WorkloadKind, marks},
    core::{hold::state, request::pointer},
};

/// What the operator and admission write on a workload. What users write, such as `ignore`, stays.
pub const OURS: [&str; 22] = [
    marks::GOVERNANCE,
    marks::CONFIG,
    marks::ROLLOUT,
    marks::ROLLOUTS,
    marks::HOLD_CHANGES,
    marks::HOLD_AT_ZERO,
    marks::HOLD,
    marks::HOLD_SINCE,
    marks::DECLARED_PAUSED,
    marks::DECLARED_PARTITION,
    marks::DECLARED_STRATEGY,
    marks::DECLARED_UPDATE_STRATEGY,
    marks::DECLARED_REPLICAS,
    marks::PARTITION,
    marks::VOLUME_ACCESS,
    marks::PENDING_CONFIG,
    marks::APPROVE,
    marks::APPROVED_BY,
    marks::BYPASS,
    marks::BYPASSED_BY,
    marks::AUTHORS,
    marks::RESERVED,
];
/// What only tells what was: which config pods started with, and which rollouts there were. It
/// holds nothing, and who governs next goes on from it.
pub const RECORDS: [&str; 3] = [marks::CONFIG, marks::ROLLOUT, marks::ROLLOUTS];
/// The partition by which admission holds a StatefulSet.
const HELD: u64 = i32::MAX as u64;

/// The JSON patch that takes our marks off a workload, but for those that are spared, and restores
/// what its manifest declares. The template stays as it is, our config-hash included: without it
/// the pods would roll once more.
pub fn unmark(kind: WorkloadKind, object: &Value, spared: &[&str]) -> Vec<Value> {
    let goes = |mark: &&&str| !spared.contains(mark) && annotation(object, mark).is_some();
    let mut patch: Vec<_> = OURS
        .iter()
        .filter(goes)
        .map(|mark| json!({"op": "remove", "path": pointer("/metadata/annotations", mark)}))
        .collect();
    if !object["metadata"]["labels"][marks::GOVERNED].is_null() {
        patch.push(json!({"op": "remove", "path": pointer("/metadata/labels", marks::GOVERNED)}));
    }
    let spec = &object["spec"];
    let partition =
        spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or_default();
    let step = annotation(object, marks::PARTITION).and_then(|step| step.parse().ok());
    // What somebody has set otherwise since admission went is their word.
    match kind {
        WorkloadKind::Deployment
            if spec["paused"] == true
                && is_held(object)
                && annotation(object, marks::DECLARED_PAUSED) != Some("true") =>
        {
            patch.push(json!({"op": "remove", "path": "/spec/paused"}));
        }
        WorkloadKind::StatefulSet
            if (is_held(object) && partition == HELD) || step == Some(partition) =>
        {
            patch.push(match declared_type(object) {
                Some(declared) => json!({"op": "replace", "path": "/spec/updateStrategy", "value": {"type": declared}}),
                None => {
                    let declared: u64 =
                        annotation(object, marks::DECLARED_PARTITION).and_then(|text| text.parse().ok()).unwrap_or_default();
                    json!({"op": "replace", "path": "/spec/updateStrategy/rollingUpdate/partition", "value": declared.min(HELD)})
                }
            });
        }
        _ => {}
    }
    patch.extend(
        declared_replicas(object)
            .map(|replicas| json!({"op": "replace", "path": "/spec/replicas", "value": replicas})),
    );
    patch.extend(
        declared_strategy(object)
            .map(|strategy| json!({"op": "replace", "path": "/spec/strategy", "value": strategy})),
    );
    patch
}

/// The type of update strategy that a StatefulSet declares, where it is not RollingUpdate. Garbage
/// is none.
fn declared_type(object: &Value) -> Option<&str> {
    let declared = annotation(object, marks::DECLARED_UPDATE_STRATEGY)?;
    let word =
        declared.len() <= 31 && declared.starts_with(|first: char| first.is_ascii_uppercase());
    (word && declared != "RollingUpdate" && declared.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .then_some(declared)
}

fn is_held(object: &Value) -> bool {
    annotation(object, marks::HOLD).is_some()
}

/// The fewer replicas that came with the held change, unless somebody has scaled since.
fn declared_replicas(object: &Value) -> Option<u32> {
    let (declared, running) = annotation(object, marks::DECLARED_REPLICAS)
        .filter(|_| is_held(object))
        .and_then(state::parse_replicas)?;
    (object["spec"]["replicas"].as_u64() == Some(running.into())).then_some(declared)
}

/// The strategy of a Deployment that admission made `Recreate`: `maxSurge|maxUnavailable` of what
/// it declares. Garbage is none.
fn declared_strategy(object: &Value) -> Option<Value> {
    let ours = annotation(object, marks::VOLUME_ACCESS) == Some("exclusive")
        && object["spec"]["strategy"]["type"] == "Recreate";
    let (surge, unavailable) =
        annotation(object, marks::DECLARED_STRATEGY).filter(|_| ours)?.split_once('|')?;
    let (surge, unavailable) = (limit(surge)?, limit(unavailable)?);
    let nothing = |value: &Value| *value == json!(0) || *value == json!("0%");
    let usable = !(nothing(&surge) && nothing(&unavailable));
    usable.then(|| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}))
}

fn limit(text: &str) -> Option<Value> {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse::<u32>().ok().map(|percent| json!(format!("{percent}%"))),
        None => text.parse::<u32>().ok().map(|count| json!(count)),
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
            OURS.map(|mark| (mark.to_owned(), json!("x"))).into_iter().collect();
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
        let set = |partition: u64| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
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
            &RECORDS,
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
