use lockkeeper::{
    api::marks,
    shell::{
        digest::set_key,
        views::{
            ConfigMaps, DaemonSets, Deployments, Pods, Policies, ReplicaSets, StatefulSets,
            storage::{Autoscalers, Claims},
        },
    },
};
use serde_json::{Value, json};

use super::*;
use crate::plan::world::{entry, view};

const NOW: &str = "2026-11-21T17:00:00Z";

/// The namespace before and after, and what the files have.
struct Case {
    before: Namespace,
    after: Namespace,
    workloads: BTreeMap<WorkloadId, Touched>,
    policies: BTreeSet<String>,
    looked_at: BTreeSet<ConfigId>,
    gap: Option<&'static str>,
    key: &'static Key,
}

impl Case {
    fn new() -> Self {
        let namespace = || Namespace { name: "shop".into(), ..Namespace::default() };
        Self {
            before: namespace(),
            after: namespace(),
            workloads: BTreeMap::new(),
            policies: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            gap: None,
            key: set_key(Key::new(&[7; 32])),
        }
    }

    /// There is this policy, and it stays.
    fn policy(mut self, spec: Value) -> Self {
        let policy =
            view::<Policies>(&json!({"metadata": {"name": "shop", "uid": "p"}, "spec": spec}))
                .unwrap();
        self.before.policies.insert("shop".to_owned(), policy.clone());
        self.after.policies.insert("shop".to_owned(), policy);
        self
    }

    /// The files have this policy.
    fn new_policy(mut self, spec: Value) -> Self {
        let policy =
            view::<Policies>(&json!({"metadata": {"name": "shop", "uid": "p"}, "spec": spec}))
                .unwrap();
        self.after.policies.insert("shop".to_owned(), policy);
        self.policies.insert("shop".to_owned());
        self
    }

    /// There is this workload, and it stays.
    fn workload(mut self, object: &Value) -> Self {
        let workload = of(object);
        self.before.workloads.insert(workload.id.clone(), workload.clone());
        self.after.workloads.insert(workload.id.clone(), workload);
        self
    }

    /// The files have this workload; `by_server` says whether a dry run told what it would be.
    fn new_workload(mut self, object: &Value, by_server: bool) -> Self {
        let workload = of(object);
        self.workloads.insert(workload.id.clone(), Touched { by_server, ..Touched::default() });
        self.after.workloads.insert(workload.id.clone(), workload);
        self
    }

    /// There is a ConfigMap, and it would become this.
    fn config(mut self, before: Option<Value>, after: Value) -> Self {
        let read = |data: Value| {
            let object = json!({"metadata": {"name": "app"}, "data": data});
            entry(view::<ConfigMaps>(&object).unwrap(), "shop", self.key).unwrap()
        };
        let (old, (id, new)) = (before.map(read), read(after));
        self.looked_at.insert(id.clone());
        self.before.config.extend(old);
        self.after.config.insert(id, new);
        self
    }

    fn plan(&self) -> Plan {
        judge(&Situation {
            before: &self.before,
            after: &self.after,
            storage: &Storage::default(),
            workloads: &self.workloads,
            policies: &self.policies,
            looked_at: &self.looked_at,
            gap: self.gap,
            key: self.key,
            now: NOW.parse().unwrap(),
        })
    }

    fn outcome(&self, object: &str) -> Outcome {
        let plan = self.plan();
        let found = plan.objects.iter().find(|line| line.object == object);
        found.unwrap_or_else(|| panic!("{object} is not in {plan:?}")).outcome
    }

    fn told(&self) -> String {
        serde_json::to_string(&self.plan()).unwrap()
    }
}

fn of(object: &Value) -> Workload {
    match object["kind"].as_str().unwrap() {
        "Deployment" => view::<Deployments>(object),
        "StatefulSet" => view::<StatefulSets>(object),
        _ => view::<DaemonSets>(object),
    }
    .unwrap()
}

