//! What becomes of a changed template.

use super::*;

#[test]
fn a_changed_template_is_held_or_rolls_and_says_why() {
    let web = |image: &str| workload("Deployment", "web", image);
    let before = || Case::new().workload(&web("v1"));
    let guarded = || Case::new().workload(&marked(web("v1"))).policy(gated());
    let mut on_delete = workload("StatefulSet", "db", "v1");
    on_delete["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let mut new_on_delete = on_delete.clone();
    new_on_delete["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    let gap = {
        let mut case = guarded().new_workload(&marked(web("v2")), false);
        case.gap = Some("not installed");
        case
    };
    for (name, case, object, expected, because) in [
        (
            "nobody governs",
            before().new_workload(&web("v2"), true),
            "deployment/web",
            Outcome::Roll,
            "No policy of the namespace selects it",
        ),
        (
            "no gates",
            before().policy(json!({"selector": {}, "config": {}})).new_workload(&web("v2"), true),
            "deployment/web",
            Outcome::Roll,
            "has no gates for template changes",
        ),
        (
            "gates for config only",
            before()
                .policy(json!({"selector": {}, "gates": {"approval": "Required", "appliesTo": ["Config"]}}))
                .new_workload(&web("v2"), true),
            "deployment/web",
            Outcome::Roll,
            "has no gates for template changes",
        ),
        (
            "observed",
            before().policy(json!({"selector": {}, "mode": "Observe", "gates": {"approval": "Required"}})).new_workload(&web("v2"), true),
            "deployment/web",
            Outcome::Roll,
            "only observes (mode: Observe). With mode: Enforce it would be held, and wait for approval: a user with the verb approve",
        ),
        (
            "policy in the same files",
            before().new_policy(gated()).new_workload(&web("v2"), true),
            "deployment/web",
            Outcome::Roll,
            "Apply the policy first",
        ),
        (
            "held by admission",
            guarded().new_workload(&held(web("v2"), "4"), true),
            "deployment/web",
            Outcome::Hold,
            "a user with the verb approve",
        ),
        (
            "told without the server",
            guarded().new_workload(&marked(web("v2")), false),
            "deployment/web",
            Outcome::Hold,
            "a user with the verb approve",
        ),
        ("admission is not in place", gap, "deployment/web", Outcome::Roll, "template changes are not held at present: not installed"),
        (
            "the server says that it is not held",
            guarded().new_workload(&marked(web("v2")), true),
            "deployment/web",
            Outcome::Roll,
            "should hold it",
        ),
        (
            "OnDelete",
            Case::new().workload(&on_delete).policy(gated()).new_workload(&new_on_delete, true),
            "statefulset/db",
            Outcome::WaitsForUser,
            "OnDelete, any eviction starts",
        ),
        (
            "a DaemonSet",
            Case::new()
                .workload(&workload("DaemonSet", "agent", "v1"))
                .policy(gated())
                .new_workload(&workload("DaemonSet", "agent", "v2"), true),
            "daemonset/agent",
            Outcome::Roll,
            "a DaemonSet cannot be held",
        ),
        ("nothing changes", guarded().new_workload(&marked(web("v1")), true), "deployment/web", Outcome::Unchanged, ""),
        (
            "another change is held",
            { Case::new().workload(&held(web("v2"), "4")).policy(gated()).new_workload(&held(web("v3"), "5"), true) },
            "deployment/web",
            Outcome::Hold,
            "replaces the held change 4",
        ),
    ] {
        assert_eq!(case.outcome(object), expected, "{name}: {}", case.told());
        assert!(case.told().contains(because), "{name}: {because:?} is not in {}", case.told());
    }
}

#[test]
fn a_freeze_and_windows_are_waited_for_too() {
    let spec = json!({"selector": {}, "mode": "Freeze", "gates": {"approval": "RequiredFromOther",
        "windows": [{"schedule": "0 2 * * *", "duration": "1h"}]}});
    let web = |image: &str| workload("Deployment", "web", image);
    let case = Case::new()
        .workload(&marked(web("v1")))
        .policy(spec)
        .new_workload(&held(web("v2"), "4"), true);
    let plan = case.plan();
    let gates: Vec<_> = plan.objects[0].waits_for.iter().map(|wait| wait.gate).collect();
    assert_eq!(gates, ["freeze", "windows", "approval"]);
    let told = case.told();
    for part in ["its policy freezes", "opens at 2026-11-22 02:00 UTC", "a user other than ann"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_revert_says_which_replicas_come_with_it() {
    let web = |image: &str, replicas: u32| {
        let mut web = workload("Deployment", "web", image);
        web["spec"]["replicas"] = json!(replicas);
        web
    };
    let noted = |declared: &str| {
        let mut noted = held(web("v1", 4), "5");
        noted["metadata"]["annotations"][marks::DECLARED_REPLICAS] = json!(declared);
        noted
    };
    for (name, file, by_server, told, untold) in [
        (
            "the server notes fewer",
            noted("1 of 4"),
            true,
            "no pod is replaced. Its replicas go from 4 to 1 with it",
            "no pod terminates",
        ),
        (
            "told without the server",
            marked(web("v1", 1)),
            false,
            "Its replicas go from 4 to 1 with it",
            "no pod terminates",
        ),
        ("the same", held(web("v1", 4), "5"), true, "no pod terminates", "replicas go"),
        (
            "more",
            held(web("v1", 6), "5"),
            true,
            "no pod terminates. Its replicas go from 4 to 6 with it",
            "is replaced",
        ),
    ] {
        let mut case = Case::new()
            .workload(&held(web("v2", 4), "4"))
            .policy(gated())
            .new_workload(&file, by_server);
        let set = view::<ReplicaSets>(&json!({
            "metadata": {"name": "web-1", "labels": {"pod-template-hash": "1"}, "annotations": {"deployment.kubernetes.io/revision": "1"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "Deployment-web", "controller": true}]},
            "spec": {"replicas": 4, "template": web("v1", 4)["spec"]["template"]},
        }));
        case.before.replica_sets.insert("web-1".into(), set.unwrap().unwrap());
        assert_eq!(case.outcome("deployment/web"), Outcome::Withdraw, "{name}: {}", case.told());
        let because = case.plan().objects[0].because.join(" ");
        assert!(because.contains(told) && !because.contains(untold), "{name}: {because}");
    }
}

#[test]
fn what_a_new_workload_takes_over_and_ends_without_asking_is_told() {
    let pod = |name: &str, phase: &str, owner: Value| json!({"metadata": {"name": name, "uid": name, "ownerReferences": owner}, "status": {"phase": phase}});
    let owned = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "x", "controller": true}]);
    let set = |pods: &[Value]| {
        let mut case =
            Case::new().policy(gated()).new_workload(&workload("StatefulSet", "db", "v2"), true);
        let view = |pod: &Value| {
            (pod["metadata"]["uid"].as_str().unwrap().into(), view::<Pods>(pod).unwrap())
        };
        case.before.pods = pods.iter().map(view).collect();
        case
    };
    let deployment = |pods: usize, differ: bool, paused: bool| {
        let mut web = workload("Deployment", "web", "v2");
        web["spec"]["paused"] = json!(paused);
        let mut case = Case::new().policy(gated()).new_workload(&web, true);
        case.workloads.values_mut().for_each(|touched| touched.orphans = Orphans { pods, differ });
        case
    };
    let left = "left by another";
    for (name, case, told, expected) in [
        (
            "two pods of a StatefulSet",
            set(&[pod("db-0", "Running", json!([])), pod("db-1", "Running", json!([]))]),
            "2 pods were left by another StatefulSet of this name: it takes them over, and ends without asking those that are not of this template (HoldMissed).",
            true,
        ),
        (
            "one pod",
            set(&[pod("db-0", "Running", json!([]))]),
            "1 pod was left by another StatefulSet of this name: it takes it over, and ends without asking it if it is not of this template (HoldMissed).",
            true,
        ),
        (
            "of another set, of another name, finished",
            set(&[
                pod("db-0", "Running", owned),
                pod("db-x", "Running", json!([])),
                pod("web-1", "Running", json!([])),
                pod("db-1", "Failed", json!([])),
            ]),
            left,
            false,
        ),
        ("no pods", set(&[]), left, false),
        (
            "pods of a ReplicaSet",
            deployment(2, true, false),
            "2 pods were left by another Deployment: it takes them over, and ends without asking those that are not of this template (HoldMissed).",
            true,
        ),
        (
            "of its own template",
            deployment(2, false, false),
            "2 pods were left by another Deployment: it takes them over.",
            true,
        ),
        (
            "created paused",
            deployment(2, true, true),
            "2 pods were left by another Deployment: it takes them over.",
            true,
        ),
        ("none of a ReplicaSet", deployment(0, false, false), left, false),
    ] {
        assert_eq!(case.told().contains(told), expected, "{name}: {}", case.told());
    }
}