/// A workload that is rolled out, reading the key `a` of the ConfigMap `app`.
fn workload(kind: &str, name: &str, image: &str) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": name, "uid": format!("{kind}-{name}"), "generation": 3, "labels": {"app": name}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [
            {"name": "app", "image": image, "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "a"}}}]}]}}},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "updateRevision": "r", "currentRevision": "r"},
    })
}

/// The same as admission holds it from now on.
fn marked(mut object: Value) -> Value {
    object["metadata"]["labels"][marks::GOVERNED] = json!("true");
    object["metadata"]["annotations"][marks::HOLD_CHANGES] = json!("true");
    object
}

/// The same with a held change.
fn held(object: Value, id: &str) -> Value {
    let mut object = marked(object);
    object["metadata"]["annotations"][marks::HOLD] = json!(format!("{id} by ann"));
    object["metadata"]["annotations"][marks::GOVERNANCE] =
        json!(json!({"policy": "shop", "uid": "p"}).to_string());
    object["spec"]["paused"] = json!(true);
    object
}

fn gated() -> Value {
    json!({"selector": {}, "kinds": ["Deployment", "StatefulSet", "DaemonSet"], "gates": {"approval": "Required"}})
}

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
fn changed_config_rolls_who_reads_it_and_nobody_else() {
    let web = workload("Deployment", "web", "v1");
    let config = |spec: Value| json!({"selector": {}, "config": spec});
    let read = || (Some(json!({"a": "1", "b": "1"})), json!({"a": "2", "b": "1"}));
    let unread = || (Some(json!({"a": "1", "b": "1"})), json!({"a": "1", "b": "2"}));
    let mut paused = web.clone();
    paused["spec"]["paused"] = json!(true);
    let mut reloaded = web.clone();
    reloaded["metadata"]["annotations"] = json!({"reloader.stakater.com/auto": "true"});
    let mut full = web.clone();
    full["metadata"]["annotations"] = json!({marks::ROLLOUTS: "1795280100"});
    let frozen = json!({"selector": {}, "mode": "Freeze", "config": {}});
    let observed = json!({"selector": {}, "mode": "Observe", "config": {}});
    for (name, workload, policy, (before, after), expected, told) in [
        ("read", &web, Some(config(json!({}))), read(), Outcome::ConfigRoll, "ConfigMap/app[a]"),
        (
            "not read",
            &web,
            Some(config(json!({}))),
            unread(),
            Outcome::Unchanged,
            "No workload reads what changes in it (b)",
        ),
        (
            "included",
            &web,
            Some(config(json!({"include": [{"kind": "ConfigMap", "name": "app", "keys": ["b"]}]}))),
            unread(),
            Outcome::ConfigRoll,
            "ConfigMap/app[b]",
        ),
        (
            "excluded",
            &web,
            Some(config(json!({"exclude": [{"kind": "ConfigMap", "name": "app"}]}))),
            read(),
            Outcome::Unchanged,
            "",
        ),
        ("nobody governs", &web, None, read(), Outcome::NotRolled, "No policy rolls it for config"),
        (
            "no config in the policy",
            &web,
            Some(gated()),
            read(),
            Outcome::NotRolled,
            "has no spec.config",
        ),
        (
            "reported",
            &web,
            Some(config(json!({"onChange": "Report"}))),
            read(),
            Outcome::Report,
            "only reports it",
        ),
        ("observed", &web, Some(observed), read(), Outcome::Report, "only reports it"),
        ("frozen", &web, Some(frozen), read(), Outcome::ConfigHold, "its policy freezes"),
        (
            "paused",
            &paused,
            Some(config(json!({}))),
            read(),
            Outcome::WaitsForUser,
            "Its manifest holds its pods",
        ),
        ("another reloader", &reloaded, Some(config(json!({}))), read(), Outcome::Unchanged, ""),
        (
            "often enough",
            &full,
            Some(config(json!({"limit": {"max": 1, "window": "1h"}}))),
            read(),
            Outcome::ConfigHold,
            "1 config rollouts within 1h",
        ),
        (
            "a key goes",
            &web,
            Some(config(json!({}))),
            (Some(json!({"a": "1"})), json!({"b": "1"})),
            Outcome::Unchanged,
            "ConfigMap/app has no key a",
        ),
    ] {
        let case = Case::new().workload(workload).config(before, after);
        let case = match policy {
            Some(spec) => case.policy(spec),
            None => case,
        };
        assert_eq!(case.outcome("deployment/web"), expected, "{name}: {}", case.told());
        assert!(case.told().contains(told), "{name}: {told:?} is not in {}", case.told());
    }
}

#[test]
fn what_cannot_be_read_is_no_change() {
    let web = workload("Deployment", "web", "v1");
    let case = Case::new()
        .workload(&web)
        .policy(json!({"selector": {}, "config": {}}))
        .new_workload(&web, true);
    assert!(!case.told().contains("ConfigMissing"), "nobody looked at it: {}", case.told());
    assert!(!case.plan().happens());
}

#[test]
fn a_policy_that_changes_says_whose_the_workloads_are() {
    let web = workload("Deployment", "web", "v1");
    let held_web = held(workload("Deployment", "web", "v2"), "4");
    let free = json!({"selector": {}, "config": {}});
    for (name, workload, before, after, expected, told) in [
        (
            "begins",
            &web,
            None,
            gated(),
            Outcome::Governed,
            "begins to govern it, and holds its template changes",
        ),
        (
            "ends",
            &web,
            Some(gated()),
            json!({"selector": {"matchLabels": {"app": "other"}}}),
            Outcome::LetGo,
            "no longer governs it",
        ),
        (
            "holds from then on",
            &web,
            Some(free.clone()),
            gated(),
            Outcome::Governed,
            "holds its template changes from then on",
        ),
        (
            "no longer holds",
            &web,
            Some(gated()),
            free.clone(),
            Outcome::LetGo,
            "no longer holds its template changes",
        ),
        ("the same", &web, Some(gated()), gated(), Outcome::Unchanged, ""),
        (
            "releases",
            &held_web,
            Some(gated()),
            free,
            Outcome::Roll,
            "Its held change 4 is released",
        ),
        (
            "asks for less",
            &held_web,
            Some(gated()),
            json!({"selector": {}, "rollout": {"maxConcurrent": 1}}),
            Outcome::Roll,
            "no gate is closed any longer",
        ),
        (
            "cannot be read",
            &web,
            None,
            json!({"selector": {}, "gates": {"windows": [{"schedule": "x", "duration": "1h"}]}}),
            Outcome::Unchanged,
            "InvalidSpec",
        ),
    ] {
        let case = Case::new().workload(workload);
        let case = match before {
            Some(spec) => case.policy(spec),
            None => case,
        };
        let case = case.new_policy(after);
        assert_eq!(case.outcome("deployment/web"), expected, "{name}: {}", case.told());
        assert!(case.told().contains(told), "{name}: {told:?} is not in {}", case.told());
    }
}

/// To observe is not to release.
#[test]
fn a_policy_that_begins_to_observe_releases_nothing() {
    let observed = || json!({"selector": {}, "mode": "Observe", "gates": {"approval": "Required"}});
    let free = || json!({"selector": {}, "config": {}});
    let web = |image: &str| workload("Deployment", "web", image);
    let with = |before: &Value, old: Value, new: Value| {
        Case::new().workload(before).policy(old).new_policy(new)
    };
    let waits_for_a_bypass = || {
        let mut kept = held(web("v2"), "4");
        let mark = json!({"policy": "shop", "uid": "p", "whenUngoverned": "Keep"}).to_string();
        kept["metadata"]["annotations"][marks::GOVERNANCE] = json!(mark);
        kept
    };
    for (name, case, expected, told, untold) in [
        (
            "held",
            with(&held(web("v2"), "4"), gated(), observed()),
            Outcome::Unchanged,
            "Its change 4 is held already. It stays held",
            "released:",
        ),
        (
            "held, and changed again",
            with(&held(web("v2"), "4"), gated(), observed())
                .new_workload(&held(web("v3"), "5"), true),
            Outcome::Hold,
            "It stays held: policy shop would only observe",
            "for a moment",
        ),
        (
            "changed in the same files",
            with(&marked(web("v1")), gated(), observed()).new_workload(&held(web("v2"), "4"), true),
            Outcome::Hold,
            "Where the policy is applied first, it may roll out immediately instead",
            "for a moment",
        ),
        (
            "held, and the gates are asked again",
            with(&held(web("v2"), "4"), observed(), gated()),
            Outcome::Governed,
            "",
            "released",
        ),
        (
            "held, and no gates are left",
            with(&held(web("v2"), "4"), observed(), free()),
            Outcome::Roll,
            "Its held change 4 is released",
            "stays",
        ),
        (
            "held, and only gates that are open are left",
            with(
                &held(web("v2"), "4"),
                observed(),
                json!({"selector": {}, "rollout": {"maxConcurrent": 1}}),
            ),
            Outcome::Roll,
            "no gate is closed any longer",
            "stays",
        ),
        (
            "kept by whenUngoverned",
            with(&waits_for_a_bypass(), gated(), free()),
            Outcome::Unchanged,
            "stays held although",
            "released:",
        ),
        (
            "not held",
            with(&marked(web("v1")), gated(), observed()),
            Outcome::LetGo,
            "no longer holds its template changes",
            "stays",
        ),
    ] {
        assert_eq!(case.outcome("deployment/web"), expected, "{name}: {}", case.told());
        let text = case.told();
        assert!(
            text.contains(told) && !text.contains(untold),
            "{name}: {told:?} and not {untold:?} in {text}"
        );
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
fn exclusive_claims_are_at_risk_whether_or_not_a_policy_sees_to_them() {
    let claim = view::<Claims>(
        &json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}),
    )
    .unwrap();
    let files = |replicas: u32, strategy: &str| {
        let mut files = workload("Deployment", "files", "v1");
        files["spec"]["replicas"] = json!(replicas);
        files["spec"]["strategy"] = json!({"type": strategy});
        files["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        files
    };
    for (replicas, strategy, scaled, expected) in [
        (1, "Recreate", None, None),
        (1, "RollingUpdate", None, Some("ExclusiveClaim")),
        (2, "RollingUpdate", None, Some("ExclusiveClaimShared")),
        (1, "Recreate", Some(3), Some("ExclusiveClaimShared")),
    ] {
        let mut case = Case::new().new_workload(&files(replicas, strategy), true);
        case.after.claims.insert("data".to_owned(), claim.clone());
        if let Some(most) = scaled {
            let scaler = json!({"metadata": {"name": "files"}, "spec": {"maxReplicas": most, "scaleTargetRef": {"kind": "Deployment", "name": "files"}}});
            case.after
                .autoscalers
                .insert("h".into(), view::<Autoscalers>(&scaler).unwrap().unwrap());
        }
        let plan = case.plan();
        assert_eq!(
            plan.risks.first().map(|risk| risk.reason.as_str()),
            expected,
            "{replicas} {strategy} {scaled:?}"
        );
        // What is so already is not put at risk by this.
        let mut known = Case::new().workload(&files(replicas, strategy));
        for world in [&mut known.before, &mut known.after] {
            world.claims.insert("data".to_owned(), claim.clone());
            world.autoscalers = case
                .after
                .autoscalers
                .iter()
                .map(|(uid, scaled)| (uid.clone(), scaled.clone()))
                .collect();
        }
        assert_eq!(known.plan().risks, []);
    }
}

#[test]
fn what_reads_something_that_is_not_there_is_at_risk() {
    let mut case = Case::new().new_workload(&workload("Deployment", "web", "v1"), true);
    case.looked_at
        .insert(ConfigId { kind: lockkeeper::api::ConfigKind::ConfigMap, name: "app".into() });
    assert!(
        case.told().contains(
            "deployment/web: its pods could not start, because ConfigMap/app does not exist"
        ),
        "{}",
        case.told()
    );
    let there = case.config(None, json!({"a": "1"}));
    assert_eq!(there.plan().risks, []);
    assert_eq!(there.outcome("deployment/web"), Outcome::Create);
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
